"""Products of matrices and attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import prod
from typing import Any

from uninas.interop.lower import Lowering, rule
from uninas.interop.rules.along import softmax
from uninas.interop.rules.axes import reshape, transpose
from uninas.interop.rules.elementwise import add, scores
from uninas.interop.rules.layers import dense
from uninas.interop.rules.placing import needs_view
from uninas.interop.trace import Static
from uninas.interop.views import Axis, Batch, Foreign, Layout, View, cheapest, extent, flat, refined, without_batch
from uninas.ops import activation as act
from uninas.ops.attention import Matmul2


@rule("matmul", "bmm", "mm")
def matmul(low: Lowering, a: Any, b: Any, scale: float = 1.0) -> View:
    if isinstance(a, View) and isinstance(b, Static) and len(b.shape) == 2:
        return dense(low, a, b, None, transposed=True)
    if isinstance(a, View) or isinstance(b, View):
        a, b = (low.evaluated(each, b if each is a else a) if isinstance(each, Static) else each for each in (a, b))
    needs_view(a, b)
    a, scale = unscaled(low, a, scale)
    b, scale = unscaled(low, b, scale)
    # One axis for each of rows, columns and the sum, so that only equal factors meet.
    one = replace(a, axes=(*a.axes[:-2], a.axes[-1], a.axes[-2], ()))
    other = replace(b, axes=(*b.axes[:-2], b.axes[-2], (), b.axes[-1]))
    one, other = refined(low.mapped(one), low.mapped(other))
    k, m, n = one.axes[-3], one.axes[-2], other.axes[-1]
    batch = tuple(x or y for x, y in zip(one.axes[:-3], other.axes[:-3], strict=True))
    rows = tuple(f for axis in batch for f in axis if not isinstance(f, Batch))
    inside = [set(flat(view.own)) for view in (one, other)]
    # What only one of them has goes with its own positions.
    m_, n_ = tuple(f for f in rows if f not in inside[1]) + m, tuple(f for f in rows if f not in inside[0]) + n
    rows = tuple(f for f in rows if f in inside[0] and f in inside[1])
    over, rows_of, columns_of = (any(isinstance(f, Batch) for f in axis) for axis in (k, m, n))
    if over or (rows_of and columns_of):
        raise Foreign("a product of matrices across the samples of a batch: one image changes what another gets")
    m_, n_ = without_batch(m_), without_batch(n_)
    if inside[0] != {*k, *m_, *rows} or inside[1] != {*k, *n_, *rows}:
        raise Foreign("a product of matrices whose factors lie apart")
    axes = (*batch, m, n)
    m, n = m_, n_
    orders = [*permutations(rows)] if len(rows) <= 3 else [rows]
    options: list[tuple[bool, str, Layout, Layout]] = []
    for order in orders:
        led = order == (*(f for f in order if f in one.own[0]), *(f for f in order if f not in one.own[0]))
        kinds: tuple[tuple[str, Layout, Layout], ...] = (
            ("scores", (k, order, m), (k, order, n)),
            ("sums", (order, m, k), (n, order, k)),
            ("turned sums", (m, order, k), (order, n, k)),
        )
        options += [(not led, *each) for each in kinds]
    options.sort(key=lambda option: option[0])  # heads before windows, where both do
    ways = [(int(kind != "scores" and scale != 1), ((one.own, a), (other.own, b))) for _, kind, a, b in options]
    _, kind, first, second = options[cheapest(ways)]
    one, other = low.laid(one, first), low.laid(other, second)
    wire, result = product(low, kind, one, other, scale, (rows != (), k, m, n))
    return View(wire, result, axes)


def product(
    low: Lowering, kind: str, one: View, other: View, scale: float, about: tuple[bool, Axis, Axis, Axis]
) -> tuple[Any, Layout]:
    """The operation for a product of matrices whose factors lie where it wants them."""
    row_wise, k, m, n = about
    if kind == "scores":
        (wire,) = low.emit(scores(row_wise, scale, extent(k)), one, other)
        return wire, (one.own[1], m, n)
    pair_, turned = ((one, other), False) if kind == "sums" else ((other, one), True)
    if scale != 1:
        pair_ = (low.apply(act.Scale(float(scale)), pair_[0]), pair_[1])
    # The result lies as the values do where there are as many of both, so these are tokens.
    (wire,) = low.emit(Matmul2(row_wise), *pair_)
    return wire, ((n if not turned else m), one.own[0] if not turned else one.own[1], m if not turned else n)


def unscaled(low: Lowering, view: View, scale: float) -> tuple[View, float]:
    """The view before a multiplication by a number, which goes into the scale instead."""
    step = low.step_of(view)
    if step and isinstance(step.op, act.Scale) and step.op.offset == 0:
        return replace(view, wire=step.inputs[0]), scale * step.op.factor
    return view, scale


@rule("scaled_dot_product_attention")
def attention(
    low: Lowering, q: View, k: View, v: View, mask: Any = None, dropout_p: float = 0.0, causal: bool = False,
    scale: Any = None, enable_gqa: bool = False,
) -> View:  # fmt: skip
    if causal or enable_gqa:
        raise Foreign("attention with a causal mask or shared keys")
    factor = extent(q.axes[-1]) ** -0.5 if scale is None else scale
    scores = matmul(low, q, transpose(low, k, -2, -1), factor)
    if mask is not None:
        scores = add(low, scores, mask)
    return matmul(low, softmax(low, scores, -1), v)


@rule("einsum")
def einsum(low: Lowering, equation: str, operands: Sequence[Any], path: Any = None) -> View:
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2 or "." in equation or len(operands) != 2:
        raise Foreign(f"einsum {equation}")
    a, b = terms
    if any(isinstance(each, View) for each in operands):
        like = next(each for each in operands if isinstance(each, View))
        operands = [low.evaluated(each, like) if isinstance(each, Static) else each for each in operands]
    needs_view(*operands)
    rows = [x for x in right if x in a and x in b]
    sums = [x for x in a if x in b and x not in right]
    m, n = [x for x in right if x not in b], [x for x in right if x not in a]
    if not sums or {*a, *b} != {*rows, *sums, *m, *n}:
        raise Foreign(f"einsum {equation}")
    # One axis each for what is summed and what one of them has alone; those of both stay in front.
    one = gathered(low, operands[0].permuted([a.index(x) for x in (*rows, *m, *sums)]), len(rows), len(m))
    other = gathered(low, operands[1].permuted([b.index(x) for x in (*rows, *sums, *n)]), len(rows), len(sums))
    result = matmul(low, one, other)
    axes = result.axes[: len(rows)]
    sizes = [operands[0].shape[a.index(x)] for x in m], [operands[1].shape[b.index(x)] for x in n]
    shape = [extent(axis) for axis in axes] + sizes[0] + sizes[1]
    return reshape(low, result, shape).permuted([[*rows, *m, *n].index(x) for x in right])


def gathered(low: Lowering, view: View, rows: int, first: int) -> View:
    """The view with the axes behind `rows` as two: the next `first`, and the rest."""
    shape = view.shape
    return reshape(low, view, [*shape[:rows], prod(shape[rows : rows + first]), prod(shape[rows + first :])])
