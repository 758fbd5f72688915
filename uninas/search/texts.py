"""The texts of a space, kept in its run: so a run that was moved, or whose files are gone, goes on as it was begun.

What is shipped with this software is not kept; its version is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from uninas.errors import error, shown
from uninas.language.library import Module, find
from uninas.plugins import LIBRARIES

MOST_FILES = 1000

Texts = Sequence[Sequence[str]]
"""(path, text) of a file and of those that it imports, the file first; paths begin where it lies."""


def is_path(source: str) -> bool:
    """Whether a user who writes this means a file, not something shipped, nor a text."""
    return "{" not in source and re.search(r"\.uni(:\w+)?$", source) is not None


def reached(module: Module) -> list[Module]:
    """A file and all that it imports, each once."""
    found = {id(module): module}
    waiting = [module]
    while waiting:
        for other, _ in waiting.pop().imported.values():
            if id(other) not in found:
                found[id(other)] = other
                waiting.append(other)
    return list(found.values())


def kept(source: str, module: Module) -> Texts:
    """What to keep of what a user has named: files with all that they import, also from the libraries of plug-ins, and
    networks of other programs as the texts that they became; nothing of what is shipped.
    """
    if module.path is None:
        return [("network.uni", module.file.source.text)] if source and "{" not in source else []
    roots = (module.path.parent, *LIBRARIES.values())
    if not is_path(source) and not any(module.path.is_relative_to(root.resolve()) for root in roots[1:]):
        return []
    return [
        (one.path.relative_to(root).as_posix(), one.file.source.text)
        for one in reached(module)
        if one.path is not None and (root := _root(one.path, roots)) is not None
    ]


def _root(path: Path, roots: Sequence[Path]) -> Path | None:
    """The innermost of the folders in which a file lies, from which an import names it; None for what is shipped."""
    found = [root.resolve() for root in roots if path.is_relative_to(root.resolve())]
    return max(found, key=lambda root: len(root.parts), default=None)


def found_again(source: str, texts: Any) -> tuple[Module, str]:
    """As `find`, but from the texts that a run has kept. Raises UNI070 where they are none of ours."""
    if not texts or "{" in source:
        return find(source)
    if not _plausible(texts):
        raise error("UNI070", f"the texts of the space {shown(source)} in the run cannot be read")
    name = source.rpartition(":")[2] if re.search(r"\.uni:\w+$", source) else ""
    with TemporaryDirectory(prefix="uninas-") as folder:
        for path, text in texts:
            place = Path(folder) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        return find(f"{Path(folder) / texts[0][0]}" + (f":{name}" if name else ""))


def _plausible(texts: Any) -> bool:
    """Whether these are texts by paths that stay where they are put."""
    if not isinstance(texts, list) or len(texts) > MOST_FILES:
        return False
    pairs = [pair for pair in texts if isinstance(pair, list) and len(pair) == 2]
    return len(pairs) == len(texts) and all(
        isinstance(path, str) and isinstance(text, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)*\.uni", path) is not None
        and ".." not in PurePosixPath(path).parts and len(path) < 1000
        for path, text in pairs
    )  # fmt: skip
