"""AZ-NAS by closed forms: spectra that are known, blocks that scale gradients by known amounts."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from uninas.proxies import ProxyError, score
from uninas.proxies.az_nas import (
    NO_GRADIENT,
    gathered,
    largest_singular_value,
    random_signs,
    spectral_entropy,
    transport,
    vectors,
)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_independent_channels_have_the_entropy_of_their_variances():
    corners = torch.tensor([[1.0, 1, 1], [1, -1, 1], [-1, 1, 1], [-1, -1, 1]])  # uncorrelated, and one constant
    assert spectral_entropy(corners[:, None]) == pytest.approx(math.log(2))
    unequal = corners * torch.tensor([1.0, 3, 7])
    assert spectral_entropy(unequal[:, None]) == pytest.approx(-0.1 * math.log(0.1) - 0.9 * math.log(0.9))


def test_constant_and_copied_channels_have_no_entropy():
    assert spectral_entropy(torch.ones(2, 5, 4, 4)) == 0
    assert spectral_entropy(noise(2, 1, 4, 4).expand(2, 5, 4, 4)) == pytest.approx(0, abs=1e-9)


def test_entropy_does_not_change_under_scaling_shifting_and_rotating_channels():
    x = noise(2, 6, 5, 5)
    rotation = torch.linalg.qr(noise(6, 6))[0]
    turned = torch.einsum("oc,nchw->nohw", rotation, x) * 30 + 7
    assert spectral_entropy(turned) == pytest.approx(spectral_entropy(x), rel=1e-9)
    assert 0 < spectral_entropy(x) <= math.log(6)


def test_features_become_vectors_of_channels():
    x = noise(2, 3, 4, 5)
    assert vectors(x, 1).shape == (2, 4, 5, 3) and vectors(x, 3).shape == (2, 3, 4, 5)
    torch.testing.assert_close(vectors(x, 1)[1, 2, 3], x[1, :, 2, 3])


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_block_that_scales_has_its_gain_as_singular_value(gain: float):
    """E[g g^T] gain is gain times the identity, up to what signs correlate by chance."""
    x = noise(50, 3, 20, 20).requires_grad_()
    assert transport(x, gain * x, generator()) == pytest.approx(2 - gain - 1 / gain, abs=0.03)


def test_mixing_channels_has_the_norm_of_the_matrix():
    weight = torch.tensor([[3.0, 1], [0, 2], [1, 1]], dtype=torch.float64)
    x = noise(50, 2, 20, 20).requires_grad_()
    t = torch.linalg.matrix_norm(weight, 2).item()
    mixed = torch.einsum("oc,nchw->nohw", weight, x)
    assert transport(x, mixed, generator()) == pytest.approx(2 - t - 1 / t, abs=0.05)
    tokens = x.flatten(2).mT
    assert transport(tokens, tokens @ weight.T, generator()) == pytest.approx(2 - t - 1 / t, abs=0.05)


def test_signs_are_fair_and_know_nothing_of_each_other():
    signs = random_signs(torch.empty(3, 5, 7, 11, 13, dtype=torch.float64), generator())
    assert signs.shape == (3, 5, 7, 11, 13)
    assert signs.dtype == torch.float64
    assert set(signs.unique().tolist()) == {-1, 1}
    flat, deviation = signs.flatten(), signs.numel() ** -0.5
    assert abs(flat.mean()) < 4 * deviation
    for distance in range(1, 17):  # eight come from one number
        assert abs((flat[distance:] * flat[:-distance]).mean()) < 4 * deviation


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (1, 1)])
def test_the_largest_singular_value_is_found_without_the_others(shape: tuple[int, int]):
    matrix = noise(*shape)
    assert largest_singular_value(matrix) == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item(), rel=1e-14)
    assert largest_singular_value(0 * matrix) == 0


def test_a_block_without_gradient_or_without_effect_is_the_worst():
    x = noise(2, 3, 4, 4).requires_grad_()
    assert transport(x, x * 0, generator()) == NO_GRADIENT
    assert transport(x, noise(2, 3, 4, 4).requires_grad_(), generator()) == NO_GRADIENT
    assert transport(x, x.clone(), generator()) == NO_GRADIENT


def test_pooling_spreads_a_gradient_over_its_window():
    """Each input gets 1/4 of its window's gradient: four columns of norm 1/4 make a singular value of 1/2."""
    x = noise(100, 3, 40, 40).requires_grad_()
    pooled = nn.functional.avg_pool2d(x, 2)
    assert transport(x, pooled, generator()) == pytest.approx(2 - 0.5 - 2, abs=0.05)
    grown = nn.functional.interpolate(x, scale_factor=2)  # each input gets the sum of four signs
    assert transport(x, grown, generator()) == pytest.approx(2 - 2 - 0.5, abs=0.05)


def test_positions_are_gathered_into_channels():
    x = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert gathered(x, (3, 4)) is x
    coarse = gathered(x, (2, 2))  # three rows are padded to four
    assert coarse.shape == (2, 2, 2, 2 * 2 * 5)
    assert sorted(coarse[1, 0, 1].tolist()) == sorted(x[1, :2, 2:].flatten().tolist())
    assert sorted(coarse[1, 1, 0].tolist()) == sorted([0] * 10 + x[1, 2, :2].flatten().tolist())


def test_the_scores_are_those_of_their_blocks():
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(c, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()) for c in (3, 6, 6)]
    model, x = nn.Sequential(*blocks).double(), noise(4, 3, 8, 8)
    maps = [x]
    with torch.no_grad():
        for block in model.train():
            maps.append(block(maps[-1]))
    entropies = [spectral_entropy(y) for y in maps]
    result = score("expressivity", model, x)
    assert result.value == pytest.approx(sum(entropies), rel=1e-9)
    assert list(result.components.values()) == pytest.approx(entropies, rel=1e-9)
    steps = [b - a for a, b in pairwise(entropies)]
    assert score("progressivity", model, x).value == pytest.approx(min(steps), rel=1e-9)
    trained = score("trainability", model, x)
    assert len(trained.components) == 3
    assert trained.value == pytest.approx(sum(trained.components.values()) / 3)
    assert trained.value < 0


@pytest.mark.parametrize("name", ["expressivity", "progressivity"])
def test_the_order_of_the_batch_does_not_matter(name: str):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)).double()
    x = noise(4, 3, 8, 8)
    assert score(name, model, x.flip(0)).value == pytest.approx(score(name, model, x).value, rel=1e-9)


def test_trainability_takes_its_signs_from_the_generator():
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).double(), noise(4, 3, 8, 8)
    one = score("trainability", model, x, torch.Generator().manual_seed(1)).value
    assert score("trainability", model, x, torch.Generator().manual_seed(1)).value == one
    assert score("trainability", model, x, torch.Generator().manual_seed(2)).value != one


def test_complexity_is_another_name_for_flops():
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), noise(4, 3, 8, 8).float()
    assert score("complexity", model, x).value == score("flops", model, x).value == 2 * 4 * 27 * 36


@pytest.mark.parametrize("name", ["expressivity", "progressivity", "trainability"])
@pytest.mark.parametrize("module", [nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))])
def test_without_feature_maps_there_is_no_score(name: str, module: nn.Module):
    with pytest.raises(ProxyError, match="blocks with feature maps between them, but found 0"):
        score(name, module, torch.ones(2, 3))


@pytest.mark.parametrize("name", ["expressivity", "progressivity"])
def test_features_that_overflow_are_an_error(name: str):
    module = nn.Sequential(*[nn.Conv2d(3, 3, 1, bias=False) for _ in range(3)])
    for parameter in module.parameters():
        parameter.data.fill_(1e30)
    with pytest.raises(ProxyError, match="features or their gradients are not finite"):
        score(name, module, 1e30 * noise(2, 3, 4, 4).float())


def test_half_precision_is_summed_in_full():
    x = noise(64, 3, 32, 32)
    assert spectral_entropy(x.bfloat16()) == pytest.approx(spectral_entropy(x), rel=1e-3)
