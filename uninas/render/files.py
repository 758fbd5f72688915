"""Pictures as text and as files."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from uninas.errors import did_you_mean, error, shown
from uninas.graph import Graph
from uninas.render.formats import style
from uninas.render.formats.dot import digraph
from uninas.render.formats.layout import drawn, lay_out
from uninas.render.formats.mermaid import mermaid as mermaid_text
from uninas.render.formats.vector import clean_svg
from uninas.render.scenes.differences import Step, difference_scene, film_scene
from uninas.render.scenes.options import Options
from uninas.render.scenes.pages import scene_of
from uninas.render.scenes.scene import Scene, plain
from uninas.render.scenes.spaces import space_scene
from uninas.space import Space

FORMATS = ("svg", "png", "pdf", "dot", "mmd")
INCH = 0.0254  # metres
PNG_HEAD = 33  # bytes of a PNG before its second chunk: the signature, and IHDR of 13 bytes with its frame
DPI = {True: "300", False: "144"}  # of a PNG whose width in millimetres is given, or not


class Difference(NamedTuple):
    """What there is to draw between two graphs."""

    before: Graph
    after: Graph


class Film(NamedTuple):
    """What there is to draw of a lineage: its steps, the start first."""

    steps: Sequence[Step]


Subject = Graph | Space | Difference | Film


def dot(subject: Subject, **options: Any) -> str:
    """A picture as DOT text, for any Graphviz. Keywords are those of `Options`."""
    chosen = Options(**options)
    return as_text(scene(subject, chosen), chosen, "dot")


def mermaid(subject: Subject, **options: Any) -> str:
    """A picture as a Mermaid flowchart. Keywords are those of `Options`."""
    chosen = Options(**options)
    return as_text(scene(subject, chosen), chosen, "mmd")


def svg(subject: Subject, *, outlines: bool = False, **options: Any) -> str:
    """A picture as SVG text. Keywords are those of `Options`.

    Text stays text, so that a page can be searched; with `outlines` it is drawn and looks the same everywhere.
    """
    chosen = Options(**options)
    return as_text(scene(subject, chosen), chosen, "svg", outlines)


def render(subject: Subject, path: str | Path, **options: Any) -> Path:
    """Draw into a file, in the format of its suffix. Keywords are those of `Options`. Returns the path.

    Equal subjects give equal bytes. Raises UninasError UNI100 for a suffix that is no format and for a path that cannot
    be written, UNI015 for an unknown option and UNI030 for a picture of too many nodes.
    """
    target, chosen = Path(path), Options(**options)
    kind = format_of(target)
    drawn_scene = scene(subject, chosen)
    data = (
        drawing(drawn_scene, chosen, kind)
        if kind in ("png", "pdf")
        else as_text(drawn_scene, chosen, kind, True).encode()
    )
    try:
        target.write_bytes(data)
    except OSError as problem:
        raise error("UNI100", f"cannot write {shown(target)}: {problem.strerror or problem}") from None
    return target


# ---- scenes ----------------------------------------------------------------------------------------------------------


def scene(subject: Subject, options: Options) -> Scene:
    """The scene of a subject."""
    if isinstance(subject, Graph):
        return scene_of(subject, options)
    if isinstance(subject, Space):
        return space_scene(subject, options)
    if isinstance(subject, Difference):
        return difference_scene(subject.before, subject.after, options)
    return film_scene(subject.steps, options)


def format_of(path: str | Path) -> str:
    """The format that a file's suffix asks for."""
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise error(
            "UNI100",
            f"expected a file that ends in .{', .'.join(FORMATS)}, but got {shown(Path(path).name)!r}",
            None,
            did_you_mean(kind, FORMATS),
        )
    return kind


def as_text(scene: Scene, options: Options, kind: str, outlines: bool = False) -> str:
    """A scene in one of the formats that are text."""
    if kind == "mmd":
        return mermaid_text(scene)
    if kind == "dot":
        return str(digraph(scene, style.THEMES[options.theme]).source)
    return scene_svg(scene, options, outlines)


def scene_svg(scene: Scene, options: Options, outlines: bool = False) -> str:
    """A scene as SVG text."""
    theme = style.THEMES[options.theme]
    laid = lay_out(scene, theme, options.width)
    title, about = (
        style.plain(text) for text in (scene.title, ". ".join(filter(None, [plain(scene.notes), scene.caption])))
    )
    return clean_svg(drawn(laid, "svg"), laid, title=title, description=about, ink=theme.ink, outlines=outlines)


def drawing(scene: Scene, options: Options, kind: str) -> bytes:
    """A scene as PNG or PDF."""
    laid = lay_out(scene, style.THEMES[options.theme], options.width)
    size = f"{laid.width * laid.scale / 72:.4f},{laid.height * laid.scale / 72:.4f}!"
    # Graphviz leaves half an inch around a page of PDF, which would be wider than asked for.
    more = {"dpi": DPI[options.width is not None]} if kind == "png" else {"margin": "0"}
    data = drawn(laid, kind, size=size, **more)
    if kind == "png":
        data = dense(data, int(more["dpi"]))
    # Cairo writes the time; a date of the same length keeps the offsets of the file right.
    return re.sub(rb"/CreationDate \(D:\d{14}", b"/CreationDate (D:20000101000000", data) if kind == "pdf" else data


def dense(png: bytes, dpi: int) -> bytes:
    """The same PNG, which says how large it is: a chunk pHYs with its pixels to the metre (PNG 3, 11.3.4.3).

    Without it, programs for slides and texts take an inch for 72 or 96 pixels.
    """
    chunk = b"pHYs" + struct.pack(">IIB", *[round(dpi / INCH)] * 2, 1)
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png if b"pHYs" in png[PNG_HEAD : PNG_HEAD + 64] else png[:PNG_HEAD] + framed + png[PNG_HEAD:]
