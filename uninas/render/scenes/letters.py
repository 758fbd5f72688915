"""One drawing for blocks that differ only in their sizes: what differs is written with letters.

The sizes of the variants form vectors. A vector of equal numbers is that number; one that is a fixed multiple of the
channels C, height H or width W of the blocks' input is written that way; any other gets a letter of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from uninas.ops.op import Shape

Sizes = tuple[int, ...]
"""One size in all variants."""
Numbers = tuple[float, ...]
"""The same for what may be no whole number."""

THIN = "×"
MANY = 6
OWN_LETTERS = "DEFGKLMNPQRSTUVXYZ"


class Letters:
    """How sizes are written inside one drawing. `legend` says what the letters that were used stand for."""

    def __init__(self, inputs: Sequence[Shape] = ()):
        """`inputs`: the first input's shape in every variant; none where there is a single variant."""
        self.known: dict[str, Sizes] = {}
        self.numbers: dict[str, Numbers] = {}
        """Letters of what is no size."""
        self.used: dict[str, None] = {}
        if len(inputs) > 1 and inputs[0]:
            for letter, sizes in zip("CHW", zip(*inputs, strict=True), strict=False):
                if len(set(sizes)) > 1:
                    self.known[letter] = sizes
        self.own = 0

    def shape(self, shapes: Sequence[Shape]) -> str:
        """A shape in all variants: 64×56×56, or 4C×H×W."""
        if len({len(shape) for shape in shapes}) != 1:
            return ""
        return THIN.join(self.size(sizes, "CHW"[axis]) for axis, sizes in enumerate(zip(*shapes, strict=True)))

    def size(self, sizes: Sizes, first: str = "C") -> str:
        """One size in all variants. `first` is the letter that is tried first."""
        if len(set(sizes)) == 1:
            return str(sizes[0])
        order = sorted(self.known, key=lambda letter: letter != first)
        for letter in order:
            if found := ratio(sizes, self.known[letter], letter):
                self.used[letter] = None
                return found
        if "H" in self.known and "W" in self.known:
            area = tuple(h * w for h, w in zip(self.known["H"], self.known["W"], strict=True))
            if found := ratio(sizes, area, "HW"):
                self.used.update(H=None, W=None)
                return found
        letter = self.fresh()
        self.known[letter] = sizes
        self.used[letter] = None
        return letter

    def number(self, numbers: Sequence[float]) -> str:
        """Any other number in all variants: a size where it is whole, else three digits or a letter of its own."""
        if all(isinstance(number, int) for number in numbers):
            return self.size(tuple(int(number) for number in numbers))
        if len(set(numbers)) == 1:
            return f"{numbers[0]:.3g}"
        for letter, known in self.numbers.items():
            if known == tuple(numbers):
                return letter
        letter = self.fresh()
        self.numbers[letter] = tuple(numbers)
        return letter

    def fresh(self) -> str:
        """A letter that stands for nothing yet."""
        self.own += 1
        return OWN_LETTERS[self.own - 1] if self.own <= len(OWN_LETTERS) else f"s{self.own - 1}"

    def legend(self) -> list[str]:
        """['C = 96, 192, 384', 'H = W = 56, 28, 14']"""
        by_value: dict[Sizes, list[str]] = {}
        for letter in self.used:
            by_value.setdefault(self.known[letter], []).append(letter)
        said = [f"{' = '.join(letters)} = {listed(sizes)}" for sizes, letters in by_value.items()]
        return said + [f"{letter} = {listed(numbers)}" for letter, numbers in self.numbers.items()]


def listed(numbers: Sequence[float]) -> str:
    """The numbers one by one, or their extremes where they are many."""
    many = len(numbers) > MANY
    kept = (min(numbers), max(numbers)) if many else numbers
    return (" to " if many else ", ").join(str(one) if isinstance(one, int) else f"{one:.3g}" for one in kept)


def ratio(sizes: Sizes, base: Sizes, letter: str) -> str:
    """4C, C or C/4 when sizes and base always have that relation, else ''."""
    if sizes == base:
        return letter
    factor = sizes[0] // base[0] if base[0] else 0
    if factor > 1 and all(size == factor * one for size, one in zip(sizes, base, strict=True)):
        return f"{factor}{letter}"
    divisor = base[0] // sizes[0] if sizes[0] else 0
    if divisor > 1 and all(one == divisor * size for size, one in zip(sizes, base, strict=True)):
        return f"{letter}/{divisor}"
    return ""
