"""Zen score: how much a small change of the input changes the features (Lin et al., ICCV 2021, algorithm 1).

With Gaussian weights, f(x) the features before global pooling, noise e ~ N(0, 1) and a = 0.01,

    score = ln E ||f(x) - f(x + a e)||_F  +  sum_i ln sqrt(mean_j s_ij^2),

where s_ij^2 is the variance of channel j in the input of batch norm i over the batch. Batch norm hides the scale of
what it normalises; the second term gives it back.

The paper defines it for plain chains of convolutions and removes skip connections before it measures. Here nothing is
removed. Skip connections and pools let features grow from block to block, parallel batch norms add logarithms, and
so the score follows the number of paths rather than what they compute: over the 9 445 networks of NAS-Bench-201,
published Zen scores have a rank correlation of 0.69 with the number of edges that are not `none`, accuracy one of 0.09.

Published code does not compute the formula above. It takes the sum of absolute values for the norm and, for s^2, the
running variance after the two passes: with momentum 0.1 that is 0.81 + 0.19 s^2, which hides small variances.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.engine.torch_private import ConvolutionBase, NormBase
from uninas.proxies.initial import assign
from uninas.proxies.observe.activations import LastMap, prepare, run, stored_statistics
from uninas.proxies.types import Inputs, Measured, ProxyError


@proxy("zen")
def zen(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, noise: float = 0.01, published: bool = False
) -> Measured:
    """Sensitivity of the features before pooling, rescaled by batch norms (Lin et al. 2021).

    The module gets weights of its own for this: N(0, 1) in convolutions and linear layers, biases 0, norms the
    identity; the paper takes the mean over several draws. Features are the last feature map that a pass computes, a
    tensor with two axes longer than 1 besides the batch: for a convolutional network what global pooling reduces, for
    a transformer the last tokens. Norms in the formula are taken per sample; a batch norm whose input is constant has
    no scale to give back and is left out. `published` computes what published code does instead, to compare with its
    scores.

    Computed in the module's own precision. Where features hardly change, rounding decides the first term: in float32
    it is 4 too high for one network of NAS-Bench-201, where scores range from 30 to 270. `module.double()` is exact.

    Components: `sensitivity`, the first term, and `scale`, the second. Raises ProxyError where no feature map is
    computed or the features do not depend on the input.
    """
    if not noise > 0:
        raise ProxyError(f"expected positive noise, but got {noise}")
    prepared = prepare(module, inputs)
    with torch.no_grad():
        _gaussian(module, generator)
        noisy = tuple(_perturbed(part, noise, generator) for part in prepared)
        module.eval()
        with stored_statistics(module) as variances:
            clean = _features(module, prepared)
        spreads = torch.stack([variance.mean() for variance in variances]).tolist() if variances else []
        if published:
            spreads = [0.81 + 0.19 * spread for spread in spreads]
        scale = sum(math.log(spread) / 2 for spread in spreads if spread != 0)
        with stored_statistics(module):
            change = (_features(module, noisy) - clean).flatten(1).norm(p=1 if published else 2, dim=1).mean()
        if change == 0:
            raise ProxyError("the network's features do not depend on its input")
        sensitivity = float(change.log())
    return sensitivity + scale, {"sensitivity": sensitivity, "scale": scale}


def _features(module: nn.Module, inputs: Inputs) -> Tensor:
    last = LastMap(len(inputs[0]))
    run(module, inputs, last)
    if last.value is None:
        raise ProxyError("the network computes no feature map", "it needs a tensor of at least two axes per sample")
    return last.value


def _perturbed(x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x
    return x + noise * torch.randn(x.shape, generator=generator, device=generator.device).to(x)


def _gaussian(module: nn.Module, generator: torch.Generator) -> None:
    for layer in module.modules():
        if isinstance(layer, ConvolutionBase | nn.Linear):
            drawn = torch.randn(layer.weight.shape, generator=generator, device=generator.device)
            assign(layer, "weight", drawn)
        elif isinstance(layer, NormBase | nn.GroupNorm | nn.LayerNorm):
            if layer.weight is not None:
                nn.init.ones_(layer.weight)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
