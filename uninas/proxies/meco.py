"""MeCo: how far the channels of feature maps are from being copies of each other (Jiang et al., NeurIPS 2023).

With f_l the feature map of layer l for one sample, channels x positions, and P(f_l) the matrix of Pearson correlations
between its channels,

    score = sum over layers of the smallest eigenvalue of P(f_l).

It is 0 for a layer in which a channel is a sum of others, as it must be where there are more channels than positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare
from uninas.proxies.observe.layers import ALL, first_maps, window
from uninas.proxies.types import Inputs, Measured


def least_correlation(channels: Tensor) -> float:
    """The smallest eigenvalue of the correlations between channels (C x positions); constant ones have none."""
    centred = channels - channels.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    unit = torch.where(length > 0, centred / length.clamp(min=torch.finfo(length.dtype).tiny), 0.0)
    return max(0.0, float(torch.linalg.eigvalsh(unit @ unit.T)[0]))


@proxy("meco")
def meco(module: nn.Module, inputs: Inputs, generator: torch.Generator, *, layers: Sequence[float] = ALL) -> Measured:
    """Sum over layers of the smallest eigenvalue of the correlations between channels (MeCo, Jiang et al. 2023).

    One forward pass; maps are those of the first sample, batch norms use the statistics of the batch. A layer is a
    module without modules inside that makes a feature map. `layers` is a window of depth: [0.5, 1] are the later half.
    Constant channels are correlated with none, and have the eigenvalue 0. Components: `layers`, their number. Raises
    ProxyError for a network without feature maps.
    """
    maps = window(first_maps(module, prepare(module, inputs)), layers)
    return sum(map(least_correlation, maps)), {"layers": float(len(maps))}
