"""Which weights decay: by the kind of the layer that they belong to, not by their shape.

The kernels of convolutions and linear layers decay. Biases, norms, position tables, tokens and layer scales do not:
to pull those towards zero is no regularisation. (A rule by shape alone errs where equal heads are folded into one.)
"""

from __future__ import annotations

from typing import Any

from torch import nn

KERNELS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""Layers whose `weight` is a kernel; stacked layers are kinds of these."""


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser: kernels with the decay, and everything else without. Each parameter comes once.

    Parameters that want no gradient are left out, and so is a group without any.
    """
    decayed: dict[nn.Parameter, None] = {}
    others: dict[nn.Parameter, None] = {}
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in decayed and parameter not in others:
                kernel = name == "weight" and isinstance(layer, KERNELS)
                (decayed if kernel else others)[parameter] = None
    groups = [(list(decayed), weight_decay), (list(others), 0.0)]
    return [{"params": parameters, "weight_decay": decay} for parameters, decay in groups if parameters]
