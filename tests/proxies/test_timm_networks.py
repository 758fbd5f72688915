"""Derivatives and FLOPs of timm's networks, against reverse mode and torch's own counter.

benchmarks/sweep_timm.py does the same with one network of every family.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from uninas.proxies import logit_jacobian, score
from uninas.proxies.engine.aten_graph import differentiable_kernels
from uninas.proxies.vkdnw import chosen_weights

timm = pytest.importorskip("timm")

TENSORS = 12
SMALLER = {"efficientvit_b0": 96, "edgenext_xx_small": 96}  # sides of images, of networks that take any


def example(name: str, samples: int = 2) -> tuple[nn.Module, Tensor]:
    """A network in which nothing begins at zero, as heads and scales do in some, and images."""
    model = timm.create_model(name).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim < 2 or not parameter.any():
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    channels, *sides = model.default_cfg["input_size"]
    return model, torch.randn(samples, channels, *([SMALLER.get(name, side) for side in sides]), generator=generator)


def derivative_error(model: nn.Module, x: Tensor) -> float:
    """The error of the Jacobian along one direction of the logits, as a part of its norm, in float64."""
    model, x = model.double(), x.double()
    weights = chosen_weights(model, TENSORS)
    values = logit_jacobian(model, (x,), weights, dtype=torch.float64).values
    direction = torch.randn(values.shape[:2], generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    parameters = dict(model.named_parameters())
    with differentiable_kernels():
        loss = (model(x) * direction).sum()
    slopes = torch.autograd.grad(loss, [parameters[weight.name] for weight in weights], allow_unused=True)
    expected = torch.stack([x.new_zeros(()) if slope is None else slope.flatten()[0] for slope in slopes])
    found = torch.einsum("nkp,nk->p", values, direction)
    assert expected.norm() > 0
    return float((found - expected).norm() / expected.norm())


def counted(model: nn.Module, x: Tensor) -> int:
    """FLOPs of one sample by torch."""
    model.requires_grad_(False)  # the counter falls over weights that are passed from module to module
    with differentiable_kernels(), FlopCounterMode(display=False) as counter:
        model(x[:1])
    model.requires_grad_(True)
    return int(counter.get_total_flops())


@pytest.mark.parametrize(
    "name",
    [
        "test_vit", "test_convnext", "test_efficientnet", "test_byobnet", "test_mambaout", "test_resnet", "test_nfnet",
        "efficientvit_b0",  # attention without softmax: pads with ones
        "efficientvit_m0",  # keeps tables from one use to the next
        "edgenext_xx_small",  # unit vectors in its attention
    ],
)  # fmt: skip
def test_derivatives_and_flops(name: str):
    model, x = example(name)
    assert score("flops", model, x).value == counted(model, x)
    assert score("vkdnw", model, x, max_tensors=TENSORS).value > 0
    assert derivative_error(model, x) < 1e-5  # some cast to float32 on the way
