"""Initial weights for any module, by name: what a score "at initialisation" depends on.

>>> import torch
>>> layer = torch.nn.Conv2d(8, 4, 3)
>>> initialise(layer, "kaiming_normal_fan_in", torch.Generator().manual_seed(0))
>>> layer.weight.std().item() > layer.bias.abs().max().item() == 0
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from uninas.errors import did_you_mean, error, shown


class Fans(NamedTuple):
    """How many inputs an output of a layer sums over, and how many outputs an input goes to."""

    into: float
    out: float


Variance = Callable[[Fans], float]

SCHEMES: Mapping[str, tuple[Variance, bool]] = {  # the variance of a weight, and whether it is uniform
    "kaiming_normal_fan_in": (lambda fans: 2 / fans.into, False),
    "kaiming_normal_fan_out": (lambda fans: 2 / fans.out, False),
    "kaiming_uniform_fan_in": (lambda fans: 2 / fans.into, True),
    "kaiming_uniform_fan_out": (lambda fans: 2 / fans.out, True),
    "xavier_normal": (lambda fans: 2 / (fans.into + fans.out), False),
    "xavier_uniform": (lambda fans: 2 / (fans.into + fans.out), True),
    "torch": (lambda fans: 1 / (3 * fans.into), True),
}

OWN = "own"
"""The name for weights as they are."""


@torch.no_grad()
def initialise(module: nn.Module, scheme: str, generator: torch.Generator) -> None:
    """Give the layers of `module` initial weights of the scheme.

    own                              nothing changes
    kaiming_normal_fan_in, _fan_out  N(0, 2 / fan)             (He et al. 2015, equations 10 and 14)
    kaiming_uniform_fan_in, ...      U(-b, b), b^2 = 6 / fan
    xavier_normal                    N(0, 2 / (fan-in + fan-out))
    xavier_uniform                   U(-b, b), b^2 = 6 / (fan-in + fan-out)    (Glorot & Bengio 2010, equation 16)
    torch                            U(-b, b), b^2 = 1 / fan-in, also the bias: what torch's layers do by themselves

    Weights are those of convolutions, linear layers and the projections of `nn.MultiheadAttention`; fans of a grouped
    convolution are those of one group. Their biases become 0, except under `torch`. Norms of all kinds begin with
    weight 1, bias 0 and fresh statistics. Everything else (embeddings, layer scales, bare parameters) stays as it is.
    The published VKDNW scores of NAS-Bench-201 use `kaiming_normal_fan_in`, NAS-Bench-Suite-Zero `torch`.

    A generator of another device draws there. Raises UninasError (UNI010) for an unknown scheme.
    """
    if scheme == OWN:
        return
    if scheme not in SCHEMES:
        names = (OWN, *SCHEMES)
        hint = did_you_mean(scheme, names) or f"there are {', '.join(names)}"
        raise error("UNI010", f"there is no scheme of initial weights {shown(scheme)}", None, hint)
    for layer in module.modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            _fill(layer, "weight", layer.bias, _fans(layer), scheme, generator)
        elif isinstance(layer, nn.MultiheadAttention):
            _attention(layer, scheme, generator)
        elif isinstance(layer, _NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
            _neutral(layer)


def _fans(layer: _ConvNd | nn.Linear) -> Fans:
    if isinstance(layer, nn.Linear):
        return Fans(layer.in_features, layer.out_features)
    positions = math.prod(layer.kernel_size)
    return Fans(layer.in_channels * positions / layer.groups, layer.out_channels * positions / layer.groups)


def _attention(layer: nn.MultiheadAttention, scheme: str, generator: torch.Generator) -> None:
    """The three input projections, E x E, as one matrix or apart; the output projection is a linear layer inside."""
    for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        matrix: Tensor | None = getattr(layer, name)
        if matrix is not None:
            _fill(layer, name, None, Fans(matrix.shape[1], layer.embed_dim), scheme, generator)
    for bias in (layer.in_proj_bias, layer.bias_k, layer.bias_v):
        if bias is not None:
            bias.zero_()


def _fill(
    layer: nn.Module, name: str, bias: Tensor | None, fans: Fans, scheme: str, generator: torch.Generator
) -> None:
    variance, uniform = SCHEMES[scheme]
    assign(layer, name, _drawn(getattr(layer, name), variance(fans), uniform, generator))
    if bias is not None:
        if scheme == "torch":
            bias.copy_(_drawn(bias, variance(fans), uniform, generator))
        else:
            bias.zero_()


@torch.no_grad()
def assign(layer: nn.Module, name: str, value: Tensor) -> None:
    """Give a layer a weight of this value, also where it is computed from others: normalised, or pruned."""
    own = layer._parameters
    if is_parametrized(layer, name):
        setattr(layer, name, value.to(getattr(layer, name)))
    elif f"{name}_v" in own:  # weight_norm, as it was before parametrizations
        length, direction = own[f"{name}_g"], own[f"{name}_v"]
        assert length is not None and direction is not None
        direction.copy_(value)
        length.copy_(value.norm(dim=[d for d, size in enumerate(length.shape) if size == 1], keepdim=True))
    else:
        getattr(layer, f"{name}_orig" if f"{name}_orig" in own else name).copy_(value)


def _drawn(like: Tensor, variance: float, uniform: bool, generator: torch.Generator) -> Tensor:
    drawn = torch.empty(like.shape, dtype=like.dtype, device=generator.device)
    if uniform:
        bound = math.sqrt(3 * variance)
        drawn.uniform_(-bound, bound, generator=generator)
    else:
        drawn.normal_(std=math.sqrt(variance), generator=generator)
    return drawn


def _neutral(norm: nn.Module) -> None:
    if isinstance(norm, _NormBase):
        norm.reset_running_stats()
    for name, fill in (("weight", 1.0), ("bias", 0.0)):
        tensor = getattr(norm, name, None)
        if isinstance(tensor, Tensor):
            tensor.fill_(fill)
