"""Proxies that only count: parameters, trainable layers, floating-point operations."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from uninas.proxies.base import Inputs, Measured, ProxyError, proxy
from uninas.proxies.vkdnw import trainable_tensors


@proxy("params")
def params(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """The number of parameters; shared ones count once, frozen ones too, buffers never."""
    return sum(parameter.numel() for parameter in module.parameters()), {}


@proxy("trainable_layers")
def trainable_layers(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """The number of trainable parameter tensors, the "layers" of the VKDNW paper."""
    return trainable_tensors(module), {}


@proxy("flops")
def flops(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """Floating-point operations (2 x MACs) of one sample: convolutions, linear layers, matrix products, attention.

    Norms, activations and pooling are not counted. Nothing is computed: torch's own counter follows a copy of
    the module without data, on the meta device; only a module that insists on data is run.
    """
    module.eval()
    one = tuple(part[:1] for part in inputs)
    try:
        counted = _count(_without_data(module), tuple(part.to("meta") for part in one))
    except Exception:  # Whatever a module cannot do without data; a true mistake comes back with data.
        try:
            counted = _count(module, one)
        except Exception as error:
            shapes = ", ".join(str(tuple(part.shape)) for part in one)
            raise ProxyError(f"the module fails on inputs of shape {shapes}: {error}") from error
    return counted, {"macs": counted / 2}


def _count(module: nn.Module, inputs: Inputs) -> int:
    counter = FlopCounterMode(display=False)
    # Attention falls apart into its matrix products, which are counted on every device.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        module(*inputs)
    return int(counter.get_total_flops())


def _without_data(module: nn.Module) -> nn.Module:
    """A copy of `module` whose parameters and buffers have shapes only; they are never duplicated."""
    memo: dict[int, Any] = {id(p): nn.Parameter(_meta(p), p.requires_grad) for p in module.parameters()}
    memo |= {id(buffer): _meta(buffer) for buffer in module.buffers()}
    return copy.deepcopy(module, memo)


def _meta(tensor: Tensor) -> Tensor:
    return tensor.detach().to("meta")
