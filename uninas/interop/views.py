"""Which axes of somebody's tensor lie on which axes of ours.

Elsewhere a tensor has as many axes as its author likes, the batch on one of them: B x N x heads x d, or (B windows) x
P x C. Ours are C x H x W behind a silent batch, or C alone. Both are lists of *factors*: numbers greater than 1 whose
product is the size of the axis. A `View` says for a wire of ours which factors lie on which of its axes, and on which
axes of the tensor. Reshaping, permuting and flattening then only change the view, and no operation comes of them; one
does where an operation needs its factors on other axes than they lie on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate, combinations, pairwise
from math import prod
from typing import Any

from uninas.graph import Wire
from uninas.ops.op import Op, Shape
from uninas.ops.shape import (
    Flatten,
    Heads,
    Permute,
    PixelShuffle,
    PixelUnshuffle,
    Reshape,
    Tokens,
    Transpose,
    Unheads,
    Untokens,
    WindowMerge,
    WindowPartition,
)


class Foreign(Exception):
    """What has no counterpart here; the message says what it is."""


class Factor:
    """A part of the size of an axis, known by its identity."""

    __slots__ = ("size",)

    def __init__(self, size: int):
        self.size = size

    def __repr__(self) -> str:
        return f"{self.size}"


class Batch(Factor):
    """The batch, which our tensors do not mention."""


Axis = tuple[Factor, ...]
Layout = tuple[Axis, ...]


def extent(axis: Iterable[Factor]) -> int:
    """The size of an axis."""
    found = 1
    for factor in axis:
        found *= factor.size
    return found


def shape_of(layout: Layout) -> Shape:
    """The shape of a tensor of ours with that layout."""
    return tuple(map(extent, layout))


def flat(layout: Layout) -> Axis:
    """All factors, outermost first."""
    return sum(layout, ())


def made(size: int) -> Axis:
    """A new axis of one factor; none for the size 1."""
    return (Factor(size),) if size > 1 else ()


@dataclass(frozen=True)
class View:
    """A wire of ours as somebody's tensor. `own` are our axes (C, H, W, or C alone), `axes` those of the tensor."""

    wire: Wire
    own: Layout
    axes: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor, with its batch."""
        return shape_of(self.axes)

    def swapped(self, factor: Factor, parts: Axis) -> View:
        """The view with several factors in the place of one."""

        def inside(layout: Layout) -> Layout:
            return tuple(
                tuple(part for old in axis for part in (parts if old is factor else (old,))) for axis in layout
            )

        return replace(self, own=inside(self.own), axes=inside(self.axes))

    def fused(self) -> View:
        """The view with neighbours that lie side by side on both sides as one factor."""
        view = self
        while True:
            pair = next(
                (
                    (a, b)
                    for axis in view.axes
                    for a, b in pairwise(axis)
                    if not isinstance(a, Batch) and any((a, b) in pairwise(own) for own in view.own)
                ),
                None,
            )
            if pair is None:
                return view
            one = Factor(pair[0].size * pair[1].size)

            def joined(layout: Layout, pair: tuple[Factor, Factor] = pair, one: Factor = one) -> Layout:
                return tuple(tuple(one if f is pair[0] else f for f in axis if f is not pair[1]) for axis in layout)

            view = replace(view, own=joined(view.own), axes=joined(view.axes))

    def reshaped(self, sizes: Sequence[int]) -> View:
        """The tensor reshaped to other sizes."""
        if -1 in sizes:
            known = prod(size for size in sizes if size != -1)
            sizes = [prod(self.shape) // max(1, known) if size == -1 else size for size in sizes]
        view = self.fused()
        queue = list(flat(view.axes))
        single = next((factor for factor in queue if isinstance(factor, Batch) and factor.size == 1), None)
        queue = [factor for factor in queue if factor is not single]
        axes: list[Axis] = []
        for size in sizes:
            axis: list[Factor] = []
            need = size
            while need > 1:
                if not queue:
                    raise Foreign(f"a reshape of {self.shape} to {tuple(sizes)}")
                factor = queue.pop(0)
                if need % factor.size == 0:
                    axis.append(factor)
                    need //= factor.size
                elif factor.size % need == 0 and not isinstance(factor, Batch):
                    first, rest = Factor(need), Factor(factor.size // need)
                    view = view.swapped(factor, (first, rest))
                    axes = [
                        tuple(f for old in done for f in ((first, rest) if old is factor else (old,))) for done in axes
                    ]
                    axis.append(first)
                    queue.insert(0, rest)
                    need = 1
                else:
                    raise Foreign(f"a reshape of {self.shape} to {tuple(sizes)}, which cuts across axes")
            axes.append(tuple(axis))
        if queue:
            raise Foreign(f"a reshape of {self.shape} to {tuple(sizes)}")
        if single is not None and axes:
            axes[0] = (single, *axes[0])
        return replace(view, axes=tuple(axes))

    def permuted(self, order: Sequence[int]) -> View:
        """The tensor with its axes in another order."""
        return replace(self, axes=tuple(self.axes[place] for place in order))

    @property
    def batch_axis(self) -> int:
        """Which axis the batch is on, -1 without one."""
        return next((n for n, axis in enumerate(self.axes) if any(isinstance(f, Batch) for f in axis)), -1)


def without_batch(axis: Axis) -> Axis:
    """The factors of an axis that are ours."""
    return tuple(factor for factor in axis if not isinstance(factor, Batch))


def renewed(view: View) -> View:
    """The view with factors of its own, all but the batch."""
    for factor in dict.fromkeys(flat(view.own)):
        view = view.swapped(factor, (Factor(factor.size),))
    return view


def refined(one: View, other: View) -> tuple[View, View]:
    """Both views with their factors cut so finely that axes of equal size have equal factors, which then are the same.

    An axis of size 1 fits any. Where one has fewer axes, its first ones are missing.
    """
    count = max(len(one.axes), len(other.axes))
    one, other = (
        replace(v, axes=((),) * (count - len(v.axes)) + v.axes) for v in (one.fused(), renewed(other.fused()))
    )
    for place in range(count):
        if not one.axes[place] or not other.axes[place]:
            continue
        step = 0
        while step < len(one.axes[place]) or step < len(other.axes[place]):
            if step >= len(one.axes[place]) or step >= len(other.axes[place]):
                raise Foreign(f"tensors of {one.shape} and {other.shape} together")
            a, b = one.axes[place][step], other.axes[place][step]
            if a.size == b.size:
                other = other.swapped(b, (a,))
            elif a.size % b.size == 0 and not isinstance(a, Batch):
                one = one.swapped(a, (b, Factor(a.size // b.size)))
            elif b.size % a.size == 0 and not isinstance(b, Batch):
                other = other.swapped(b, (a, Factor(b.size // a.size)))
            else:
                raise Foreign(f"tensors of {one.shape} and {other.shape} together")
            step += 1
    return one, other


# ---- operations that bring factors to other axes ---------------------------------------------------------------------


LOOKED_AT, WIDTH = 96, 16  # layouts that are looked at, and gone on from, of those that as many operations reach
FARTHEST = 6  # operations; beyond, factor by factor


def route(own: Layout, wanted: Layout) -> list[Op]:
    """Operations that lead from one layout of the same factors to another, the fewest that are found."""
    return list(_way(own, wanted).whole) if own != wanted else []


def steps(own: Layout, wanted: Layout, most: int = FARTHEST) -> int:
    """How many operations a route has; where it has more than `most`, some larger number, which takes less time."""
    if own == wanted:
        return 0
    return _way(own, wanted).length(most)


def cheapest(ways: Sequence[tuple[int, Sequence[tuple[Layout, Layout]]]]) -> int:
    """Which of several ways has the fewest operations, the first of those; each is a number of others, and routes."""
    best, least = 0, 2**31
    for number, (others, routes) in enumerate(ways):
        count = others
        for own, wanted in routes:
            if count >= least:
                break
            count += steps(own, wanted, least - count - 1)
        if count < least:
            best, least = number, count
    return best


def _way(own: Layout, wanted: Layout) -> Way:
    own, wanted = joined(own, wanted)
    order = flat(own)
    place = {factor: n for n, factor in enumerate(order)}
    places = tuple(tuple(place[factor] for factor in axis) for axis in wanted)
    return _way_of(tuple(factor.size for factor in order), tuple(map(len, own)), places)


def joined(own: Layout, wanted: Layout) -> tuple[Layout, Layout]:
    """Both layouts with factors that follow each other on one axis, in both, as one: fewer ways are looked at."""
    behind = {pair for axis in wanted for pair in pairwise(axis)}
    runs: list[list[list[Factor]]] = []
    for axis in own:
        runs.append([])
        for factor in axis:
            if runs[-1] and (runs[-1][-1][-1], factor) in behind:
                runs[-1][-1].append(factor)
            else:
                runs[-1].append([factor])
    whole = {run[0]: run[0] if len(run) == 1 else Factor(extent(run)) for axis in runs for run in axis}
    return (
        tuple(tuple(whole[run[0]] for run in axis) for axis in runs),
        tuple(tuple(whole[factor] for factor in axis if factor in whole) for axis in wanted),
    )


@lru_cache(maxsize=4096)
def _way_of(sizes: tuple[int, ...], lengths: tuple[int, ...], wanted: tuple[tuple[int, ...], ...]) -> Way:
    """The way between layouts of factors of these sizes: the first lies in order, the second as the places say."""
    factors = tuple(map(Factor, sizes))
    ends = tuple(accumulate(lengths, initial=0))
    start = tuple(factors[i:j] for i, j in pairwise(ends))
    return Way(start, tuple(tuple(factors[n] for n in axis) for axis in wanted))


Made = tuple[type[Op], tuple[Any, ...]]
"""An operation that is not made yet: its class, and its attributes."""


class Way:
    """The search of a route: the fewest operations, and among as few those that say most.

    A beam search, as far as was asked for: layouts are gone on from in the order of the number of operations so far, of
    as many always those in which most factors follow each other as they shall.
    """

    def __init__(self, own: Layout, wanted: Layout):
        self.own, self.wanted = own, wanted
        self.goal = set(pairwise((None, *flat(wanted))))
        self.reached: list[dict[Layout, tuple[int, list[Made]]]] = [{} for _ in range(FARTHEST + 1)]
        self.reached[0][own] = (0, [])
        self.seen: set[Layout] = set()
        self.found: list[Made] | None = None
        self.count = 0
        """Routes of that many operations were looked for."""

    def length(self, most: int) -> int:
        """The number of operations, or one more than was looked for."""
        self.search(most)
        if self.found is not None:
            return len(self.found)
        return self.count + 1 if self.count < FARTHEST else len(self.whole)

    @cached_property
    def whole(self) -> tuple[Op, ...]:
        """The route."""
        self.search(FARTHEST)
        if self.found is None:
            return tuple(_by_factors(self.own, self.wanted))
        return tuple(kind(*given) for kind, given in self.found)

    def search(self, most: int) -> None:
        """Go on until there is a route, or none of at most so many operations."""
        while self.found is None and self.count < min(most, FARTHEST):
            self.further()
            self.count += 1

    def promise(self, item: tuple[Layout, tuple[int, list[Made]]]) -> tuple[int, int]:
        """How far a layout is from the wanted one; less is better."""
        layout, (plain, _) = item
        return sum(pair not in self.goal for pair in pairwise((None, *flat(layout)))), plain

    def further(self) -> None:
        """Look for routes of one operation more."""
        count, wanted = self.count, self.wanted
        new = [item for item in self.reached[count].items() if item[0] not in self.seen]
        here = sorted(new, key=self.promise)[:LOOKED_AT]
        ends = [
            (plain + PLAIN.get(step[0], 0), [*steps, step])
            for layout, (plain, steps) in here
            if (step := _one(layout, wanted))
        ]
        if wanted in self.reached[count + 1]:
            ends.append(self.reached[count + 1][wanted])
        if ends:
            self.found = min(ends, key=lambda end: end[0])[1]
            self.reached = []
            return
        self.seen.update(layout for layout, _ in here[:WIDTH])
        for layout, (plain, steps) in here[:WIDTH]:
            for more, other in _moves(layout):
                if other in self.seen:
                    continue
                known = self.reached[min(FARTHEST, count + len(more))]
                value = plain + PLAIN.get(more[-1][0], 0) + (PLAIN.get(more[0][0], 0) if len(more) > 1 else 0)
                if other not in known or value < known[other][0]:
                    known[other] = (value, [*steps, *more])


PLAIN: dict[type[Op], int] = {Reshape: 2, Permute: 1}
"""How little an operation says about what it is for."""


def _moves(own: Layout) -> Iterator[tuple[list[Made], Layout]]:
    """Layouts in which factors follow each other otherwise, by one operation, or two of which the first regroups."""
    for step, layout in _turned(own):
        yield [step], layout
    every = flat(own)
    for i, j in combinations(range(len(every) + 1), 2):
        parts = (every[:i], every[i:j], every[j:])
        if parts != own:
            before = _regrouped(own, parts)
            for step, layout in _turned(parts):
                yield [before, step], layout


def _one(own: Layout, wanted: Layout) -> Made | None:
    """The single operation that does it, if there is one."""
    if flat(own) == flat(wanted):
        return _regrouped(own, wanted)
    if len(wanted) != 3:
        return None
    return next((step for step, layout in _turned(own) if layout == wanted), None)


def _regrouped(own: Layout, wanted: Layout) -> Made:
    """The same numbers in the same order as another shape."""
    if len(wanted) == 1:
        return Flatten, ()
    if len(own) == 3 and own[0] == wanted[0]:
        if not wanted[1]:
            return Tokens, ()
        if not own[1]:
            return Untokens, shape_of(wanted[1:])
    return Reshape, shape_of(wanted)


def neighbours(own: Layout) -> Iterator[Layout]:
    """Layouts that one operation makes."""
    every = flat(own)
    yield from (layout for _, layout in _turned(own))
    yield from ((every[:i], every[i:j], every[j:]) for i, j in combinations(range(len(every) + 1), 2))


ORDERS = {order: tuple("chw".index(letter) for letter in order) for order in ("cwh", "hcw", "hwc", "wch", "whc")}


def _turned(own: Layout) -> Iterator[tuple[Made, Layout]]:
    """Layouts in which factors follow each other otherwise, by one operation."""
    if len(own) != 3:
        return
    c, h, w = own
    for n in range(1, len(c)):
        yield (Heads, (extent(c[:n]),)), (c[n:], c[:n] + h, w)
    for n in range(1, len(h) + 1) if c else ():
        yield (Unheads, (extent(h[:n]),)), (h[:n] + c, h[n:], w)
    if len(c) > 2 and c[-1].size == c[-2].size:
        yield (PixelShuffle, (c[-1].size,)), (c[:-2], (*h, c[-2]), (*w, c[-1]))
    if h and w:
        yield from _windows(c, h, w)
    if not h and w and c:
        yield (Transpose, ()), (w, (), c)
    for order, (i, j, k) in ORDERS.items():
        yield (Permute, (order,)), (own[i], own[j], own[k])


def _windows(c: Axis, h: Axis, w: Axis) -> Iterator[tuple[Made, Layout]]:
    """What is made of a map that is cut into windows both ways, and of such windows that are put together."""
    for i in range(1, len(h)):
        for j in range(1, len(w)):
            if (size := extent(h[i:])) == extent(w[j:]):
                yield (WindowPartition, (size,)), (c, h[:i] + w[:j], h[i:] + w[j:])
                yield (PixelUnshuffle, (size,)), (c + h[i:] + w[j:], h[:i], w[:j])
            if (size := extent(w[:j])) == extent(w[j:]):
                rows, columns = h[:i] + w[:j], h[i:] + w[j:]
                yield (WindowMerge, (size, extent(rows), extent(columns))), (c, rows, columns)


def _by_factors(own: Layout, wanted: Layout) -> list[Op]:
    """Reshapes and permutations that do it in any case: each factor in turn goes to the end."""
    steps: list[Op] = []
    layout = own
    target = flat(wanted)
    for factor in target:
        here = flat(layout)
        place = here.index(factor)
        if place == len(target) - 1:
            continue
        parts = (here[:place], (factor,), here[place + 1 :])
        steps += [*route_regrouped(layout, parts), Permute("cwh")]
        layout = (parts[0], parts[2], parts[1])
    return [*steps, *route_regrouped(layout, wanted)]


def route_regrouped(own: Layout, wanted: Layout) -> list[Op]:
    """The regrouping, or nothing where there is none to do."""
    kind, given = _regrouped(own, wanted)
    return [] if own == wanted else [kind(*given)]
