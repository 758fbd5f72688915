"""Newer proxies against small computations of their papers' formulas that share nothing with ours."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import uninas
from uninas.proxies import ProxyError, score
from uninas.proxies.attention import lowered
from uninas.proxies.dextr import curvature
from uninas.proxies.observe.layers import window
from uninas.testing import check_proxy


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(module: nn.Module) -> nn.Module:
    """The same with weights drawn by a seed."""
    for number, parameter in enumerate(module.parameters()):
        parameter.data.copy_(0.5 * noise(*parameter.shape, seed=number))
    return module


def convolutions() -> nn.Module:
    return made(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))
    )


class Attentive(nn.Module):
    """Two heads, a norm, a projection, and a layer that is none of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.end = nn.Linear(6, 18), nn.Linear(6, 6), nn.Linear(6, 4)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and outputs of the heads."""
        q, k, v = self.qkv(x).reshape(len(x), -1, 3, 2, 3).permute(2, 0, 3, 1, 4)
        maps = (q @ k.transpose(2, 3) / 3**0.5).softmax(3)
        return maps, maps @ v

    def after(self, found: Tensor) -> Tensor:
        joined = found.transpose(1, 2).flatten(2)
        return self.end(self.proj(joined).mean(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.heads(x)[1])


# ---- windows ---------------------------------------------------------------------------------------------------------


def test_a_window_has_the_layers_between_two_depths():
    assert [len(window(range(count), (0.25, 0.75))) for count in (1, 2, 3, 4, 8)] == [1, 2, 3, 2, 4]
    assert window(range(10), (0.9, 1.0)) == range(9, 10)
    for wrong in ((0.5,), (0.5, 0.5), (-0.1, 1), (0.2, 1.1)):
        with pytest.raises(ProxyError, match="from one depth to a larger one"):
            window(range(3), wrong)


@pytest.mark.parametrize("name", ["l2_norm", "grad_norm", "snip", "plain", "zico", "synflow"])
def test_sums_over_weights_have_a_part_of_every_layer(name: str):
    module, x = convolutions(), noise(6, 3, 8, 8)
    parts = [score(name, module, x, layers=(n / 3, (n + 1) / 3)).value for n in range(3)]
    assert sum(parts) == pytest.approx(score(name, module, x).value, rel=1e-6)


@pytest.mark.parametrize("name", ["meco", "near", "l_swag"])
def test_halves_of_the_layers_make_the_whole(name: str):
    module, x = convolutions(), noise(6, 3, 8, 8)
    halves = [score(name, module, x, layers=depths) for depths in ((0, 0.5), (0.5, 1))]
    whole = score(name, module, x)
    if name == "l_swag":  # a product, of which one factor is a sum
        parts, total = [one.components["trainability"] for one in halves], whole.components["trainability"]
        assert sum(parts) == pytest.approx(total + parts[0] / 2, rel=0.5)  # three tensors: the middle one is in both
    elif name == "meco":  # near draws its rows anew
        assert sum(one.value for one in halves) == pytest.approx(whole.value)
    assert all(0 < one.value < whole.value for one in halves)


# ---- features --------------------------------------------------------------------------------------------------------


def test_meco_is_the_least_eigenvalue_of_the_correlations_of_each_layer():
    module, x = convolutions(), noise(6, 3, 8, 8)
    expected, value = 0.0, x
    for layer in module[:4]:
        value = layer(value)
        correlations = np.nan_to_num(np.corrcoef(value[0].flatten(1).detach().double().numpy()))
        expected += np.linalg.eigvalsh(correlations)[0]
    assert score("meco", module, x).value == pytest.approx(expected, rel=1e-6)


def test_meco_reads_channels_wherever_they_are():
    last = made(nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Flatten(), nn.Linear(90, 4)))
    tokens = noise(4, 5, 6, 3)
    expected = 0.0
    for value in (last[0](tokens), last[1](last[0](tokens))):
        expected += np.linalg.eigvalsh(np.corrcoef(value[0].flatten(0, 1).T.detach().double().numpy()))[0]
    assert score("meco", last, tokens).value == pytest.approx(expected, rel=1e-5)


def test_near_is_the_effective_rank_before_and_after_each_activation():
    module = made(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 7), nn.GELU(), nn.Linear(7, 3)))
    x, expected = noise(6, 5), 0.0
    for end in (1, 2, 3, 4):
        values = np.linalg.svd(module[:end](x).detach().double().numpy(), compute_uv=False)
        shares = values[values > 0] / values.sum()
        expected += math.exp(-(shares * np.log(shares)).sum())
    assert score("near", module, x).value == pytest.approx(expected, rel=1e-5)


def test_near_looks_before_an_activation_writes_into_its_input():
    plain, inplace = convolutions(), convolutions()
    inplace[1], inplace[3] = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
    x = noise(6, 3, 8, 8)
    assert score("near", inplace, x).value == score("near", plain, x).value


@pytest.mark.parametrize("name", ["near", "wrcor"])
def test_an_activation_may_be_called_by_the_name_of_its_argument(name: str):
    class Named(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[1](torch.relu(input=self[0](x)))

    layers = [nn.Linear(5, 8), nn.Linear(8, 3)]
    plain = made(nn.Sequential(layers[0], nn.ReLU(), layers[1]))
    assert score(name, Named(*layers), noise(6, 5)).value == score(name, plain, noise(6, 5)).value


def test_the_curvature_of_a_circle_is_one_over_its_radius():
    generator = torch.Generator().manual_seed(0)
    for radius in (1.0, 4.0):
        module = made(nn.Linear(6, 6, bias=False)).double()
        module.weight.data.copy_(radius * torch.eye(6))
        assert curvature(module, torch.zeros(3, 6).double(), generator) == pytest.approx(1 / radius)


def test_curvature_agrees_with_differences():
    module = made(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(64, 3))
    ).double()
    like = torch.zeros(5, 2, 6, 6, dtype=torch.float64)
    plane = torch.randn(72, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plane = torch.linalg.qr(plane)[0]

    def at(angle: float) -> Tensor:
        places = torch.arange(5, dtype=torch.float64) * 2 * math.pi / 5 + angle
        return module((torch.stack([places.cos(), places.sin()], 1) @ plane.T).reshape(like.shape)).detach()

    h = 1e-4
    v, a = (at(h) - at(-h)) / (2 * h), (at(h) - 2 * at(0) + at(-h)) / h**2
    across = (v.square().sum(1) * a.square().sum(1) - (v * a).sum(1) ** 2).sqrt()
    found = curvature(module, like, torch.Generator().manual_seed(3))
    assert found == pytest.approx(float((across / v.norm(dim=1) ** 3).mean()), rel=1e-5)


def test_dextr_joins_the_spread_of_channels_and_the_curvature():
    module, x = convolutions(), noise(6, 3, 8, 8)
    module[1] = module[3] = nn.Tanh()
    inverse, value = 0.0, x
    for layer in module[:4]:
        value = layer(value)
        values = np.linalg.svd(value[0].flatten(1).detach().double().numpy(), compute_uv=False)
        inverse += values[-1] / values[0]
    found = score("dextr", module, x)
    assert found.components["inverse_conditions"] == pytest.approx(inverse, rel=1e-5)
    spread, bend = math.log1p(inverse), math.log1p(found.components["curvature"])
    assert found.value == pytest.approx(1 / (1 / spread + 1 / bend), rel=1e-6)


# ---- gradients -------------------------------------------------------------------------------------------------------


def test_l_swag_is_steadiness_times_patterns():
    module, x = convolutions(), noise(6, 3, 8, 8)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    weights = [p for p in module.parameters() if p.ndim > 1]
    runs = [torch.autograd.grad(F.cross_entropy(module(x[i : i + 3]), labels[i : i + 3]), weights) for i in (0, 3)]
    steadiness = 0.0
    for one, other in zip(*runs, strict=True):
        deviation = (one.double().abs() - other.double().abs()).abs().numpy().ravel() / 2
        steadiness += math.log((1 / deviation[deviation > 0]).sum())
    units = torch.cat([module[:end](x).flatten(1) for end in (1, 3)], 1) > 0
    patterns = {tuple(column) for column in units.T.tolist()}
    found = score("l_swag", module, x, labels=labels)
    assert found.components["expressivity"] == len(patterns)
    assert found.value == pytest.approx(steadiness * len(patterns), rel=1e-3)


def test_wrcor_is_the_determinant_of_weighted_correlations_of_values_and_gradients():
    module, x, labels = convolutions(), noise(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    before = [module[0](x)]
    before.append(module[2](module[1](before[0])))
    entropy = F.cross_entropy(module[3:](before[1]), labels)
    came_back = torch.autograd.grad(entropy, before)
    total = np.zeros((6, 6))
    for layer, values in enumerate(zip(before, came_back, strict=True)):  # an activation belongs to the layer before it
        for one in values:
            total += 2**layer * np.abs(np.corrcoef(one.detach().flatten(1).double().numpy()))
    found = score("wrcor", module, x, labels=labels)
    assert found.value == pytest.approx(np.linalg.slogdet(total)[1], rel=1e-5)
    assert found.components == {"activations": 2, "layers": 1}


def test_wrcor_looks_at_the_way_through_the_activation_alone():
    class Skipping(nn.Module):
        def __init__(self, inplace: bool):
            super().__init__()
            self.first, self.act, self.last = nn.Linear(4, 6), nn.ReLU(inplace=inplace), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            skipped = y * 3
            return self.last(self.act(y) + skipped)

    x, labels = noise(5, 4), torch.tensor([0, 1, 2, 0, 1])
    module = made(Skipping(False))
    y = module.first(x)
    own = y.detach().requires_grad_()
    entropy = F.cross_entropy(module.last(torch.relu(own) + y * 3), labels)
    total = sum(np.abs(np.corrcoef(one.detach().double().numpy())) for one in (y, torch.autograd.grad(entropy, own)[0]))
    expected = np.linalg.slogdet(total)[1]
    assert score("wrcor", module, x, labels=labels).value == pytest.approx(expected, rel=1e-5)
    assert score("wrcor", made(Skipping(True)), x, labels=labels).value == pytest.approx(expected, rel=1e-5)


def test_blocks_are_counted_alike_in_a_compiled_network_and_in_its_twin_of_timm():
    timm = pytest.importorskip("timm")
    other = timm.create_model("resnet18", num_classes=10)
    ours = uninas.create_model("resnet18", num_classes=10, img_size=32)
    counts = [score("wrcor", one, noise(4, 3, 32, 32)).components for one in (ours, other)]
    assert counts[0] == counts[1] == {"activations": 17, "layers": 7}


def test_wrcor_takes_the_windows_of_a_sample_together():
    class Windows(nn.Module):
        def __init__(self, windows: int):
            super().__init__()
            self.first, self.act, self.last, self.windows = nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3), windows

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x).reshape(len(x) * self.windows, -1, 6)
            return self.last(self.act(y).reshape(len(x), 8, 6).mean(1))

    one, four = (score("wrcor", made(Windows(windows)), noise(5, 8, 4)).value for windows in (1, 4))
    assert four == pytest.approx(one, rel=1e-5)


def test_a_sample_that_is_there_twice_has_no_wrcor():
    x = noise(1, 3, 8, 8).expand(2, -1, -1, -1)
    with pytest.raises(ProxyError, match="not independent"):
        score("wrcor", convolutions(), x, labels=torch.tensor([1, 1]))


def test_apd_is_ranks_of_normed_features_times_spread_of_weights():
    module = made(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    x = noise(6, 3, 8, 8)
    normed = module[:2](x).detach().movedim(1, -1).flatten(0, 2).double().numpy()
    values = np.linalg.svd(normed, compute_uv=False)
    ranks = (values**2).sum() / values[0] ** 2
    weights = [module[n].weight.detach().double().numpy().ravel() for n in (0, 4)]
    spreads = sum(np.abs(one).sum() / np.linalg.norm(one) for one in weights)
    assert score("apd", module, x).value == pytest.approx(ranks * spreads, rel=1e-5)


def test_apd_reads_norms_of_tokens_by_their_channels():
    module = made(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Flatten(), nn.Linear(30, 4)))
    x = noise(3, 5, 6)
    values = np.linalg.svd(module[0](x).detach().flatten(0, 1).double().numpy(), compute_uv=False)
    assert score("apd", module, x).components["ranks"] == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-5)
    with pytest.raises(ProxyError, match="has no norm"):
        score("apd", convolutions(), noise(2, 3, 8, 8))


# ---- attention -------------------------------------------------------------------------------------------------------


def test_weights_of_attention_are_found_by_what_they_do():
    module = made(Attentive())
    assert lowered(module, (noise(1, 5, 6),)).weights() == {"qkv.weight", "qkv.bias", "proj.weight", "proj.bias"}
    assert lowered(convolutions(), (noise(1, 3, 8, 8),)).weights() == set()


def test_dss_is_diversity_of_attention_and_saliency_of_the_rest():
    module, x = made(Attentive()), noise(2, 5, 6)
    positive = Attentive().double()
    for parameter, given in zip(positive.parameters(), module.parameters(), strict=True):
        parameter.data.copy_(given.detach().double().abs())
    positive(torch.ones(1, 5, 6, dtype=torch.float64)).sum().backward()

    def nuclear(matrix: Tensor) -> float:
        return float(np.linalg.svd(matrix.detach().numpy(), compute_uv=False).sum())

    diversity = sum(nuclear(p.weight) * nuclear(p.weight.grad) for p in (positive.qkv, positive.proj))
    saliency = float((positive.end.weight.detach() * positive.end.weight.grad).abs().sum())
    found = score("dss", module, x)
    assert found.components["diversity"] == pytest.approx(diversity, rel=1e-9)
    assert found.value == pytest.approx(diversity + saliency, rel=1e-9)


def test_without_attention_dss_is_synflow():
    module, x = convolutions(), noise(2, 3, 8, 8)
    assert score("dss", module, x).value == pytest.approx(score("synflow", module, x).value, rel=1e-12)
    with pytest.raises(ProxyError, match="the network has no attention"):
        score("head_confidence", module, x)


def test_confidence_is_the_mean_greatest_weight_of_each_head():
    module, x = made(Attentive()), noise(3, 5, 6)
    maps = module.heads(x)[0].detach()
    found = score("head_confidence", module, x)
    assert found.components["heads"] == 2
    assert found.value == pytest.approx(float(maps.amax(3).mean((0, 2)).sum()), rel=1e-5)


def test_importance_is_the_derivative_by_a_factor_before_each_head():
    module, x, labels = made(Attentive()), noise(3, 5, 6), torch.tensor([0, 3, 1])
    _, outputs = module.heads(x)
    factors = torch.ones(3, 2, 1, 1, requires_grad=True)
    F.cross_entropy(module.after(outputs.detach() * factors), labels, reduction="sum").backward()
    found = score("head_importance", module, x, labels=labels)
    assert found.value == pytest.approx(float(factors.grad.detach().abs().mean(0).sum()), rel=1e-4)


@pytest.mark.parametrize("name", ["head_confidence", "head_importance", "dss"])
def test_proxies_of_attention_keep_the_promises_of_all(name: str):
    check_proxy(name, made(Attentive()), noise(3, 5, 6))


@pytest.mark.parametrize("name", ["head_confidence", "head_importance", "dss"])
def test_heads_written_one_by_one_and_folded_score_alike(name: str):
    text = """
    network small {
        input 4 x 4 x 4
        stem conv(12, 1)
        stage 12 x 1 { MHSA(heads=3) }
        head global_avg_pool -> linear(5)
    }
    block MHSA(heads: int) {
        parts = in -> conv(3 * C, 1) -> split(3 * C / heads) -> each p {
            q, k, v = p -> chunk(3)
            map = (q, k) -> matmul1 -> softmax
            out = (map, v) -> matmul2
        }
        out = parts -> concat -> conv(C, 1)
    }
    """
    graph, x = uninas.load(text), noise(2, 4, 4, 4)
    one, folded = (
        uninas.compile(graph, fold=fold, generator=torch.Generator().manual_seed(0)) for fold in (False, True)
    )
    assert score(name, folded, x).value == pytest.approx(score(name, one, x).value, rel=1e-4)
