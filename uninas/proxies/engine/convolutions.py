"""Convolutions, with the batch norm behind them or without: values, tangents, rows.

A batch norm with running statistics is a scale and a shift for each channel. Put into the filters before it, it is work
on weights, which have few numbers and few tangents, not on feature maps with many of both. And one scalar of a filter
touches one input and one output channel, one of a norm's weight one output channel: what is computed is no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uninas.fact import fact
from uninas.proxies.engine.jvp_rules import (
    RULES,
    Call,
    Local,
    Rows,
    Seed,
    Tangent,
    by_channel,
    empty,
    generic,
    neighbours,
    total,
)

aten = torch.ops.aten


def normed_convolution(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    weight: Tensor | None,
    offset: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    *settings: Any,
) -> Tensor:
    """A batch norm (weight, offset, mean, variance, epsilon) of `aten.convolution(x, filters, bias, *settings)`."""
    scale = _scale(weight, variance, epsilon)
    shift = -mean * scale if bias is None else (bias - mean) * scale
    shift = shift if offset is None else shift + offset
    return _scaled(x, filters, scale, shift, settings)


def _scaled(
    x: Tensor, filters: Tensor, scale: Tensor, shift: Tensor | None, settings: Sequence[Any], piece: int = 0
) -> Tensor:
    """A convolution, its output scaled by channel and shifted: in its filters, or afterwards where these are more."""
    if filters.numel() <= x.numel():
        return convolved(x, filters * _along(scale, filters, 0), shift, *settings, piece=piece)
    out = convolved(x, filters, None, *settings, piece=piece) * _along(scale, x[0], 0)
    return out if shift is None else out + _along(shift, x[0], 0)


def convolved(x: Tensor, filters: Tensor, bias: Tensor | None, *settings: Any, piece: int = 0) -> Tensor:
    """`aten.convolution`, for a GPU in ways that spare plans, which cuDNN makes anew for every size of a batch.

    A matrix product needs none, where it is one, and is faster in full precision. With groups, a plan takes as long as
    a thousand tangents (140 ms): there the batch is taken `piece` by piece, as large as that of the network.
    """
    if is_planned(x) and settings[-1] > 1 and piece:
        return torch.cat([aten.convolution(part, filters, bias, *settings) for part in torch.split(x, piece)])
    if not (is_planned(x) and _is_product(x, filters, *settings)):
        found: Tensor = aten.convolution(x, filters, bias, *settings)
        return found
    inner, weight = x.movedim(1, -1), filters.flatten(1).T
    flat = inner.reshape(-1, x.shape[1])
    out = flat @ weight if bias is None else torch.addmm(bias, flat, weight)
    return out.reshape(*inner.shape[:-1], -1).movedim(-1, 1)


def is_planned(x: Tensor) -> bool:
    """Whether convolutions of it wait for a plan: on a GPU."""
    return x.is_cuda


def _is_product(
    x: Tensor,
    filters: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    more: Sequence[int],
    groups: int,
) -> bool:
    """Whether every output position sees one input position, its own, and all its channels, neighbours in memory."""
    single = all(n == 1 for n in (*filters.shape[2:], *stride)) and not any((*padding, *more))
    return single and not transposed and groups == 1 and x.ndim == 4 and x.stride(1) == 1


CONVOLUTIONS = (aten.convolution.default, normed_convolution)


def plain_arguments(op: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of one of CONVOLUTIONS without its norm, as `aten.convolution` takes them."""
    return (*args[:3], *args[8:]) if op is normed_convolution else args


def _scale(weight: Tensor | None, variance: Tensor, epsilon: float) -> Tensor:
    scale = (variance + epsilon).rsqrt()
    return scale if weight is None else scale * weight


def _along(vector: Tensor, like: Tensor, dim: int) -> Tensor:
    """A vector, to be broadcast along this dimension of another tensor."""
    return vector.view(-1, *[1] * (like.ndim - 1 - dim))


class _Entry(NamedTuple):
    """One number of the filters: of which output and input channel (of its group), where in the kernel, how far."""

    output: int
    input: int
    place: int
    step: float


@dataclass(frozen=True)
class Convolution:
    """The arguments of a convolution, with a batch norm or without."""

    call: Call

    @property
    def x(self) -> Tensor:
        """The input, (N, C, ...)."""
        value: Tensor = self.call.args[0]
        return value

    @property
    def filters(self) -> Tensor:
        """As they are given, (O, C / groups, ...)."""
        value: Tensor = self.call.args[1]
        return value

    @property
    def settings(self) -> Sequence[Any]:
        """Stride, padding, dilation, whether it is transposed, output padding, groups."""
        return plain_arguments(self.call.op, self.call.args)[3:]

    @fact
    def scale(self) -> Tensor | None:
        """The factor of the norm for each output channel; None without a norm."""
        if self.call.op is not normed_convolution:
            return None
        _, _, _, weight, _, _, variance, epsilon, *_ = self.call.args
        return _scale(weight, variance, epsilon)

    @fact
    def effective(self) -> Tensor:
        """The filters, scaled."""
        return self.filters if self.scale is None else self.filters * _along(self.scale, self.filters, 0)

    def of_input(self, stack: Tensor) -> Tensor:
        """Tangents of the output by those of the input: all are one batch."""
        x = stack.flatten(0, 1)
        if self.scale is None:
            out = convolved(x, self.filters, None, *self.settings, piece=len(self.x))
        else:
            out = _scaled(x, self.filters, self.scale, None, self.settings, piece=len(self.x))
        return out.reshape(len(stack), *self.call.out.shape)

    def of_filters(self, tangent: Tangent) -> Tangent:
        """By those of the filters."""
        if self.settings[3] or not isinstance(tangent, Seed):  # transposed, or filters that are themselves computed
            return Tangent(tangent.columns, self._of_all_filters(tangent.stack))
        moving = [self._by_group(direction) for direction in tangent.directions.values()]
        every = (entry.output for groups in moving for entries in groups.values() for entry in entries)
        channels = tuple(sorted(set(every)))
        out = self._local(len(moving), channels)
        for row, groups in zip(out, moving, strict=True):
            for group, entries in groups.items():
                to, of = sorted({entry.output for entry in entries}), sorted({entry.input for entry in entries})
                some = self.filters.new_zeros(len(to), len(of), *self.filters.shape[2:])
                for entry in entries:
                    some[to.index(entry.output), of.index(entry.input)].view(-1)[entry.place].fill_(entry.step)
                found = self._part(some, group, neighbours(of))
                where = neighbours([channels.index(output) for output in to])
                scale = None if self.scale is None else self.scale[neighbours(to)]
                row[:, where] = found if scale is None else found * _along(scale, found, 1)
        return Local(tangent.columns, channels, out, self.call.out)

    def _local(self, count: int, channels: Sequence[int]) -> Tensor:
        """Zeros for some channels of the output of so many tangents."""
        like: Tensor = self.call.out
        return like.new_zeros(count, len(like), len(channels), *like.shape[2:])

    def _of_all_filters(self, stack: Tensor) -> Tensor:
        out = empty(len(stack), self.call.out)
        for row, some in zip(out, stack, strict=True):
            found = convolved(self.x, some, None, *self.settings)
            row.copy_(found if self.scale is None else found * _along(self.scale, found, 1))
        return out

    def of_weight(self, tangent: Tangent) -> Tangent:
        """By those of the norm's weight, which scales what is standardised."""
        if not isinstance(tangent, Seed):
            return Tangent(tangent.columns, self._standard(None) * by_channel(tangent.stack, self.x.ndim))
        channels = _moved(tangent)
        out = self._local(len(tangent.columns), channels)
        for row, direction in zip(out, tangent.directions.values(), strict=True):
            for channel, step in direction.items():
                row[:, channels.index(channel)] = self._standard(channel)[:, 0] * step
        return Local(tangent.columns, channels, out, self.call.out)

    def _standard(self, channel: int | None) -> Tensor:
        """One output channel, or all, before the norm's weight and offset."""
        _, _, bias, _, _, mean, variance, epsilon, *_ = self.call.args
        shift, rate = mean if bias is None else mean - bias, _scale(None, variance, epsilon)
        if channel is None:
            found = convolved(self.x, self.filters, None, *self.settings)
        else:
            here = slice(channel, channel + 1)
            group = channel * self.settings[-1] // len(self.filters)
            found, shift, rate = self._part(self.filters[here], group, slice(None)), shift[here], rate[here]
        return (found - _along(shift, found, 1)) * _along(rate, found, 1)

    def _part(self, filters: Tensor, group: int, inputs: Rows) -> Tensor:
        """A convolution with some of the filters of one group, of some of its input channels."""
        *settings, groups = self.settings
        size = self.x.shape[1] // groups
        x = self.x.narrow(1, group * size, size)[:, inputs]
        return convolved(x, filters, None, *settings, 1)

    def _by_group(self, direction: Mapping[int, float]) -> Mapping[int, list[_Entry]]:
        """Which elements of the filters move."""
        outputs, inputs, *kernel = self.filters.shape
        size = int(torch.Size(kernel).numel())
        found: dict[int, list[_Entry]] = {}
        for element, step in direction.items():
            output, rest = divmod(element, inputs * size)
            entry = _Entry(output, *divmod(rest, size), step)
            found.setdefault(output * self.settings[-1] // outputs, []).append(entry)
        return found

    def of_bias(self, tangent: Tangent, scale: Tensor | None) -> Tangent:
        """By those of a bias, which counts `scale` times: the same at all positions."""
        out, stack = self.call.out, tangent.stack if scale is None else tangent.stack * scale
        if not isinstance(tangent, Seed):
            return Tangent(tangent.columns, by_channel(stack, out.ndim).expand(-1, *out.shape))
        channels = _moved(tangent)
        some = by_channel(stack[:, neighbours(channels)], out.ndim)
        return Local(tangent.columns, channels, some.expand(-1, len(out), -1, *out.shape[2:]), out)


def _moved(seed: Seed) -> tuple[int, ...]:
    """The elements that move at all, ascending."""
    return tuple(sorted({element for direction in seed.directions.values() for element in direction}))


def convolution(call: Call, tangents: Mapping[int, Tangent]) -> Tangent:
    """The tangents of a convolution, by those of its arguments."""
    return total(list(_partials(Convolution(call), tangents)))


def _partials(one: Convolution, tangents: Mapping[int, Tangent]) -> Iterator[Tangent]:
    for slot, tangent in tangents.items():
        if slot == 0:
            yield Tangent(tangent.columns, one.of_input(tangent.stack))
        elif slot == 1:
            yield one.of_filters(tangent)
        elif slot == 2:
            yield one.of_bias(tangent, one.scale)
        elif slot == 3:
            yield one.of_weight(tangent)
        elif slot == 4:
            yield one.of_bias(tangent, None)
        else:  # running statistics, which nobody trains
            yield Tangent(tangent.columns, generic(one.call, slot, tangent.stack))


RULES.update(dict.fromkeys(CONVOLUTIONS, convolution))
