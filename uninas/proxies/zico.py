"""ZiCo: large and steady gradients, measured over several batches (Li et al., ICLR 2023).

With g_b the gradient of the loss of mini-batch b by a weight,

    score = sum over layers l of ln( sum over weights w of l of  E_b |g_b| / sqrt(Var_b g_b) ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare
from uninas.proxies.observe.gradients import Labels, derivatives, integers, loss, weights_of
from uninas.proxies.observe.layers import ALL, window
from uninas.proxies.types import Inputs, Measured, ProxyError


@proxy("zico")
def zico(
    module: nn.Module,
    inputs: Inputs,
    generator: torch.Generator,
    *,
    labels: Labels = None,
    min_ndim: int = 2,
    batches: int = 2,
    absolute: bool = False,
    layers: Sequence[float] = ALL,
) -> Measured:
    """Sum over layers of the log of their summed ratio of mean magnitude to deviation of gradients (Li et al. 2023).

    The batch is cut into `batches` equal mini-batches, 2 as published; what is left over is not used. A layer is a
    weight tensor; weights whose gradient is the same in all mini-batches have no ratio and are left out. With
    `absolute` the variance is that of |g|, as the paper writes it, instead of g, as its code has it. Batch norms use
    the statistics of a mini-batch. Loss, `labels` and weights (`min_ndim`, `layers`) are those of `snip`.
    """
    found = gradients_of_batches(module, prepare(module, inputs), generator, labels, min_ndim, batches)
    ratios = torch.stack([ratio(gradients, absolute) for gradients in window(found, layers)])
    kept = [math.log(number) for number in ratios.tolist() if number > 0]
    if not kept:
        raise ProxyError("the gradients of no weight differ between the mini-batches", "are all samples equal?")
    return sum(kept), {"layers": float(len(kept))}


def gradients_of_batches(
    module: nn.Module, prepared: Inputs, generator: torch.Generator, labels: Labels, min_ndim: int, batches: int
) -> list[Tensor]:
    """The gradients of the loss by every weight tensor (batches x ...), for equal mini-batches of a prepared batch."""
    samples = len(prepared[0])
    if not 2 <= batches <= samples:
        raise ProxyError(f"expected batches from 2 to the {samples} samples, but got {batches}")
    weights = weights_of(module, min_ndim)
    size = samples // batches
    given = None if labels is None else integers(labels, samples)
    runs: list[tuple[Tensor, ...]] = []
    for start in range(0, batches * size, size):
        part = slice(start, start + size)
        batch = tuple(value[part] for value in prepared)
        entropy = loss(module, batch, generator, None if given is None else given[part])
        runs.append(derivatives(entropy, weights))
    return [torch.stack(gradients) for gradients in zip(*runs, strict=True)]


def ratio(gradients: Tensor, absolute: bool = False) -> Tensor:
    """Sum over the weights of mean |g| over deviation, of the gradients (B x ...) of a layer; 0 if none differs."""
    magnitudes = gradients.abs()
    deviation = (magnitudes if absolute else gradients).std(0, correction=0)
    return (magnitudes.mean(0) / deviation).where(deviation > 0, 0.0).sum(dtype=torch.float64)
