"""`parse`: from the text of a `.uni` file to its syntax tree, with every syntax error and its place."""

from __future__ import annotations

import gc
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from uninas.errors import Diagnostic, Source, Span, UninasError, did_you_mean, error, shown
from uninas.language.resources import grammar_text
from uninas.language.tree import (
    Alternatives,
    Apply,
    Argument,
    Block,
    BlockInput,
    Boolean,
    Bound,
    Budgets,
    Chain,
    Choose,
    Conditional,
    Definition,
    Each,
    Expression,
    File,
    Group,
    Import,
    Init,
    Input,
    Item,
    Member,
    Move,
    Moves,
    Network,
    Number,
    Operation,
    Options,
    Outcome,
    Parameter,
    Patience,
    Pipeline,
    Range,
    Reference,
    Repeat,
    Section,
    Sizes,
    Stage,
    StageItem,
    Start,
    Statement,
    When,
    Word,
)
from uninas.ops.op import MAX_INT

MAX_FILE_BYTES = 1 << 20
MAX_NESTING = 40  # brackets within brackets
MAX_TOKENS = 100_000
MAX_NAME = 200  # characters
MAX_DEPTH = 1_000  # rules of the grammar within each other
MAX_SIGNS = 64  # changes of sign in one sum or product; every change is one more level for whoever walks the tree
MAX_SYNTAX_ERRORS = 20  # reported for one file


# ---- text -> tree --------------------------------------------------------------------------------------------------


def read_source(path: Path) -> Source:
    """The text of a file, checked for size and encoding before anything looks at it."""
    name = familiar(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _too_long(name, f"{path.stat().st_size:,}")
        if not path.is_file():
            raise error("UNI001", f"cannot read {name}: expected a file")
        with path.open("rb") as file:
            return read_stream(file, name)
    except OSError as problem:
        raise error("UNI001", f"cannot read {name}: {problem.strerror or problem}") from None
    except ValueError as problem:  # a path with a NUL character
        raise error("UNI001", f"cannot read {name}: {problem}") from None


def read_stream(stream: IO[bytes], name: str) -> Source:
    """The text of an open file or a pipe, which messages call `name`. Raises UNI001 for one too long or no UTF-8."""
    data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise _too_long(name, f"more than {MAX_FILE_BYTES:,}")
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        raise error("UNI001", f"cannot read {name}: expected UTF-8, but got byte 0x{data[problem.start]:02x} "
                    f"at offset {problem.start:,}", None, "save the file as UTF-8") from None  # fmt: skip


def _too_long(name: str, size: str) -> UninasError:
    expected = f"expected at most {MAX_FILE_BYTES:,} bytes, but got {size}"
    return error("UNI001", f"cannot read {name}: {expected}", None, "split the file and use imports")


def familiar(path: Path) -> str:
    """A path as messages show it: from the working directory, if it lies below."""
    with suppress(OSError, ValueError):
        return shown(path.relative_to(Path.cwd()), 200)
    return shown(path, 200)


def parse(source: Source) -> File:
    """Parse a whole text. Raises one UninasError with every syntax error found."""
    return parse_tokens(source)[0]


def parse_tokens(source: Source) -> tuple[File, list[Token]]:
    """The same, with the words and signs in order; nothing but spaces and comments lies between them."""
    if len(source.text) > MAX_FILE_BYTES:
        raise error("UNI001", f"{source.name}: expected at most {MAX_FILE_BYTES:,} characters, "
                    f"but got {len(source.text):,}")  # fmt: skip
    build = _Builder(source)
    imports: list[Import] = []
    definitions: list[Definition] = []
    problems: list[Diagnostic] = []
    tokens: list[Token] = []
    with deep_recursion(), _no_garbage():
        for piece in _pieces(source, problems, tokens):
            for child in piece.children:
                if len(problems) >= MAX_SYNTAX_ERRORS:
                    break
                try:
                    build.depth = 0
                    part = build(child)
                except UninasError as problem:
                    problems += problem.diagnostics
                    continue
                if isinstance(part, Import):
                    imports.append(part)
                else:
                    definitions.append(part)
    file = File(source, tuple(imports), tuple(definitions))
    if problems:
        raise Unparsed(problems, file)
    return file, tokens


class Unparsed(UninasError):
    """The syntax errors of a text; `rest` are the definitions that have none."""

    def __init__(self, problems: Iterable[Diagnostic], rest: File):
        super().__init__(problems)
        self.rest = rest


class _Held:
    """A switch of the whole process that threads hold together: the first sets it, the last puts it back."""

    def __init__(self, switch: Callable[[], Callable[[], object]]):
        self.switch = switch  # sets it, and returns what puts it back
        self.lock = threading.Lock()
        self.holders = 0
        self.back: Callable[[], object] = lambda: None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if not self.holders:
                self.back = self.switch()
            self.holders += 1
        try:
            yield
        finally:
            with self.lock:
                self.holders -= 1
                if not self.holders:
                    self.back()


def _higher_limit() -> Callable[[], object]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20_000))
    return lambda: sys.setrecursionlimit(limit)


def _without_collection() -> Callable[[], object]:
    enabled = gc.isenabled()
    gc.disable()
    return gc.enable if enabled else lambda: None


deep_recursion = _Held(_higher_limit)
"""Parsing and elaborating are recursive and bounded (MAX_DEPTH, ...), but Python's default limit is lower still."""

_no_garbage = _Held(_without_collection)
"""A growing tree is all alive; looking for garbage in it again and again takes as long as parsing a large file."""


_DEFINITION = re.compile(r"^[ \t]*(?=(?:block|network|space|from)\b)", re.MULTILINE)
_WORD_OR_SIGN = re.compile(r"#[^\n]*|(\d+(?:\.\d+)?(?:e[+-]?\d+)?%?|\w+|->|\.\.|[=!<>]=|//|[^\s\w])")


def _pieces(source: Source, problems: list[Diagnostic], tokens: list[Token]) -> Iterator[Tree[Token]]:
    """The parsed text; after a syntax error, what follows from the next definition on."""
    text = source.text
    if sum(1 for found in _WORD_OR_SIGN.finditer(text) if found[1]) > MAX_TOKENS:
        raise error("UNI030", f"{source.name}: expected at most {MAX_TOKENS:,} words and signs in one file", None,
                    "split the file and use imports")  # fmt: skip
    while True:
        try:
            parsing = lark_parser().parse_interactive(text)
            tokens[:] = parsing.iter_parse()
            yield parsing.feed_eof(tokens[-1] if tokens else None)  # type: ignore[no-untyped-call]
            return
        except UnexpectedInput as problem:
            found = _syntax_error(source, problem)
        except _Refused as problem:
            found = Diagnostic(problem.code, problem.message, _span(source, problem.token))
        problems.append(found)
        assert found.span
        if len(problems) >= MAX_SYNTAX_ERRORS or found.code != "UNI002":
            return
        resume = _DEFINITION.search(text, found.span.start + 1)
        begins = [match.end() for match in _DEFINITION.finditer(text, 0, found.span.start)]
        first, last = (begins[-1] if begins else 0), resume.end() if resume else len(text)
        # Blanking the definition keeps all offsets right.
        text = text[:first] + re.sub(r"[^\n]", " ", text[first:last]) + text[last:]


class _Refused(Exception):
    def __init__(self, code: str, message: str, token: Token):
        self.code, self.message, self.token = code, message, token


class _Guard:
    """Bounds nesting and names while tokens stream by, before any tree exists."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = 0
        for token in stream:
            depth += (token.value in "({[") - (token.value in ")}]") if len(token.value) == 1 else 0
            if depth > MAX_NESTING:
                raise _Refused("UNI003", f"expected at most {MAX_NESTING} brackets within each other", token)
            if len(token.value) > MAX_NAME and token.type == "NAME":
                raise _Refused("UNI002", f"expected a name of at most {MAX_NAME} characters", token)
            yield token


@cache
def lark_parser() -> Lark:
    """The parser of the grammar, made once."""
    return Lark(grammar_text(), parser="lalr", propagate_positions=True, maybe_placeholders=True, postlex=_Guard())


_SIGNS = {
    "_ARROW": "'->'", "NAME": "a name", "NUMBER": "a number", "PERCENT": "a percentage", "TIMES": "'x'",
    "IN": "'in'", "SUM_SIGN": "'+'", "PRODUCT_SIGN": "'*'", "COMPARE": "'=='", "BOUND": "'<='",
    "$END": "the end of the text",
}  # fmt: skip
# Words that a wire may also bear: they are allowed nearly everywhere a name is, and would crowd every message.
_QUIET = {
    "STEM", "HEAD", "SECTION", "STAGE", "CHOOSE", "START", "MOVES", "PATIENCE", "BUDGET", "INIT", "INPUT", "STRIDE",
    "WITH", "WHERE", "OUT", "STEP",
}  # fmt: skip


def _terminal(name: str) -> str:
    if name in _SIGNS:
        return _SIGNS[name]
    pattern = lark_parser().get_terminal(name).pattern
    return f"'{pattern.value}'"


def _syntax_error(source: Source, problem: UnexpectedInput) -> Diagnostic:
    if isinstance(problem, UnexpectedCharacters):
        start: int = problem.pos_in_stream  # type: ignore[assignment]  # lark declares only the None of its base class
        span = Span(source, start, start + 1)
        return Diagnostic("UNI002", f"expected a name, a number or a sign, but got {problem.char!r}", span)
    assert isinstance(problem, UnexpectedToken)
    token, expected = problem.token, set(problem.expected)
    if "NAME" in expected:
        expected -= _QUIET
    close = did_you_mean(str(token), {_terminal(name).strip("'") for name in expected} - {"a name"})
    words = sorted(expected, key=lambda name: (_terminal(name) not in close, name not in ("NAME", "RBRACE"), name))
    listed = [_terminal(name) for name in words[:8]]
    wanted = " or ".join(filter(None, [", ".join(listed[:-1]), listed[-1]])) if listed else "nothing"
    found = "the end of the text" if token.type == "$END" else f"'{shown(token)}'"
    hint = _way_out(source, token, set(problem.expected))
    if hint:
        pass
    elif token.type == "NAME":
        keywords = {_terminal(name).strip("'") for name in problem.expected} - {"a name", str(token)}
        hint = did_you_mean(str(token), keywords)
    elif token.type == "$END":
        hint = "a bracket is still open" if "RBRACE" in expected else ""
    elif str(token) == "=":
        hint = "'==' compares, '=' names a wire or an argument"
    notes = (hint,) if hint else ()
    return Diagnostic("UNI002", f"expected {wanted}, but got {found}", _span(source, token), notes)


def _way_out(source: Source, token: Token, expected: set[str]) -> str:
    """What to write instead of what many write at first, or ''."""
    text, start = source.text, token.start_pos or 0
    after = text[start + len(token) :].lstrip()[:2]
    if token.type in ("SUM_SIGN", "PRODUCT_SIGN") and "_ARROW" in expected:
        return "an arrow binds weakest: put the line of arrows in parentheses, as in (in -> relu) + in"
    if token.type == "NUMBER" and "_ARROW" in expected and "LPAR" in expected:
        return "attributes stand in parentheses: conv(64, 3)"
    if token.type == "NAME" and "STEM" in expected and after[:1] == "=" and after != "==":
        return f"wires stand in blocks; a network has sections, as in section {shown(token)} conv(64, 3) -> relu"
    if str(token) == "=" and after[:1] == ">":
        return "'->' leads a wire to a step"
    return ""


def _span(source: Source, token: Token) -> Span:
    if token.type == "$END" or token.start_pos is None:
        end = len(source.text.rstrip())
        return Span(source, max(0, end - 1), end)
    return Span(source, token.start_pos, token.end_pos or token.start_pos + 1)


class _Builder:
    """Turns lark's tree into the classes above, one method per rule."""

    def __init__(self, source: Source):
        self.source = source
        self.depth = 0

    def __call__(self, tree: Any) -> Any:
        if isinstance(tree, Token):
            return Word(_span(self.source, tree), str(tree))
        span = Span(self.source, tree.meta.start_pos, tree.meta.end_pos)
        if self.depth > MAX_DEPTH:
            raise error("UNI003", f"expected at most {MAX_DEPTH:,} parts within each other", span)
        make: Callable[..., Any] = getattr(self, tree.data)
        self.depth += 1
        made = make(span, *tree.children)
        self.depth -= 1
        return made

    def all(self, trees: Any) -> tuple[Any, ...]:
        return tuple(self(tree) for tree in trees if tree is not None)

    def optional(self, tree: Any) -> Any:
        return None if tree is None else self(tree)

    # ---- definitions

    def import_names(self, span: Span, path: Tree[Token], *names: Token) -> Import:
        return Import(span, self.all(path.children), self.all(names))

    def block(self, span: Span, name: Token, parameters: Any, given: Any, *statements: Any) -> Block:
        return Block(span, self(name), self.parameters_of(parameters), self.optional(given), self.all(statements),
                     self.doc(span))  # fmt: skip

    def network(self, span: Span, name: Token, parameters: Any, *members: Any, is_space: bool = False) -> Network:
        return Network(span, self(name), self.parameters_of(parameters), self.all(members), self.doc(span), is_space)

    def space(self, span: Span, *parts: Any) -> Network:
        return self.network(span, *parts, is_space=True)

    def doc(self, span: Span) -> str:
        """The comment lines directly above a definition that starts a line."""
        lines: list[str] = []
        number, column = self.source.position(span.start)
        if self.source.line(number)[: column - 1].strip():
            return ""
        number -= 1
        while number >= 1 and (text := self.source.line(number).strip()).startswith("#"):
            lines.append(text.lstrip("#").strip())
            number -= 1
        return "\n".join(reversed(lines))

    def parameters_of(self, tree: Any) -> tuple[Parameter, ...]:
        return self.all(tree.children) if tree is not None else ()

    def parameter(self, span: Span, name: Token, kind: Any, default: Any) -> Parameter:
        return Parameter(span, self(name), self.optional(kind), self.optional(default))

    def named_kind(self, span: Span, name: Token) -> Word:
        return Word(span, str(name))

    def choice_kind(self, span: Span, *names: Token) -> tuple[Word, ...]:
        return self.all(names)

    # ---- members of networks and spaces

    def input(self, span: Span, *wires: Any) -> Input:
        return Input(span, self.all(wires))

    def sizes(self, span: Span, first: Any, *rest: Any) -> Sizes:
        return Sizes(span, self.all((first, *rest[1::2])))

    def init(self, span: Span, scheme: Token) -> Init:
        return Init(span, self(scheme))

    def section(self, span: Span, name: Token, sources: Any, body: Any) -> Section:
        return Section(span, self(name), self.optional(sources), self(body))

    stem = head = section

    def sources(self, span: Span, *wires: Any) -> tuple[Expression, ...]:
        return self.all(wires)

    def outcome(self, span: Span, word: Token, value: Any) -> Outcome:
        return Outcome(span, self(value))

    def stage(self, span: Span, sources: Any, width: Any, times: Any, count: Any, stride: Any, label: Any,
              choices: Any, *items: Any) -> Stage:  # fmt: skip
        chosen = self.all(choices.children) if choices is not None else ()
        return Stage(span, self.optional(sources), self(width), self.optional(count), self.optional(stride),
                     self.optional(label), chosen, self.all(items))  # fmt: skip

    def stage_item(self, span: Span, body: Any, times: Any = None, count: Any = None) -> StageItem:
        return StageItem(span, self(body), self.optional(count))

    def choice(self, span: Span, name: Token, domain: Any) -> Choose:
        return Choose(span, self.all((name,)), self(domain))

    def choose(self, span: Span, *parts: Any) -> Choose:
        return Choose(span, self.all(parts[:-2]), self(parts[-2]), self.optional(parts[-1]))

    def start_from(self, span: Span, name: Token) -> Start:
        return Start(span, self(name))

    def moves(self, span: Span, *moves: Any) -> Moves:
        return Moves(span, self.all(moves))

    def move(self, span: Span, name: Token, weight: Any, options: Any, where: Any) -> Move:
        value = 1.0 if weight is None else float(self.number(self(weight).span, weight).value)
        given = self.all(options.children) if options is not None else ()
        return Move(span, self(name), value, given, self.optional(where))

    def patience(self, span: Span, draws: Token) -> Patience:
        return Patience(span, self.number(self(draws).span, draws))

    def budgets(self, span: Span, *bounds: Any) -> Budgets:
        return Budgets(span, self.all(bounds))

    def budget_bound(self, span: Span, metric: Token, sign: Token, limit: Any, size: Any) -> Bound:
        value, relative = self(limit)
        low, high = (None, value) if sign == "<=" else (value, None)
        return Bound(span, self(metric), low, high, relative, self.optional(size))

    def budget_range(self, span: Span, metric: Token, low: Any, high: Any, size: Any) -> Bound:
        (low_value, low_relative), (high_value, high_relative) = self(low), self(high)
        if low_relative != high_relative:
            raise error("UNI002", "expected both limits in percent, or neither", span)
        return Bound(span, self(metric), low_value, high_value, low_relative, self.optional(size))

    def at_size(self, span: Span, height: Token, times: Token, width: Token) -> tuple[Number, Number]:
        return self.number(self(height).span, height), self.number(self(width).span, width)

    def limit(self, span: Span, value: Token) -> tuple[float, bool]:
        if value.type == "PERCENT":
            return self.number(span, Token("NUMBER", value[:-1])).value / 100, True
        return self.number(span, value).value, False

    # ---- statements and steps

    def statement(self, span: Span, *parts: Any) -> Statement:
        return Statement(span, self.all(parts[:-1]), self(parts[-1]))

    def wire_name(self, span: Span, name: Token) -> Word:
        return Word(span, str(name))

    def pipeline(self, span: Span, head: Any, *steps: Any) -> Pipeline:
        return Pipeline(span, self(head), self.all(steps))

    def chain(self, span: Span, *steps: Any) -> Chain:
        return Chain(span, self.all(steps))

    def braced(self, span: Span, chain: Any) -> Chain:
        made: Chain = self(chain)
        return made

    def alternatives(self, span: Span, *options: Any) -> Alternatives:
        return Alternatives(span, self.all(options))

    def step(self, span: Span, apply: Tree[Token], label: Any) -> Apply:
        name, arguments = apply.children
        return Apply(span, self(name), self.arguments_of(arguments), self.optional(label))

    def repeat(self, span: Span, shared: Any, count: Any, body: Any, label: Any) -> Repeat:
        return Repeat(span, self(count), self(body), self.optional(label), shared is not None)

    def each(self, span: Span, shared: Any, *parts: Any) -> Each:
        names = [part for part in parts[:-1] if isinstance(part, Token)]
        body = self.all(parts[len(names) : -1])
        return Each(span, self.all(names), body, self.optional(parts[-1]), shared is not None)

    def when(self, span: Span, condition: Any, then: Any, otherwise: Any) -> When:
        return When(span, self(condition), self(then), self.optional(otherwise))

    def arguments_of(self, tree: Any) -> tuple[Argument, ...] | None:
        return self.all(tree.children) if tree is not None else None

    def plain_argument(self, span: Span, value: Any) -> Argument:
        return Argument(span, None, self(value))

    def named_argument(self, span: Span, name: Token, value: Any) -> Argument:
        return Argument(span, self(name), self(value))

    def choice_argument(self, span: Span, name: Token, domain: Any) -> Argument:
        return Argument(span, self(name), self(domain))

    def options(self, span: Span, *values: Any) -> Options:
        return Options(span, self.all(values))

    def range(self, span: Span, low: Any, high: Any, step: Any) -> Range:
        return Range(span, self(low), self(high), self.optional(step))

    # ---- expressions

    def number(self, span: Span, token: Token) -> Number:
        text, scale = str(token), {"k": 10**3, "M": 10**6, "G": 10**9}.get(token[-1], 1)
        digits = text[:-1] if scale > 1 else text
        value: int | float = float(digits[:40]) * scale if re.search(r"[.e]", digits) else int(digits[:20]) * scale
        if len(digits) > 30 or value > MAX_INT:
            raise error("UNI004", f"expected a number of at most {MAX_INT} (2^40), but got {shown(text)}", span)
        whole = isinstance(value, float) and scale > 1 and value.is_integer()
        return Number(span, int(value) if whole else value)

    def true(self, span: Span) -> Boolean:
        return Boolean(span, True)

    def false(self, span: Span) -> Boolean:
        return Boolean(span, False)

    def name(self, span: Span, name: Token, arguments: Any) -> Reference:
        return Reference(span, self(name), self.arguments_of(arguments))

    def block_input(self, span: Span, word: Token) -> BlockInput:
        return BlockInput(span)

    def member_of(self, span: Span, of: Any, name: Token) -> Member:
        return Member(span, self(of), self(name))

    def item_of(self, span: Span, of: Any, index: Any) -> Item:
        return Item(span, self(of), self(index))

    def conditional(self, span: Span, condition: Any, then: Any, otherwise: Any) -> Conditional:
        return Conditional(span, self(condition), self(then), self(otherwise))

    def group(self, span: Span, *items: Any) -> Expression:
        made: Expression = self(items[0]) if len(items) == 1 else Group(span, self.all(items))
        return made

    def infix(self, span: Span, first: Any, *rest: Any) -> Expression:
        """Left to right; a run of one associative sign becomes one operation."""
        result: Expression = self(first)
        operator, operands, changes = "", [result], 0

        def closed() -> Operation:
            return Operation(Span(self.source, span.start, operands[-1].span.end), operator, tuple(operands))

        for sign, operand in zip(rest[::2], rest[1::2], strict=True):
            right = self(operand)
            if sign != operator or sign not in "+*":
                changes += 1
                if changes > MAX_SIGNS:
                    raise error("UNI003", f"expected at most {MAX_SIGNS} changes of sign in one expression", right.span)
                result = closed() if operator else result
                operator = str(sign)
                if isinstance(result, Operation) and result.operator == operator and operator in "+*":
                    operands = [*result.operands]
                else:
                    operands = [result]
            operands.append(right)
        return closed()

    sum = product = comparison = infix

    def either(self, span: Span, *operands: Any) -> Operation:
        return Operation(span, "or", self.all(operands))

    def both(self, span: Span, *operands: Any) -> Operation:
        return Operation(span, "and", self.all(operands))

    def negate(self, span: Span, operand: Any) -> Operation:
        return Operation(span, "not", (self(operand),))

    def minus(self, span: Span, operand: Any) -> Operation:
        return Operation(span, "negative", (self(operand),))
