"""Scores of the weights and their gradients: how much the loss feels each weight, before any training.

With w the weights, L the mean cross-entropy of the batch, g = dL/dw and H the Hessian of L by w:

    l2_norm    sum over tensors of ||w||
    grad_norm  sum over tensors of ||g||
    plain      sum of w g
    snip       sum of |w g|            (Lee et al., ICLR 2019, not normalised)
    grasp      sum of -w (H g)         (Wang et al., ICLR 2020)

These are the conventions of Abdelfattah et al. (ICLR 2021) and NAS-Bench-Suite-Zero (Krishnakumar et al. 2022): one
sum over all filters and matrices, and grasp with the sign of the paper, which counts as better where it is higher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare
from uninas.proxies.observe.gradients import Labels, added, derivatives, loss, weights_of
from uninas.proxies.observe.layers import ALL, window
from uninas.proxies.types import Direction, Inputs, Measured


@proxy("l2_norm")
def l2_norm(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, min_ndim: int = 2, layers: Sequence[float] = ALL
) -> Measured:
    """Sum over the weight tensors of their Euclidean norms (Abdelfattah et al. 2021); the batch is not used."""
    return added(weight.detach().double().norm() for weight in window(weights_of(module, min_ndim), layers)), {}


def sensitivity(name: str, direction: Direction = "higher") -> Callable[[Callable[[Tensor, Tensor], Tensor]], Any]:
    """Register as a proxy: the sum over weight tensors of what a function makes of one and its loss gradient."""

    def register(of_pair: Callable[[Tensor, Tensor], Tensor]) -> Any:
        def measured(
            module: nn.Module, inputs: Inputs, generator: torch.Generator, *, labels: Labels = None, min_ndim: int = 2,
            layers: Sequence[float] = ALL,
        ) -> Measured:  # fmt: skip
            weights = window(weights_of(module, min_ndim), layers)
            gradients = derivatives(loss(module, prepare(module, inputs), generator, labels), weights)
            return added(of_pair(w.detach(), g) for w, g in zip(weights, gradients, strict=True)), {}

        measured.__name__, measured.__doc__ = of_pair.__name__, of_pair.__doc__
        return proxy(name, direction=direction)(measured)

    return register


@sensitivity("grad_norm")
def grad_norm(weight: Tensor, gradient: Tensor) -> Tensor:
    """Sum over the weight tensors of the Euclidean norms of the loss gradient (Abdelfattah et al. 2021).

    Loss, `labels`, weights (`min_ndim`, `layers`) and mode are those of `snip`.
    """
    norm: Tensor = gradient.norm()
    return norm


@sensitivity("plain", direction="lower")
def plain(weight: Tensor, gradient: Tensor) -> Tensor:
    """Sum of weight times loss gradient (Mozer & Smolensky, NeurIPS 1988; Abdelfattah et al. 2021).

    Loss, `labels`, weights (`min_ndim`, `layers`) and mode are those of `snip`. Where the function does not
    change with the scale of its weights, as before a batch norm, the sum over them is zero: what remains comes from
    the last layers, and most of that from the choice of the labels. Lower is better in the published scores of
    NAS-Bench-201 (Spearman -0.35 with the accuracies on CIFAR-10 over 9 445 cells, -0.34 on ImageNet16-120).
    """
    return (weight * gradient).sum()


@sensitivity("snip")
def snip(weight: Tensor, gradient: Tensor) -> Tensor:
    """Sum of the magnitudes of weight times loss gradient, the connection sensitivity (Lee et al., ICLR 2019).

    The loss is the mean cross-entropy against `labels` (N integers), by default those that come with the images, or
    else drawn uniformly from the generator; labels=random draws them in any case. Weights are trainable parameters of
    at least `min_ndim` axes, of them those in a window of depth: `layers` [0.5, 1] are the later half. Batch norms use
    the statistics of the batch, as in training; dropout is off. Raises ProxyError unless the output is finite logits
    (N, K), K > 1.
    """
    return (weight * gradient).abs().sum()


@proxy("grasp")
def grasp(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, labels: Labels = None, min_ndim: int = 2
) -> Measured:
    """Sum of -w (H g): how much removing the weights would change the flow of gradients (Wang et al., ICLR 2020).

    H g is the derivative of g . stop(g), a second backward pass; logits are not divided by a temperature. Loss,
    `labels`, weights (`min_ndim`) and mode are those of `snip`. Raises ProxyError also where an
    operation of the module has no second derivative.
    """
    weights = weights_of(module, min_ndim)
    prepare(module, inputs)  # but in the layout given, which is a quarter faster: second derivatives come out in that
    with sdpa_kernel(SDPBackend.MATH), _TwiceDifferentiable():  # fused attention has no second derivative
        entropy = loss(module, inputs, generator, labels)
        gradients = derivatives(entropy, weights, differentiable=True)
    flow = torch.stack([(gradient * gradient.detach()).sum() for gradient in gradients]).sum()
    products = derivatives(flow, weights)
    return -added((w.detach() * product).sum() for w, product in zip(weights, products, strict=True)), {}


class _TwiceDifferentiable(TorchFunctionMode):
    """Hard sigmoids, as MobileNetV3 has, from parts that have second derivatives: torch has none for the whole."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called for every function of torch."""
        if function is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return function(*args, **(kwargs or {}))
