"""Feature maps of all layers, and windows of depth: some of the layers of a network, from the first to the last.

A layer is a module without modules inside, unless it gives back what it takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from uninas.proxies.observe.activations import is_map, run
from uninas.proxies.observe.channels import ChannelAxes, channel_axis, tag
from uninas.proxies.types import Inputs, ProxyError

Item = TypeVar("Item")

ALL = (0.0, 1.0)
"""The window that leaves nothing out."""


def window(items: Sequence[Item], layers: Sequence[float]) -> Sequence[Item]:
    """Those that lie between two depths, 0 the first and 1 the last of all; at least one. ProxyError for no window.

    >>> window("abcdefgh", (0.5, 1.0)), window("abcdefgh", (0.0, 0.01))
    ('efgh', 'a')
    """
    if len(layers) != 2 or not 0 <= layers[0] < layers[1] <= 1:
        raise ProxyError(f"expected layers from one depth to a larger one, between 0 and 1, but got {tuple(layers)}")
    first = min(math.floor(layers[0] * len(items) + 1e-9), max(0, len(items) - 1))
    return items[first : max(first + 1, math.ceil(layers[1] * len(items) - 1e-9))]


def first_maps(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    """What every layer makes of the first sample, channels x positions, in the order of execution; float64.

    Only feature maps count (`activations.is_map`). ProxyError where no layer makes one.
    """
    found: list[Tensor] = []
    ours = isinstance(module, fx.GraphModule) and "uninas" in module.meta

    def keep(layer: nn.Module, args: Any, output: Any) -> None:
        idle = bool(args) and output is args[0] and not getattr(layer, "inplace", False)  # dropout, identities
        if not idle and is_map(output, len(inputs[0])):
            axis = channel_axis(tag(output, 1) if ours else output)
            found.append(output[0].detach().movedim(axis - 1, 0).flatten(1).double())

    handles = [
        layer.register_forward_hook(keep) for layer in module.modules() if not any(True for _ in layer.children())
    ]
    try:
        with torch.no_grad(), ChannelAxes():
            run(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ProxyError("the network has no layer that makes a feature map")
    if not all(bool(one.isfinite().all()) for one in found):
        raise ProxyError("the network's features are not finite", "check its initialisation")
    return found
