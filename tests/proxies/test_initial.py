"""Initial weights by name: their distribution, what they touch, and what they leave."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from uninas import UninasError, create_model, load
from uninas.backend import layers
from uninas.initial import names
from uninas.proxies import OWN, SCHEMES, initialise, score

VARIANCES = {  # of a layer with 64 inputs and 32 outputs
    "kaiming_normal_fan_in": 2 / 64,
    "kaiming_normal_fan_out": 2 / 32,
    "kaiming_uniform_fan_in": 2 / 64,
    "kaiming_uniform_fan_out": 2 / 32,
    "xavier_normal": 2 / 96,
    "xavier_uniform": 2 / 96,
    "trunc_normal": 0.02**2,
    "torch": 1 / (3 * 64),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_scheme_is_checked():
    assert {*VARIANCES, "default"} == SCHEMES.keys()


def test_one_name_means_the_same_in_a_network_a_model_and_a_score():
    for name in names():
        ours, theirs = nn.Conv2d(6, 40, 3), nn.Conv2d(6, 40, 3)
        initialise(ours, name, seeded(3))
        layers.initialise(theirs, name, seeded(3))
        assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
        text = f"network n {{ input 3 x 8 x 8 init {name} stem conv(4, 3) -> relu head global_avg_pool -> linear(3) }}"
        assert load(text).init == name


def test_the_default_scheme_is_another_for_linear_layers():
    for kind, layer in {"conv": nn.Conv2d(16, 32, 2), "linear": nn.Linear(64, 320)}.items():
        initialise(layer, "default", seeded())
        variance = 2 / (32 * 4) if kind == "conv" else 0.02**2
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(variance), rel=0.06)


@pytest.mark.parametrize("scheme", VARIANCES)
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Linear(64, 32),
        lambda: nn.Conv2d(16, 8, 2),
        lambda: nn.Conv1d(128, 64, 2, groups=4),
        lambda: nn.Conv3d(8, 4, 2),
        lambda: nn.ConvTranspose2d(16, 8, 2),
    ],
    ids=["linear", "conv", "grouped", "3d", "transposed"],
)
def test_the_variance_of_a_scheme(scheme: str, layer):
    module = layer()
    initialise(module, scheme, seeded())
    weight = module.weight.detach()
    deviation = math.sqrt(VARIANCES[scheme])
    assert float(weight.std()) == pytest.approx(deviation, rel=0.06)
    assert abs(float(weight.mean())) < 4 * deviation / math.sqrt(weight.numel())
    bounded = "uniform" in scheme or scheme == "torch"
    assert (float(weight.abs().max()) <= math.sqrt(3) * deviation * (1 + 1e-6)) is bounded
    assert bool(module.bias.any()) is (scheme == "torch")


def test_torch_is_what_torch_does():
    ours, theirs = nn.Conv2d(6, 400, 3), nn.Conv2d(6, 400, 3)
    initialise(ours, "torch", seeded())
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert float(one.abs().max().detach()) == pytest.approx(float(other.abs().max().detach()), rel=0.02)
        assert float(one.std().detach()) == pytest.approx(float(other.std().detach()), rel=0.1)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4)]
)
def test_norms_begin_as_one_and_zero(norm: nn.Module):
    for tensor in norm.state_dict().values():
        tensor.fill_(5)
    initialise(norm, "xavier_normal", seeded())
    expected = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
    assert all((tensor == expected[name]).all() for name, tensor in norm.state_dict().items())


@pytest.mark.parametrize("kdim", [None, 8])
def test_attention_projections(kdim: int | None):
    module = nn.MultiheadAttention(32, 4, kdim=kdim, add_bias_kv=True)
    initialise(module, "kaiming_normal_fan_in", seeded())
    matrices = [p for name, p in module.named_parameters() if name.endswith("weight")]
    assert len(matrices) == (2 if kdim is None else 4)
    for matrix in matrices:
        assert float(matrix.std().detach()) == pytest.approx(math.sqrt(2 / matrix.shape[1]), rel=0.15)
    assert not any(p.any() for name, p in module.named_parameters() if "bias" in name)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "computed",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda layer: prune.identity(layer, "weight"),
    ],
)
def test_weights_that_are_computed_from_others_are_initialised(computed):
    plain, layer = nn.Linear(64, 32), computed(nn.Linear(64, 32)).eval()
    for one in (plain, layer):
        initialise(one, "xavier_normal", seeded())
    layer(torch.zeros(1, 64))  # older ones are computed in a pass
    ratio = layer.weight / plain.weight  # spectral_norm divides all by an estimate of the largest singular value
    assert torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-4)
    assert computed is nn.utils.spectral_norm or torch.allclose(ratio, torch.ones(1))


def test_everything_else_stays():
    module = nn.Sequential(nn.Embedding(3, 4), nn.PReLU())
    module.scale = nn.Parameter(torch.full((4,), 0.1))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    initialise(module, "xavier_normal", seeded())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_own_changes_nothing_and_seeds_repeat():
    module = nn.Linear(3, 4)
    before = module.weight.detach().clone()
    initialise(module, OWN, seeded())
    assert torch.equal(module.weight, before)
    drawn = []
    for seed in (1, 1, 2):
        initialise(module, "xavier_uniform", seeded(seed))
        drawn.append(module.weight.detach().clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("fold", [False, True])
def test_folded_heads_have_the_fans_of_one(fold: bool):
    text = "block A { input 32 x 4 x 4  out = in -> split(16) -> each x { out = x -> conv(64, 3) } -> concat }"
    model = create_model(text, fold=fold)
    initialise(model, "kaiming_normal_fan_in", seeded())
    weights = [p for p in model.parameters() if p.ndim > 2]
    assert len(weights) == (1 if fold else 2)
    for weight in weights:
        assert float(weight.std().detach()) == pytest.approx(math.sqrt(2 / (16 * 9)), rel=0.05)


def test_an_unknown_scheme_is_an_error():
    with pytest.raises(UninasError, match=r"no scheme of initial weights xaviour\n.*did you mean 'xavier'"):
        initialise(nn.Linear(2, 2), "xaviour", seeded())
    with pytest.raises(UninasError, match="no scheme of initial weights"):
        score("params", nn.Linear(2, 2), torch.ones(1, 2), init="?")
