"""VKDNW against torch.func and against a Fisher information computed by its definition."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, jacrev

import uninas
from uninas.proxies import ProxyError, score
from uninas.proxies.engine.jacobian import Weight, logit_jacobian
from uninas.proxies.vkdnw import (
    chosen_weights,
    difference_jacobian,
    fisher,
    fisher_spectrum,
    multinomial_cholesky,
    sampled_scores,
    spectrum_entropy,
)

TEXT = """
block Net {
    input 8 x 6 x 6
    a = in -> conv(12, 3) -> batch_norm -> gelu
    heads = a -> conv(24, 1) -> split(12) -> each p {
        q, k, v = p -> chunk(3)
        m = (q, k) -> matmul1 -> rel_pos_bias -> softmax
        out = (m, v) -> matmul2
    }
    b = heads -> concat -> layer_norm -> conv(12, 1)
    out = a * (b -> sigmoid) -> max_pool(3) -> global_avg_pool -> linear(5)
}
"""


def test_the_jacobian_equals_reverse_mode():
    model = uninas.create_model(TEXT).eval().double()
    x = torch.randn(3, 8, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parameters = dict(model.named_parameters())
    names = list(parameters)
    expected = jacrev(lambda p: functional_call(model, p, (x,)))(parameters)
    columns = torch.stack([expected[name].flatten(2)[:, :, 0] for name in names], -1)
    found = logit_jacobian(model, (x,), [Weight(name) for name in names], dtype=torch.float64)
    torch.testing.assert_close(found.values, columns, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_logits_less_the_last_have_the_same_information(classes):
    model = uninas.create_model(TEXT.replace("linear(5)", f"linear({classes})")).eval().double()
    x = torch.randn(3, 8, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = chosen_weights(model, scalars=2)
    whole = logit_jacobian(model, (x,), weights, dtype=torch.float64)
    less = difference_jacobian(model, (x,), weights, dtype=torch.float64)
    assert less.values.shape == whole.values.shape and not less.values[:, -1].any()
    torch.testing.assert_close(less.logits.softmax(1), whole.logits.softmax(1), rtol=1e-9, atol=1e-12)
    expected = fisher(whole.logits, whole.values, 0.05)
    torch.testing.assert_close(fisher(less.logits, less.values, 0.05), expected, rtol=1e-9, atol=1e-12)


def test_the_spectrum_is_that_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    jacobian = torch.randn(4, 5, 7, dtype=torch.float64, generator=generator)
    p = logits.softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    fisher = torch.einsum("nkp,nkl,nlq->pq", jacobian, middle, jacobian) / 4
    torch.testing.assert_close(fisher_spectrum(logits, jacobian), torch.linalg.eigvalsh(fisher), rtol=1e-9, atol=1e-12)


def test_the_score_repeats_and_leaves_the_module_alone():
    model = uninas.create_model(TEXT)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    one, two = score("vkdnw", model, x), score("vkdnw", model, x)
    assert one.value == two.value
    assert 0 < one.value <= math.log(9)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def linear_classifier() -> tuple[nn.Linear, Tensor]:
    generator = torch.Generator().manual_seed(0)
    module = nn.Linear(3, 4).double()
    for p in module.parameters():
        p.data.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return module, torch.randn(5, 3, generator=generator, dtype=torch.float64)


def test_the_closed_form_of_a_linear_softmax_classifier():
    """With logits W x + b: F[(k, i), (l, j)] = mean of (p_k [k = l] - p_k p_l) x_i x_j, and x is 1 for the bias."""
    module, x = linear_classifier()
    p = module(x).softmax(1).detach()
    covariance = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    ones = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    blocks = torch.einsum("nkl,ni,nj->kilj", covariance, ones, ones) / len(x)
    places = [(k, i) for k in range(4) for i in range(3)] + [(k, 3) for k in range(4)]
    expected = torch.stack([torch.stack([blocks[k, i, l, j] for l, j in places]) for k, i in places])

    found = logit_jacobian(module, (x,), chosen_weights(module, scalars=12), dtype=torch.float64)
    torch.testing.assert_close(fisher(found.logits, found.values), expected, rtol=1e-9, atol=1e-12)

    result = score("vkdnw", module, x, scalars=12, smoothing=0, dtype=torch.float64)
    shares = torch.quantile(
        torch.linalg.eigvalsh(expected).clamp(min=0), torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    )
    shares /= shares.sum()
    assert result.value == pytest.approx(-sum(s * s.log() for s in shares if s > 0).item(), rel=1e-6)
    assert [result.components[f"lambda_{i}"] for i in range(1, 10)] == pytest.approx(shares.tolist(), abs=1e-9)
    # Softmax does not feel a common shift of the logits, so each of the 4 inputs (x and 1) loses one direction.
    assert result.components["rank"] == 4 * (4 - 1)


@pytest.mark.parametrize("p", [[0.5, 0.2, 0.3], [0.0, 1.0], [1.0, 0.0, 0.0], [0.25, 0.0, 0.75, 0.0], [1.0]])
def test_the_cholesky_factor_of_a_multinomial(p: list[float]):
    probabilities = torch.tensor(p, dtype=torch.float64)
    factor = multinomial_cholesky(probabilities)
    assert torch.equal(factor, factor.tril()) and (factor.diagonal() >= 0).all()
    covariance = torch.diag(probabilities) - torch.outer(probabilities, probabilities)
    torch.testing.assert_close(factor @ factor.T, covariance, rtol=1e-12, atol=1e-15)


def test_the_published_variant_multiplies_by_the_factor_from_the_other_side():
    module, x = linear_classifier()
    found = logit_jacobian(module, (x,), chosen_weights(module, scalars=2), dtype=torch.float64)
    mixed = 0.9 * found.logits.softmax(1) + 0.1 / 4
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for p, rows in zip(mixed, found.values, strict=True):
        factor = torch.linalg.cholesky((torch.diag(p) - torch.outer(p, p))[:-1, :-1])  # the last row adds to zero
        below = torch.cat([factor, -factor.sum(0, keepdim=True)])
        expected += rows.T @ torch.nn.functional.pad(below.T @ below, (0, 1, 0, 1)) @ rows / len(x)
    torch.testing.assert_close(fisher(found.logits, found.values, 0.1, "published"), expected)
    ours, theirs = (score("vkdnw", module, x, scalars=3, compat=variant).value for variant in ("exact", "published"))
    assert ours != pytest.approx(theirs, rel=1e-3)


def test_smoothing_keeps_the_information_of_a_network_that_is_sure_of_a_class():
    module, x = linear_classifier()
    with torch.no_grad():
        module.weight *= 1e6
    with pytest.raises(ProxyError, match="softmax is sure of one class"):
        score("vkdnw", module, x, scalars=3, smoothing=0)
    assert score("vkdnw", module, x, scalars=3).value > 0
    with pytest.raises(ProxyError, match="a smoothing between 0 and 1, but got 2"):
        score("vkdnw", module, x, smoothing=2)
    with pytest.raises(ProxyError, match="one of exact, published, but got 'theirs'"):
        score("vkdnw", module, x, compat="theirs")


def test_even_shares_reach_the_bound_and_one_share_is_zero():
    assert spectrum_entropy(torch.ones(20, dtype=torch.float64))[0] == pytest.approx(math.log(9))
    assert spectrum_entropy(torch.tensor([0.0] * 19 + [1.0], dtype=torch.float64))[0] == 0
    value, shares = spectrum_entropy(torch.arange(11, dtype=torch.float64))
    assert shares.tolist() == pytest.approx([i / 45 for i in range(1, 10)])
    assert value == pytest.approx(-sum(i / 45 * math.log(i / 45) for i in range(1, 10)))


def test_scaling_the_spectrum_changes_nothing():
    spectrum = torch.arange(30, dtype=torch.float64)
    assert spectrum_entropy(spectrum * 1e-200)[0] == pytest.approx(spectrum_entropy(spectrum)[0])


@given(seed=st.integers(0, 2**32), samples=st.integers(1, 4), classes=st.integers(2, 6), count=st.integers(1, 12))
def test_the_spectrum_is_never_negative(seed: int, samples: int, classes: int, count: int):
    generator = torch.Generator().manual_seed(seed)
    logits = 30 * torch.randn(samples, classes, generator=generator)
    spectrum = fisher_spectrum(logits, torch.randn(samples, classes, count, generator=generator))
    assert spectrum.shape == (count,) and (spectrum >= 0).all()
    assert (spectrum[: max(0, count - samples * (classes - 1))] <= 1e-12 * spectrum[-1]).all()
    assert 0 <= spectrum_entropy(spectrum)[0] <= math.log(9) + 1e-12


def test_the_order_of_the_batch_does_not_matter():
    module, x = linear_classifier()
    one = score("vkdnw", module, x, dtype=torch.float64, scalars=3)
    two = score("vkdnw", module, x.flip(0), dtype=torch.float64, scalars=3)
    assert one.value == pytest.approx(two.value, rel=1e-9)


def test_float32_agrees_with_float64():
    model, x = uninas.create_model(TEXT), torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    exact = score("vkdnw", model, x, dtype=torch.float64)
    assert score("vkdnw", model, x).value == pytest.approx(exact.value, rel=1e-3)


def test_the_single_score_adds_the_trainable_layers():
    module, x = linear_classifier()
    module.bias.requires_grad_(False)
    result = score("vkdnw_single", module, x, scalars=3)
    assert result.components["layers"] == 1
    assert result.value == 1 + result.components["vkdnw"]
    assert result.components["vkdnw"] == score("vkdnw", module, x, scalars=3).value


def test_weights_are_the_first_scalars_of_the_first_trainable_tensors():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    module[0].bias.requires_grad_(False)
    first = [Weight("0.weight", 0), Weight("1.weight", 0), Weight("1.bias", 0), Weight("2.weight", 0)]
    assert chosen_weights(module, max_tensors=4) == first
    assert chosen_weights(module, max_tensors=2, scalars=20, min_ndim=2) == [
        *(Weight("0.weight", i) for i in range(12)),
        *(Weight("2.weight", i) for i in range(8)),
    ]


def test_a_dead_network_has_no_score_and_one_that_only_its_bias_moves_has_zero():
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*[nn.Linear(3, 3) for _ in range(8)])
            self.head = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(0 * self.layers(x))

    assert score("vkdnw", Dead(), torch.ones(2, 3)).value == 0
    with pytest.raises(
        ProxyError, match=r"(?s)no chosen weight moves the module's softmax.*nothing passes.*18 tensors"
    ):
        score("vkdnw", Dead(), torch.ones(2, 3), max_tensors=16)


def test_a_last_layer_that_begins_at_zero_is_told_with_a_way_out():
    module = nn.Sequential(*[nn.Linear(3, 3) for _ in range(8)], nn.Linear(3, 4))
    nn.init.zeros_(module[-1].weight)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ProxyError, match=r"(?s)no chosen weight moves.*8.weight begins at zero"):
        score("vkdnw", module, x, max_tensors=16)
    assert score("vkdnw", module, x, max_tensors=16, init="kaiming_normal_fan_in").value > 0


class Constant(nn.Module):
    def __init__(self, logit: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4))
        self.logit = logit

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.logit


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.Flatten(), {}, "no trainable parameters"),
        (nn.Linear(3, 4).requires_grad_(False), {}, "no trainable parameters"),
        (nn.BatchNorm1d(3), {"min_ndim": 2}, "no trainable parameters"),
        (nn.Linear(3, 1), {}, "at least two classes"),
        (nn.Linear(5, 4), {}, r"the module fails on inputs of shape \(2, 3\)"),
        (nn.Unflatten(1, (3, 1)), {}, "no trainable parameters"),
        (Constant(math.nan), {}, "logits are not finite"),
        (Constant(math.inf), {}, "logits are not finite"),
        (nn.Linear(3, 4), {"max_tensors": 0}, "max_tensors and scalars of at least 1, but got 0 and 1"),
        (nn.Linear(3, 4), {"quantiles": (0.5, 1.5)}, r"quantiles between 0 and 1, but got \(0.5, 1.5\)"),
    ],
)
def test_where_there_is_no_score_the_error_says_why(module: nn.Module, options: dict[str, int], message: str):
    with pytest.raises(ProxyError, match=message):
        score("vkdnw", module, torch.ones(2, 3), **options)


def test_tensors_may_be_spread_or_drawn():
    module = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(9)))

    def names(count: int, select: Any, seed: int = 0) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return [int(weight.name[0]) for weight in chosen_weights(module, count, 1, 0, select, generator)]

    assert names(3, "first") == [0, 1, 2]
    assert names(3, "spread") == [0, 4, 8]
    assert names(1, "spread") == [0]
    assert names(9, "spread") == names(20, "random") == list(range(9))
    drawn = {tuple(names(3, "random", seed)) for seed in range(20)}
    assert len(drawn) > 10 and all(list(one) == sorted(set(one)) for one in drawn)
    with pytest.raises(ProxyError, match="one of first, spread, random, but got 'last'"):
        score("vkdnw", module, torch.zeros(1, 2), select="last")


def test_sampled_classes_estimate_the_information_without_bias():
    module, x = linear_classifier()
    weights = chosen_weights(module, scalars=12)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    rows = sampled_scores(module, (x,), weights, generator, draws=20_000, smoothing=0.1, dtype=torch.float64)
    rows = rows.flatten(0, 1)
    wanted = fisher(found.logits, found.values, 0.1)
    assert (rows.T @ rows / len(rows) - wanted).norm() < 0.02 * wanted.norm()


def test_the_sampled_score_draws_from_its_seed_and_nears_the_exact_one():
    model = uninas.create_model(TEXT)
    x = torch.randn(8, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    exact = score("vkdnw", model, x).value
    one, other, again = (score("vkdnw_sampled", model, x, seed).value for seed in (1, 2, 1))
    assert one == again != other
    many = score("vkdnw_sampled", model, x, draws=2_000).value
    assert abs(many - exact) < 0.1 * exact
    with pytest.raises(ProxyError, match="at most 100,000 draws"):
        score("vkdnw", model, x, draws=-1)
