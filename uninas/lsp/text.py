"""What an editor asks about a `.uni` text that is being written. Places are offsets; nothing here knows a protocol.

>>> text = Text("block A { out = in -> conv(C * 2, 1) -> relo }", "a.uni")
>>> [(one.message, one.suggestion) for one in text.problems]
[('unknown name relo', 'relu')]
>>> [(text.source.text[:offset].split()[-1], shape) for offset, shape in text.shapes()]
[('1)', '128 x 56 x 56')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from uninas import ops  # noqa: F401  # fills the registry
from uninas.errors import Diagnostic, Source, Span, UninasError, error, shown
from uninas.fact import fact
from uninas.graph import Graph
from uninas.initial import names as schemes
from uninas.language import tree as ast
from uninas.language.cautions import cautions
from uninas.language.elaborate import Checked, Passage, check_rest, checked, passages
from uninas.language.library import Module, libraries, load_file, load_text
from uninas.language.parser import MAX_NAME, Unparsed
from uninas.language.resources import library_root
from uninas.ops.op import REGISTRY, Cost, show_shape, show_value
from uninas.ops.reference import attribute_entry, entry, sentence, signature
from uninas.space import COSTS, MOVES

WORDS = {
    "block": "A named graph that is used like an operation: `block NAME(parameters) { statements }`.",
    "network": "An architecture: `network NAME { input ... stem ... stage ... head ... }`.",
    "space": "A network in which something is left open, or a start with moves.",
    "from": "`from blocks.mbconv import MBConv` takes definitions from another file.",
    "import": "`from blocks.mbconv import MBConv` takes definitions from another file.",
    "input": "The shape of what flows in: `input 3 x 224 x 224`.",
    "init": f"How weights begin: {', '.join(schemes())}.",
    "stem": "The first section of a network: `stem steps`.",
    "head": "The last section of a network: `head steps`.",
    "section": "A section where neither stem, stage nor head fits: `section NAME steps`, or `section NAME (c2, stem) "
    "-> steps` for what it takes.",
    "stage": "A row of blocks: `stage WIDTH x COUNT stride STRIDE { steps }`, or a list: `stage WIDTH { steps, "
    "steps x 2 }`. Inside, `width`, `stride` and `index` are those of the block at hand.",
    "stride": "Of a stage: the stride of its first block; 1 in all others.",
    "choose": "An open choice, made once for the space: `choose k in {3, 5}`.",
    "with": "Open choices, made once for the stage: `with k in {3, 5}`.",
    "start": "The network from which moves begin: `start coatnet`.",
    "moves": f"How a network may change: {', '.join(MOVES)}.",
    "patience": "How many draws in a row may be refused until a step is given up.",
    "budget": f"Limits on costs: `budget params <= 5M, flops 1G..2G`. Costs: {', '.join(COSTS)}. FLOPs are 2 x MACs.",
    "where": "A condition on the places of a move: `where H <= 28 and op != softmax`.",
    "in": "What flows into the block. After a name: what may be chosen for it.",
    "out": "What the block gives; in a network, what that gives: `out = (scores, boxes)`.",
    "shared": "With one set of weights for all: `shared repeat 12 { ... }`, `shared each level { ... }`.",
    "C": "The number of channels of what flows into the block, or into the braces around.",
    "H": "The height of what flows into the block, or into the braces around.",
    "W": "The width of what flows into the block, or into the braces around.",
    "width": "The width of the stage.",
    "index": "The number of the block in its stage, from 0.",
    "repeat": "`repeat n { steps }` runs steps n times, each with weights of its own.",
    "each": "`each part { statements }` treats every wire of a bundle alike, each with weights of its own; "
    "`each a, b { statements }` the wires of two bundles, `(first, second) -> each ...`, side by side.",
    "if": "`if condition { steps } else { steps }` as a step; `if condition { a } else { b }` as a value.",
    "else": "What holds where the condition does not.",
    "as": "`-> conv(C, 3) as first` names a node.",
    "step": "The distance of the values of a range: `8..64 step 8`.",
    "true": "A value of kind bool.", "false": "A value of kind bool.",
    "and": "Both conditions.", "or": "Either condition.", "not": "Not the condition.",
    "at": "The images on which a limit holds: `flops <= 1G at 224 x 224`.",
}  # fmt: skip
"""What a word of the language means, in a sentence."""

LONGEST_LINE = 1_000  # characters before the cursor that say what may come next
LONGEST_CALL = 2_000  # characters back to the parenthesis of a call
MAX_NAMES = 64  # of one statement, that are offered
STEP_WORDS = ("repeat", "each", "if")


@dataclass(frozen=True)
class Found:
    """Something that a name may mean: what it is (operation, block, wire, ...), in short and in full."""

    name: str
    kind: str
    short: str = ""
    full: str = ""


@dataclass(frozen=True)
class Part:
    """A part of the outline: a definition, or a section, stage or wire of it."""

    name: str
    kind: str
    span: Span
    name_span: Span
    parts: tuple[Part, ...] = ()


class Text:
    """One state of a text, with what is known about it. `before` is the state before, for while this one is broken."""

    def __init__(self, text: str, name: str = "<text>", path: Path | None = None, before: Text | None = None):
        self.source = Source(name, text)
        self.problems: tuple[Diagnostic, ...] = ()
        self.module: Module | None = None
        """None where the text does not follow the grammar, or an import fails."""
        self.checked: Checked | None = None
        """What is known about the module where there are no problems."""
        roots = [path.parent] if path else []
        try:
            self.module = load_text(text, name, roots)
            self.checked = checked(self.module)
        except Unparsed as broken:
            self.problems = check_rest(broken, roots).diagnostics
        except UninasError as problem:
            self.problems = problem.diagnostics
        self.known: Module | None = self.module or (before.known if before else None)
        """The module, or the last one that could be read."""

    # ---- what stands at a place ----------------------------------------------------------------------------------

    def word_at(self, offset: int) -> Span | None:
        """The name around a place, or just before it."""
        text = self.source.text
        start = end = offset
        while start > 0 and offset - start < MAX_NAME and re.match(r"\w", text[start - 1]):
            start -= 1
        while end < len(text) and end - offset < MAX_NAME and re.match(r"\w", text[end]):
            end += 1
        return Span(self.source, start, end) if re.match(r"[A-Za-z_]", text[start:end]) else None

    def line_until_end(self, offset: int) -> tuple[int, str]:
        """Where the line of a place begins, and the whole line."""
        start = self.source.text.rfind("\n", 0, offset) + 1
        end = self.source.text.find("\n", offset)
        return start, self.source.text[start : end if end >= 0 else len(self.source.text)]

    def definition_at(self, offset: int) -> ast.Definition | None:
        """The definition around a place."""
        definitions = self.module.file.definitions if self.module else ()
        return next((one for one in definitions if one.span.start <= offset <= one.span.end), None)

    @fact
    def passages(self) -> dict[tuple[int, int], Passage]:
        """What flows through the steps of all definitions."""
        if self.checked:
            return dict(self.checked.passages)
        return passages(self.module) if self.module else {}

    @fact
    def cautions(self) -> list[Diagnostic]:
        """What is right but unusual."""
        return cautions(self.module, self.checked) if self.module and self.checked else []

    # ---- hover ---------------------------------------------------------------------------------------------------

    def hover(self, offset: int) -> tuple[Span, str] | None:
        """What a name means, as Markdown: documentation, and at a step what flows and what it costs."""
        span = self.word_at(offset)
        if span is None or self.in_comment(span.start):
            return None
        name = self.source.text[span.start : span.end]
        meant = next((one for one in self.meanings(name, span) if one.name == name), None)
        passage = next((one for one in self.passages.values() if _head(one.step) == (span.start, span.end)), None)
        parts = [meant.full or meant.short] if meant else []
        if passage:
            parts.append(_flow(passage))
        return (span, "\n\n".join(parts)) if parts else None

    def meanings(self, name: str, span: Span) -> Iterator[Found]:
        """What a name may mean where it stands, the nearest first. Words of the language come last."""
        text, after_arrow = self.source.text, re.search(r"(->|\|)\s*$", self.source.text[: span.start])
        argument = re.match(r"\s*(=(?!=)|in\b)", text[span.end :]) and self.callee_around(span.start)
        if argument:
            yield from (one for one in self.arguments_of(argument) if one.name == name)
        if not after_arrow:
            yield from (one for one in self.wires_at(span.start) if one.name == name)
        yield from (one for one in self.callables() if one.name == name)
        if name in MOVES and not after_arrow:
            yield Found(name, "move", MOVES[name].doc)
        if name in COSTS and not after_arrow:
            yield Found(name, "cost", "A cost that a budget may limit.")
        if name in WORDS:
            yield Found(name, "word", WORDS[name])

    def in_comment(self, offset: int) -> bool:
        """Whether a place lies in a comment."""
        start, line = self.line_until_end(offset)
        return "#" in line[: offset - start]

    # ---- completion and calls ------------------------------------------------------------------------------------

    def completions(self, offset: int) -> list[Found]:
        """What may be meant by a name that ends here."""
        start, line = self.line_until_end(offset)
        line = line[: offset - start]
        if "#" in line:
            return []
        line = line[-LONGEST_LINE:]
        if found := re.search(r"\bfrom\s+([\w.]+)\s+import\s[^{}]*$", line):
            return list(self.definitions_of(found[1]))
        if re.search(r"\bfrom\s+[\w.]*$", line):
            return [Found(name, "module") for name in self.modules()]
        if re.search(r"(->|\|)\s*\w*$", line):
            return [*self.callables(), *self.wires_at(offset, ("parameter",)), *_words(STEP_WORDS)]
        if re.search(r"\binit\s+\w*$", line):
            return [Found(name, "word", "A scheme of initial weights.") for name in schemes()]
        if re.search(r"\bmoves?\b[^{}]*[\s,]\w*$", line):
            return [Found(name, "move", one.doc) for name, one in MOVES.items()]
        if re.search(r"\bbudget\b[^{}]*[\s,]\w*$", line):
            return [Found(name, "cost", "A cost that a budget may limit.") for name in COSTS]
        callee = self.callee_around(offset)
        arguments = list(self.arguments_of(callee)) if callee else []
        return [*arguments, *self.wires_at(offset), *self.callables(), *_words(WORDS)]

    def callables(self) -> Iterator[Found]:
        """Blocks of this text and its imports, then operations."""
        for name in self.known.names() if self.known else ():
            found = self.known.find(name) if self.known else None
            if found:
                yield _definition(found[1])
        for name, op in REGISTRY.items():
            yield Found(name, "operation", sentence(op.__doc__ or ""), _operation(name))

    def wires_at(self, offset: int, kinds: tuple[str, ...] = ("wire", "parameter")) -> Iterator[Found]:
        """Wires and parameters of the definition around a place, read from its text, which may be broken."""
        text = self.source.text
        starts = [found.start() for found in re.finditer(r"^[ \t]*(?:block|network|space)\b", text, re.MULTILINE)]
        start = max((one for one in starts if one <= offset), default=0)
        end = min((one for one in starts if one > offset), default=len(text))
        body = re.sub(r"#[^\n]*", "", text[start:end])
        head = re.match(r"\s*\w+\s+\w+\s*\(([^{]*(?:\{[^}]*\}[^{]*)*)\)\s*\{", body)
        if head and "parameter" in kinds:
            for name, rest in re.findall(r"(?:^|,)\s*([A-Za-z_]\w*)\s*((?:[:=][^,]*)?)", head[1]):
                yield Found(name, "parameter", f"Parameter {name}{rest.replace('=', ' =', 1)}".strip())
        if "wire" in kinds:
            for name in dict.fromkeys(_assigned(body[head.end() if head else 0 :])):
                yield Found(name, "wire", "A wire of this block.")

    def callee_around(self, offset: int) -> str | None:
        """The name before the parenthesis that is open at a place: `conv` in `conv(64, |`."""
        call = self.call_around(offset)
        return call[0] if call else None

    def call_around(self, offset: int) -> tuple[str, str] | None:
        """The same, and what stands between the parenthesis and the place."""
        depth, text = 0, self.source.text
        for at in range(offset - 1, max(-1, offset - LONGEST_CALL), -1):
            letter = text[at]
            depth += (letter in ")]}") - (letter in "([{")
            if depth < 0:
                found = re.search(r"([A-Za-z_]\w*)\s*$", text[max(0, at - LONGEST_LINE) : at])
                return (found[1], text[at + 1 : offset]) if letter == "(" and found else None
        return None

    def signature(self, offset: int) -> tuple[str, list[Found], int] | None:
        """The call around a place: the name, its arguments, and the number of the one that is being written."""
        call = self.call_around(offset)
        arguments = list(self.arguments_of(call[0])) if call else []
        if call is None or not arguments:
            return None
        given = re.sub(r"\([^()]*\)|\{[^{}]*\}|\[[^\[\]]*\]", "", call[1]).split(",")
        named = re.match(r"\s*([A-Za-z_]\w*)\s*=(?!=)", given[-1])
        names = [one.name for one in arguments]
        return call[0], arguments, names.index(named[1]) if named and named[1] in names else len(given) - 1

    def arguments_of(self, callee: str) -> Iterator[Found]:
        """Attributes of an operation, or parameters of a block."""
        found = self.known.find(callee) if self.known else None
        if found:
            for parameter in found[1].parameters:
                yield Found(parameter.name.text, "argument", _written(parameter))
        elif callee in REGISTRY:
            for each in REGISTRY[callee].attrs:
                known = attribute_entry(each)
                default = f"; default {show_value(known['default'])}" if "default" in known else "; required"
                yield Found(each.name, "argument", f"{known['doc']} ({known['domain']}{default})")

    def modules(self) -> list[str]:
        """What can be imported from the library."""
        return [".".join(path.relative_to(library_root()).with_suffix("").parts)
                for path in sorted(library_root().rglob("*.uni"))]  # fmt: skip

    def definitions_of(self, dotted: str) -> Iterator[Found]:
        """What a module of the library, or one beside this text, defines."""
        path = self.file_of(dotted)
        if path:
            yield from (_definition(one) for one in load_file(path).definitions.values())

    def file_of(self, dotted: str) -> Path | None:
        """The file of an import, as the loader looks for it, without a message where there is none."""
        roots = [Path(self.source.name).parent, *libraries()]
        files = [root.joinpath(*dotted.split(".")).with_suffix(".uni") for root in roots]
        return next((file for file in files if file.is_file()), None)

    # ---- definition, outline, hints ------------------------------------------------------------------------------

    def definition(self, offset: int) -> tuple[Path | None, Span] | None:
        """Where a name is defined: in which file (None: in this text) and where there."""
        span = self.word_at(offset)
        if span is None or self.in_comment(span.start):
            return None
        line_start, line = self.line_until_end(offset)
        if found := re.match(r"\s*from\s+([\w.]+)", line):
            path = self.file_of(found[1])
            if path and span.start < line_start + found.end():
                source = load_file(path).file.source
                return path, Span(source, 0, 0)
        name = self.source.text[span.start : span.end]
        own = self.definition_at(offset)
        after_arrow = re.search(r"(->|\|)\s*$", self.source.text[: span.start])
        for word in _names_in(own) if own else ():
            if word.text == name and not (after_arrow and self.module and self.module.find(name)):
                return None, word.span
        found_there = self.module.find(name) if self.module else None
        if found_there is None:
            return None
        module, definition = found_there
        return (None if module is self.module else module.path), definition.name.span

    def drawable(self, offset: int | None = None) -> Graph | None:
        """The architecture of the definition around a place, or of the last one that is typed."""
        known = self.checked.definitions if self.checked else {}
        here = self.definition_at(offset) if offset is not None else None
        if here is not None and isinstance(found := known.get(here.name.text), Graph):
            return found
        return next((one for one in reversed(list(known.values())) if isinstance(one, Graph)), None)

    def outline(self) -> list[Part]:
        """The definitions and their parts."""
        return [
            Part(one.name.text, one.kind, one.span, one.name.span, tuple(_parts(one)))
            for one in (self.module.file.definitions if self.module else ())
        ]

    def sizes(self) -> list[tuple[int, str]]:
        """The value of every C, H and W inside a step, to be shown behind it."""
        found: dict[int, tuple[int, str]] = {}
        text = self.source.text
        for (start, end), one in self.passages.items():
            values = dict(zip("CHW", one.sizes, strict=False)) if len(one.sizes) == 3 else {}
            for word in re.finditer(r"\b[CHW]\b(?!\s*=[^=])", text[start:end]) if values else ():
                at, size = start + word.end(), end - start
                if not self.in_comment(at) and (at not in found or size < found[at][0]):
                    found[at] = size, f"={values[word[0]]}"
        return [(at, value) for at, (_, value) in sorted(found.items())]

    # ---- names: what they are, and other ones --------------------------------------------------------------------

    def tokens(self) -> Iterator[tuple[int, int, str]]:
        """Begin, length and kind of every comment, number and name of the text, in its order."""
        text = self.source.text
        blocks = set(self.known.names() if self.known else ())
        bound: dict[int, tuple[set[str], set[str]]] = {}
        for found in re.finditer(r"#[^\n]*|\d+(?:\.\d+)?(?:e[+-]?\d+|[kMG%])?|[A-Za-z_]\w*", text):
            word, at = found[0], found.start()
            if word[0] == "#":
                kind = "comment"
            elif word[0].isdigit():
                kind = "number"
            else:
                after_arrow = re.search(r"(->|\|)\s*$", text[max(0, at - 8) : at])
                own = self.definition_at(at)
                key = own.span.start if own else -1
                if key not in bound:
                    names = {word.text for word in _names_in(own)} if own else set()
                    parameters = {one.name.text for one in own.parameters} if own else set()
                    bound[key] = parameters, names - parameters
                kind = self._token(word, bool(after_arrow), *bound[key], blocks)
            if kind:
                yield at, len(word), kind

    @staticmethod
    def _token(word: str, after_arrow: bool, parameters: set[str], wires: set[str], blocks: set[str]) -> str:
        if word in parameters:
            return "parameter"
        if word in wires and not (after_arrow and (word in blocks or word in REGISTRY)):
            return "variable"
        if word in blocks:
            return "class"
        if word in REGISTRY:
            return "function"
        return "keyword" if word in WORDS else ""

    def renamed(self, offset: int, new: str) -> list[Span]:
        """All places of the name at a place, so that it can be another one. Raises UNI010 and UNI011 where it cannot.

        Names of wires, parameters, choices and definitions of this text can. The text is tried under the new name: it
        must mean the same.
        """
        span = self.nameable(offset)
        if span is None:
            raise error("UNI010", "expected the name of a wire, a parameter or a definition of this text")
        if not re.fullmatch(r"[A-Za-z_]\w{0,200}", new) or new in WORDS:
            raise error("UNI011", f"{shown(new)} cannot be a name", span)
        name = self.source.text[span.start : span.end]
        own = self.definition_at(offset)
        inner = own is not None and name in {word.text for word in _names_in(own)}
        places = list(self._places(name, own if inner else None))
        parts, end = list[str](), 0
        for place in places:
            parts += [self.source.text[end : place.start], new]
            end = place.end
        other = Text("".join([*parts, self.source.text[end:]]), self.source.name, Path(self.source.name))
        if other.problems or self._keys(new if not inner else "", name) != other._keys():
            raise error("UNI011", f"{shown(new)} means something else here", span, "take another name")
        return places

    def nameable(self, offset: int) -> Span | None:
        """The name at a place that can be another one; None where there is none."""
        span = self.word_at(offset)
        if span is None or self.module is None or self.checked is None or self.in_comment(span.start):
            return None
        name, own = self.source.text[span.start : span.end], self.definition_at(offset)
        bound = own is not None and name in {word.text for word in _names_in(own)}
        return span if bound or name in self.module.definitions else None

    def _places(self, name: str, own: ast.Definition | None) -> Iterator[Span]:
        """Where a name stands that a definition binds, or (None) the file defines."""
        text = self.source.text
        parameters = {one.name.text for one in own.parameters} if own else set()
        for found in re.finditer(rf"\b{name}\b", text):
            at = found.start()
            if self.in_comment(at):
                continue
            callee = self.callee_around(at) if re.match(r"\s*(=(?!=)|in\b)", text[found.end() :]) else None
            argument = callee is not None and any(one.name == name for one in self.arguments_of(callee))
            here = self.definition_at(at)
            if own is None:
                shadowed = here is not None and name in {word.text for word in _names_in(here)}
                wanted = not argument and not shadowed
            elif argument:
                wanted = callee == own.name.text and name in parameters
            else:
                wanted = here is own
            if wanted:
                yield Span(self.source, at, found.end())

    def _keys(self, name: str = "", instead_of: str = "") -> dict[str, str]:
        """What the definitions of this text are, by their names."""
        found = self.checked.definitions if self.checked else {}
        return {
            name if name and each == instead_of else each: one.key if isinstance(one, Graph) else type(one).__name__
            for each, one in found.items()
        }

    def shapes(self) -> list[tuple[int, str]]:
        """The shape of what flows after every step, to be shown where the step ends; braces repeat no shape."""
        shown_inside = ast.When | ast.Alternatives
        found = {end: _shapes(one.outputs) for (_, end), one in self.passages.items()
                 if not isinstance(one.step, shown_inside)}  # fmt: skip
        return sorted(found.items())


def with_shapes(source: Source) -> str:
    """A text with the shape of what flows after every step, each in brackets behind it.

    >>> print(with_shapes(Source("<text>", "block A { input 4 x 8 x 8  out = in -> max_pool(2, 2) -> flatten }")))
    block A { input 4 x 8 x 8  out = in -> max_pool(2, 2) [4 x 4 x 4] -> flatten [64] }
    """
    text, parts, end = source.text, list[str](), 0
    for offset, shape in Text(text, source.name, Path(source.name)).shapes():
        parts += [text[end:offset], f" [{shape}]"]
        end = offset
    return "".join([*parts, text[end:]])


# ---- in words --------------------------------------------------------------------------------------------------------


def _assigned(body: str) -> Iterator[str]:
    """The names before every `=` that stands in no parentheses."""
    names: list[str] = []
    depth, last = 0, ""
    for found in re.finditer(r"\w+|[=<>!]=|[^\w\s]", body):
        word = found[0]
        depth = max(0, depth + (word in "([") - (word in ")]"))
        if word == "=" and not depth:
            yield from names
        if word.isidentifier():
            names = [*names, word] if last == "," and len(names) < MAX_NAMES else [word]
        elif word != ",":
            names = []
        last = word


def _words(names: object) -> Iterator[Found]:
    assert isinstance(names, tuple | dict)
    yield from (Found(name, "word", WORDS[name]) for name in names)


def _head(step: ast.Step) -> tuple[int, int]:
    """Begin and end of the name of a step that has one."""
    return (step.name.span.start, step.name.span.end) if isinstance(step, ast.Apply) else (-1, -1)


def _shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    many = f"{len(shapes)} of " if len(shapes) > 1 else ""
    return many + (show_shape(shapes[0]) if len(set(shapes)) == 1 else ", ".join(map(show_shape, shapes[:3])))


def _flow(passage: Passage) -> str:
    lines = [f"`{_shapes(passage.inputs)}` → `{_shapes(passage.outputs)}`"]
    if passage.operator is not None:
        cost: Cost = passage.operator.cost(*passage.inputs)
        lines.append(f"{cost.params:,} parameters, {cost.flops:,} FLOPs, {cost.elementwise:,} element-wise operations")
    return "  \n".join(lines)


@cache
def _operation(name: str) -> str:
    known = entry(name)
    lines = [f"```uni\n{signature(name)}\n```", known["doc"]]
    lines += [f"- `{one['name']}`: {one['doc']} ({one['domain']})" for one in known["attributes"]]
    return "\n\n".join(lines[:2]) + ("\n\n" + "\n".join(lines[2:]) if lines[2:] else "")


def _definition(definition: ast.Definition) -> Found:
    parameters = ", ".join(_written(one) for one in definition.parameters)
    head = f"{definition.kind} {definition.name.text}" + (f"({parameters})" if parameters else "")
    short = sentence(definition.doc) if definition.doc else head
    return Found(definition.name.text, definition.kind, short, f"```uni\n{head}\n```\n\n{definition.doc}".strip())


def _written(syntax: ast.Syntax) -> str:
    span = syntax.span
    return shown(" ".join(span.source.text[span.start : span.end].split()), 100)


def _names_in(definition: ast.Definition) -> Iterator[ast.Word]:
    """The names that a definition binds inside: parameters, wires, choices."""
    yield from (parameter.name for parameter in definition.parameters)
    if isinstance(definition, ast.Block):
        yield from (word for statement in definition.statements for word in statement.names)
        return
    for member in definition.members:
        if isinstance(member, ast.Choose):
            yield from member.names
        elif isinstance(member, ast.Stage):
            yield from (word for choice in member.choices for word in choice.names)
            if member.label:
                yield member.label


def _parts(definition: ast.Definition) -> Iterator[Part]:
    if isinstance(definition, ast.Block):
        for statement in definition.statements:
            yield from (Part(word.text, "wire", statement.span, word.span) for word in statement.names)
        return
    stages = 0
    for member in definition.members:
        if isinstance(member, ast.Section):
            yield Part(member.name.text, "section", member.span, member.name.span)
        elif isinstance(member, ast.Stage):
            yield Part(f"stages.{stages}", "stage", member.span, member.span)
            stages += 1
        elif isinstance(member, ast.Choose):
            yield from (Part(word.text, "choice", member.span, word.span) for word in member.names)
