"""Where `.uni` files are found: the roots given by the caller, then the built-in library in spaces/.

An import names a file by words (`from blocks.attention import Attention`), so it cannot climb out of a root.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

from uninas.errors import Diagnostic, Source, Span, UninasError, did_you_mean, error, shown
from uninas.language.parser import MAX_FILE_BYTES, MAX_NAME, familiar, parse, read_source
from uninas.language.resources import library_root
from uninas.language.tree import Definition, File, Import, Network, Word
from uninas.plugins import LIBRARIES, Registry

SOURCES: Registry[Callable[[str], str]] = Registry("source of networks")
"""Readers of networks that are no text of ours, by what their names begin with (timm:) or end in (.onnx)."""
"""Sources that are networks of other programs, which become text first."""

MAX_IMPORT_DEPTH = 64
MAX_CHARACTERS = 4 * MAX_FILE_BYTES
MAX_PROBLEMS = 100  # reported at once


@dataclass
class _Loading:
    """The state of one load: the modules read so far, and the number of characters, which is bounded."""

    roots: tuple[Path, ...]
    modules: dict[Path, Module | UninasError] = field(default_factory=dict)
    characters: int = 0


class Module:
    """A parsed file, its definitions and its imports."""

    def __init__(self, file: File, loading: _Loading, importers: tuple[Path, ...] = ()):
        self.file = file
        self.path = importers[-1] if importers else None
        """Of the file; None for a text that is in none."""
        self.definitions: dict[str, Definition] = {}
        self.imported: dict[str, tuple[Module, Definition]] = {}
        problems: list[Diagnostic] = []
        for definition in file.definitions:
            with _collected(problems):
                self._claim(definition.name)
                self.definitions[definition.name.text] = definition
        for imports in file.imports:
            if len(problems) >= MAX_PROBLEMS:
                break
            with _collected(problems):
                module = _imported(imports, loading, importers)
                for word in imports.names:
                    with _collected(problems):
                        self._claim(word)
                        self.imported[word.text] = (module, _exported(module, imports, word))
        if problems:
            raise UninasError(problems)

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


@contextmanager
def _collected(problems: list[Diagnostic]) -> Iterator[None]:
    """Keep what goes wrong inside, and go on after it."""
    try:
        yield
    except UninasError as problem:
        problems += [found for found in problem.diagnostics if found not in problems][: MAX_PROBLEMS - len(problems)]


def _exported(module: Module, imports: Import, word: Word) -> Definition:
    if word.text not in module.definitions:
        raise error(
            "UNI017",
            f"expected a definition in {_dotted(imports)}, but it has no {word.text}",
            word.span,
            did_you_mean(word.text, module.definitions),
        )
    return module.definitions[word.text]


def _imported(imports: Import, loading: _Loading, importers: tuple[Path, ...]) -> Module:
    """The module that an import names. A link that leads out of a root leads nowhere."""
    span = Span(imports.span.source, imports.path[0].span.start, imports.path[-1].span.end)
    relative = Path(*(word.text for word in imports.path)).with_suffix(".uni")
    for root in loading.roots:
        path = _inside(root, relative)
        if path is None:
            continue
        if path in importers:
            circle = " -> ".join(p.name for p in (*importers, path))
            raise error("UNI018", f"expected no circle of imports, but got {circle}", span)
        if len(importers) >= MAX_IMPORT_DEPTH:
            raise error("UNI030", f"expected imports at most {MAX_IMPORT_DEPTH} files deep", span)
        return _module(path, loading, (*importers, path), span)
    name = _dotted(imports)
    where = " or ".join("the library" if root == library_root() else familiar(root) for root in loading.roots)
    known = [".".join(path.with_suffix("").parts) for path in _nearby(loading.roots, relative)]
    raise error("UNI017", f"cannot find {name}: expected a file {relative} in {where}", span, did_you_mean(name, known))


def _dotted(imports: Import) -> str:
    return ".".join(word.text for word in imports.path)


def _inside(root: Path, relative: Path) -> Path | None:
    """The file below `root`, if there is one that can be reached and really lies below it."""
    try:
        path = (root / relative).resolve()
        return path if path.is_file() and path.is_relative_to(root.resolve()) else None
    except (OSError, RuntimeError):  # too long a name, no permission, a link to itself
        return None


def _nearby(roots: Iterable[Path], relative: Path) -> list[Path]:
    """Files that may have been meant: beside the expected one, and in the library. A look, not a search."""
    found = {path.relative_to(library_root()) for path in library_root().rglob("*.uni")}
    for root in roots:
        with suppress(OSError):
            found |= {path.relative_to(root) for path in islice((root / relative.parent).glob("*.uni"), 100)}
    return sorted(found)


def libraries() -> tuple[Path, ...]:
    """The folders in which names are looked up everywhere: what is shipped, then what plug-ins bring."""
    return library_root(), *LIBRARIES.values()


def load_file(path: Path, roots: Iterable[Path] = ()) -> Module:
    """Read a file and everything it imports, which is looked up beside it, in `roots` and in the library."""
    try:
        path = path.resolve()
    except (OSError, RuntimeError, ValueError) as problem:  # a link to itself, a NUL character
        raise error("UNI001", f"cannot read {shown(path)}: {problem}") from None
    return _module(path, _Loading((path.parent, *roots, *libraries())), (path,))


def load_text(text: str, name: str = "<text>", roots: Iterable[Path] = ()) -> Module:
    """The same for a text that is in no file."""
    return module_of(parse(Source(name, text)), roots)


def module_of(file: File, roots: Iterable[Path] = ()) -> Module:
    """What is parsed, with all that it imports."""
    return Module(file, _Loading((*roots, *libraries())))


def _module(path: Path, loading: _Loading, importers: tuple[Path, ...], span: Span | None = None) -> Module:
    if path not in loading.modules:
        try:
            loading.modules[path] = _read(path, loading, importers, span)
        except UninasError as problem:
            loading.modules[path] = problem
    known = loading.modules[path]
    if isinstance(known, UninasError):
        raise known
    return known


def _read(path: Path, loading: _Loading, importers: tuple[Path, ...], span: Span | None) -> Module:
    file = _parse_shipped(path) if path.is_relative_to(library_root()) else parse(read_source(path))
    loading.characters += len(file.source.text)
    if loading.characters > MAX_CHARACTERS:
        raise error("UNI030", f"expected at most {MAX_CHARACTERS:,} characters in all files together", span)
    return Module(file, loading, importers)


@cache
def _parse_shipped(path: Path) -> File:
    return parse(read_source(path))


def shipped() -> dict[str, Path]:
    """Names of all networks and spaces that are shipped or brought by plug-ins, with their files."""
    found: dict[str, Path] = {}
    for root in reversed(libraries()):  # what is shipped keeps its names
        found |= _networks_of(root)
    return found


@cache
def _networks_of(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted([*root.glob("*.uni"), *root.glob("networks/*.uni")]):
        for definition in _parse_shipped(path).definitions:
            if isinstance(definition, Network):
                found[definition.name.text] = path
    return found


def shipped_file(name: str, span: Span | None = None) -> Path:
    """The file of a shipped network or space. Files are called like what they define, so one look is usually enough."""
    for folder in ("networks", "."):
        path = library_root() / folder / f"{name}.uni"
        if name.isidentifier() and len(name) <= MAX_NAME and path.is_file():
            return path
    if name in shipped():
        return shipped()[name]
    raise error(
        "UNI010", f"there is no shipped network or space called {name[:60]!r}", span, did_you_mean(name, shipped())
    )


def _reader(source: str) -> Callable[[str], str] | None:
    """The reader of a network from elsewhere; None for a source that is ours."""
    found = re.search(r"^(\w+):(?!.*\.uni)|\.(\w+)$", source)
    kind = found and (found[1] or f".{found[2]}")
    return SOURCES[kind] if kind and kind not in (".uni",) and kind in SOURCES else None


def find(source: str | Path) -> tuple[Module, str]:
    """The module and the name of the definition that a user means.

    `source` is a path to a `.uni` file (`file.uni:NAME` picks one of its definitions), a text, the name of something
    shipped, or a network of another program (timm:NAME, torchvision:NAME, a file .onnx, .py or .json). Without a name,
    the last network or space of a file is meant, or else its last block.
    """
    text = str(source)
    if "{" in text:
        module, name = load_text(text), ""
    elif read := _reader(text):
        module, name = load_text(read(text), text), ""
    elif re.search(r"\.uni(:\w+)?$", text) or isinstance(source, Path):
        path, _, name = text.rpartition(":") if re.search(r"\.uni:\w+$", text) else (text, "", "")
        module = load_file(Path(path))
    else:
        module = load_file(shipped_file(text))
        name = text if text in module.definitions else ""  # a space may be called by the name of its file
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
