"""Random `.uni` texts for property tests: right by the grammar, laid out at random, with no meaning whatever."""

import random
from collections.abc import Callable

from hypothesis import strategies as st

NAMES = ["a", "b", "x", "C", "H", "out", "relu", "conv", "Gate", "width", "block", "k2"]
WIRES = [*NAMES, "stem", "stage", "input", "moves"]  # words of the network level may name wires
NUMBERS = ["0", "1", "3", "17", "0.5", "2k", "1.5M", "1e-5"]
GAPS = [" ", " ", " ", "  ", "\t", "\n", "\n    ", "\r\n", "\n\n\n", " # why\n", "\n# how\n", "\n\n  #\n\n"]
MEMBERS = ["input", "init", "stem", "head", "section", "stage", "choose", "start", "moves", "patience", "budget"]


class Writer:
    """Writes words, one grammar rule per method, guided by a generator; `depth` bounds the nesting."""

    def __init__(self, generator: random.Random):
        self.random = generator
        self.words: list[str] = []

    def pick(self, options: list[str]) -> None:
        self.words.append(options[self.random.randrange(len(options))])

    def maybe(self) -> bool:
        return self.random.randrange(2) == 1

    def put(self, *words: str) -> None:
        self.words += words

    def listed(self, write: Callable[[], None], most: int = 3, end: bool = False) -> None:
        for position in range(self.random.randrange(1, most + 1)):
            if position:
                self.put(",")
            write()
        if end and self.maybe():
            self.put(",")

    # ---- definitions and members

    def file(self) -> None:
        while self.maybe():
            self.put("from", "blocks", ".", "thing", "import")
            self.listed(lambda: self.pick(NAMES))
        for _ in range(self.random.randrange(4)):
            [self.block, self.network][self.random.randrange(2)]()

    def head(self, word: str) -> None:
        self.put(word)
        self.pick(NAMES)
        if self.maybe():
            self.put("(")
            self.listed(self.parameter, end=True)
            self.put(")")
        self.put("{")

    def parameter(self) -> None:
        self.pick(NAMES)
        if self.maybe():
            self.put(":", *[["int"], ["block"], ["{", "a", ",", "b", "}"]][self.random.randrange(3)])
        if self.maybe():
            self.put("=")
            self.value(2)

    def block(self) -> None:
        self.head("block")
        if self.maybe():
            self.put("input", "3", "x", "8", "x", "8")
        for _ in range(self.random.randrange(1, 4)):
            self.statement(3)
        self.put("}")

    def network(self) -> None:
        self.head(["network", "space"][self.random.randrange(2)])
        for _ in range(self.random.randrange(5)):
            self.member(MEMBERS[self.random.randrange(len(MEMBERS))])
        self.put("}")

    def member(self, word: str) -> None:
        self.put(word)
        if word == "input":
            self.put("3", "x", "(")
            self.sum(1)
            self.put(")", "x", "W")
        elif word in ("init", "start"):
            self.pick(NAMES)
        elif word in ("stem", "head"):
            self.chain(2)
        elif word == "section":
            self.pick(NAMES)
            self.chain(2)
        elif word == "stage":
            self.stage()
        elif word == "choose":
            self.choice()
        elif word == "moves":
            self.listed(self.move)
        elif word == "patience":
            self.pick(NUMBERS)
        else:
            self.listed(self.budget)

    def stage(self) -> None:
        self.dimension()
        if self.maybe():
            self.put("x")
            self.dimension()
        if self.maybe():
            self.put("stride", "2")
        if self.maybe():
            self.put("with")
            self.listed(self.choice)
        self.put("{")
        self.listed(self.item, end=True)
        self.put("}")

    def item(self) -> None:
        self.chain(2)
        if self.maybe():
            self.put("x", "2")

    def dimension(self) -> None:
        self.sum(1)
        if self.maybe():
            self.put("..")
            self.sum(1)
            if self.maybe():
                self.put("step", "8")

    def choice(self) -> None:
        self.pick(NAMES)
        self.put("in")
        self.domain(2)

    def domain(self, depth: int) -> None:
        if self.maybe():
            self.put("{")
            self.listed(lambda: self.value(depth - 1), end=True)
            self.put("}")
        else:
            self.sum(1)
            self.put("..")
            self.sum(1)

    def move(self) -> None:
        self.pick(["insert", "remove", "width"])
        if self.maybe():
            self.put("0.7")
        if self.maybe():
            self.put("{")
            self.listed(lambda: self.chain(2) if self.maybe() else self.choice(), end=True)
            self.put("}")
        if self.maybe():
            self.put("where")
            self.sum(2)
            self.put("<=", "7")

    def budget(self) -> None:
        self.pick(["params", "flops"])
        self.put(*[["<=", "30M"], [">=", "90%"], ["20M", "..", "30M"]][self.random.randrange(3)])

    # ---- statements and steps

    def statement(self, depth: int) -> None:
        self.listed(lambda: self.pick(WIRES), most=2)
        self.put("=")
        self.pipeline(depth)

    def pipeline(self, depth: int) -> None:
        self.condition(depth)
        while self.maybe():
            self.put("->")
            self.step(depth - 1)

    def chain(self, depth: int) -> None:
        self.step(depth - 1)
        while self.maybe():
            self.put(["->", "|"][self.random.randrange(2)])
            self.step(depth - 1)

    def step(self, depth: int) -> None:
        kind = self.random.randrange(7) if depth > 0 else 0
        if kind == 1:
            self.put("repeat", "2", "{")
            self.chain(depth)
            self.put("}")
        elif kind == 2:
            self.put("each", "p", "{")
            self.statement(depth)
            if self.maybe():
                self.statement(depth)
            self.put("}")
        elif kind == 3:
            self.put("if")
            self.condition(depth)
            self.put("{")
            self.chain(depth)
            self.put("}")
            if self.maybe():
                self.put("else", "{")
                self.chain(depth)
                self.put("}")
        else:
            self.pick(NAMES)
            if depth > 0:
                self.arguments(depth)
        if kind in (0, 2, 4) and self.maybe():
            self.put("as", "label")

    def arguments(self, depth: int) -> None:
        self.put("(")
        if self.maybe():
            self.listed(lambda: self.argument(depth - 1), end=True)
        self.put(")")

    def argument(self, depth: int) -> None:
        kind = self.random.randrange(3)
        if kind == 0:
            self.pick(NAMES)
            self.put("in")
            self.domain(depth)
            return
        if kind == 1:
            self.pick(NAMES)
            self.put("=")
        self.value(depth)

    # ---- expressions

    def value(self, depth: int) -> None:
        if depth > 0 and self.maybe():
            self.put("{")
            self.chain(depth)
            self.put("}")
        else:
            self.pipeline(depth)

    def condition(self, depth: int) -> None:
        self.sum(depth)
        if depth > 0 and self.maybe():
            self.put(["==", "!=", "<", ">", "<=", ">="][self.random.randrange(6)])
            self.sum(depth - 1)
            if self.maybe():
                self.put(["and", "or"][self.random.randrange(2)], "not")
                self.sum(depth - 1)

    def sum(self, depth: int) -> None:
        self.atom(depth)
        while self.maybe():
            self.put(["+", "-", "*", "/", "//", "%"][self.random.randrange(6)])
            if self.maybe():
                self.put("-")
            self.atom(depth)

    def atom(self, depth: int) -> None:
        kind = self.random.randrange(7)
        if kind == 0:
            self.pick(NUMBERS)
        elif kind == 1:
            self.pick(["true", "false", "in"])
        elif kind == 2 and depth > 0:
            self.put("(")
            self.listed(lambda: self.pipeline(depth - 1))
            self.put(")")
        elif kind == 3 and depth > 0:
            self.pick(NAMES)
            self.arguments(depth - 1)
        elif kind == 4:
            self.put("in", ".", "C")
        elif kind == 5:
            self.put("a", "[", "0", "]")
        else:
            self.pick(NAMES)


def laid_out(words: list[str], generator: random.Random) -> str:
    """The words with random space, line breaks and comments between them."""
    parts: list[str] = []
    for position, word in enumerate(words):
        after_times = position > 0 and words[position - 1] == "x"  # the sign needs plain space behind it
        tight = position > 0 and not (word[0].isalnum() or word[0] in ".-%=/") and not after_times
        if tight and generator.randrange(2):
            gap = ""
        elif after_times:
            gap = [" ", "\n"][generator.randrange(2)]
        else:
            gap = GAPS[generator.randrange(len(GAPS))]
        parts += [gap, word]
    return "".join(parts) + GAPS[generator.randrange(len(GAPS))]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A whole file that parses."""
    generator = draw(st.randoms(use_true_random=False))
    writer = Writer(generator)
    writer.file()
    return laid_out(writer.words, generator)
