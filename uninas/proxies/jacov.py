"""Jacov: how independent the network's linearisations at different samples are (Mellor et al. 2020, first version).

With g_n the gradient of the sum of sample n's logits by its input, R (N x N) the matrix of the correlation
coefficients of the g_n, v its eigenvalues and k = 1e-5,

    score = - sum_i  ln(v_i + k) + 1 / (v_i + k).

All v are 1, and the score is highest, where the gradients are uncorrelated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare, run
from uninas.proxies.observe.gradients import leaves_of, pulled_back
from uninas.proxies.types import Inputs, Measured, ProxyError


def correlation_score(gradients: Tensor, k: float = 1e-5) -> float:
    """The score of gradients (N x D), computed in float64. ProxyError if one is not finite, or constant over D."""
    if not gradients.isfinite().all():
        raise ProxyError("the gradients by the network's input are not finite", "check its initialisation")
    rows = gradients.double()
    rows = rows - rows.mean(1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if not (norms > 0).all():
        raise ProxyError("the network's output does not depend on its input, or by the same amount on every element")
    rows = rows / norms
    eigenvalues = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0) + k
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


@proxy("jacov")
def jacov(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """Independence of the input gradients of different samples (Mellor et al. 2020, arXiv 2006.04647 v1).

    One forward and one backward pass. Batch norms use the statistics of the batch, and gradients flow through these.
    A module of several inputs is differentiated by all that are floating-point.

    Scores grow with the batch, so compare them for batches of one size. Raises ProxyError for fewer than two samples
    and where a gradient is zero or constant.
    """
    if len(inputs[0]) < 2:
        raise ProxyError("expected at least 2 samples to correlate, but got 1")
    return correlation_score(input_gradients(module, prepare(module, inputs))), {}


def input_gradients(module: nn.Module, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
    """For every sample the gradient (N x D) of the sum of its logits by its input, all floating-point parts together.

    With a generator, of the sum of the logits times standard normal numbers, the same for all samples. The module runs
    as it is; afterwards it has no gradients by its weights. ProxyError if the output does not depend on the input.
    """
    module.requires_grad_(False)  # spares the gradients by weights
    leaves, wanted = leaves_of(inputs)
    output = run(module, leaves)
    if not output.requires_grad:
        raise ProxyError("the network's output does not depend on its input")
    if generator is not None:
        output = output * torch.randn(output.shape[1:], generator=generator).to(output)
    found = pulled_back(output.sum(), wanted)
    return torch.cat([part.reshape(len(part), -1) for part in found], 1)
