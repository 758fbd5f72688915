"""SynFlow: the flow through all paths of a network, without data (Tanaka et al., NeurIPS 2020).

R is the sum of the outputs for an input of ones, with every parameter replaced by its absolute value. Of a network
without biases R is the sum over all paths of the product of the weights on them, and

    score = sum of |w dR/dw|      (the paper's saliency, summed as by Abdelfattah et al., ICLR 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.engine.torch_private import BatchNormBase
from uninas.proxies.observe.activations import FirstNotFinite, run
from uninas.proxies.observe.gradients import added, derivatives, weights_of
from uninas.proxies.observe.layers import ALL, window
from uninas.proxies.types import Inputs, Measured, ProxyError


@proxy("synflow")
def synflow(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, min_ndim: int = 2, layers: Sequence[float] = ALL
) -> Measured:
    """Sum of weight times gradient of the total flow through absolute weights (Tanaka et al. 2020).

    One sample of ones, in float64 and evaluation mode; in float32 where the module insists on that. Batch norms are
    made the identity, as in the literature: they would divide the flow by itself. Other norms stay. Of the batch only
    the shape counts, and integer inputs keep their first sample. Weights are trainable parameters of at least
    `min_ndim` axes, of them those in a window of depth (`layers`); biases take part in R, with their absolute values. A
    flow beyond float64, as of the deepest networks, or beyond float32 in a module that casts to it, is a ProxyError
    that says where: begin with smaller weights.
    """
    try:
        found = _flow(module, inputs, min_ndim, layers, torch.float64)
    except ProxyError:
        found = _flow(module, inputs, min_ndim, layers, torch.float32)
    if not math.isfinite(found):
        raise ProxyError(
            f"the flow is no finite number: {where_not_finite(module, inputs)}", "begin with smaller weights (init)"
        )
    return found, {}


def where_not_finite(module: nn.Module, inputs: Inputs) -> str:
    """Where the flow of a module, which `flows_of` has changed, stops to be finite."""
    first = FirstNotFinite()
    with torch.no_grad():
        run(module, _ones(inputs, next(module.parameters()).dtype), first)
    return first.what or "its gradients are beyond what the module computes in"


def _flow(module: nn.Module, inputs: Inputs, min_ndim: int, layers: Sequence[float], dtype: torch.dtype) -> float:
    flows = flows_of(module, inputs, min_ndim, dtype)
    return added((weight * flow).abs().sum() for weight, flow in window(flows, layers))


def flows_of(module: nn.Module, inputs: Inputs, min_ndim: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """The absolute weights and the derivatives of R by them, in the order of the parameters; it changes the module."""
    module.eval()
    recast(module, dtype, torch.abs)
    weights = weights_of(module, min_ndim)
    for layer in module.modules():
        if isinstance(layer, BatchNormBase):
            _neutral(layer, weights[0])
    found = derivatives(run(module, _ones(inputs, dtype)).sum(), weights)
    return [(weight.detach(), flow) for weight, flow in zip(weights, found, strict=True)]


def _ones(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return tuple(torch.ones_like(part[:1]).to(dtype) if part.is_floating_point() else part[:1] for part in inputs)


def recast(module: nn.Module, dtype: torch.dtype, change: Callable[[Tensor], Tensor] = torch.clone) -> None:
    """Replace parameters by changed ones, in this precision as all buffers are; shared ones stay shared."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for layer in module.modules():
        for name, parameter in layer._parameters.items():
            if parameter is not None:
                changed = nn.Parameter(change(parameter.detach().to(dtype)), parameter.requires_grad)
                layer._parameters[name] = made.setdefault(parameter, changed)
        for name, buffer in layer._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                layer._buffers[name] = buffer.to(dtype)


@torch.no_grad()
def _neutral(norm: BatchNormBase, like: Tensor) -> None:
    """Statistics and scales with which a batch norm in evaluation mode is the identity, also one fused with more."""
    for name, fill in (("running_mean", 0.0), ("running_var", 1 - norm.eps)):
        tracked = norm._buffers[name]
        norm._buffers[name] = like.new_full((norm.num_features,) if tracked is None else tracked.shape, fill)
    for scale, fill in ((norm.weight, 1.0), (norm.bias, 0.0)):
        if scale is not None:
            scale.fill_(fill)
