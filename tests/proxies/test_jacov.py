"""Jacov against its closed form and its definition."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from uninas.proxies import ProxyError, score
from uninas.proxies.jacov import correlation_score

K = 1e-5


def of(eigenvalues: list[float]) -> float:
    return -sum(math.log(v + K) + 1 / (v + K) for v in eigenvalues)


def test_uncorrelated_gradients_reach_the_maximum():
    gradients = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1], [3, 3, -3, -3]])
    assert correlation_score(gradients) == pytest.approx(of([1, 1, 1]))
    assert correlation_score(gradients) == pytest.approx(-3, abs=1e-4)


def test_two_gradients_with_correlation_r_have_eigenvalues_one_plus_and_minus_r():
    gradients = torch.tensor([[1.0, -1, 0], [1, 0, -1]])
    assert correlation_score(gradients) == pytest.approx(of([1.5, 0.5]))


def test_equal_gradients_are_finite_and_low():
    assert correlation_score(torch.tensor([[1.0, 2], [1, 2]])) == pytest.approx(of([2, 0]))


class Pair(nn.Module):
    """Quadratic in two inputs, one of them not differentiable."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.flatten(1) ** 3).sum(1, keepdim=True) * b[:, None]


def test_the_score_is_that_of_the_definition():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = torch.stack([jacrev(lambda row: model(row).sum())(row) for row in x])
    eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(gradients))
    assert score("jacov", model, x).value == pytest.approx(of(eigenvalues.clamp(min=0).tolist()), rel=1e-6)


def test_gradients_flow_through_the_statistics_of_the_batch():
    model = nn.Sequential(nn.BatchNorm1d(5, affine=False), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)).double()
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    normal = nn.functional.batch_norm
    gradients = jacrev(lambda y: model[1:](normal(y, None, None, training=True)).sum())(x)
    assert score("jacov", model, x).value == pytest.approx(correlation_score(gradients.detach()), rel=1e-9)


def test_several_inputs_are_differentiated_where_they_can_be():
    a = torch.tensor([[1.0, 2, -1], [2, -1, 1]])
    gradients = 3 * a**2 * torch.tensor([[2.0], [5.0]])
    assert score("jacov", Pair(), (a, torch.tensor([2, 5]))).value == pytest.approx(correlation_score(gradients))


def test_the_order_of_the_batch_and_the_scale_of_the_output_do_not_matter():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).double()
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = score("jacov", model, x).value
    assert score("jacov", model, x.flip(0)).value == pytest.approx(before, rel=1e-9)
    model[-1].weight.data *= 7
    assert score("jacov", model, x).value == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize(
    ("module", "x", "message"),
    [
        (Pair(), (torch.full((2, 3), 1e30), torch.tensor([1.0, 2])), "network's input are not finite"),
        (nn.Linear(3, 2), torch.ones(1, 3), "at least 2 samples to correlate"),
        (nn.AvgPool1d(3), torch.ones(2, 1, 3), "by the same amount on every element"),
        (nn.Threshold(10, 0.0), torch.ones(2, 3), "does not depend on its input"),
        (nn.Embedding(5, 2), torch.ones(2, 3, dtype=torch.long), "expected an input of floating-point numbers"),
    ],
)
def test_where_there_is_no_score_the_error_says_why(module: nn.Module, x: Tensor | tuple[Tensor, ...], message: str):
    with pytest.raises(ProxyError, match=message):
        score("jacov", module, x)
