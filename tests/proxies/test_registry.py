"""What every registered proxy promises, whatever it measures: on real models, and on modules that have no score."""

import copy
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import uninas
from uninas.proxies import ProxyError, get, proxies, score
from uninas.proxies.guard import float32_products

SMALL = """
network small {
    input 3 x 32 x 32
    stem conv(8, 3, stride=2, bias=false) -> batch_norm -> gelu
    stage 12 x 2 { Gate }
    head layer_norm -> global_avg_pool -> linear(5)
}
block Gate {
    gate = in -> conv(C, 1) -> sigmoid
    out = (in -> conv(C, 3) -> batch_norm -> relu) * gate
}
"""

HEADS = {"head_confidence", "head_importance"}
"""Proxies of attention, which most networks have not."""

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "a timm convolutional network": timm.create_model("test_resnet", num_classes=5),
            "a timm transformer": timm.create_model("test_vit", num_classes=5, img_size=32, proj_drop_rate=0.1),
            "a shipped network": uninas.create_model(
                "mobilenetv2_100", img_size=32, num_classes=5, generator=generator
            ),
            "a text": uninas.create_model(SMALL, generator=generator),
        }


def state_of(module: nn.Module) -> list[object]:
    """All that a score must leave as it is, in a form that can be compared."""
    tensors = [(name, id(tensor), tensor.clone()) for name, tensor in module.state_dict(keep_vars=True).items()]
    wishes = [(p.requires_grad, p.grad is None) for p in module.parameters()]
    hooks = [len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in module.modules()]
    modes = [layer.training for layer in module.modules()]
    return [tensors, wishes, hooks, modes, torch.get_rng_state().tolist()]


def same(one: object, other: object) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other


@pytest.mark.parametrize("name", proxies())
def test_a_score_is_finite_repeats_itself_and_touches_nothing(name: str, models: dict[str, nn.Module]):
    for label, module in models.items():
        if name in HEADS and label != "a timm transformer":
            continue
        before = state_of(module)
        one = score(name, module, IMAGES, torch.Generator().manual_seed(3))
        assert all(map(math.isfinite, (one.value, *one.components.values()))), label
        assert same(before, state_of(module)), label
        if label == "a text":
            other = score(name, module, IMAGES, torch.Generator().manual_seed(3))
            assert (one.value, one.components) == (other.value, other.components)


@pytest.mark.gpu
@pytest.mark.parametrize("name", proxies())
def test_a_gpu_gives_the_same_score_each_time(name: str, models: dict[str, nn.Module]):
    for label, module in models.items():
        if name in HEADS and label != "a timm transformer":
            continue
        module, images = copy.deepcopy(module), IMAGES.repeat(2, 1, 1, 1) + torch.arange(8.0)[:, None, None, None]
        options = {"dtype": torch.float64} if "dtype" in get(name).options else {}
        wide = score(name, module.double(), images.double(), torch.Generator().manual_seed(3), **options)
        module.cuda()
        same = score(name, module, images.double().cuda(), torch.Generator().manual_seed(3), **options)
        assert same.value == pytest.approx(wide.value, rel=1e-3 if name in COUNT_SWITCHES else 1e-6), label
        module.float()
        once, again = (score(name, module, images.cuda(), torch.Generator().manual_seed(3)) for _ in range(2))
        assert (once.value, once.components) == (again.value, again.components), label


# A unit at the edge is on here and off there, even in float64, where all it computes is a difference of equal numbers.
COUNT_SWITCHES = ("naswot", "swap", "linear_regions")


@pytest.mark.gpu
def test_convolutions_on_a_gpu_are_exact():
    generator = torch.Generator().manual_seed(0)
    x, filters = (torch.randn(*shape, generator=generator).cuda() for shape in ((4, 64, 16, 16), (64, 64, 3, 3)))
    flags = torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.deterministic
    truth = F.conv2d(x.double(), filters.double())

    def error() -> float:
        return float((F.conv2d(x, filters) - truth).norm() / truth.norm())

    torch.set_float32_matmul_precision("high")
    try:
        with float32_products():
            assert error() < 2e-6
            assert float((x[0, 0] @ x[0, 1] - x[0, 0].double() @ x[0, 1].double()).norm()) < 1e-4
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.deterministic) == flags


@pytest.mark.parametrize("name", sorted({*proxies()} - HEADS))
def test_repeats_have_a_mean_and_a_spread(name: str, models: dict[str, nn.Module]):
    def noise(generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randn(4, 3, 32, 32, generator=generator),)

    drawn = [
        score(name, models["a text"], noise, torch.Generator().manual_seed(seed), init="xavier_normal", repeats=2)
        for seed in (5, 5)
    ]
    assert drawn[0].value == drawn[1].value
    assert drawn[0].spread == drawn[1].spread >= 0
    assert drawn[0].repeats == 2
    assert math.isfinite(drawn[0].spread)


def test_every_proxy_explains_itself_in_a_sentence():
    for name in proxies():
        assert 20 <= len(get(name).summary) <= 120, name


class NaN(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)) * math.nan


class Pair(nn.Linear):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = super().forward(x.flatten(1))
        return out, out


class Broken(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("by design")


class Scalar(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)).sum()


MISFITS = {
    "NaN": lambda: NaN(12, 3),
    "two outputs": lambda: Pair(12, 3),
    "an exception": lambda: Broken(12, 3),
    "a scalar": lambda: Scalar(12, 3),
    "one class": lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 1)),
    "no parameters": lambda: nn.Flatten(),
    "only frozen parameters": lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).requires_grad_(False),
    "other inputs": lambda: nn.Linear(7, 3),
}
LOSSES = {"epe_nas", "fisher", "grad_norm", "grad_sign", "grasp", "plain", "snip", "zico"}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_module_without_a_score_gets_a_reason(misfit: str):
    """Each proxy gives a finite number or a ProxyError with its reason, and those of the loss always the latter."""
    torch.manual_seed(0)
    module = MISFITS[misfit]()
    x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    refused = set()
    for name in proxies():
        try:
            assert math.isfinite(score(name, module, x).value)
        except ProxyError:
            refused.add(name)
    assert refused >= (LOSSES if misfit != "only frozen parameters" else LOSSES - {"epe_nas"})
    assert not refused & {"params", "trainable_layers"}
