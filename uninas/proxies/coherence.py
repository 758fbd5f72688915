"""Coherence: whether a network's gradient is about the same at neighbouring images.

Without shortcuts, the gradients of a deep network at two neighbouring inputs are as unlike as white noise: they are
shattered (Balduzzi et al., ICML 2017), and training has nothing to go by. With g(x) the gradient by the input of a
random combination of the logits, and x'_n = (x_n + e x_(n+1)) / sqrt(1 + e^2) the neighbour of sample n,

    score = mean over the samples of cos(g(x_n), g(x'_n)).

Alone it prefers shallow and narrow networks; it is meant for aggregates, beside proxies that prefer the opposite.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from uninas.proxies.base import proxy
from uninas.proxies.jacov import input_gradients
from uninas.proxies.observe.activations import prepare
from uninas.proxies.types import Inputs, Measured, ProxyError


@proxy("coherence")
def coherence(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, step: float = 0.3, samples: int = 32
) -> Measured:
    """Similarity of the input gradients at neighbouring images (after Balduzzi et al. 2017), from -1 to 1.

    Two forward and backward passes of the first `samples` samples. A neighbour is a mixture of a sample with `step`
    times the next one, at the same variance; parts of the input that are not floating-point stay. Batch norms use the
    statistics of the batch, and gradients flow through these. Raises ProxyError for fewer than two samples, and where
    a gradient is zero.
    """
    if samples < 2 or len(inputs[0]) < 2:
        raise ProxyError(f"expected at least 2 samples, but got {min(samples, len(inputs[0]))}")
    if not step > 0:
        raise ProxyError(f"expected a step above 0, but got {step}")
    here = prepare(module, tuple(part[:samples] for part in inputs))
    there = tuple(
        (part + step * part.roll(1, 0)) / math.hypot(1, step) if part.is_floating_point() else part for part in here
    )
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    first, second = (
        input_gradients(module, part, torch.Generator().manual_seed(seed)).double() for part in (here, there)
    )
    norms = first.norm(dim=1) * second.norm(dim=1)
    if not (norms > 0).all():
        raise ProxyError("a gradient by the network's input is zero, or not finite", "check its initialisation")
    return float(((first * second).sum(1) / norms).mean()), {}
