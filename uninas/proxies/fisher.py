"""Fisher potential: how much removing a channel would change the loss (Turner et al., ICLR 2020).

With a (N x C x positions) the values of a layer's channels, g the gradient of the loss by them,

    Delta_c = 1 / (2 N)  sum_n ( sum over positions of a_nc g_nc )^2,

the second-order estimate, after Theis et al. 2018, of what the loss changes when channel c is set to zero.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import FUNCTIONS, prepare
from uninas.proxies.observe.gradients import Labels, added, derivatives, loss, weights_of
from uninas.proxies.types import Inputs, Measured, ProxyError

CONVOLUTIONS = frozenset(f"conv{'_transpose' * t}{n}d" for t in (0, 1) for n in (1, 2, 3))
ACTIVATIONS = FUNCTIONS | {"softplus"}


@proxy("fisher")
def fisher(
    module: nn.Module,
    inputs: Inputs,
    generator: torch.Generator,
    *,
    labels: Labels = None,
    at: Literal["layers", "activations"] = "layers",
) -> Measured:
    """Sum over channels of the Fisher information of their values (Turner et al., ICLR 2020).

    `at="layers"`, the convention of Abdelfattah et al. 2021, takes the outputs of convolutions and linear layers, and
    counts a channel once for each weight that makes it. `at="activations"`, that of the paper, takes the outputs of
    ReLU and its relatives (GELU, SiLU, ...), each channel once. Both are found by operation, whether a module or a
    function is called; the projections inside `nn.MultiheadAttention` are out of sight. Channels are the second axis
    after a convolution and the last after a linear layer.

    Loss, `labels` and mode are those of `snip`. Components: `channels`, their number. Raises
    ProxyError where there is nothing to observe.
    """
    if at not in ("layers", "activations"):
        raise ProxyError(f"expected at to be 'layers' or 'activations', but got {at!r}")
    weights = weights_of(module, min_ndim=0)
    prepared = prepare(module, inputs)
    with Watch(at == "layers") as seen:
        entropy = loss(module, prepared, generator, labels)
    if not seen.channels:
        raise ProxyError(f"no {at} were seen in the module")
    derivatives(entropy, weights)
    return added(seen.parts), {"channels": float(seen.channels)}


def potential(values: Tensor, gradients: Tensor, axis: int) -> Tensor:
    """Delta (C,) of values and gradients whose samples lie along axis 0 and channels along `axis`."""
    product = (values * gradients).movedim(axis, 1)
    return product.reshape(*product.shape[:2], -1).sum(2).square().mean(0) / 2


class Watch(TorchFunctionMode):
    """Adds up the information of outputs that are made within, when the gradient comes back to them."""

    def __init__(self, layers: bool):
        super().__init__()
        self.layers = layers
        self.axis = 1
        self.channels = 0
        self.parts: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        layer = name in CONVOLUTIONS or name == "linear"
        if layer:
            self.axis = -1 if name == "linear" else 1
        if (layer if self.layers else name in ACTIVATIONS) and out.requires_grad and out.ndim > 1:
            channels = out.shape[self.axis]
            self.channels += channels
            share = 1.0
            if layer:
                weight = args[1] if len(args) > 1 else kwargs["weight"]
                share = weight.numel() / channels
            self.watch(out, self.axis, share)
        return out

    def watch(self, out: Tensor, axis: int, share: float) -> None:
        """A hook belongs to the values as they are now, and so must the copy: an operation in place may come next."""
        values = out.detach().clone()

        def came_back(gradient: Tensor) -> None:
            self.parts.append(potential(values, gradient, axis).sum().double() * share)

        out.register_hook(came_back)  # type: ignore[no-untyped-call]
