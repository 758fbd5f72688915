"""GradSign: whether the samples' gradients point the same way (Zhang & Jia, ICLR 2022).

With l_n the loss of sample n,

    score = sum over weights w of | sum_n sign(dl_n / dw) |      (algorithm 1),

at most the number of samples times that of the weights: the closer the samples' minima lie, the more signs agree.
"""

from __future__ import annotations

import torch
from torch import nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare, stored_statistics
from uninas.proxies.observe.gradients import Labels, added, derivatives, logits_of, loss, targets, weights_of
from uninas.proxies.types import Inputs, Measured


@proxy("grad_sign")
def grad_sign(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, labels: Labels = None, min_ndim: int = 2
) -> Measured:
    """Agreement of the signs of the samples' loss gradients, summed over weights (Zhang & Jia, ICLR 2022).

    One forward and backward pass per sample. Batch norms normalise by the statistics of the whole batch as by
    constants, so that samples stay independent; the published code normalises each sample by itself, which networks
    that pool before a norm cannot. Loss, `labels` and weights (`min_ndim`) are those of `snip`.

    Components: `agreement`, the score per weight and sample, from 0 to 1. Scores grow with the batch.
    """
    weights = weights_of(module, min_ndim)
    prepared = prepare(module, inputs)
    module.eval()
    with stored_statistics(module), torch.no_grad():
        chosen = targets(logits_of(module, prepared), generator, labels)
    signs = [torch.zeros_like(weight, requires_grad=False) for weight in weights]
    for n, label in enumerate(chosen):
        sample = tuple(part[n : n + 1] for part in prepared)
        gradients = derivatives(loss(module, sample, generator, label[None]), weights)
        for total, gradient in zip(signs, gradients, strict=True):
            total += gradient.sign()
    value = added(total.abs().double().sum() for total in signs)
    return value, {"agreement": value / len(chosen) / sum(weight.numel() for weight in weights)}
