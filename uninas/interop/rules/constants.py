"""What does not depend on the input: numbers, tables, biases by offset, masks of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uninas.interop.lower import Lowering, best, one_sample, ordered, restricted
from uninas.interop.offsets import offset_table, shifted_windows
from uninas.interop.rules.placing import merged
from uninas.interop.trace import Static
from uninas.interop.views import Axis, Batch, Foreign, Layout, View, extent, flat, made, refined, without_batch
from uninas.ops.attention import RelPosBias, WindowMask
from uninas.ops.merge import Add
from uninas.ops.shape import PosEmbed


def uniform(static: Any) -> float | None:
    """The number that a constant consists of, if it is one, and is not learned."""
    if isinstance(static, int | float):
        return float(static)
    if static.sources:
        return None
    values = np.asarray(static.read())
    return float(values.flat[0]) if values.size and np.all(values == values.flat[0]) else None


def initial(static: Static) -> float:
    """What a layer scale begins with, as far as its weights still tell."""
    values = np.asarray(static.read())
    return float(f"{values.flat[0]:.6g}") if values.size and np.all(values == values.flat[0]) else 1.0


def constant(low: Lowering, x: View, static: Static) -> tuple[View, Layout, Layout, Static]:
    """A view, routed so that a constant broadcasts over it; the axes of the constant, and where they lie."""
    place = x.batch_axis - len(x.axes) + len(static.shape)
    if place >= 0 and static.shape[place] == x.shape[x.batch_axis] > 1:
        static = one_sample(static, place)
    axes = tuple(made(size) for size in static.shape)
    if len(axes) > len(x.axes):
        raise Foreign(f"a constant of {static.shape} with a tensor of {x.shape}")
    stand_in = View(x.wire, (flat(axes), (), ()), axes)
    view, other = refined(x, stand_in)
    if any(isinstance(factor, Batch) for factor in flat(other.axes)):
        raise Foreign(f"a constant of {static.shape} that differs from sample to sample")
    view = low.mapped(view)
    inner = restricted(view.own, View(x.wire, (flat(other.axes),), ()))
    if inner is None or not set(flat(other.axes)) <= set(flat(view.own)):
        inside = flat(other.axes)
        rest = tuple(f for f in flat(view.own) if f not in inside)
        if not set(inside) <= set(flat(view.own)):
            raise Foreign(f"a constant of {static.shape} with a tensor of {x.shape}")
        own = best([(inside, (), rest), (rest, (), inside), (inside, rest, ())], [view])
        view = low.laid(view, own)
        inner = restricted(own, View(x.wire, (inside,), ()))
        assert inner is not None
    return view, other.axes, inner, static


def learned(low: Lowering, x: View, static: Static) -> View:
    """A constant as a view that broadcasts over x."""
    if (found := low.computed(static, x)) is not None:
        return found
    view, axes, own, static = constant(low, x, static)
    return low.learned(static, view, own, axes)


def added(low: Lowering, x: View, static: Static) -> View:
    """A sum with what does not depend on the input: a bias by offset, a window mask, an embedding, or any tensor."""
    if (found := offset_bias(low, x, static)) or (found := window_mask(low, x, static)):
        return found
    if (other := low.computed(static, x)) is not None:
        return merged(low, Add(), x, other)
    view, axes, own, static = constant(low, x, static)
    if static.sources and own == view.own:
        return low.apply(PosEmbed(), view, weight=ordered(static, axes, own))
    return merged(low, Add(), view, low.learned(static, view, own, axes))


def map_layout(low: Lowering, x: View, shape: Sequence[int]) -> tuple[View, Axis] | None:
    """A map whose last two axes are positions, and the axis of heads in front of its rows; None for other tensors."""
    if len(x.axes) < 3 or x.axes[-1] == () or extent(x.axes[-1]) != extent(x.axes[-2]):
        return None
    rows = [f for axis in x.axes[:-2] for f in axis if not isinstance(f, Batch)]
    heads = x.axes[-3] if len(shape) >= 3 and shape[-3] > 1 else ()
    if len(x.axes) >= 3 and extent(heads) not in (1, shape[-3] if len(shape) >= 3 else 1):
        return None
    order = (*heads, *(f for f in rows if f not in heads))
    return low.laid(x, (order, x.axes[-2], x.axes[-1])), heads


def offset_bias(low: Lowering, x: View, static: Static) -> View | None:
    """A learned bias by the offset between two positions (rel_pos_bias)."""
    shape = [size for size in static.shape if size > 1] if static.shape else []
    if len(shape) not in (2, 3) or shape[-1] != shape[-2] or len(static.sources) != 1 or static.is_parameter:
        return None
    shape_of_source = low.trace.parameters.get(static.sources[0], ())
    mirrored = (found := offset_table(static, shape_of_source)) is None
    found = found or offset_table(static, shape_of_source, mirrored=True)
    if found is None or extent(x.axes[-1]) != shape[-1]:
        return None
    grid, table = found
    laid = map_layout(low, x, (1, *shape) if len(shape) == 2 else shape)
    if laid is None:
        return None
    view, heads = laid
    count = extent(heads) if len(view.own[0]) else 0
    op = RelPosBias(*((0, 0) if grid[0] == grid[1] else grid), heads=count if count > 1 else 0, mirrored=mirrored)

    def values() -> Any:
        again = offset_table(static, None, mirrored=mirrored)
        assert again is not None
        return again[1] if count > 1 else again[1][0]

    source = Static(table.shape if count > 1 else table.shape[1:], values, sources=static.sources)
    return low.apply(op, view, bias__table=source)


def window_mask(low: Lowering, x: View, static: Static) -> View | None:
    """The mask of shifted windows."""
    shape = [size for size in static.shape if size > 1]
    if static.sources or len(shape) != 3 or shape[1] != shape[2] or extent(x.axes[-1]) != shape[-1]:
        return None
    found = shifted_windows(static)
    if found is None:
        return None
    rows = [f for axis in x.axes[:-2] for f in axis if not isinstance(f, Batch)]
    place = len(x.axes) - len(static.shape) + next(n for n, size in enumerate(static.shape) if size > 1)
    windows = without_batch(x.axes[place])
    if extent(windows) != shape[0]:
        return None
    heads = tuple(f for f in rows if f not in windows)
    view = low.laid(x, ((*heads, *windows), x.axes[-2], x.axes[-1]))
    return low.apply(WindowMask(*found, heads=extent(heads) if heads else 0), view)
