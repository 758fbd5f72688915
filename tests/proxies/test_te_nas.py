"""The neural tangent kernel against its closed form, torch.func and a second way to batch-norm."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from uninas.proxies import ProxyError, score
from uninas.proxies.te_nas import tangent_kernel


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_definition(module: nn.Module, x: Tensor) -> Tensor:
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    found = jacrev(lambda p: functional_call(module, p, (x,)).sum(1))(parameters)
    rows = torch.cat([part.flatten(1) for part in found.values()], 1)
    return rows @ rows.T


def test_the_kernel_of_a_linear_classifier():
    """The gradient by each row of W is x, by each bias 1, so T = K (x x^T + 1)."""
    x = draw(5, 3)
    torch.testing.assert_close(tangent_kernel(nn.Linear(3, 4).double(), (x,)), 4 * (x @ x.T + 1))


def test_the_score_is_the_condition_number():
    x = torch.tensor([[2.0, 0], [0, 1]], dtype=torch.float64)
    result = score("ntk", nn.Linear(2, 3, bias=False).double(), x)
    assert result.value == pytest.approx(4)
    assert result.components == pytest.approx({"largest": 12, "smallest": 3})
    assert result.direction == "lower"


@pytest.mark.parametrize("memory", [1, 5 * 1000, 2**30])
def test_the_kernel_is_that_of_the_definition_however_little_memory(memory: int):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 5, 3, groups=1), nn.Flatten(), nn.Linear(80, 3))
    model = model.double()
    x = draw(5, 3, 8, 8)
    torch.testing.assert_close(tangent_kernel(model, (x,), memory), by_definition(model, x))


def test_frozen_weights_do_not_count():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()
    model[0].requires_grad_(False)
    x = draw(4, 3)
    hidden = model[:2](x)
    torch.testing.assert_close(tangent_kernel(model, (x,)), (2 * hidden @ hidden.T).detach())


def test_batch_norm_uses_the_batch_as_constants():
    x = draw(6, 3)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        hidden = model[0](x)
        constant = nn.BatchNorm1d(8).double()
        constant.running_mean, constant.running_var = hidden.mean(0), hidden.var(0, correction=0)
    same = nn.Sequential(model[0], constant, *model[2:]).eval()
    eigenvalues = torch.linalg.eigvalsh(by_definition(same, x))
    assert score("ntk", model, x).value == pytest.approx(float(eigenvalues[-1] / eigenvalues[0]), rel=1e-6)


def test_neither_the_order_of_the_batch_nor_the_scale_of_the_output_matters():
    model, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2, bias=False)).double(), draw(4, 3)
    before = score("ntk", model[2], draw(4, 8)).value
    assert score("ntk", model[2], 7 * draw(4, 8)).value == pytest.approx(before, rel=1e-9)
    assert score("ntk", model, x.flip(0)).value == pytest.approx(score("ntk", model, x).value, rel=1e-9)


class Ignores(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


@pytest.mark.parametrize(
    ("module", "x", "options", "message"),
    [
        (nn.Linear(3, 2), torch.ones(2, 3), {}, "tangent kernel of 2 samples is singular"),
        (nn.Linear(3, 2).requires_grad_(False), torch.ones(2, 3), {}, "no trainable parameters"),
        (nn.Flatten(), torch.ones(2, 3), {}, "no trainable parameters"),
        (Ignores(3, 2), torch.ones(2, 3), {}, "does not depend on its weights"),
        (nn.Linear(5, 2), torch.ones(2, 3), {}, r"the module fails on inputs of shape \(2, 3\)"),
        (nn.Linear(3, 2), torch.ones(2, 3), {"memory": 0}, "memory of at least 1 byte, but got 0"),
    ],
)
def test_where_there_is_no_score_the_error_says_why(module, x: Tensor, options: dict[str, int], message: str):
    with pytest.raises(ProxyError, match=message):
        score("ntk", module, x, **options)
