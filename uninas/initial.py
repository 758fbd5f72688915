"""Initial weights by name: one vocabulary for networks (`init kaiming_fan_in`), models and scores.

| scheme | convolutions | linear layers |
|---|---|---|
| default | N(0, 2 / fan-out) | N(0, 0.02^2) |
| kaiming_normal_fan_in, _fan_out | N(0, 2 / fan) (He et al. 2015, equations 10 and 14) | the same |
| kaiming_uniform_fan_in, _fan_out | U(-b, b), b^2 = 6 / fan | the same |
| xavier_normal | N(0, 2 / (fan-in + fan-out)) | the same |
| xavier_uniform | U(-b, b), b^2 = 6 / (fan-in + fan-out) (Glorot & Bengio 2010, equation 16) | the same |
| trunc_normal | N(0, 0.02^2) | the same |
| torch | U(-b, b), b^2 = 1 / fan-in, also the bias: what torch's layers do by themselves | the same |

`kaiming_fan_in`, `kaiming_fan_out` and `xavier` are short for kaiming_normal_fan_in, kaiming_normal_fan_out and
xavier_uniform. Fans of a grouped convolution are those of one group. `trunc_normal` cuts nothing off, as in timm, whose
cut at 2 lies a hundred standard deviations away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from uninas.plugins import Registry

if TYPE_CHECKING:
    from torch import Generator, Tensor

OWN = "own"
"""The name for weights as they are: by the scheme that a network names, or as a module has them."""


class Fans(NamedTuple):
    """The fan-in and fan-out of a layer: inputs that an output sums over, and outputs that an input goes to."""

    into: float
    out: float


Variance = Callable[[Fans], float]


class Scheme(NamedTuple):
    """The variance of a weight in a convolution and in a linear layer, and whether it is uniform."""

    convolution: Variance
    linear: Variance
    uniform: bool = False
    biases: bool = False
    """Whether biases are drawn like weights; else they are 0."""


def _same(variance: Variance, uniform: bool = False, biases: bool = False) -> Scheme:
    return Scheme(variance, variance, uniform, biases)


SCHEMES: Registry[Scheme] = Registry("scheme of initial weights", {
    "default": Scheme(lambda fans: 2 / fans.out, lambda fans: 0.02**2),
    "kaiming_normal_fan_in": _same(lambda fans: 2 / fans.into),
    "kaiming_normal_fan_out": _same(lambda fans: 2 / fans.out),
    "kaiming_uniform_fan_in": _same(lambda fans: 2 / fans.into, uniform=True),
    "kaiming_uniform_fan_out": _same(lambda fans: 2 / fans.out, uniform=True),
    "xavier_normal": _same(lambda fans: 2 / (fans.into + fans.out)),
    "xavier_uniform": _same(lambda fans: 2 / (fans.into + fans.out), uniform=True),
    "trunc_normal": _same(lambda fans: 0.02**2),
    "torch": _same(lambda fans: 1 / (3 * fans.into), uniform=True, biases=True),
})  # fmt: skip
SHORT: Mapping[str, str] = {
    "kaiming_fan_in": "kaiming_normal_fan_in",
    "kaiming_fan_out": "kaiming_normal_fan_out",
    "xavier": "xavier_uniform",
}


def names() -> tuple[str, ...]:
    """All names of schemes, the short ones last."""
    return (*SCHEMES, *SHORT)


def scheme(name: str) -> Scheme:
    """The scheme of one of `names()`; KeyError for others."""
    return SCHEMES[SHORT.get(name, name)]


def fill(tensor: Tensor, variance: float, uniform: bool, generator: Generator) -> Tensor:
    """Draw all numbers of a tensor, in place, with mean 0 and this variance."""
    if uniform:
        bound = math.sqrt(3 * variance)
        return tensor.uniform_(-bound, bound, generator=generator)
    return tensor.normal_(std=math.sqrt(variance), generator=generator)
