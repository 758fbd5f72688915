"""Functions that look numbers up: indexing, gathering, embedding."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from uninas.interop.lower import Lowering, rule
from uninas.interop.rules.axes import reshape
from uninas.interop.rules.placing import placed
from uninas.interop.trace import Static
from uninas.interop.views import Batch, Foreign, View, made, without_batch
from uninas.ops.sequence import Lookup

MOST = 2**22  # numbers of a table of indices


@rule("index")
def index(low: Lowering, x: View, indices: Sequence[Any]) -> View:
    places = [n for n, each in enumerate(indices) if each is not None]
    if not places or not all(isinstance(indices[n], Static) and not indices[n].sources for n in places):
        raise Foreign("an index that depends on the input")
    if places != list(range(places[0], places[-1] + 1)):
        raise Foreign("an index of axes that lie apart")
    sizes = [x.shape[n] for n in places]
    if prod(indices[places[0]].shape) > MOST:
        raise Foreign("an index of so many places")
    numbers = list(np.broadcast_arrays(*(np.asarray(indices[n].read()) for n in places)))
    if numbers[0].dtype == bool:
        raise Foreign("an index by a mask")
    numbers = [number.astype(np.int64) % size for number, size in zip(numbers, sizes, strict=True)]
    chosen = np.ravel_multi_index(numbers, sizes)
    first = places[0]
    if len(places) > 1:
        x = reshape(low, x, [*x.shape[:first], prod(sizes), *x.shape[places[-1] + 1 :]])
    return looked_up(low, x, first, chosen)


@rule("index_select")
def index_select(low: Lowering, x: View, dim: int, numbers: Static) -> View:
    dim = placed(x, dim)
    return index(low, x, [*[None] * dim, numbers])


def looked_up(low: Lowering, x: View, dim: int, numbers: Any) -> View:
    """Entries of one axis by their numbers; the axis gives way to those of the numbers."""
    x = low.mapped(x.fused())
    axis = x.axes[dim]
    if any(isinstance(factor, Batch) for factor in axis):
        raise Foreign("an index of the batch")
    rest = tuple(factor for own in x.own for factor in own if factor not in axis)
    if sorted(map(id, without_batch(axis) + rest)) != sorted(id(factor) for own in x.own for factor in own):
        raise Foreign(f"an index of {x.shape}")
    table = low.laid(x, (rest, (), axis))
    flat = Static((1, 1, numbers.size), lambda: numbers.reshape(1, 1, -1).astype(np.float32))
    row = made(numbers.size)
    chosen = low.learned(flat, table, ((), (), row), ((), (), row))
    (wire,) = low.emit(Lookup(), chosen, table)
    new = tuple(made(size) for size in numbers.shape)
    own = (rest, (), tuple(factor for each in new for factor in each))
    return View(wire, own, (*x.axes[:dim], *new, *x.axes[dim + 1 :]))


@rule("unfold")
def unfold(low: Lowering, x: View, dim: int, size: int, step: int) -> View:
    """Windows along an axis, as torch.Tensor.unfold cuts them: what is inside them becomes the last axis."""
    dim = placed(x, dim)
    count = (x.shape[dim] - size) // step + 1
    found = looked_up(low, x, dim, np.arange(count)[:, None] * step + np.arange(size))
    return found.permuted([n for n in range(len(found.axes)) if n != dim + 1] + [dim + 1])
