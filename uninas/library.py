"""Where `.uni` files are found: the roots given by the caller, then the built-in library in spaces/.

An import names a file by words (`from blocks.attention import Attention`), so it cannot climb out of a root.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from uninas.errors import Source, Span, did_you_mean, error
from uninas.resources import library_root
from uninas.syntax import Definition, File, Import, Network, Word, parse, read_source


class Module:
    """A parsed file, its definitions and its imports."""

    def __init__(self, file: File, roots: tuple[Path, ...], importers: tuple[Path, ...] = ()):
        self.file = file
        self.roots = roots
        self.definitions: dict[str, Definition] = {}
        self.imported: dict[str, tuple[Module, Definition]] = {}
        for definition in file.definitions:
            self._claim(definition.name)
            self.definitions[definition.name.text] = definition
        for imports in file.imports:
            module = self._load(imports, importers)
            for word in imports.names:
                self._claim(word)
                if word.text not in module.definitions:
                    path = ".".join(part.text for part in imports.path)
                    raise error(
                        "UNI017",
                        f"expected a definition in {path}, but it has no {word.text}",
                        word.span,
                        did_you_mean(word.text, module.definitions),
                    )
                self.imported[word.text] = (module, module.definitions[word.text])

    def find(self, name: str) -> tuple[Module, Definition] | None:
        if name in self.definitions:
            return self, self.definitions[name]
        return self.imported.get(name)

    def names(self) -> Iterator[str]:
        yield from self.definitions
        yield from self.imported

    def _claim(self, word: Word) -> None:
        if self.find(word.text):
            raise error("UNI011", f"{word.text} is defined twice in this file", word.span)

    def _load(self, imports: Import, importers: tuple[Path, ...]) -> Module:
        span = imports.path[0].span
        relative = Path(*(word.text for word in imports.path)).with_suffix(".uni")
        for root in self.roots:
            path = (root / relative).resolve()
            if path.is_file() and path.is_relative_to(root.resolve()):
                if path in importers:
                    circle = " -> ".join(p.name for p in (*importers, path))
                    raise error("UNI018", f"expected no circle of imports, but got {circle}", span)
                return _module(path, self.roots, (*importers, path))
        known = [".".join(p.relative_to(r).with_suffix("").parts) for r in self.roots for p in r.rglob("*.uni")][:1000]
        name = ".".join(word.text for word in imports.path)
        raise error(
            "UNI017",
            f"cannot find {name}: expected a file {relative} in {_listed(self.roots)}",
            span,
            did_you_mean(name, known),
        )


def load_file(path: Path, roots: Iterable[Path] = ()) -> Module:
    """Read a file and everything it imports, which is looked up beside it, in `roots` and in the library."""
    path = path.resolve()
    return _module(path, (path.parent, *roots, library_root()), (path,))


def _module(path: Path, roots: tuple[Path, ...], importers: tuple[Path, ...]) -> Module:
    shipped = path.is_relative_to(library_root())
    return Module(_parse_shipped(path) if shipped else parse(read_source(path)), roots, importers)


@cache
def _parse_shipped(path: Path) -> File:
    return parse(read_source(path))


def load_text(text: str, name: str = "<text>", roots: Iterable[Path] = ()) -> Module:
    """The same for a text that is in no file."""
    return Module(parse(Source(name, text)), (*roots, library_root()))


def _listed(roots: Iterable[Path]) -> str:
    return " or ".join(str(root) for root in roots)


@cache
def shipped() -> dict[str, Path]:
    """Names of all networks and spaces of the built-in library, with their files: one pass over spaces/."""
    found: dict[str, Path] = {}
    root = library_root()
    for path in sorted([*root.glob("*.uni"), *root.glob("networks/*.uni")]):
        for definition in _parse_shipped(path).definitions:
            if isinstance(definition, Network):
                found[definition.name.text] = path
    return found


def shipped_file(name: str, span: Span | None = None) -> Path:
    """The file of a shipped network or space. Files are called like what they define, so one look is usually enough."""
    for folder in ("networks", "."):
        path = library_root() / folder / f"{name}.uni"
        if name.isidentifier() and path.is_file():
            return path
    if name in shipped():
        return shipped()[name]
    raise error(
        "UNI010", f"there is no shipped network or space called {name[:60]!r}", span, did_you_mean(name, shipped())
    )


def find(source: str | Path) -> tuple[Module, str]:
    """The module and the name of the definition that a user means.

    `source` is a path to a `.uni` file (`file.uni:NAME` picks one of its definitions), a text, or the name of something
    shipped. Without a name, the last network or space of a file is meant, or else its last block.
    """
    text = str(source)
    if "{" in text:
        module, name = load_text(text), ""
    elif re.search(r"\.uni(:\w+)?$", text) or isinstance(source, Path):
        path, _, name = text.rpartition(":") if re.search(r"\.uni:\w+$", text) else (text, "", "")
        module = load_file(Path(path))
    else:
        module, name = load_file(shipped_file(text)), text
    if not name:
        if not module.definitions:
            raise error("UNI023", f"expected a definition in {module.file.source.name}, but it has none")
        networks = [n for n, definition in module.definitions.items() if isinstance(definition, Network)]
        name = (networks or list(module.definitions))[-1]
    if name not in module.definitions:
        raise error(
            "UNI010", f"there is no {name} in {module.file.source.name}", None, did_you_mean(name, module.definitions)
        )
    return module, name
