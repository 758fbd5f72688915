"""What proxies of activations share: one forward pass, observed.

Observation is by operation, not by kind of module, so it sees `F.relu(x)`, `x.mean((2, 3))` and a compiled graph as
well as `nn.ReLU` and `nn.AdaptiveAvgPool2d`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uninas.proxies.engine.torch_private import (
    BatchNormBase,
    TorchDispatchMode,
    prelu_kernel,
    pytree,
    without_attention_fast_path,
)
from uninas.proxies.guard import failure
from uninas.proxies.types import Inputs, ProxyError

aten = torch.ops.aten

SWITCHES = frozenset(
    {
        *(aten.relu, aten.relu_, aten.leaky_relu, aten.leaky_relu_, prelu_kernel, aten.rrelu_with_noise),
        *(aten.hardtanh, aten.hardtanh_, aten.elu, aten.elu_, aten.celu, aten.celu_, aten.selu, aten.selu_),
        *(aten.gelu, aten.gelu_, aten.silu, aten.silu_, aten.mish, aten.mish_, aten.hardswish, aten.hardswish_),
    }
)
"""Activations that are close to zero for negative inputs and close to the identity for positive ones."""

FUNCTIONS = frozenset(
    name + ending
    for name in ("relu", "relu6", "leaky_relu", "prelu", "rrelu", "hardtanh", "elu", "celu", "selu", "gelu", "silu",
                 "mish", "hardswish")
    for ending in ("", "_")
)  # fmt: skip
"""The same by the names of torch's functions; those that end in _ write into their input."""


def activated(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Tensor | None:
    """What one of FUNCTIONS is called with; None for other functions."""
    if getattr(function, "__name__", "") not in FUNCTIONS:
        return None
    value = args[0] if args else (kwargs or {}).get("input")
    return value if isinstance(value, Tensor) else None


def prepare(module: nn.Module, inputs: Inputs) -> Inputs:
    """Put `module` into the state proxies of activations measure, and `inputs` into the layout it is fastest with.

    Batch norms use the statistics of the batch, as in training; everything else, dropout first of all, is as in
    evaluation, so that a score is no throw of dice. On a CPU, convolutions of whole batches run up to twice as fast
    with the channels innermost; a module that insists on the usual layout keeps it.
    """
    module.eval()
    for layer in module.modules():
        if isinstance(layer, BatchNormBase):
            layer.train()
    if not any(part.ndim == 4 and part.device.type == "cpu" for part in inputs):
        return inputs
    fast = tuple(part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part for part in inputs)
    try:
        with torch.no_grad():
            module(*(part[:2].clone() for part in fast))  # a module may write into its input
    except Exception:  # a true mistake comes back with the inputs as they are
        return inputs
    return fast


def run(module: Callable[..., Any], inputs: Inputs, *watching: TorchDispatchMode) -> Tensor:
    """The output of `module(*inputs)` under the given observers. ProxyError if it fails or is no tensor (N, ...)."""
    given = tuple(part.clone() for part in inputs)  # which the module may write into
    try:
        with ExitStack() as stack:
            stack.enter_context(without_attention_fast_path())  # which hides the activation of a whole layer
            for mode in watching:
                stack.enter_context(mode)
            output = module(*given)
    except Exception as error:  # the code of others: anything may come
        raise failure(inputs, error) from error
    if not isinstance(output, Tensor) or not output.ndim or len(output) != len(inputs[0]):
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ProxyError(f"expected a module whose output is one tensor with a row for each sample, but got {found}")
    return output


def is_map(value: Any, samples: int) -> bool:
    """Whether this is a feature map: a row for each sample, and at least two further axes longer than 1.

    Maps N x C x H x W and N x H x W x C and tokens N x T x C are; what global pooling leaves, N x C x 1 x 1 or N x C,
    is not.
    """
    if not isinstance(value, Tensor) or not value.ndim or len(value) != samples:
        return False
    return sum(length > 1 for length in value.shape[1:]) > 1


class LastMap(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the last feature map that is computed: what the network's global pooling reduces."""

    def __init__(self, samples: int):
        super().__init__()  # type: ignore[no-untyped-call]
        self.samples = samples
        self.value: Tensor | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in pytree.tree_leaves(out):
            if is_map(value, self.samples):
                self.value = value
        return out


class FirstNotFinite(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Says in `what` which operation is the first that makes an infinite number, or none, out of finite ones."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.what = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self.what and any(map(_is_beyond, pytree.tree_leaves(out))):
            dtype = next(str(leaf.dtype) for leaf in pytree.tree_leaves(out) if _is_beyond(leaf))
            self.what = f"{func.overloadpacket} goes beyond {dtype.removeprefix('torch.')}"
        return out


def _is_beyond(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and not bool(value.isfinite().all())


class Switches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows to `see`, for each of the SWITCHES that runs, which of its units are on: booleans N x units.

    A unit is one element of the input, and on where that is positive.
    """

    def __init__(self, samples: int, see: Callable[[Tensor], None]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.samples = samples
        self.see = see

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in SWITCHES and args[0].ndim and len(args[0]) == self.samples:
            on = args[0].detach() > 0  # before the call, which may write into its input
            if on.ndim == 4 and on.is_contiguous(memory_format=torch.channels_last):
                on = on.movedim(1, -1)  # units in the order of memory, as any will do
            self.see(on.reshape(self.samples, -1))
        return func(*args, **(kwargs or {}))


def watch_switches(module: nn.Module, inputs: Inputs, see: Callable[[Tensor], None]) -> int:
    """One pass without gradients, every switch of which is shown to `see`. Returns the number of units, at least 1.

    ProxyError if the network has no SWITCHES.
    """
    units = 0

    def count(on: Tensor) -> None:
        nonlocal units
        units += on.shape[1]
        see(on)

    with torch.no_grad():
        run(module, inputs, Switches(len(inputs[0]), count))
    if not units:
        raise ProxyError(
            "the network has no activation that switches units on and off",
            "those counted are ReLU, its leaky and smooth relatives (GELU, SiLU, ELU, ...) and ReLU6",
        )
    return units


def packed(rows: Tensor) -> NDArray[np.void]:
    """Rows of booleans, each as one value that can be compared and sorted, of a bit for every element."""
    bits = np.ascontiguousarray(np.packbits(rows.cpu().numpy(), axis=1))
    return bits.view(f"V{bits.shape[1]}")[:, 0]


def _var_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variance (biased) and mean of each channel, which is axis 1; the variance of what is constant is 0.

    Faster on a CPU than `torch.var_mean`, up to 13 times with the channels innermost.
    """
    rows = x.movedim(1, -1).flatten(0, -2).to(torch.promote_types(x.dtype, torch.float32))
    first = rows[0]
    shifted = rows - first  # exactly 0 where all are equal, as a mean need not be
    shift = shifted.mean(0)
    return shifted.sub_(shift).square_().mean(0).to(x.dtype), (first + shift).to(x.dtype)


@contextmanager
def stored_statistics(module: nn.Module) -> Iterator[list[Tensor]]:
    """Within, each batch norm that runs in evaluation mode first stores its input's statistics, and normalises by them.

    So a pass computes what it does in training, but afterwards the statistics are constants and samples independent.
    The list gets the variances (per channel, biased), in the order of the calls.
    """
    variances: list[Tensor] = []

    def store(layer: nn.Module, args: Sequence[Tensor]) -> None:
        layer.running_var, layer.running_mean = _var_mean(args[0].detach())
        variances.append(layer.running_var)

    layers = [layer for layer in module.modules() if isinstance(layer, BatchNormBase)]
    handles = [layer.register_forward_pre_hook(store) for layer in layers]
    try:
        yield variances
    finally:
        for handle in handles:
            handle.remove()
