"""Proxies that only count: parameters, trainable layers, floating-point operations."""

from __future__ import annotations

import logging

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from uninas.proxies.base import proxy
from uninas.proxies.engine.aten_graph import as_function, differentiable_kernels
from uninas.proxies.engine.trace import flops_of
from uninas.proxies.guard import failure, of_structure
from uninas.proxies.types import Inputs, Measured
from uninas.proxies.vkdnw import trainable_tensors

logger = logging.getLogger(__name__)


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

    Norms, activations and pooling are not counted. Nothing is computed: torch's formulas are asked for every operation
    that the module does on tensors without data; only a module that insists on data is run.
    """
    counted = _flops(module, inputs)
    return counted, {"macs": counted / 2}


@of_structure
def _flops(module: nn.Module, inputs: Inputs) -> int:
    module.eval()
    one = tuple(part[:1] for part in inputs)
    weights = dict(module.named_parameters())
    with differentiable_kernels():  # attention falls apart into its matrix products, which are counted on every device
        try:
            return flops_of(as_function(module, list(weights)), (*weights.values(), *one))
        except Exception:  # Whatever a module cannot do without data; a true mistake comes back with data.
            logger.debug("the module cannot be counted without data, and is run", exc_info=True)
            return _counted(module, one)


def _counted(module: nn.Module, inputs: Inputs) -> int:
    """What torch counts while the module runs."""
    counter = FlopCounterMode(display=False)
    module.requires_grad_(False)  # the counter falls over weights that are passed from module to module
    try:
        with counter:
            module(*(part.clone() for part in inputs))  # which the module may write into
    except Exception as error:  # the code of others: anything may come
        raise failure(inputs, error) from error
    return int(counter.get_total_flops())
