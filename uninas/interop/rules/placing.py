"""What several rules do: bring a view to where an operation wants it."""

from __future__ import annotations

from typing import Any

from uninas.interop.lower import Lowering, Weight, aligned, best
from uninas.interop.views import Batch, Foreign, Layout, View, extent, flat, made, neighbours, shape_of, without_batch
from uninas.ops.op import Op
from uninas.ops.shape import Crop, Pad


def placed(view: View, dim: int) -> int:
    """The number of an axis, counted from the front."""
    return dim % max(1, len(view.axes))


def pair(value: Any, default: int = 1) -> tuple[int, int]:
    """Two numbers from one, two, or none."""
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1]) if len(value) > 1 else (value[0], value[0])


def needs_view(*values: Any) -> None:
    for value in values:
        if not isinstance(value, View):
            raise Foreign("an operation on constants")


def merged(low: Lowering, op: Op, x: View, y: View) -> View:
    """A sum, product, ... of two views."""
    if x == y:
        one = other = x
    else:
        one, other = aligned(low, x, y)
    (wire,) = low.emit(op, one, other)
    axes = tuple(a or b for a, b in zip(one.axes, other.axes, strict=True))
    own = tuple(a or b for a, b in zip(one.own, other.own, strict=True))
    return View(wire, own, axes)


def channels_first(low: Lowering, x: View, dim: int) -> View:
    """The view with one axis of the tensor, alone, as our channels; its factors may be in another order (`turned`)."""
    x = x.fused()
    axis = x.axes[placed(x, dim)]
    if sorted(map(id, x.own[0])) == sorted(map(id, axis)):
        return x
    if any(isinstance(f, Batch) for f in axis):
        raise Foreign("a layer along the batch")
    rest = tuple(tuple(f for f in own if f not in axis) for own in (*x.own, (), ())[:3])
    joined_rest = rest[0] + rest[1] + rest[2]
    in_order = tuple(f for a in x.axes for f in a if not isinstance(f, Batch) and f not in axis)
    options: list[Layout] = [(axis, rest[1], rest[2]), (axis, rest[0], rest[2])] if not rest[0] or not rest[1] else []
    if len(x.own) == 3:
        options += [own for own in neighbours(x.own) if sorted(map(id, own[0])) == sorted(map(id, axis))]
    options += [
        (axis, (), joined_rest),
        (axis, (), in_order),
        (axis, rest[0], rest[1] + rest[2]),
        (axis, rest[1], rest[0] + rest[2]),
    ]
    spatial = [a for n, a in enumerate(x.axes) if a and n != placed(x, dim) and a == without_batch(a)]
    if len(spatial) == 2 and set(spatial[0] + spatial[1]) == set(joined_rest):
        options.append((axis, spatial[0], spatial[1]))
    options = [own for own in options if sorted(map(id, flat(own))) == sorted(map(id, flat(x.own)))]
    return low.laid(x, best(options, [x]))


def turned(view: View, dim: int, static: Any, at: int = 0) -> Weight | None:
    """A weight whose axis `at` is that of our channels, in their order."""
    if static is None:
        return None
    axis = view.axes[placed(view, dim)]
    if view.own[0] == axis:
        return Weight(static)
    sizes = [*static.shape[:at], *(f.size for f in axis), *static.shape[at + 1 :]]
    order = [*range(at), *(at + axis.index(f) for f in view.own[0]), *range(at + len(axis), len(sizes))]
    return Weight(static, tuple(sizes), tuple(order))


def on_map(low: Lowering, x: View) -> View:
    """A batch of maps B x C x H x W, or B x C x N, as ours."""
    x = low.mapped(x.fused())
    if len(x.axes) not in (3, 4):
        raise Foreign(f"a layer for maps on a tensor of {x.shape}")
    if x.axes[0] and (len(x.axes[0]) != 1 or not isinstance(x.axes[0][0], Batch)):
        raise Foreign("a layer for maps on parts of maps, which lie in the batch")
    wanted = (x.axes[1], (), x.axes[2]) if len(x.axes) == 3 else x.axes[1:]
    return low.laid(x, wanted)


def surrounded(low: Lowering, view: View, top: int, bottom: int, left: int, right: int, *, fill: str = "zero") -> View:
    """Zeros around a map, or what no maximum takes."""
    c, h, w = shape_of(view.own)
    if min(top, bottom, left, right) < 0:
        cropped = Crop(h + min(top, 0) + min(bottom, 0), w + min(left, 0) + min(right, 0), max(-top, 0), max(-left, 0))
        (wire,) = low.emit(cropped, view)
        view = View(wire, *grown(view, *cropped.outputs((c, h, w))[0][1:]))
        top, bottom, left, right = (max(0, side) for side in (top, bottom, left, right))
    if not any((top, bottom, left, right)):
        return view
    (wire,) = low.emit(Pad(top, bottom, left, right, fill), view)
    _, h, w = shape_of(view.own)
    return View(wire, *grown(view, h + top + bottom, w + left + right))


def grown(view: View, height: int, width: int) -> tuple[Layout, Layout]:
    """Own axes and axes of a map of another height and width, whose axes are those of ours."""
    h = view.own[1] if extent(view.own[1]) == height else made(height)
    w = view.own[2] if extent(view.own[2]) == width else made(width)
    changed = {view.own[1]: h, view.own[2]: w} if view.own[1] != view.own[2] else {}
    axes = tuple(changed.get(axis, axis) if axis else axis for axis in view.axes)
    if len(view.axes) == 4:
        axes = (view.axes[0], view.axes[1], h, w)
    return (view.own[0], h, w), axes
