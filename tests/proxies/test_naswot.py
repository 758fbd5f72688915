"""NASWOT, linear regions and SWAP: binary codes counted by hand, on every way to write an activation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uninas.proxies import ProxyError, score
from uninas.proxies.naswot import agreement
from uninas.proxies.observe.activations import prepare


class Lambda(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


SIGNS = torch.tensor([[1.0, 1, 1], [1, 1, -1], [-1, 1, 1]])
"""Hamming distances 1, 1 and 2, so K = [[3, 2, 2], [2, 3, 1], [2, 1, 3]] and det K = 8."""


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        nn.LeakyReLU(),
        nn.PReLU(),
        nn.ELU(),
        nn.CELU(),
        nn.SELU(),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.SiLU(inplace=True),
        nn.Mish(),
        nn.Hardswish(),
        Lambda(F.relu),
        Lambda(torch.relu_),
        Lambda(lambda x: x.relu()),
        torch.compile(nn.ReLU(), backend="eager"),
        nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.Softplus()),
    ],
)
def test_the_closed_form_of_three_codes(activation: nn.Module):
    result = score("naswot", activation, SIGNS.clone())
    assert result.value == pytest.approx(math.log(8))
    assert result.components == {"units": 3}


def test_codes_of_all_activations_are_joined():
    seen = agreement(nn.Sequential(nn.ReLU(), Lambda(lambda x: x - 0.5), nn.ReLU(), nn.Flatten()), (SIGNS,))
    assert seen.counts.tolist() == [[6, 4, 4], [4, 6, 2], [4, 2, 6]]


def test_the_count_is_that_of_the_definition():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.GELU(), nn.Flatten())
    x = torch.randn(5, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    seen = agreement(model, prepare(model, (x,)))
    with torch.no_grad():
        first = model[1](model[0](x))
        second = model[3](model[2](first))
    codes = torch.cat([(part > 0).flatten(1) for part in (first, second)], 1)
    expected = (codes[:, None] == codes[None]).sum(2)
    assert seen.units == codes.shape[1]
    assert (seen.counts - expected).abs().max() <= 2  # rounding may switch a unit that is all but zero


@pytest.mark.parametrize("name", ["naswot", "linear_regions", "swap"])
def test_the_order_of_the_batch_does_not_matter(name: str):
    model = nn.Sequential(nn.Linear(4, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU()).double()
    x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert score(name, model, x.flip(0)).value == pytest.approx(score(name, model, x).value, rel=1e-12)


def test_scaling_a_layer_by_a_positive_number_changes_no_code():
    model = nn.Sequential(nn.Linear(4, 20, bias=False), nn.ReLU(), nn.Linear(20, 20, bias=False), nn.ReLU())
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    before = score("naswot", model, x).value
    model[0].weight.data *= 8
    assert score("naswot", model, x).value == before


def test_a_module_that_insists_on_the_usual_layout_keeps_it():
    relu_of_rows = nn.Sequential(nn.Conv2d(3, 4, 3), Lambda(lambda x: x.view(len(x), -1)), nn.ReLU())
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert score("naswot", relu_of_rows, x).components["units"] == 4 * 6 * 6


def test_a_transformer_layer_is_not_hidden_by_its_fast_path():
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
    x = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    assert score("naswot", layer, x).components["units"] == 5 * 16
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("module", "x", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.Tanh()), SIGNS, "no activation that switches units on and off"),
        (nn.ReLU(), SIGNS[[0, 1, 0]], "codes of 3 samples over 3 units are not independent"),
        (nn.Sequential(nn.Linear(5, 3), nn.ReLU()), SIGNS, r"the module fails on inputs of shape \(3, 3\)"),
        (Lambda(lambda x: {"logits": x.relu()}), SIGNS, "one tensor with a row for each sample, but got a dict"),
        (Lambda(lambda x: x.relu().sum(0)), SIGNS[:2], r"a row for each sample, but got shape \(3,\)"),
        (nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()), SIGNS[:1], "Expected more than 1 value per channel"),
    ],
)
def test_where_there_is_no_score_the_error_says_why(module: nn.Module, x: Tensor, message: str):
    with pytest.raises(ProxyError, match=message):
        score("naswot", module, x)


def test_linear_regions_counts_different_codes():
    x = SIGNS[[0, 1, 0, 2, 0]]
    assert score("linear_regions", nn.ReLU(), x).value == 3
    assert score("linear_regions", nn.ReLU(), x[[0, 2, 4]]).value == 1


def test_linear_regions_of_a_line_of_units_by_enumeration():
    """Three thresholds cut the line into four regions, however many samples are drawn."""
    line = nn.Linear(1, 3).requires_grad_(False)
    line.weight.fill_(1)
    line.bias.copy_(torch.tensor([-0.5, 0.0, 0.5]))
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), line, nn.ReLU())
    x = torch.zeros(1, 1, 8, 8)
    assert score("linear_regions", model, x, samples=500, size=1).value == 4
    assert score("linear_regions", model, x, samples=500, size=1).components == {"units": 3}


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (SIGNS, {"samples": -1}, "samples and size of at least 0, but got -1 and 0"),
        (SIGNS, {"samples": 5, "size": 2}, "expected images to draw others like them"),
    ],
)
def test_linear_regions_of_unfit_options(x: Tensor, options: dict[str, int], message: str):
    with pytest.raises(ProxyError, match=message):
        score("linear_regions", nn.ReLU(), x, **options)


def test_swap_counts_different_columns():
    """Over all layers: the columns of SIGNS are three, a shift by 0.5 repeats them, and one by 2 switches all on."""
    assert score("swap", nn.ReLU(), SIGNS).value == 3
    again = nn.Sequential(nn.ReLU(), Lambda(lambda x: x - 0.5), nn.ReLU())
    assert score("swap", again, SIGNS).value == 3
    assert score("swap", nn.Sequential(nn.ReLU(), Lambda(lambda x: x - 2), nn.ReLU()), SIGNS).value == 4
    assert score("swap", again, SIGNS).components == {"units": 6}


def test_swap_looks_at_some_samples():
    few, many = (score("swap", nn.ReLU(), torch.eye(20) - 0.5, samples=samples).value for samples in (3, 20))
    assert (few, many) == (4, 20)
    assert score("swap", nn.ReLU(), torch.eye(20) - 0.5).value == 17
    with pytest.raises(ProxyError, match="expected at least 1 sample, but got 0"):
        score("swap", nn.ReLU(), SIGNS, samples=0)


def test_swap_tells_samples_beyond_the_first_eight_apart():
    x = torch.cat([torch.ones(10, 3), torch.tensor([[1.0, -1, 1]])])
    assert score("swap", nn.ReLU(), x).value == 2
