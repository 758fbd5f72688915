"""The Zen score against what a linear network does to noise, and where its features are found."""

import math

import pytest
import torch
from torch import Tensor, nn

from uninas.proxies import ProxyError, score
from uninas.proxies.observe.activations import LastMap, run, stored_statistics


def images(n: int = 4, channels: int = 3, size: int = 8) -> Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Sum(nn.Module):
    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x)


def test_without_layers_the_score_is_the_log_norm_of_the_noise():
    x = images(n=200)
    result = score("zen", nn.Sequential(nn.Identity(), nn.Upsample(scale_factor=1)), x)
    assert result.value == pytest.approx(math.log(0.01 * math.sqrt(3 * 8 * 8)), abs=0.01)
    assert result.components["scale"] == 0


def test_a_convolution_adds_half_the_log_of_its_fan_in():
    """N(0, 1) weights multiply the variance by the fan-in, here 16 channels of one position."""
    x = images(n=50, channels=16)
    result = score("zen", nn.Conv2d(16, 16, 1).double(), x, repeats=40)
    assert result.value == pytest.approx(math.log(0.01 * math.sqrt(16 * 8 * 8)) + math.log(16) / 2, abs=0.05)


def test_batch_norm_gives_back_the_scale_it_takes():
    """Batch norms in a linear network do not change the score, up to how much channels differ."""
    x = images(n=50, channels=16)
    plain = nn.Sequential(nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)).double()
    norms = [nn.BatchNorm2d(16, eps=0) for _ in range(2)]
    normed = nn.Sequential(plain[0], norms[0], plain[1], norms[1]).double()
    one, two = score("zen", plain, x, repeats=20), score("zen", normed, x, repeats=20)
    assert two.value == pytest.approx(one.value, abs=0.1)
    assert two.components["scale"] > 2


def test_a_batch_norm_without_signal_is_left_out():
    dead = nn.Sequential(nn.Threshold(1000, 0.0), nn.BatchNorm2d(3))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Sum(nn.BatchNorm2d(3), dead)).double()
    assert score("zen", model, images()).value == score("zen", nn.Sequential(model[0], model[1].a), images()).value


@pytest.mark.parametrize(
    ("norm", "x"),
    [
        (nn.BatchNorm2d(5), images(7, 5) + 100),
        (nn.BatchNorm2d(5), (images(7, 5) + 100).contiguous(memory_format=torch.channels_last)),
        (nn.BatchNorm1d(5), images(7, 5)[..., 0]),
        (nn.BatchNorm1d(5), images(7, 5)[..., 0, 0]),
    ],
)
def test_statistics_are_those_of_the_batch_and_zero_where_nothing_varies(norm: nn.Module, x: Tensor):
    x = x.clone(memory_format=torch.preserve_format).float()
    x[:, 3] = 0.1  # of which sums are rounded
    with stored_statistics(norm.eval()) as variances:
        norm(x)
    variance, mean = torch.var_mean(x.double(), [axis for axis in range(x.ndim) if axis != 1], correction=0)
    torch.testing.assert_close(norm.running_mean, mean.float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(norm.running_var, variance.float(), rtol=1e-6, atol=0)
    assert variances[0] is norm.running_var
    assert norm.running_var[3] == 0


def test_the_published_variant_takes_running_variances_and_sums():
    norm = nn.BatchNorm2d(3, eps=0).double()
    x = 100 * images(n=50)
    result = score("zen", norm, x, published=True)
    variance = x.var((0, 2, 3), correction=0).mean().item()
    assert result.components["scale"] == pytest.approx(math.log(0.81 + 0.19 * variance) / 2)
    absolute = 0.01 / 100 * math.sqrt(2 / math.pi) * 3 * 8 * 8  # E|N(0, 1)| for each element, scaled by the norm
    assert result.components["sensitivity"] == pytest.approx(math.log(absolute), abs=0.02)


def test_the_module_s_own_weights_do_not_matter():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)).double()
    before = score("zen", model, images()).value
    for parameter in model.parameters():
        parameter.data.fill_(3)
    assert score("zen", model, images()).value == before
    assert (model[0].weight == 3).all()


def test_the_score_depends_on_the_generator_alone():
    model, x = nn.Conv2d(3, 4, 3).double(), images()
    one = score("zen", model, x, torch.Generator().manual_seed(1)).value
    assert score("zen", model, x, torch.Generator().manual_seed(1)).value == one
    assert score("zen", model, x, torch.Generator().manual_seed(2)).value != one


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 2).mean((2, 3)).relu()


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 2, 1), nn.Flatten()), (4, 5, 6, 6)),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(5, 2)), (4, 5, 6, 6)),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(180, 2)), (4, 5, 6, 6)),
        (nn.Sequential(nn.Flatten(2), nn.LayerNorm(64), nn.AdaptiveAvgPool1d(1), nn.Flatten()), (4, 3, 1, 64)),
        (Functional(), (4, 3, 8, 8)),
    ],
)
def test_the_features_are_what_global_pooling_reduces(module: nn.Module, shape: tuple[int, ...]):
    last = LastMap(4)
    with torch.no_grad():
        run(module, (images().float(),), last)
    assert last.value is not None and last.value.shape == shape


@pytest.mark.parametrize(
    ("module", "x", "options", "message"),
    [
        (nn.Linear(3, 2), torch.ones(2, 3), {}, "computes no feature map"),
        (nn.Threshold(100, 0.0), torch.ones(2, 3, 4, 4), {}, "features do not depend on its input"),
        (nn.Identity(), torch.ones(2, 3, 4, 4), {"noise": 0}, "positive noise, but got"),
    ],
)
def test_where_there_is_no_score_the_error_says_why(module, x: Tensor, options: dict[str, float], message: str):
    with pytest.raises(ProxyError, match=message):
        score("zen", module, x, **options)
