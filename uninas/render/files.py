"""DOT -> SVG, PNG or PDF, by the Graphviz that pygraphviz carries."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uninas.errors import did_you_mean, error, shown
from uninas.graph import Graph
from uninas.render import style
from uninas.render.pages import to_dot

FORMATS = ("svg", "png", "pdf", "dot")
PNG_DPI = "160"


def render(
    graph: Graph, path: str | Path, *, level: str = "network", direction: str = "TB", title: str | None = None
) -> Path:
    """Draw a graph into a file, in the format of its suffix; see `to_dot` for the rest. Returns the path.

    The same graph gives the same bytes. Raises UninasError UNI100 for a suffix that is no format and for a path that
    cannot be written.
    """
    target = Path(path)
    kind = target.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise error(
            "UNI100",
            f"expected a file that ends in .{', .'.join(FORMATS)}, but got {shown(target.name)!r}",
            None,
            did_you_mean(kind, FORMATS),
        )
    source = to_dot(graph, level, direction, title).source
    data = source.encode() if kind == "dot" else picture(source, kind)
    try:
        target.write_bytes(data)
    except OSError as problem:
        raise error("UNI100", f"cannot write {shown(target)}: {problem.strerror or problem}") from None
    return target


def svg(
    graph: Graph, *, level: str = "network", direction: str = "TB", title: str | None = None, theme: str = "light"
) -> str:
    """The picture as SVG text. `theme` is light or dark; see `to_dot` for the rest."""
    if theme not in style.THEMES:
        raise error("UNI015", f"expected theme to be light or dark, but got {shown(theme)!r}", None,
                    did_you_mean(theme, style.THEMES))  # fmt: skip
    text = picture(to_dot(graph, level, direction, title).source, "svg").decode()
    if theme == "dark":
        pattern = r'(fill|stroke)="(#[0-9a-f]{6})"'
        text = re.sub(pattern, lambda m: f'{m[1]}="{style.DARK.get(m[2], m[2])}"', text)
    return text


def picture(source: str, kind: str) -> bytes:
    """DOT text, laid out and drawn."""
    import pygraphviz  # here, because it takes longer to load than everything else together

    with quiet_fonts():
        graph = pygraphviz.AGraph(string=source)
        if kind == "png":
            graph.graph_attr["dpi"] = PNG_DPI
        data = bytes(graph.draw(format=kind, prog="dot"))
    # Cairo writes the time; a date of the same length keeps the offsets of the file right.
    return re.sub(rb"/CreationDate \(D:\d{14}", b"/CreationDate (D:20000101000000", data) if kind == "pdf" else data


@contextmanager
def quiet_fonts() -> Iterator[None]:
    """Keep the warnings of an older Fontconfig about newer settings of the system from the terminal.

    They come from C, so the file descriptor itself is turned aside; everything else is passed on.
    """
    with tempfile.TemporaryFile() as aside:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            for line in aside.read().decode(errors="replace").splitlines():
                if not line.startswith("Fontconfig warning"):
                    sys.stderr.write(f"{line}\n")
