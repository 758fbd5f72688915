"""DSS: diverse attention and salient layers, a score for vision transformers (TF-TAS, Zhou et al., CVPR 2022).

R is the sum of the outputs for an input of ones, with every parameter replaced by its absolute value, as in SynFlow.
With |.|_* the nuclear norm of a matrix, which is the sum of its singular values,

    score = sum over the weights W of attention of  |dR/dW|_* |W|_*      (synaptic diversity)
          + sum over all other weights w of         |w dR/dw|            (synaptic saliency).

The gradient of a matrix that loses rank gets a small nuclear norm: heads of attention tend to become alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from uninas.proxies.attention import lowered
from uninas.proxies.base import proxy
from uninas.proxies.observe.gradients import added
from uninas.proxies.synflow import flows_of, where_not_finite
from uninas.proxies.types import Inputs, Measured, ProxyError


@proxy("dss")
def dss(module: nn.Module, inputs: Inputs, generator: torch.Generator, *, min_ndim: int = 2) -> Measured:
    """Diversity of the weights of attention plus saliency of all others (DSS, Zhou et al. 2022).

    Weights of attention are those that make its queries, keys and values, and the first ones behind it; they are found
    in the operations of the network, so names do not matter. Of a network without attention this is `synflow`, whose
    setting it shares: one sample of ones, in float64 and evaluation mode, batch norms as the identity; weights of at
    least `min_ndim` axes. Components: `diversity` and `saliency`, its terms. ProxyError for a network that cannot be
    recorded, and where the flow overflows.
    """
    attending = lowered(module, tuple(part[:1] for part in inputs)).weights()
    names = [name for name, p in module.named_parameters() if p.requires_grad and p.ndim >= min_ndim]
    try:
        flows = flows_of(module, inputs, min_ndim, torch.float64)
    except ProxyError:
        flows = flows_of(module, inputs, min_ndim, torch.float32)
    kinds = [name in attending for name in names]
    saliency = added((w * g).abs().sum() for (w, g), of_head in zip(flows, kinds, strict=True) if not of_head)
    if not math.isfinite(saliency) or not all(bool(g.isfinite().all()) for _, g in flows):
        where = where_not_finite(module, inputs)
        raise ProxyError(f"the flow is no finite number: {where}", "begin with smaller weights (init)")
    diversity = added(nuclear(w) * nuclear(g) for (w, g), of_head in zip(flows, kinds, strict=True) if of_head)
    return diversity + saliency, {"diversity": diversity, "saliency": saliency}


def nuclear(weight: Tensor) -> Tensor:
    """The sum of the singular values of a matrix, or of filters as one matrix with a row for each output."""
    found: Tensor = torch.linalg.matrix_norm(weight.flatten(1), "nuc")
    return found
