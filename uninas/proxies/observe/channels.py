"""Which axis of a feature map holds the channels: followed from operation to operation, not guessed from sizes.

A convolution puts its channels on axis 1, a linear layer or a layer norm of one axis on the last. Elementwise
operations keep the axis, transpositions move it, and reshaping keeps it where the axis stays whole. A network compiled
by UniNAS has all its channels on axis 1. What cannot be followed is taken as N x C x H x W, or as tokens N x T x C.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from uninas.proxies.engine.torch_private import pytree
from uninas.proxies.types import ProxyError

_TAG = "_uninas_channels"

FIRST = frozenset(
    {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
    | {"batch_norm", "group_norm", "instance_norm", "pixel_shuffle", "pixel_unshuffle"}
)
"""Functions whose output has its channels on axis 1, whatever came in."""

LAST = frozenset({"linear", "embedding", "rms_norm", "layer_norm", "multi_head_attention_forward"})
"""Functions whose output has its channels on the last axis: norms where they work on that axis alone."""

RESHAPING = frozenset({"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "_unsafe_view", "view_as"})


class ChannelAxes(TorchFunctionMode):
    """Inside, tensors remember which of their axes holds the channels, where that can be followed."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        before = [(leaf, _known(leaf)) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        shapes = [tuple(leaf.shape) for leaf, _ in before]
        out = func(*args, **kwargs)
        if before:
            for value in pytree.tree_leaves(out):
                if isinstance(value, Tensor):
                    axis = _axis(getattr(func, "__name__", ""), args, kwargs, before, shapes[0], value)
                    tag(value, axis)
        return out


def tag(value: Tensor, axis: int | None) -> Tensor:
    """Remember the axis of channels of a tensor."""
    if axis is None:
        value.__dict__.pop(_TAG, None)
    else:
        value.__dict__[_TAG] = axis % value.ndim
    return value


def channel_axis(value: Tensor) -> int:
    """The axis of channels of a feature map. ProxyError where it is not known and two readings are likely."""
    known = _known(value)
    if known is not None:
        return known
    if value.ndim == 3:
        return 2
    if value.ndim == 4 and value.shape[1] == value.shape[2] != value.shape[3]:
        shape = " x ".join(map(str, value.shape))
        raise ProxyError(
            f"a feature map of {shape} may be N x C x H x W or N x H x W x C, and the module does not tell which",
            "score images of other proportions, or let each block end in a convolution, a linear layer or a norm",
        )
    return 1


def _known(value: Tensor) -> int | None:
    found: int | None = value.__dict__.get(_TAG)
    return found


def _axis(
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    before: Sequence[tuple[Tensor, int | None]],
    shape: tuple[int, ...],
    out: Tensor,
) -> int | None:
    """The axis of channels of an output, from the name of the function and its tensors."""
    first, axis = before[0]
    if name in FIRST and out.ndim == first.ndim > 2:
        return 1
    if name in LAST and out.ndim > 1:
        norm_of_several = name == "layer_norm" and len(_normalised(args, kwargs)) != 1
        return axis if norm_of_several else out.ndim - 1
    if name in RESHAPING:
        return None if axis is None else reshaped(axis, shape, tuple(out.shape))
    if (order := _order(name, args, kwargs, len(shape))) is not None:
        return None if axis is None else order.index(axis)
    if name in ("matmul", "__matmul__", "bmm", "einsum", "baddbmm"):
        return (
            axis if name == "matmul" and len(before) > 1 and before[1][0].ndim == 2 and axis == out.ndim - 1 else None
        )
    return next((known for one, known in before if known is not None and one.ndim == out.ndim), None)


def reshaped(axis: int, before: Sequence[int], after: Sequence[int]) -> int | None:
    """Where an axis is after reshaping, if it is whole: as long, with as many elements before and behind it."""
    ahead = prod(before[:axis])
    places = [n for n, size in enumerate(after) if size == before[axis] and prod(after[:n]) == ahead]
    return places[0] if places else None


def _normalised(args: Sequence[Any], kwargs: dict[str, Any]) -> Sequence[int]:
    shape: Sequence[int] = kwargs.get("normalized_shape", args[1] if len(args) > 1 else ())
    return shape


def _order(name: str, args: Sequence[Any], kwargs: dict[str, Any], ndim: int) -> list[int] | None:
    """For a transposition, which old axis stands at each new place."""
    order = list(range(ndim))
    if name == "permute":
        dims = kwargs.get("dims", args[1:])
        dims = dims[0] if len(dims) == 1 and isinstance(dims[0], Sequence) else dims
        return [dim % ndim for dim in dims]
    if name in ("transpose", "transpose_", "swapaxes", "swapdims"):
        one, other = (*args[1:], *kwargs.values())[:2]
        order[one], order[other] = order[other], order[one]
        return order
    if name in ("movedim", "moveaxis"):
        source, target = (*args[1:], *kwargs.values())[:2]
        if isinstance(source, int) and isinstance(target, int):
            order.insert(target % ndim, order.pop(source % ndim))
            return order
        return None
    if name in ("t", "__get__") and ndim == 2:
        return [1, 0] if name == "t" else None
    return None
