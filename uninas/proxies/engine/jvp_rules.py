"""Derivatives of single torch operations, applied to whole stacks of tangents.

A tangent is the derivative of one intermediate tensor with respect to one weight. `Tangent` stacks the tangents
that are alive at a tensor along a new leading dimension; a rule takes the stacks at an operation's inputs to the
stack at its output. Operations are those of ATen, to which `jacobian.py` lowers a module, so a short table covers
what thousands of Python functions and layers do. Whatever it does not name is still exact:

    named in RULES                  its rule, for speed
    a view                          a view of the stack
    element-wise (tagged by torch)  the slope, computed once, times the stack
    anything else                   torch.func.jvp, vectorised over the stack
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vmap

from uninas.fact import fact
from uninas.proxies.engine import torch_private as private
from uninas.proxies.engine.torch_private import pytree

aten = torch.ops.aten


@dataclass(frozen=True)
class Tangent:
    """Tangents of one value: row i of `stack` (P, *value.shape) belongs to weight number `columns[i]`.

    Weights without a row have a zero tangent. Columns ascend. Where an operation returns several tensors,
    `stack` is a tuple with None for those that have no derivative.
    """

    columns: tuple[int, ...]
    stack: Any


class Seed(Tangent):
    """The tangents of a parameter itself: `directions` says by column how far which elements go, the others not at all.

    The stack is made only for rules that want it; filters have many numbers, and few of them move.
    """

    def __init__(self, value: Tensor, directions: Mapping[int, Mapping[int, float]]):
        object.__setattr__(self, "columns", tuple(directions))
        object.__setattr__(self, "directions", directions)
        object.__setattr__(self, "_value", value)

    directions: Mapping[int, Mapping[int, float]]
    _value: Tensor

    @fact
    def stack(self) -> Tensor:
        """As of any tangent."""
        stack = self._value.new_zeros(len(self.columns), self._value.numel())
        for row, direction in zip(stack, self.directions.values(), strict=True):
            for element, step in direction.items():
                row[element].fill_(step)  # an assignment would make the processor wait for a GPU
        return stack.reshape(len(stack), *self._value.shape)


class Local(Tangent):
    """Tangents (P, N, C, ...) that are zero but in some channels, as those of one filter of a convolution are.

    `part` (P, N, len(channels), ...) has these channels, which ascend. The stack, laid out as `like` (N, C, ...) is,
    is made only for rules that want it: most meet rows of the Jacobian first, which want the channels alone.
    """

    def __init__(self, columns: tuple[int, ...], channels: tuple[int, ...], part: Tensor, like: Tensor):
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "part", part)
        object.__setattr__(self, "_like", like)

    channels: tuple[int, ...]
    part: Tensor
    _like: Tensor

    @fact
    def stack(self) -> Tensor:
        """As of any tangent."""
        stack = zeros(len(self.columns), self._like)
        stack[:, :, neighbours(self.channels)] = self.part
        return stack

    @classmethod
    def sum(cls, parts: Sequence[Local]) -> Local:
        """The sum of tangents of one value that have the same channels."""
        columns = union(parts)
        part = _sum(columns, [(rows_of(one, columns), one.part) for one in parts])
        return cls(columns, parts[0].channels, part, parts[0]._like)


@dataclass(frozen=True)
class Call:
    """One executed operation: `out = op(*args, **kwargs)`. A slot numbers its arguments, lists flattened."""

    op: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    out: Any

    @fact
    def _flat(self) -> tuple[list[Any], pytree.TreeSpec]:
        return pytree.tree_flatten((self.args, dict(self.kwargs)))

    def argument(self, slot: int) -> Any:
        return self._flat[0][slot]

    def along(self, slot: int) -> Callable[[Tensor], Any]:
        """The operation as a function of the argument in `slot`, all others held fixed."""
        leaves, spec = self._flat

        def op(value: Tensor) -> Any:
            args, kwargs = pytree.tree_unflatten([*leaves[:slot], value, *leaves[slot + 1 :]], spec)
            return self.op(*args, **kwargs)

        return op


Rows = slice | list[int]
Rule = Callable[[Call, Mapping[int, Tangent]], Tangent | None]
Partial = Callable[[Call, int, Tensor], Any]


def push(call: Call, tangents: Mapping[int, Tangent]) -> Tangent | None:
    """The tangents of `call.out`, given those of the arguments by slot; None where it has no derivative."""
    rule = RULES.get(call.op)
    if rule is None:
        rule = _VIEW if private.is_view(call.op) else _GENERIC
        if private.is_pointwise(call.op):
            rule = _POINTWISE
    return rule(call, tangents)


def each(partial: Partial) -> Rule:
    """The total derivative is the sum of the partial ones: one per argument that has tangents."""

    def rule(call: Call, tangents: Mapping[int, Tangent]) -> Tangent:
        return total([Tangent(t.columns, partial(call, slot, t.stack)) for slot, t in tangents.items()])

    return rule


def total(parts: Sequence[Tangent]) -> Tangent:
    """The sum of tangents of one value that belong to different sets of weights."""
    if len(parts) == 1:
        return parts[0]
    local = [part for part in parts if isinstance(part, Local)]
    if len(local) == len(parts) and len({one.channels for one in local}) == 1:
        return Local.sum(local)
    columns = union(parts)
    if not isinstance(parts[0].stack, tuple):
        return Tangent(columns, _sum(columns, [(rows_of(part, columns), part.stack) for part in parts]))
    outputs = zip(*(part.stack for part in parts), strict=True)
    rows = [rows_of(part, columns) for part in parts]
    return Tangent(
        columns,
        tuple(_sum(columns, list(zip(rows, out, strict=True))) if out[0] is not None else None for out in outputs),
    )


def _sum(columns: tuple[int, ...], terms: Sequence[tuple[Rows, Tensor]]) -> Tensor:
    if sum(len(stack) for _, stack in terms) == len(columns):  # each row comes from one term
        out = empty(len(columns), terms[0][1][0])
        for rows, stack in terms:
            out[rows] = stack
        return out
    whole = [stack for _, stack in terms if len(stack) == len(columns)]
    if len(whole) > 1:
        out = reduce(torch.add, whole)
    else:
        out = whole[0].clone() if whole else zeros(len(columns), terms[0][1][0])
    for rows, stack in terms:
        if len(stack) < len(columns):
            if isinstance(rows, slice):
                out[rows] += stack
            else:
                out.index_add_(0, torch.tensor(rows, device=out.device), stack)
    return out


def union(parts: Sequence[Tangent]) -> tuple[int, ...]:
    """The weights of all `parts`, ascending."""
    return tuple(sorted({column for part in parts for column in part.columns}))


def rows_of(part: Tangent, columns: tuple[int, ...]) -> Rows:
    """Where the rows of `part` lie among `columns`: a slice where they are neighbours."""
    place = {column: row for row, column in enumerate(columns)}
    return neighbours([place[column] for column in part.columns])


def neighbours(places: Sequence[int]) -> Rows:
    """Ascending places as an index: a slice where they are in one piece, which neither copies nor asks a GPU."""
    if places and places[-1] - places[0] == len(places) - 1:
        return slice(places[0], places[-1] + 1)
    return list(places)


def empty(count: int, like: Tensor) -> Tensor:
    """A stack of tangents without values yet, laid out in memory as `like` is."""
    one = torch.empty_like(like)
    return like.new_empty(count * one.numel()).as_strided((count, *one.shape), (one.numel(), *one.stride()))


def zeros(count: int, like: Tensor) -> Tensor:
    """A stack of zero tangents, laid out in memory as `like` is."""
    return empty(count, like).zero_()


def laid_as(stack: Tensor, like: Tensor) -> Tensor:
    """The stack, of images in the order of `like`'s memory: where two orders meet, everything takes twice as long."""
    if like.ndim != 4 or _order(stack[0]) == _order(like):
        return stack
    return empty(len(stack), like).copy_(stack)


def _order(value: Tensor) -> list[int]:
    """Dimensions of more than one entry, from the outermost in memory to the innermost."""
    strides = value.stride()
    return sorted((d for d, length in enumerate(value.shape) if length > 1), key=lambda d: -strides[d])


def lift(stack: Tensor, ndim: int) -> Tensor:
    """The stack of a tensor that broadcasts with `ndim` dimensions: ones are put behind the leading dimension."""
    return stack.reshape(len(stack), *[1] * (ndim + 1 - stack.ndim), *stack.shape[1:])


def by_channel(stack: Tensor, ndim: int) -> Tensor:
    """A stack of numbers for each channel, to be broadcast with values (N, C, ...) of `ndim` dimensions."""
    return stack.view(len(stack), 1, -1, *[1] * (ndim - 2))


# Partial derivatives: the tangents of the output that come from the tangents `stack` of one argument.


def linear(call: Call, slot: int, stack: Tensor) -> Any:
    """An operation that is linear in this argument is its own derivative."""
    return vmap(call.along(slot))(stack)


def reshape(call: Call, slot: int, stack: Tensor) -> Tensor:
    """The stack's own layout decides whether this is a view."""
    return stack.reshape(len(stack), *call.out.shape)


def spread(call: Call, slot: int, stack: Tensor) -> Tensor:
    """A term of a sum, broadcast to the sum's shape."""
    return lift(stack, call.out.ndim).expand(-1, *call.out.shape)


def primal(call: Call, slot: int) -> Tensor:
    """The argument, each element in a place of its own: of what was expanded torch makes no dual numbers."""
    value: Tensor = call.argument(slot)
    expanded = any(stride == 0 and length > 1 for stride, length in zip(value.stride(), value.shape, strict=True))
    return value.contiguous() if expanded else value


def slope(call: Call, slot: int) -> Tensor:
    """The derivative of each output element by the one element of the argument that it depends on."""
    if call.op is aten.relu.default:  # asking torch takes longer, and networks have many
        on: Tensor = (call.out > 0).to(call.out.dtype)
        return on
    value = primal(call, slot)
    found: Tensor = jvp(call.along(slot), (value,), (torch.ones_like(value),))[1]
    return found


def pointwise(call: Call, slot: int, stack: Tensor) -> Tensor:
    """The slope is the same for all tangents."""
    factor = slope(call, slot)
    return lift(stack, factor.ndim) * factor


def generic(call: Call, slot: int, stack: Tensor) -> Any:
    """Any operation: torch's own forward derivative, vectorised over the stack."""
    op, value = call.along(slot), primal(call, slot)
    single = isinstance(call.out, Tensor)
    outputs = [call.out] if single else list(call.out)
    smooth = [i for i, out in enumerate(outputs) if isinstance(out, Tensor) and out.is_floating_point()]

    def smooth_outputs(value: Tensor) -> tuple[Tensor, ...]:
        out = op(value)
        return (out,) if single else tuple(out[i] for i in smooth)

    parts = vmap(lambda tangent: jvp(smooth_outputs, (value,), (tangent,))[1])(stack)
    if single:
        return parts[0]
    by_output = dict(zip(smooth, parts, strict=True))
    return tuple(by_output.get(i) for i in range(len(outputs)))


def add(call: Call, slot: int, stack: Tensor) -> Tensor:
    """self + alpha other"""
    return spread(call, slot, stack * call.kwargs["alpha"] if slot == 1 and "alpha" in call.kwargs else stack)


def subtract(call: Call, slot: int, stack: Tensor) -> Tensor:
    """self - alpha other"""
    return add(call, slot, -stack if slot == 1 else stack)


def multiply(call: Call, slot: int, stack: Tensor) -> Tensor:
    """self other"""
    other: Tensor = call.args[1 - slot]
    return lift(stack, call.out.ndim) * other


def mm(call: Call, slot: int, stack: Tensor) -> Tensor:
    """out = a b; the stack's leading dimensions become one."""
    a: Tensor = call.args[0]
    b: Tensor = call.args[1]
    return stack @ b if slot == 0 else a @ stack


def bmm(call: Call, slot: int, stack: Tensor) -> Tensor:
    """Batched matrix products."""
    return products(stack, call.args[1 - slot], slot)


def products(stack: Tensor, factor: Tensor, slot: int) -> Tensor:
    """Each of the stack times the factor that they share, which is on the right (slot 0) or on the left.

    One after the other, as a broadcast product would copy the factor for all.
    """
    if in_one_call(stack, factor):
        return stack @ factor if slot == 0 else factor @ stack
    first = (stack[0], factor) if slot == 0 else (factor, stack[0])
    out = stack.new_empty(len(stack), len(factor), first[0].shape[1], first[1].shape[2])
    for row, part in zip(out, stack, strict=True):
        torch.bmm(*((part, factor) if slot == 0 else (factor, part)), out=row)
    return out


def in_one_call(stack: Tensor, shared: Tensor) -> bool:
    """Whether to copy for all tangents what they share: to a GPU, copying little is less work than many calls."""
    return stack.is_cuda and shared.numel() <= _LITTLE


_LITTLE = 2**22  # numbers


def addmm(call: Call, slot: int, stack: Tensor) -> Tensor:
    """beta bias + alpha a b, the linear layer"""
    _, a, b = call.args
    out = spread(call, slot, stack) if slot == 0 else stack @ b if slot == 1 else a @ stack
    factor = call.kwargs.get("beta" if slot == 0 else "alpha", 1)
    return out if factor == 1 else out * factor


def softmax(call: Call, slot: int, stack: Tensor) -> Tensor:
    """s = softmax(x): ds = s (dx - sum(s dx)). It is symmetric, so what torch computes backwards serves both ways."""
    s, dim = call.out, call.args[1]
    if s.dtype != stack.dtype or in_one_call(stack, s):
        weighted: Tensor = s * stack
        return weighted.addcmul_(s, weighted.sum(dim if dim < 0 else dim + 1, keepdim=True), value=-1)
    out = torch.empty_like(stack, memory_format=torch.contiguous_format)
    for row, tangent in zip(out, stack, strict=True):
        private.softmax_backward(tangent, s, dim, s.dtype, grad_input=row)
    return out


def max_pool(call: Call, slot: int, stack: Tensor) -> tuple[Tensor, None]:
    """The tangent at the place of the maximum."""
    indices = call.out[1]
    places = indices.flatten(-2).expand(len(stack), *indices.flatten(-2).shape)
    return stack.flatten(-2).gather(-1, places).reshape(len(stack), *indices.shape), None


def pad(call: Call, slot: int, stack: Tensor) -> Tensor:
    """Padding is constant, so it has no tangent."""
    out: Tensor = aten.constant_pad_nd(stack, call.args[1])
    return out


def batch_norm(call: Call, slot: int, stack: Tensor) -> Any:
    """With running statistics: one scale and one shift per channel, the weight's part of both being linear."""
    x, weight, _, mean, variance, training, _, epsilon = call.args
    if training or mean is None or slot > 2:
        return generic(call, slot, stack)
    channels = (-1, *[1] * (x.ndim - 2))
    scale = (variance + epsilon).rsqrt()
    if slot == 0:
        out = stack * (scale if weight is None else scale * weight).view(channels)
    elif slot == 1:
        out = (x - mean.view(channels)) * by_channel(stack * scale, x.ndim)
    else:
        out = by_channel(stack, x.ndim).expand(-1, *x.shape)
    return out, None, None


def layer_norm(call: Call, slot: int, stack: Tensor) -> Any:
    """Each group of numbers is standardised, then scaled and shifted by the weight and the bias."""
    x, shape, weight, _, _ = call.args
    _, mean, deviation = call.out
    if slot == 0:
        out = standardising(x, mean, deviation, len(shape), stack, None)
        out = out if weight is None else out.mul_(weight)
    elif slot == 1 + len(shape):
        out = (x - mean) * deviation * lift(stack, x.ndim)
    else:
        out = lift(stack, x.ndim).expand(-1, *x.shape)
    return out, None, None


def group_norm(call: Call, slot: int, stack: Tensor) -> Any:
    """A layer norm of each group of channels, but that every channel has a scale and a shift of its own."""
    x, weight, _, _, _, _, groups, _ = call.args
    mean, deviation = (part[:, :, None] for part in call.out[1:])
    grouped, channels = x.reshape(len(x), groups, -1), (-1, *[1] * (x.ndim - 2))
    if slot == 0:
        out = standardising(grouped, mean, deviation, 1, stack.reshape(len(stack), *grouped.shape), None)
        out = out.reshape(stack.shape)
        out = out if weight is None else out.mul_(weight.view(channels))
    elif slot == 1:
        standard = ((grouped - mean) * deviation).reshape(x.shape)
        out = standard * by_channel(stack, x.ndim)
    else:
        out = by_channel(stack, x.ndim).expand(-1, *x.shape)
    return out, None, None


def standardising(
    x: Tensor, mean: Tensor, deviation: Tensor, dims: int, stack: Tensor, weight: Tensor | None
) -> Tensor:
    """The derivative of x -> (x - mean) deviation over the last `dims` dimensions times (stack times weight).

    It is symmetric, so what torch computes backwards serves both ways: in one go, where elementary operations would
    fetch the stack ten times. `deviation` is what the numbers are multiplied by, one over the standard deviation.
    """
    shape = x.shape[x.ndim - dims :]
    like, mean, deviation = (part.expand(len(stack), *part.shape).contiguous() for part in (x, mean, deviation))
    found = aten.native_layer_norm_backward(stack, like, shape, mean, deviation, weight, None, [True, False, False])
    out: Tensor = found[0]
    return out


# Joint rules: all arguments at once.


def pick(call: Call, tangents: Mapping[int, Tangent]) -> Tangent | None:
    """One output of an operation that has several."""
    stack = tangents[0].stack[call.args[1]]
    return None if stack is None else Tangent(tangents[0].columns, stack)


def join(call: Call, tangents: Mapping[int, Tangent]) -> Tangent:
    """Concatenation: every tangent goes to its own place."""
    tensors, dim = call.args[0], call.args[1] if len(call.args) > 1 else 0
    columns = union(list(tangents.values()))
    out = zeros(len(columns), call.out)
    start = 0
    for slot, tensor in enumerate(tensors):
        if slot in tangents:
            part = tangents[slot]
            out.narrow(dim if dim < 0 else dim + 1, start, tensor.shape[dim])[rows_of(part, columns)] = part.stack
        start += tensor.shape[dim] if tensor.ndim == call.out.ndim else 0
    return Tangent(columns, out)


def stack_up(call: Call, tangents: Mapping[int, Tangent]) -> Tangent:
    """Concatenation along a new dimension."""
    dim = call.args[1] if len(call.args) > 1 else 0
    columns = union(list(tangents.values()))
    out = zeros(len(columns), call.out)
    for slot, part in tangents.items():
        out.select(dim if dim < 0 else dim + 1, slot)[rows_of(part, columns)] = part.stack
    return Tangent(columns, out)


_VIEW, _POINTWISE, _GENERIC = each(linear), each(pointwise), each(generic)

RULES: dict[Any, Rule] = {
    operator.getitem: pick,
    aten.cat.default: join,
    aten.stack.default: stack_up,
    aten.mm.default: each(mm),
    aten.bmm.default: each(bmm),
    aten.addmm.default: each(addmm),
    aten.native_batch_norm.default: each(batch_norm),
    aten.native_layer_norm.default: each(layer_norm),
    aten.native_group_norm.default: each(group_norm),
    aten.add.Tensor: each(add),
    aten.sub.Tensor: each(subtract),
    aten.mul.Tensor: each(multiply),
    private.softmax: each(softmax),
    private.safe_softmax: each(softmax),
    aten.max_pool2d_with_indices.default: each(max_pool),
    aten.constant_pad_nd.default: each(pad),
    aten.reshape.default: each(reshape),
    **dict.fromkeys(
        (
            aten.sum.default,
            aten.sum.dim_IntList,
            aten.mean.default,
            aten.mean.dim,
            aten.avg_pool2d.default,
            private.adaptive_avg_pool2d.default,
            aten.upsample_nearest2d.default,
            aten.upsample_bilinear2d.default,
            aten.index.Tensor,
            aten.index_select.default,
            private.to_copy,
            aten.roll.default,
            aten.tril.default,
            aten.triu.default,
            aten.pixel_shuffle.default,
            aten.pixel_unshuffle.default,
        ),
        each(linear),
    ),
}
