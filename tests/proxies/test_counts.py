"""Counting proxies against sums by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import uninas
from uninas.proxies import ProxyError, same_structure, score


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


class Product(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


class LooksAtValues(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight
        self.a.bias.requires_grad_(False)


def test_shared_parameters_count_once_and_frozen_ones_are_no_layers():
    assert score("params", Tied(), torch.ones(1, 4)).value == 4 * 4 + 4
    assert score("trainable_layers", Tied(), torch.ones(1, 4)).value == 1


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.Linear(5, 7), (3, 5), 5 * 7),
        (nn.Conv2d(4, 8, 3, groups=2), (2, 4, 6, 6), 8 * (4 // 2) * 9 * 4 * 4),
        (nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)), (2, 4, 6, 6), 0),
        (Attention(), (2, 3, 10, 4), 2 * 3 * 10 * 10 * 4),
        (LooksAtValues(5, 7), (3, 5), 5 * 7),
    ],
)
def test_flops_are_two_per_multiply_accumulate_of_one_sample(module: nn.Module, shape: tuple[int, ...], macs: int):
    result = score("flops", module, torch.ones(shape))
    assert result.value == 2 * macs
    assert result.components == {"macs": macs}


@pytest.mark.parametrize("name", ["resnet18", "coatnet", "mobilenetv2_100", "vit_small_patch16_224"])
def test_flops_of_networks_are_what_torch_counts(name: str):
    model = uninas.create_model(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    assert score("flops", model, torch.zeros(2, 3, 224, 224)).value == counter.get_total_flops() > 1e8


def test_a_structure_that_shall_stay_is_read_once_and_otherwise_each_time():
    calls: list[torch.Size] = []
    module = nn.Sequential(nn.Linear(5, 7))
    module.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].shape))
    x = torch.ones(2, 5)
    with same_structure():
        assert score("flops", module, x).value == score("complexity", module, x).value == 2 * 5 * 7
    assert len(calls) == 1
    module.append(nn.Linear(7, 3))
    assert score("flops", module, x).value == 2 * (5 * 7 + 7 * 3)


def test_flops_of_several_inputs():
    assert score("flops", Product(), (torch.ones(5, 2, 3), torch.ones(5, 3, 4))).value == 2 * 2 * 3 * 4


def test_flops_of_a_module_that_fails_is_an_error():
    with pytest.raises(ProxyError, match=r"the module fails on inputs of shape \(1, 4\)"):
        score("flops", nn.Linear(5, 7), torch.ones(2, 4))
