"""Coherence against its definition, and what shatters gradients."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from uninas.proxies import ProxyError, score


def noise(samples: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(samples, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Cubes(nn.Module):
    """Logits a_1^3 + a_2^3 and twice that, so that any combination of them has gradients along a^2."""

    def forward(self, a: Tensor) -> Tensor:
        cubes = (a**3).sum(1, keepdim=True)
        return torch.cat([cubes, 2 * cubes], 1)


def test_the_score_is_that_of_the_definition():
    x, step = noise(3, 2), 0.5
    neighbours = torch.stack([(x[n] + step * x[n - 1]) / math.hypot(1, step) for n in range(3)])
    cosines = nn.functional.cosine_similarity(x**2, neighbours**2)
    assert score("coherence", Cubes(), x, step=step).value == pytest.approx(float(cosines.mean()))
    more = torch.cat([x, noise(6, 2, seed=1)])
    assert score("coherence", Cubes(), more, samples=3, step=step).value == pytest.approx(float(cosines.mean()))


def test_gradients_of_a_linear_network_are_the_same_everywhere():
    assert score("coherence", nn.Linear(5, 4).double(), noise(4, 5)).value == pytest.approx(1)


def test_gradients_flow_through_the_statistics_of_the_batch():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.BatchNorm1d(5, affine=False), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1)).double()
    x, step = noise(6, 5), 0.3
    both = (x, (x + step * x.roll(1, 0)) / math.hypot(1, step))
    normal = nn.functional.batch_norm
    here, there = (jacrev(lambda y: model[1:](normal(y, None, None, training=True)).sum())(one) for one in both)
    expected = nn.functional.cosine_similarity(here, there).mean().detach()
    assert score("coherence", model, x).value == pytest.approx(float(expected))


class Deep(nn.Module):
    """Thirty layers, with or without shortcuts."""

    def __init__(self, shortcuts: bool):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(30))
        self.shortcuts = shortcuts

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).relu() + (x if self.shortcuts else 0)
        return x


def test_shortcuts_keep_gradients_from_shattering():
    plain, residual = (
        score("coherence", Deep(shortcuts), noise(16, 64).float(), init="kaiming_normal_fan_in").value
        for shortcuts in (False, True)
    )
    assert residual > plain + 0.2


@pytest.mark.parametrize(
    ("module", "x", "options", "message"),
    [
        (nn.Linear(2, 2), torch.ones(1, 2), {}, "at least 2 samples, but got 1"),
        (nn.Linear(2, 2), torch.ones(4, 2), {"samples": 1}, "at least 2 samples, but got 1"),
        (nn.Linear(2, 2), torch.ones(4, 2), {"step": 0.0}, "a step above 0, but got 0.0"),
        (nn.Sequential(nn.Linear(2, 2), nn.Threshold(9, 0)), torch.zeros(4, 2), {}, "is zero, or not finite"),
    ],
)
def test_what_has_no_coherence_says_why(module: nn.Module, x: Tensor, options: dict[str, float], message: str):
    with pytest.raises(ProxyError, match=message):
        score("coherence", module, x, **options)
