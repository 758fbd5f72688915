"""One way to lay out a `.uni` text, so that nobody has to think about it.

    >>> print(format_text("block  Gate{out=in*(in->conv( C,kernel = 1 )->sigmoid)}"), end="")
    block Gate { out = in * (in -> conv(C, kernel=1) -> sigmoid) }

What the author decides stays: line breaks, comments, and blank lines (one at most). What is decided here:

- A line stands 4 spaces further in for every line above it that left a bracket open, and a line that goes on with a
  statement 4 more than the statement. But arrows stand under arrows: a line that starts with `->` begins where the
  first `->` of its statement is, unless that is far to the right.
- Other columns are not aligned, so that one change does not touch many lines: single spaces around `->`, `|`, operators
  and `=`, but none around the `=` of an argument: `block MBConv(expand = 4)`, `conv(8, bias=false)`.
- Braces around steps and statements have room, braces around options have none: `each p { ... }`, `k in {3, 5}`.
- Definitions start a line of their own, one blank line apart; imports may follow each other directly.
- A comment behind code stands two spaces from it. Other comments stand where the line after them stands.

The layout is a fixed point, and it never changes what a text means.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lark import Token

from uninas.errors import Source
from uninas.language import tree as ast
from uninas.language.parser import parse_tokens

INDENT = 4
FAR = 24  # an arrow further to the right than this (from where its statement starts) aligns nothing
_OPENING = {"LPAR", "LSQB", "LBRACE"}
_CLOSING = {"RPAR", "RSQB", "RBRACE"}
_RANGE, _ARROW = "_DOTS", "_ARROW"
_TIGHT_BEFORE = {"RPAR", "RSQB", "LSQB", "COMMA", "COLON", "DOT", _RANGE}
_TIGHT_AFTER = {"LPAR", "LSQB", "DOT", "MINUS", _RANGE}


def format_text(text: str, name: str = "<text>") -> str:
    """The text in the one layout. Raises UninasError when it does not parse; `name` is what messages call it."""
    source = Source(name, text)
    file, tokens = parse_tokens(source)
    layout = _Layout(_starts(file))
    end = 0
    for token in tokens:
        layout.add(token, text[end : token.start_pos])
        end = token.end_pos or 0
    return layout.finish(text[end:])


def _starts(file: ast.File) -> dict[int, ast.Syntax]:
    """Everything that is a line of its own (definitions, members, statements), by the place where it starts."""
    found: dict[int, ast.Syntax] = {}
    pending: list[Any] = [*file.imports, *file.definitions]
    while pending:
        part = pending.pop()
        if isinstance(part, tuple):
            pending += part
        elif isinstance(part, ast.Syntax):
            members: list[ast.Syntax] = []
            if isinstance(part, ast.Import | ast.Definition | ast.Statement):
                members = [part]
            if isinstance(part, ast.Block) and part.input:
                members.append(part.input)
            if isinstance(part, ast.Network):
                members += part.members
            found.update((member.span.start, member) for member in members)
            pending += [getattr(part, field.name) for field in dataclasses.fields(part) if field.name != "span"]
    return found


@dataclass
class _Bracket:
    kind: str
    """file, head, call, item, body (statements or members), set (options) or steps"""
    indent: int
    """how far in the line stands that opened it"""
    hanging: bool = False
    """nothing follows it on its line"""
    arrow: int = 0
    """column of the first arrow of the statement or option being written, once it has one"""
    part: ast.Syntax | None = None
    """the statement or member inside it that has begun last"""


class _Layout:
    """The lines written so far, and the brackets open at their end."""

    def __init__(self, starts: dict[int, ast.Syntax]):
        self.starts = starts
        self.lines: list[str] = []
        self.line: list[str] = []
        self.indent = self.column = 0
        self.open = [_Bracket("file", -INDENT)]
        self.else_indent = 0
        self.before: list[str] = []  # kinds of the last two tokens

    @property
    def inside(self) -> _Bracket:
        return self.open[-1]

    @property
    def opened(self) -> bool:
        """Whether the last token opened a bracket."""
        return bool(self.before) and self.before[-1] in _OPENING

    # ---- tokens --------------------------------------------------------------------------------------------------

    def add(self, token: Token, gap: str) -> None:
        """Append a token; `gap` is what the author put before it: spaces, line breaks and comments."""
        part = self.starts.get(token.start_pos or 0)
        if not self.before or "\n" in gap or (part and self.inside.kind == "file"):
            self.new_line(token, part, gap)
        elif self.spaced(token):
            self.append(" ")
        if part:
            self.inside.part, self.inside.arrow = part, 0
        elif token.type == "COMMA" and self.inside.kind != "body":
            self.inside.arrow = 0
        elif token.type == _ARROW and not self.inside.arrow:
            self.inside.arrow = self.column
        if token.type in _OPENING:
            self.open.append(_Bracket(self.kind(token), self.indent))
        elif token.type in _CLOSING:
            self.else_indent = self.open.pop().indent
        self.append(token)
        self.before = [*self.before[-1:], token.type]

    def append(self, text: str) -> None:
        self.line.append(text)
        self.column += len(text)

    def kind(self, token: Token) -> str:
        """The kind of bracket that a token opens."""
        if token.type == "LPAR":
            return "head" if self.inside.kind == "file" else "call"
        if token.type == "LSQB":
            return "item"
        if self.inside.kind == "file" or self.before[0] == "EACH":
            return "body"
        return "set" if self.before[-1] in ("IN", "COLON") or isinstance(self.inside.part, ast.Moves) else "steps"

    def spaced(self, token: Token) -> bool:
        """Whether a space stands between the last token and this one, on one line."""
        previous, inside = self.before[-1], self.inside.kind
        if token.type in _TIGHT_BEFORE or previous in _TIGHT_AFTER:
            return False
        if inside == "call" and "EQUAL" in (token.type, previous):
            return False
        if token.type == "LPAR":
            return previous != "NAME" or self.before[0] == "SECTION"  # section neck (c2, c3) -> ...
        if previous == "LBRACE" or token.type == "RBRACE":
            return inside != "set" and (previous, token.type) != ("LBRACE", "RBRACE")
        return True

    # ---- lines ---------------------------------------------------------------------------------------------------

    def new_line(self, token: Token, part: ast.Syntax | None, gap: str) -> None:
        """End the line and begin that of `token`, with what is between them."""
        closes = token.type in _CLOSING
        self.inside.hanging |= self.opened
        indent = self.indent_of(token, part)
        remarks = self.end_line(gap)[:-1]
        among_imports = isinstance(part, ast.Import) and isinstance(self.inside.part, ast.Import)
        if self.inside.kind == "file" and part and not among_imports:
            self.blank()
        self.write(remarks, self.inside.indent + INDENT if closes else indent, skip_blank=self.opened)
        if closes and not self.lines[-1]:
            self.lines.pop()
        self.indent = self.column = indent

    def indent_of(self, token: Token, part: ast.Syntax | None) -> int:
        """The indentation of the line that begins with this token."""
        inside = self.inside
        inner = inside.indent + INDENT
        if token.type in _CLOSING:
            return inside.indent
        if token.type == "ELSE":
            return self.else_indent
        if token.type == _ARROW and 0 < inside.arrow <= inner + FAR:
            return inside.arrow
        first = part is not None or token.type == "LBRACE"
        if inside.kind not in ("body", "file"):
            first |= self.opened or self.before[-1] == "COMMA" or not inside.hanging
        return inner if first else inner + INDENT

    def end_line(self, gap: str) -> list[str]:
        """Write the line that is being collected, with a comment behind it; returns the lines that follow it."""
        behind, *rest = (line.strip() for line in gap.split("\n"))
        if not self.line:
            return [behind, *rest]
        self.lines.append(" " * self.indent + "".join(self.line) + (f"  {behind}" if behind else ""))
        self.line = []
        return rest

    def write(self, remarks: Sequence[str], indent: int, skip_blank: bool = False) -> None:
        """Lines with a comment or nothing; `skip_blank` leaves out empty ones before the first comment."""
        for remark in remarks:
            if remark:
                self.lines.append(" " * indent + remark)
                skip_blank = False
            elif not skip_blank:
                self.blank()

    def blank(self) -> None:
        if self.lines and self.lines[-1]:
            self.lines.append("")

    def finish(self, gap: str) -> str:
        """The whole text; `gap` is what follows the last token."""
        self.write(self.end_line(gap), 0)
        while self.lines and not self.lines[-1]:
            self.lines.pop()
        return "\n".join([*self.lines, ""]) if self.lines else ""
