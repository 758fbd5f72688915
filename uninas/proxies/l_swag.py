"""L-SWAG: steady gradients times many activation patterns, in a window of layers (Casarin et al., CVPR 2025).

With g_b the gradient of the loss of mini-batch b by a weight, and l from l_1 to l_2,

    trainability  Lambda = sum over layers l of ln( sum over weights w of l of  1 / sqrt(Var_b |g_b|) ),
    expressivity  Psi    = the number of different patterns among the units of the activations from l_1 to l_2, the
                           pattern of a unit being the samples that switch it on (as in SWAP),
    score                = Lambda Psi.

It is ZiCo without the mean of the gradients, which the paper proves to be of no use, times SWAP. The published window
is chosen for every search space by looking at a few gradients there; here it is an option.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import packed, prepare, watch_switches
from uninas.proxies.observe.gradients import Labels
from uninas.proxies.observe.layers import ALL, window
from uninas.proxies.types import Inputs, Measured, ProxyError
from uninas.proxies.zico import gradients_of_batches


@proxy("l_swag")
def l_swag(
    module: nn.Module,
    inputs: Inputs,
    generator: torch.Generator,
    *,
    labels: Labels = None,
    min_ndim: int = 2,
    batches: int = 2,
    samples: int = 16,
    layers: Sequence[float] = ALL,
) -> Measured:
    """Steadiness of gradients times the number of activation patterns (L-SWAG, Casarin et al. 2025).

    Mini-batches (`batches`), loss, `labels` and weights (`min_ndim`) are those of `zico`, patterns those of `swap` for
    the first `samples` samples. `layers` is a window of depth, of weight tensors and of activations alike: [0.5, 1] are
    the later half. Weights whose gradient is the same in all mini-batches are left out. Components: `trainability` and
    `expressivity`, its factors. Raises ProxyError for a network without gradients or activations.
    """
    if samples < 1:
        raise ProxyError(f"expected at least 1 sample, but got {samples}")
    prepared = prepare(module, inputs)
    patterns: list[NDArray[np.void]] = []
    with torch.no_grad():
        watch_switches(
            module, tuple(part[:samples] for part in prepared), lambda on: patterns.append(np.unique(packed(on.T)))
        )
    expressivity = len(np.unique(np.concatenate(window(patterns, layers))))
    found = window(gradients_of_batches(module, prepared, generator, labels, min_ndim, batches), layers)
    sums = [steadiness(gradients) for gradients in found]
    steady = [math.log(number) for number in sums if number > 0]
    if not steady:
        raise ProxyError("the gradients of no weight differ between the mini-batches", "are all samples equal?")
    return sum(steady) * expressivity, {"trainability": sum(steady), "expressivity": float(expressivity)}


def steadiness(gradients: Tensor) -> float:
    """Sum over the weights of 1 over the deviation of |g|, of the gradients (B x ...) of a layer; 0 if none differs."""
    deviation = gradients.abs().double().std(0, correction=0)
    return float(deviation.reciprocal().where(deviation > 0, 0.0).sum())
