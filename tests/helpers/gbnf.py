"""A matcher of GBNF, the grammars of llama.cpp, that shares nothing with what writes ours."""

from __future__ import annotations

import re


class Gbnf:
    """A matcher of GBNF that follows all derivations at once, a character at a time, and knows nothing of the language.

    A derivation is a chain of (rest of an alternative, what comes after it); equal chains are one object.
    """

    TOKEN = re.compile(r'\s*(::=|"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[a-z][a-z0-9-]*|[()|*+?])')

    def __init__(self, text: str) -> None:
        self.rules: dict[str, list[tuple[object, ...]]] = {}
        self.chains: dict[object, tuple[object, ...]] = {}
        self.tops: dict[int, frozenset[int]] = {}
        self.known: list[tuple[tuple[object, ...], int]] = []
        for line in text.splitlines():
            name, _, body = line.partition(" ::= ")
            self.words = self.TOKEN.findall(body)
            assert self.TOKEN.sub("", body).strip() == ""
            self.rules[name] = self.alternatives()
            assert not self.words

    def alternatives(self) -> list[tuple[object, ...]]:
        found: list[list[object]] = [[]]
        while self.words and self.words[0] != ")":
            word = self.words.pop(0)
            if word == "|":
                found.append([])
            elif word in ("*", "+", "?"):
                found[-1].append(self.repeated(found[-1].pop(), word))
            elif word == "(":
                found[-1].append(self.named(self.alternatives()))
                self.words.pop(0)
            elif word[0] == '"':
                # A repetition after a literal repeats all of it; none of ours has one.
                found[-1] += [re.compile(re.escape(one)) for one in word[1:-1].replace("\\n", "\n")]
            else:
                found[-1].append(re.compile(word) if word[0] == "[" else word)
        return [tuple(each) for each in found]

    def named(self, alternatives: list[tuple[object, ...]]) -> str:
        name = f"({len(self.rules)}"
        self.rules[name] = alternatives
        return name

    def repeated(self, part: object, sign: str) -> str:
        if sign == "?":
            return self.named([(part,), ()])
        name = self.named([])
        self.rules[name] = [(part, name), ()]
        return name if sign == "*" else self.named([(part, name)])

    def chain(self, rest: tuple[object, ...], after: int) -> int:
        """The number of a chain; one whose rest is used up is what comes after it."""
        if not rest:
            return after
        key = (rest, after)
        if key not in self.chains:
            self.chains[key] = (len(self.known),)
            self.known.append((rest, after))
        return int(self.chains[key][0])  # type: ignore[call-overload]

    def ready(self, number: int) -> frozenset[int]:
        """The chains that begin with characters and stand for this one; -1 is the end."""
        if number == -1:
            return frozenset([-1])
        if number not in self.tops:
            rest, after = self.known[number]
            if isinstance(rest[0], re.Pattern):
                self.tops[number] = frozenset([number])
            else:
                behind = self.chain(rest[1:], after)
                alternatives = self.rules[str(rest[0])]
                self.tops[number] = frozenset().union(*(self.ready(self.chain(one, behind)) for one in alternatives))
        return self.tops[number]

    def __call__(self, text: str) -> tuple[int, bool]:
        now = self.ready(self.chain(("root",), -1))
        for at, letter in enumerate(text):
            then: set[int] = set()
            for number in now - {-1}:
                rest, after = self.known[number]
                if rest[0].match(letter):  # type: ignore[attr-defined]
                    then |= self.ready(self.chain(rest[1:], after))
            if not then:
                return at, False
            now = frozenset(then)
        return len(text), -1 in now
