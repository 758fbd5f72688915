"""The grammar for programs that write text token by token, so that a language model can write nothing else.

`grammar/uninas.lark` is made for a parser that knows which words can stand where it is (a contextual lexer with
priorities and look-arounds). The engines that guide a language model know none of these. What is written here for them
is derived from the rules of that parser and its table, so it follows every change of the grammar:

- a NAME says which words it may not be, instead of a priority of words over names;
- `8..64` has a lexeme for `8..`, because a lexer that never turns back would read `8.` as the begin of 8.5;
- a word that could grow together with what follows holds the space between them, instead of looking ahead;
- spaces and comments before the first definition are written out.

Every text that is admitted has the form of the language. Whether its names, shapes and costs are right is for
`uninas check` to say. A few texts that nobody writes are refused although the parser takes them: a wire called `or`,
and words that have no space after them where `uninas fmt` puts one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from lark.lexer import PatternStr
from lark.parsers.lalr_analysis import LALR_Analyzer, Reduce

from uninas.errors import did_you_mean, error
from uninas.language.parser import lark_parser
from uninas.language.resources import grammar_text

START, GLUED = "start", "NUMBER_DOTS"
NUMBER, DOTS = "NUMBER", ".."
SIGNS = {  # regular expressions without look-arounds, which all engines read
    "NUMBER": r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+|[kMG])?",
    "PERCENT": r"[0-9]+(\.[0-9]+)?%",
    GLUED: r"[0-9]+\.\.",
}
CHARACTERS = {  # the same as rules of characters
    "NUMBER": '[0-9]+ ("." [0-9]+)? ("e" [+-]? [0-9]+ | [kMG])?',
    "PERCENT": '[0-9]+ ("." [0-9]+)? "%"',
    "BOUND": '"<=" | ">="',
    "COMPARE": '"==" | "!=" | "<" | ">"',
    "SUM_SIGN": '"+" | "-"',
    "PRODUCT_SIGN": '"*" | "/" | "//" | "%"',
}


@dataclass(frozen=True)
class Symbol:
    """What stands in a rule: another rule, a sign or word (`text`), or a kind of lexeme (`name` in capitals)."""

    name: str
    text: str = ""
    forbidden: frozenset[str] = frozenset()
    """Of a NAME: words that it may not be, because they would be read as words there."""

    @property
    def wordy(self) -> bool:
        """Whether it would grow together with a word beside it."""
        return self.text.isalpha() or self.name in ("NAME", NUMBER)


Rules = dict[str, list[tuple[Symbol, ...]]]


@dataclass
class _Branch:
    """Alternatives that begin alike, together."""

    ends: bool = False
    rest: dict[Symbol, _Branch] = field(default_factory=dict)


def grammar(form: str) -> str:
    """The grammar as `llguidance` (its dialect of Lark), `gbnf` (llama.cpp) or `lark` (for Lark's LALR parser).

    Raises UNI010 for another form.
    """
    if form not in FORMS:
        raise error("UNI010", f"there is no grammar for {form!r}: expected {', '.join(FORMS)}", None,
                    did_you_mean(form, FORMS))  # fmt: skip
    return FORMS[form]()


# ---- the rules, as the parser has them -------------------------------------------------------------------------------


@cache
def rules() -> Rules:
    """Every rule with its alternatives, without optional parts and repetitions: Lark has written them out."""
    parser = lark_parser()
    texts = {one.name: one.pattern.value for one in parser.terminals if isinstance(one.pattern, PatternStr)}
    texts["TIMES"] = "x"
    forbidden = _forbidden({name: text for name, text in texts.items() if text.isalpha()})
    found: Rules = {}
    for rule in parser.rules:
        name = str(rule.origin.name)
        symbols = tuple(
            Symbol(_plain(str(part.name)), texts.get(part.name, ""), forbidden.get((name, rule.expansion[0], at),
                   frozenset()) if part.name == "NAME" else frozenset())
            for at, part in enumerate(rule.expansion)
        )  # fmt: skip
        found.setdefault(_plain(name), []).append(symbols)
    return found


def _plain(name: str) -> str:
    """`__start_star_0` is `start_star_0`; engines differ on what a leading underscore means."""
    return name.lstrip("_")


def _forbidden(words: dict[str, str]) -> dict[tuple[str, object, int], frozenset[str]]:
    """For every NAME in a rule (its rule, how that begins, where it stands): the words that win against it there.

    They are read from the table of the parser: a word wins in every state in which it may stand. Where a NAME begins
    what follows something else, the state is that of the end of this something.
    """
    analyzer = LALR_Analyzer(lark_parser().parser.parser_conf, debug=True)
    analyzer.compute_lalr()  # type: ignore[no-untyped-call]
    found: dict[tuple[str, object, int], set[str]] = {}
    after: set[str] = set()
    for state, actions in analyzer.parse_table.states.items():
        here = {words[name] for name in actions if name in words}
        if "NAME" in actions and actions["NAME"][0] is Reduce:
            after |= here
        for pointer in state:
            if not pointer.is_satisfied and pointer.next.name == "NAME":
                key: tuple[str, object, int] = (pointer.rule.origin.name, pointer.rule.expansion[0], pointer.index)
                found.setdefault(key, set()).update(here)
    # A wire is the only one that may follow the end of an expression.
    return {key: frozenset(value | after if key[0] == "wire_name" else value) for key, value in found.items()}


def _branch(alternatives: list[tuple[Symbol, ...]]) -> _Branch:
    top = _Branch()
    for symbols in alternatives:
        at = top
        for symbol in symbols:
            at = at.rest.setdefault(symbol, _Branch())
        at.ends = True
    return top


Write = Callable[[Symbol, Symbol | None, list[Symbol]], str]
"""How a symbol is written after another (None at the begin) and before one of some."""


def _written(branch: _Branch, write: Write, before: Symbol | None = None) -> str:
    """The alternatives as one expression: what begins alike is written once."""
    texts = []
    for symbol, rest in branch.rest.items():
        inner = _written(rest, write, symbol)
        texts.append(f"{write(symbol, before, list(rest.rest))} {inner}".rstrip())
    text = " | ".join(texts)
    if branch.ends and texts:
        return f"({text})?"
    return f"({text})" if len(texts) > 1 and before else text


# ---- llguidance ------------------------------------------------------------------------------------------------------


def llguidance() -> str:
    """The grammar in llguidance's dialect of Lark."""
    found = {name: list(alternatives) for name, alternatives in rules().items()}
    _glue(found)
    write = _Lexemes(found)
    lines = [f"start: TRIVIA? ({_written(_branch([one for one in found[START] if one]), write)})?"]
    lines += [f"{name}: {_written(_branch(found[name]), write)}" for name in found if name != START]
    return "\n".join([*lines, "", *write.lexemes()]) + "\n"


class _Lexemes:
    """How llguidance writes a symbol, and the lexemes that this needs."""

    def __init__(self, found: Rules):
        self.edges = _Edges(found)
        self.names: dict[frozenset[str], str] = {frozenset(): "NAME"}
        self.spaced = {
            left.text
            for alternatives in found.values()
            for symbols in alternatives
            for left, right in pairwise(symbols)
            if left.text.isalpha() and self.edges.grow_together(left, right)
        }
        self.others: set[str] = set()

    def __call__(self, symbol: Symbol, before: Symbol | None, after: list[Symbol]) -> str:
        del before
        if symbol.text in self.spaced:
            if any(self.edges.grow_together(symbol, one) for one in after):
                return f"WORD_{symbol.text.upper()}"
            return f'("{symbol.text}" | WORD_{symbol.text.upper()})'  # the longer lexeme wins, so it must do here too
        if symbol.text:
            return f'"{symbol.text}"'
        if symbol.name == "NAME":
            name = self.names.setdefault(symbol.forbidden - {"x"}, f"NAME_{len(self.names)}")
            return f"({name} | WORD_X)" if "x" in symbol.forbidden else name  # `x` is a name where no number follows
        if symbol.name.isupper():
            self.others.add(symbol.name)
        return symbol.name

    def lexemes(self) -> Iterator[str]:
        """Their definitions, and what is skipped."""
        patterns = {one.name: one.pattern.to_regexp() for one in lark_parser().terminals} | SIGNS
        for words, name in self.names.items():
            yield f"{name}: /[A-Za-z_][A-Za-z0-9_]*/" + (f" & ~/({'|'.join(sorted(words))})/" if words else "")
        for name in sorted(self.others):
            yield f"{name}: /{patterns[name].replace('/', chr(92) + '/')}/"
        for word in sorted(self.spaced):
            yield rf"WORD_{word.upper()}: /{word}[ \t\r\n\f]+/"
        yield r"TRIVIA: /([ \t\r\n\f]|#[^\n]*)+/"
        yield r"%ignore /[ \t\r\n\f]+/"
        yield r"%ignore /#[^\n]*/"


def _glue(found: Rules) -> None:
    """Give every place where `..` follows what may end with a number an alternative in which both are one lexeme."""
    glued: dict[str, str] = {}

    def ending(name: str) -> str | None:
        """The rule for what `name` stands for where that ends with a number, and `..` after it."""
        if name not in glued:
            glued[name] = f"{name}_dots"
            alternatives = [made for symbols in found[name] if symbols and (made := last(symbols))]
            if not alternatives:
                del glued[name]
                return None
            found[glued[name]] = alternatives
        return glued[name]

    def last(symbols: tuple[Symbol, ...]) -> tuple[Symbol, ...] | None:
        *rest, end = symbols
        if end.name == NUMBER:
            return (*rest, Symbol(GLUED))
        if end.name in found and (name := ending(end.name)):
            return (*rest, Symbol(name))
        return None

    for name in list(found):
        for symbols in list(found[name]):
            for at, symbol in enumerate(symbols):
                if symbol.text == DOTS and (made := last(symbols[:at])):
                    found[name].append((*made, *symbols[at + 1 :]))


# ---- GBNF ------------------------------------------------------------------------------------------------------------


def gbnf() -> str:
    """The grammar in GBNF, of characters alone.

    Where two words could grow together a space is demanded, which is where `uninas fmt` puts one.
    """
    found = rules()
    edges = _Edges(found)
    kinds: dict[str, str] = {}
    names: dict[frozenset[str], str] = {}

    def gap_of(left: Symbol, right: Symbol) -> str:
        return "gap" if edges.grow_together(left, right) else "ws"

    def write(symbol: Symbol, before: Symbol | None, after: list[Symbol]) -> str:
        del after
        gap = "" if before is None else f"{gap_of(before, symbol)} "
        if symbol.text:
            return f'{gap}"{symbol.text}"'
        if symbol.name == "NAME":
            return gap + names.setdefault(symbol.forbidden - {"x"}, f"name-{len(names)}")
        if symbol.name.isupper():
            kinds[symbol.name] = CHARACTERS[symbol.name]
        return gap + symbol.name.lower().replace("_", "-")

    whole = _written(_branch([symbols for symbols in found[START] if symbols]), write)
    lines = [f'root ::= ws ({whole} ws)? ("#" [^\\n]*)?']
    for name, alternatives in ((name, one) for name, one in found.items() if name != START):
        own = Symbol(name)
        rest = [symbols[1:] for symbols in alternatives if symbols[:1] == (own,)]
        text = _written(_branch([symbols for symbols in alternatives if symbols and symbols[0] != own]), write)
        if rest:  # GBNF has no rules that begin with themselves
            again = " | ".join(f"{gap_of(own, one[0])} {_written(_branch([one]), write)}" for one in rest)
            text = f"({text}) ({again})*"
        lines.append(f"{name.replace('_', '-')} ::= {text}")
    lines += [f"{name.lower().replace('_', '-')} ::= {text}" for name, text in kinds.items()]
    lines += [f"{name} ::= {_name_but(words)}" for words, name in names.items()]
    lines += ["letter ::= [A-Za-z0-9_]", r'blank ::= [ \t\r\n] | "#" [^\n]* "\n"', "ws ::= blank*", "gap ::= blank+"]
    return "\n".join(lines) + "\n"


class _Edges:
    """With which signs, words and lexemes every rule begins and ends."""

    def __init__(self, found: Rules):
        self.first, self.last = self._all(found, 0), self._all(found, -1)

    def grow_together(self, left: Symbol, right: Symbol) -> bool:
        """Whether what ends the one and what begins the other may be words without a sign between them."""
        return any(one.wordy for one in self.last.get(left.name, {left})) and any(
            one.wordy for one in self.first.get(right.name, {right})
        )

    @staticmethod
    def _all(found: Rules, at: int) -> dict[str, set[Symbol]]:
        edges: dict[str, set[Symbol]] = {name: set() for name in found}
        changed = True
        while changed:
            changed = False
            for name, alternatives in found.items():
                for symbols in filter(None, alternatives):
                    more = edges.get(symbols[at].name, {symbols[at]}) - edges[name]
                    edges[name] |= more
                    changed = changed or bool(more)
        return edges


def _name_but(words: frozenset[str]) -> str:
    """Names that are none of these words, letter by letter."""
    return " | ".join(_letters(sorted(words), "A-Za-z_"))


def _letters(words: list[str], alphabet: str) -> Iterator[str]:
    """Alternatives for the next letter and what follows it. `words` are the rests of those that it may not be."""
    firsts = sorted({word[0] for word in words if word})
    other = _but(alphabet, firsts)
    yield f"[{other}] letter*"
    for first in firsts:
        rest = [word[1:] for word in words if word[:1] == first]
        inner = " | ".join(_letters(rest, "A-Za-z0-9_"))
        yield f'"{first}" ({inner}){"" if "" in rest else "?"}'


def _but(alphabet: str, letters: list[str]) -> str:
    """A class of characters without some small letters: `a-ce-z` for all but d."""
    parts, begin = [], "a"
    for letter in [*letters, "{"]:  # the character after z
        end = chr(ord(letter) - 1)
        if begin <= end:
            parts.append(begin if begin == end else f"{begin}-{end}")
        begin = chr(ord(letter) + 1)
    return alphabet.replace("a-z", "".join(parts))


FORMS: dict[str, Callable[[], str]] = {"llguidance": llguidance, "gbnf": gbnf, "lark": grammar_text}
"""Who may ask for the grammar, and what writes it for them."""
