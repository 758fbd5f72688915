"""Errors that show the place, what was expected, what was found, and the way out.

A `Diagnostic` is one mistake; a `UninasError` carries one or more of them. Every kind of mistake has a code
(`CODES`), explained in docs/errors.md.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uninas.fact import fact

MAX_CANDIDATES = 2_000  # names that a misspelt one is compared with

CODES = {
    "UNI001": "a file cannot be read",
    "UNI002": "the text does not follow the grammar",
    "UNI003": "brackets are nested too deeply",
    "UNI004": "a number is out of range",
    "UNI010": "a name is unknown",
    "UNI011": "a name is defined twice",
    "UNI012": "an argument does not fit the parameters",
    "UNI013": "a required argument is missing",
    "UNI014": "a value has the wrong type",
    "UNI015": "a value lies outside its domain",
    "UNI016": "a wire or an operation is never used",
    "UNI017": "an import cannot be resolved",
    "UNI018": "files import each other in a circle",
    "UNI019": "blocks are nested too deeply, or without end",
    "UNI020": "shapes do not fit",
    "UNI021": "the number of inputs does not fit",
    "UNI022": "a division leaves a remainder, or divides by zero",
    "UNI023": "a part is missing from a definition",
    "UNI030": "the architecture is too large",
    "UNI040": "a budget is not kept",
    "UNI041": "a budget cannot be kept by anything",
    "UNI042": "a choice does not fit the space",
    "UNI050": "a model JSON of the published UniNAS toolkit is malformed",
    "UNI051": "an architecture has no equivalent in the published UniNAS toolkit",
    "UNI054": "a network from elsewhere cannot be imported",
    "UNI055": "weights do not fit the network",
    "UNI060": "a model cannot be built as asked",
    "UNI070": "a run folder cannot be used",
    "UNI071": "a search cannot be run as asked",
    "UNI080": "a move is not possible here",
    "UNI090": "a score cannot be computed",
    "UNI100": "a picture or file cannot be written",
    "UNI110": "a table cannot be used",
    "UNI120": "a page cannot be served",
    "UNI130": "a training cannot be run as asked",
    "UNI140": "a plug-in cannot be used",
}

WARNINGS = {
    "UNIW01": "a size is that of the block, not of the wire at hand",
    "UNIW02": "a stage says a width or stride that its blocks do not have",
    "UNIW03": "a square kernel runs over a row",
}
"""What is right but unusual, told by `uninas check`."""


@dataclass(frozen=True)
class Source:
    """A text and the name it is known by; turns offsets into lines and columns."""

    name: str
    text: str = field(repr=False)

    @fact
    def _line_starts(self) -> list[int]:
        return [0] + [i + 1 for i, char in enumerate(self.text) if char == "\n"]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of `offset`, both counted from 1."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)]


@dataclass(frozen=True)
class Span:
    """A piece of a source: offsets `start` (inclusive) to `end` (exclusive)."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """The source line, cut to a readable width, with carets under the span."""
        line, column = self.source.position(self.start)
        text = self.source.line(line).expandtabs(1)
        width = max(1, min(self.end - self.start, len(text) - column + 1))
        cut = max(0, column - 70)
        shown, column = text[cut : cut + 110], column - cut
        gutter = f"{line:>5} | "
        carets = " " * (len(gutter) + column - 1) + "^" * max(1, min(width, len(shown) - column + 1))
        return f"{gutter}{shown}\n{carets}"


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: its code, a sentence, where it is, and notes that help to mend it."""

    code: str
    message: str
    span: Span | None = None
    notes: tuple[str, ...] = ()

    @property
    def suggestion(self) -> str | None:
        """What to write instead of the text of the span, where a note says 'did you mean ...?'."""
        for note in self.notes:
            if self.span and (found := re.fullmatch(r"did you mean '(.+)'\?", note)):
                return found[1]
        return None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values. Offsets count characters from 0, lines and columns from 1; `end` is exclusive."""
        place = None
        if self.span:
            line, column = self.span.source.position(self.span.start)
            end_line, end_column = self.span.source.position(self.span.end)
            place = {"file": self.span.source.name, "start": self.span.start, "end": self.span.end, "line": line,
                     "column": column, "end_line": end_line, "end_column": end_column}  # fmt: skip
        return {"code": self.code, "message": self.message, "span": place, "notes": list(self.notes),
                "suggestion": self.suggestion}  # fmt: skip

    def __str__(self) -> str:
        head = f"{self.span}: " if self.span else ""
        kind = "warning" if self.code in WARNINGS else "error"
        lines = [f"{head}{kind}[{self.code}]: {self.message}"]
        if self.span:
            lines.append(self.span.excerpt())
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


class UninasError(Exception):
    """Everything a user can get wrong, with all its places. `str(error)` is what a person should read."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]):
        self.diagnostics: tuple[Diagnostic, ...] = (
            (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        )
        super().__init__(self.diagnostics)

    @property
    def code(self) -> str:
        return self.diagnostics[0].code

    def __str__(self) -> str:
        return visible("\n\n".join(str(diagnostic) for diagnostic in self.diagnostics))


class NoLegalEdit(UninasError):
    """There is no legal move from here, or none was found: a search may try another parent."""

    @classmethod
    def because(cls, message: str, *notes: str) -> NoLegalEdit:
        """The error with one diagnostic."""
        return cls(Diagnostic("UNI080", message, None, notes))


class Unfit(UninasError):
    """Answers to the open choices of a space that do not fit each other, by a condition of the space."""

    @classmethod
    def at(cls, span: Span) -> Unfit:
        """The error of the condition at this place."""
        hint = "the first options of all choices must fit each other"
        return cls(Diagnostic("UNI042", "expected answers for which this holds", span, (hint,)))


def error(code: str, message: str, span: Span | None = None, *notes: str) -> UninasError:
    """A `UninasError` with one diagnostic. Empty notes are dropped."""
    assert code in CODES, code
    return UninasError(Diagnostic(code, message, span, tuple(note for note in notes if note)))


PACKAGES = {
    "PIL": "pillow", "click": "click", "lightning": "lightning", "lsprotocol": "'uninas-toolkit[lsp]'",
    "matplotlib": "matplotlib", "mcp": "'uninas-toolkit[mcp]'", "numpy": "numpy", "onnx": "onnx onnxscript",
    "onnxruntime": "onnxruntime", "onnxscript": "onnxscript", "pygls": "'uninas-toolkit[lsp]'",
    "pygraphviz": "pygraphviz", "ray": "ray", "rich": "rich", "scipy": "scipy", "sklearn": "'uninas-toolkit[learn]'",
    "tensorboard": "tensorboard",
    "timm": "timm", "torch": "torch", "torchvision": "torchvision", "wandb": "wandb", "yaml": "pyyaml",
}  # fmt: skip
"""What to install for a module that cannot be imported."""


def contents(path: Path, most: int) -> bytes:
    """The bytes of a file of somebody else. Raises UNI001 for one that cannot be read, or has more than `most`.

    What may never end, as pipes and devices, is not opened.
    """
    try:
        if not path.is_file():
            path.stat()  # says why, where there is nothing
            raise error("UNI001", f"cannot read {shown(path, 200)}: expected a file")
        if path.stat().st_size > most:
            raise error("UNI001", f"cannot read {shown(path, 200)}: expected at most {most:,} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise error("UNI001", f"cannot read {shown(path, 200)}: {shown(why)}") from None


def missing(problem: ModuleNotFoundError) -> UninasError | None:
    """The error for a package that is not installed; None where the module is none of those that we may need."""
    package = (problem.name or "").partition(".")[0]
    if package not in PACKAGES:
        return None
    return error("UNI060", f"this needs {package}, which is not installed", None, f"pip install {PACKAGES[package]}")


def out_of_memory(problem: BaseException) -> bool:
    """Whether Python, or torch on whatever device, failed for want of memory.

    torch says it in ways of its own: an OutOfMemoryError on a GPU, or a RuntimeError of which only the words tell.
    """
    if isinstance(problem, UninasError) and problem.__cause__ is not None:
        return out_of_memory(problem.__cause__)
    if isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(problem) for words in ("allocate memory", "not enough memory", "STATUS_ALLOC_FAILED"))


def in_a_line(problem: Exception) -> str:
    """The message of an error and its notes in one line."""
    if isinstance(problem, UninasError):
        first = problem.diagnostics[0]
        return "; ".join((first.message, *first.notes))
    return f"{type(problem).__name__}: {problem}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'did you mean ...?' for the nearest of `known`, or ''."""
    names: Sequence[str] = sorted(set(known))
    if len(names) > MAX_CANDIDATES:
        names = [candidate for candidate in names if candidate[:1] == name[:1]][:MAX_CANDIDATES]
    by_folded = {candidate.lower().replace("_", ""): candidate for candidate in names}
    folded = name.lower().replace("_", "")
    close = difflib.get_close_matches(folded[:80], by_folded, n=1, cutoff=0.6)
    return f"did you mean '{by_folded[close[0]]}'?" if close else ""


_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""A text without characters that command a terminal or turn its writing around: they are spelt out.

    >>> print(visible("a \x1b[2J b"))
    a \x1b[2J b
    """
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: object, limit: int = 60) -> str:
    """A user's value inside a message: one line of visible characters, never longer than `limit`."""
    text = visible(str(value).replace("\n", "\\n"))
    return text if len(text) <= limit else text[: limit - 3] + "..."
