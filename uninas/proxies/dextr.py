"""Dextr: collinear channels and the curvature of the output, without labels (Asthana et al., TMLR 2025).

With f_l the feature map of layer l for one sample, channels x positions, c_l the ratio of its largest singular value to
its smallest, and kappa the extrinsic curvature of the network's output along a circle of inputs,

    S = ln(1 + sum over layers of 1 / c_l),      C = ln(1 + kappa),      score = S C / (S + C).

Along the circle g(t) = u cos t + w sin t, with u and w random and orthonormal, the output f(g(t)) is a curve with
velocity v and acceleration a, and

    kappa = |v|^-3 sqrt(|v|^2 |a|^2 - (v . a)^2)      (Poole et al., NeurIPS 2016).

The circle itself has curvature 1, so a network that only scales its input by r has 1 / r. The published code looks at
one point of it; here kappa is the mean over a few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare, run
from uninas.proxies.observe.layers import ALL, first_maps, window
from uninas.proxies.synflow import recast
from uninas.proxies.types import Inputs, Measured, ProxyError


@proxy("dextr")
def dextr(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, points: int = 4, layers: Sequence[float] = ALL
) -> Measured:
    """Spread of channels against curvature of the output: a mean of both logarithms (Dextr, Asthana et al. 2025).

    Maps are those of the first sample, batch norms use the statistics of the batch. A layer is a module without modules
    inside that makes a feature map; `layers` is a window of depth: [0.5, 1] are the later half. The curvature is the
    mean over `points` of the circle, at most as many as samples, in float64; third derivatives take much memory.
    Components: `inverse_conditions`, the sum over layers, `curvature`, and the number of `layers`. Raises ProxyError
    for a network without feature maps, with several inputs, or whose output does not change along the circle.
    """
    if points < 1:
        raise ProxyError(f"expected at least 1 point, but got {points}")
    prepared = prepare(module, inputs)
    if len(prepared) != 1 or not prepared[0].is_floating_point():
        raise ProxyError("expected a network with one input of floating-point numbers")
    maps = window(first_maps(module, prepared), layers)
    inverse = sum(map(inverse_condition, maps))
    module.requires_grad_(False)
    recast(module, torch.float64)
    kappa = curvature(module, prepared[0][:points].double(), generator)
    spread, bend = math.log1p(inverse), math.log1p(kappa)
    value = spread * bend / (spread + bend) if spread + bend > 0 else 0.0
    return value, {"inverse_conditions": inverse, "curvature": kappa, "layers": float(len(maps))}


def inverse_condition(matrix: Tensor) -> float:
    """The smallest singular value by the largest one; 0 for a matrix of zeros."""
    values = torch.linalg.svdvals(matrix)
    return float(values[-1] / values[0]) if values[0] > 0 else 0.0


def curvature(module: nn.Module, like: Tensor, generator: torch.Generator) -> float:
    """The mean extrinsic curvature of a module's output over points of a random circle, as many as samples.

    Velocity and acceleration are exact: derivatives by the angle that all points are turned by.
    """
    plane = torch.randn(like[0].numel(), 2, generator=generator, device=generator.device, dtype=torch.float64)
    plane = torch.linalg.qr(plane)[0].to(like)
    turned = like.new_zeros(()).requires_grad_()
    places = torch.arange(len(like), device=like.device, dtype=like.dtype) * (2 * math.pi / len(like)) + turned
    points = torch.stack([places.cos(), places.sin()], 1) @ plane.T
    with sdpa_kernel(SDPBackend.MATH), _Elementary():  # fused kernels have no third derivative
        output = run(module, (points.reshape(like.shape),)).flatten(1)
    velocity = _along(output, turned)
    acceleration = _along(velocity, turned).detach()
    velocity = velocity.detach()
    speed, force = velocity.square().sum(1), acceleration.square().sum(1)
    if not bool((speed > 0).all()):
        raise ProxyError("the network's output does not change with its input")
    across = (speed * force - (velocity * acceleration).sum(1).square()).clamp(min=0).sqrt()
    found = float((across / speed**1.5).mean())
    if not math.isfinite(found):
        raise ProxyError("the curvature of the network's output is not finite", "check its initialisation")
    return found


def _along(values: Tensor, by: Tensor) -> Tensor:
    """The derivatives of all values by one number: backwards twice, as the first way back is linear in its weights."""
    if not values.requires_grad:
        return torch.zeros_like(values)
    weights = torch.zeros_like(values, requires_grad=True)
    total = _grad(values, by, weights)
    found = None if total is None or not total.requires_grad else _grad(total, weights, None)
    return torch.zeros_like(values) if found is None else found


def _grad(values: Tensor, by: Tensor, weights: Tensor | None) -> Tensor | None:
    found: tuple[Tensor | None, ...] = torch.autograd.grad(values, by, weights, create_graph=True, allow_unused=True)
    return found[0]


class _Elementary(TorchFunctionMode):
    """Batch norms in use and hard sigmoids from parts that have derivatives of any order."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called for every function of torch."""
        kwargs = kwargs or {}
        if function is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        if function is F.batch_norm:
            given = {**dict(zip(_BATCH_NORM, args, strict=False)), **kwargs}
            if given.get("training", False):
                return _normed(given["input"], given.get("weight"), given.get("bias"), given.get("eps", 1e-5))
        return function(*args, **kwargs)


_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def _normed(x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> Tensor:
    """A batch norm by the statistics of the batch."""
    axes, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
    centred = x - x.mean(axes, keepdim=True)
    found = centred * (centred.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    found = found if weight is None else found * weight.view(shape)
    return found if bias is None else found + bias.view(shape)
