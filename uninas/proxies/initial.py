"""Initial weights for any module, by name: what a score "at initialisation" depends on.

>>> import torch
>>> layer = torch.nn.Conv2d(8, 4, 3)
>>> initialise(layer, "kaiming_normal_fan_in", torch.Generator().manual_seed(0))
>>> layer.weight.std().item() > layer.bias.abs().max().item() == 0
True
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from uninas.errors import did_you_mean, error, shown
from uninas.initial import OWN, Fans, fill
from uninas.initial import names as names_of_schemes
from uninas.initial import scheme as named_scheme
from uninas.proxies.engine.torch_private import ConvolutionBase, NormBase


@torch.no_grad()
def initialise(module: nn.Module, scheme: str, generator: torch.Generator) -> None:
    """Give the layers of `module` initial weights of the scheme.

    It is one of `uninas.initial`, or `own`, under which nothing changes. Weights are those of convolutions, linear
    layers and the projections of `nn.MultiheadAttention`. Their biases become 0, except under `torch`. Norms of all
    kinds begin with weight 1, bias 0 and fresh statistics. Everything else (embeddings, layer scales, bare parameters)
    stays as it is. The published VKDNW scores of NAS-Bench-201 use `kaiming_normal_fan_in`, NAS-Bench-Suite-Zero
    `torch`.

    A generator of another device draws there. Raises UninasError (UNI010) for an unknown scheme.
    """
    if scheme == OWN:
        return
    names = (OWN, *names_of_schemes())
    if scheme not in names:
        hint = did_you_mean(scheme, names) or f"there are {', '.join(names)}"
        raise error("UNI010", f"there is no scheme of initial weights {shown(scheme)}", None, hint)
    for layer in module.modules():
        if isinstance(layer, ConvolutionBase | nn.Linear):
            _fill(layer, "weight", layer.bias, _fans(layer), scheme, generator)
        elif isinstance(layer, nn.MultiheadAttention):
            _attention(layer, scheme, generator)
        elif isinstance(layer, NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
            _neutral(layer)


def _fans(layer: ConvolutionBase | nn.Linear) -> Fans:
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
    known = named_scheme(scheme)
    variance = (known.convolution if isinstance(layer, ConvolutionBase) else known.linear)(fans)
    assign(layer, name, _drawn(getattr(layer, name), variance, known.uniform, generator))
    if bias is not None:
        if known.biases:
            bias.copy_(_drawn(bias, variance, known.uniform, generator))
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
    return fill(torch.empty(like.shape, dtype=like.dtype, device=generator.device), variance, uniform, generator)


def _neutral(norm: nn.Module) -> None:
    if isinstance(norm, NormBase):
        norm.reset_running_stats()
    for name, value in (("weight", 1.0), ("bias", 0.0)):
        tensor = getattr(norm, name, None)
        if isinstance(tensor, Tensor):
            tensor.fill_(value)
