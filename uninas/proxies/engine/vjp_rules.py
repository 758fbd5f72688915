"""Derivatives of single torch operations the other way: from rows at an operation's output to rows at its inputs.

A row is the derivative of one number, such as a logit, by an intermediate tensor. Rows are stacked along a new leading
dimension, as tangents are (`tangents.py`). `pull(call, slot)` prepares, once for all rows, the function that takes
rows at an operation's output to rows at one of its arguments:

    named in PULLS                  its rule, for speed
    element-wise (tagged by torch)  the slope, computed once, times the rows
    anything else                   torch.func.vjp, vectorised over the rows
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from uninas.proxies.engine import torch_private as private
from uninas.proxies.engine.convolutions import Convolution, convolved, normed_convolution
from uninas.proxies.engine.jvp_rules import Call, batch_norm, products, slope, softmax, standardising

aten = torch.ops.aten

Pull = Callable[[Any], Any]
"""From rows (R, *out.shape) to rows (R, *argument.shape); where there are several outputs, they are a list of such
stacks, None for those that nothing depends on."""


def pull(call: Call, slot: int) -> Pull:
    """The product of rows at the output of a call with its derivative by the argument in this slot."""
    rule = PULLS.get(call.op)
    if rule is None:
        rule = _pointwise if private.is_pointwise(call.op) else _generic
    return rule(call, slot)


def plus(rows: Any, more: Any) -> Any:
    """The sum of what is known so far of the rows at a value, and of what its next user says of them."""
    if isinstance(more, list):
        return [a if b is None else b if a is None else plus(a, b) for a, b in zip(rows, more, strict=True)]
    return rows + more


def _gathered(stack: Tensor, shape: Sequence[int]) -> Tensor:
    """The rows of a tensor of this shape, given those of what it was broadcast to."""
    extra = stack.ndim - 1 - len(shape)
    over = [d for d in range(1, stack.ndim) if d <= extra or (shape[d - 1 - extra] == 1 and stack.shape[d] > 1)]
    return (stack.sum(over) if over else stack).reshape(len(stack), *shape)


def _generic(call: Call, slot: int) -> Pull:
    """Any operation: torch's own backward derivative, vectorised over the rows."""
    op, outputs = call.along(slot), [call.out] if isinstance(call.out, Tensor) else list(call.out)

    def several(rows: list[Tensor | None]) -> Any:
        known = [i for i, some in enumerate(rows) if some is not None]
        back = vjp(lambda value: tuple(op(value)[i] for i in known), call.argument(slot))[1]
        return vmap(back)(tuple(rows[i] for i in known))[0]

    if not isinstance(call.out, Tensor):
        return several if outputs else lambda rows: None
    back = vjp(op, call.argument(slot))[1]
    return lambda rows: vmap(back)(rows)[0]


def _pointwise(call: Call, slot: int) -> Pull:
    factor, shape = slope(call, slot), call.argument(slot).shape
    return lambda rows: _gathered(rows * factor, shape)


def _add(call: Call, slot: int) -> Pull:
    """self + alpha other"""
    shape, factor = call.args[slot].shape, call.kwargs.get("alpha", 1) if slot == 1 else 1
    return lambda rows: _gathered(rows if factor == 1 else rows * factor, shape)


def _subtract(call: Call, slot: int) -> Pull:
    """self - alpha other"""
    plain = _add(call, slot)
    return plain if slot == 0 else lambda rows: -plain(rows)


def _multiply(call: Call, slot: int) -> Pull:
    """self other"""
    other, shape = call.args[1 - slot], call.args[slot].shape
    return lambda rows: _gathered(rows * other, shape)


def _reshape(call: Call, slot: int) -> Pull:
    return lambda rows: rows.reshape(len(rows), *call.args[0].shape)


def _mm(call: Call, slot: int) -> Pull:
    """out = a b"""
    a, b = call.args
    return _product(a, b, slot)


def _product(a: Tensor, b: Tensor, slot: int) -> Pull:
    return (lambda rows: rows @ b.T) if slot == 0 else (lambda rows: a.T @ rows)


def _bmm(call: Call, slot: int) -> Pull:
    factor = call.args[1 - slot].transpose(1, 2)
    return lambda rows: products(rows, factor, slot)


def _addmm(call: Call, slot: int) -> Pull:
    """beta bias + alpha a b, the linear layer"""
    bias, a, b = call.args
    if slot == 0:
        beta = call.kwargs.get("beta", 1)
        return lambda rows: _gathered(rows, bias.shape) * beta
    plain, alpha = _product(a, b, slot - 1), call.kwargs.get("alpha", 1)
    return plain if alpha == 1 else lambda rows: plain(rows) * alpha


def _convolution(call: Call, slot: int) -> Pull:
    """In the input: a convolution with the mirrored filters, all rows being one batch."""
    if slot != 0:
        return _generic(call, slot)
    one = Convolution(call)
    x, weight, (stride, padding, dilation, transposed, _, groups) = one.x, one.effective, one.settings
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    sizes = list(zip(x.shape[2:], call.out.shape[2:], stride, padding, reach, strict=True))
    none = [0] * len(sizes)
    if transposed:
        settings = (stride, padding, dilation, False, none, groups)
    elif all(s == 1 and p <= r for _, _, s, p, r in sizes):  # no convolution is faster than a plain one
        weight = _mirrored(weight, groups)
        settings = (stride, [r - p for *_, p, r in sizes], dilation, False, none, groups)
    else:
        unreached = [before - ((after - 1) * s - 2 * p + r + 1) for before, after, s, p, r in sizes]
        settings = (stride, padding, dilation, True, unreached, groups)

    def back(rows: Tensor) -> Tensor:
        out = convolved(rows.flatten(0, 1), weight, None, *settings, piece=len(x))
        return out.reshape(len(rows), *x.shape)

    return back


def _mirrored(weight: Tensor, groups: int) -> Tensor:
    """Filters (O, I / groups, ...) from outputs to inputs instead: (I, O / groups, ...), each upside down."""
    turned = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    inner = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if inner else torch.contiguous_format
    mirrored: Tensor = turned.flip(*range(2, weight.ndim)).contiguous(memory_format=layout)
    return mirrored


def _softmax(call: Call, slot: int) -> Pull:
    """The derivative is symmetric: rows take the way of tangents."""
    return lambda rows: softmax(call, slot, rows)


def _batch_norm(call: Call, slot: int) -> Pull:
    """With running statistics: one scale per channel, for rows as for tangents."""
    _, _, _, _, variance, training, _, _ = call.args
    if training or variance is None or slot > 0:
        return _generic(call, slot)
    return lambda rows: batch_norm(call, slot, rows[0])[0]


def _layer_norm(call: Call, slot: int) -> Pull:
    """As for tangents, but the weight comes first."""
    x, shape, weight, _, _ = call.args
    if slot > 0:
        return _generic(call, slot)
    _, mean, deviation = call.out
    return lambda rows: standardising(x, mean, deviation, len(shape), rows[0], weight)


def _group_norm(call: Call, slot: int) -> Pull:
    """As for tangents, but the weight comes first."""
    x, weight, _, _, _, _, groups, _ = call.args
    if slot > 0:
        return _generic(call, slot)
    mean, deviation = (part[:, :, None] for part in call.out[1:])
    grouped = x.reshape(len(x), groups, -1)

    def back(rows: list[Tensor]) -> Tensor:
        some = rows[0] if weight is None else rows[0] * weight.view(-1, *[1] * (x.ndim - 2))
        found = standardising(grouped, mean, deviation, 1, some.reshape(len(some), *grouped.shape), None)
        return found.reshape(some.shape)

    return back


def _average(call: Call, slot: int) -> Pull:
    """Average pooling: all rows are one batch; of the input only the shape matters."""
    x, *settings = call.args
    settings += ([], 0, False, True, None)[len(settings) - 1 :]

    def back(rows: Tensor) -> Tensor:
        flat = rows.flatten(0, 1)
        like = flat.new_empty(1).expand(len(flat), *x.shape[1:])
        out: Tensor = aten.avg_pool2d_backward(flat, like, *settings)
        return out.reshape(len(rows), *x.shape)

    return back


def _pick(call: Call, slot: int) -> Pull:
    """One output of an operation that has several."""
    several, chosen = call.args
    return lambda rows: [rows if i == chosen else None for i in range(len(several))]


def _stack_up(call: Call, slot: int) -> Pull:
    """Concatenation along a new dimension."""
    dim = call.args[1] if len(call.args) > 1 else 0
    return lambda rows: rows.select(dim if dim < 0 else dim + 1, slot)


def _join(call: Call, slot: int) -> Pull:
    """Concatenation: every part has its own place. (Empty one-dimensional parts are allowed, and have no rows.)"""
    tensors, dim = call.args[0], call.args[1] if len(call.args) > 1 else 0
    sizes = [tensor.shape[dim] if tensor.ndim == call.out.ndim else 0 for tensor in tensors]
    place = (dim if dim < 0 else dim + 1, sum(sizes[:slot]), sizes[slot])
    return lambda rows: rows.narrow(*place).reshape(len(rows), *tensors[slot].shape)


PULLS: dict[Any, Callable[[Call, int], Pull]] = {
    operator.getitem: _pick,
    aten.add.Tensor: _add,
    aten.sub.Tensor: _subtract,
    aten.mul.Tensor: _multiply,
    aten.reshape.default: _reshape,
    aten.mm.default: _mm,
    aten.bmm.default: _bmm,
    aten.addmm.default: _addmm,
    aten.convolution.default: _convolution,
    normed_convolution: _convolution,
    private.softmax: _softmax,
    private.safe_softmax: _softmax,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten.avg_pool2d.default: _average,
    aten.cat.default: _join,
    aten.stack.default: _stack_up,
}
