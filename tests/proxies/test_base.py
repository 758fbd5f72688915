"""The door to all proxies: it keeps the module, the random state and its word about errors."""

import math
import statistics
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from uninas.errors import UninasError
from uninas.proxies import ProxyError, base, get, proxies, proxy, score, untouched
from uninas.testing import check_proxy, small_network


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Proxies that a test registers are gone after it."""
    with base.PROXIES.restored():
        yield


WITHOUT_ATTENTION = [name for name in sorted(base.PROXIES) if not name.startswith("head_")]


def network() -> nn.Module:
    module = small_network()
    module[4].bias.grad = torch.arange(5.0)
    return module


def test_the_names_are_listed_in_order():
    assert proxies() == tuple(sorted(proxies()))
    assert {"flops", "params", "trainable_layers", "vkdnw", "vkdnw_single"} <= set(proxies())


def test_every_proxy_says_what_it_is_and_which_way_is_up():
    for name in proxies():
        assert get(name).name == name
        assert get(name).summary.endswith((".", ":"))
        assert get(name).direction in ("higher", "lower")


@pytest.mark.parametrize("name", WITHOUT_ATTENTION)
def test_every_proxy_keeps_its_promises(name: str):
    module = network()
    check_proxy(name, module)
    assert torch.equal(module[4].bias.grad, torch.arange(5.0))
    assert [p.grad is None for p in module.parameters()].count(False) == 1


class Remembers(nn.Linear):
    """Makes tables at its first use, as some position embeddings do."""

    def __init__(self) -> None:
        super().__init__(4, 5)
        self.table: Tensor | None = None
        self.tables: dict[str, Tensor] = {}
        self.register_buffer("other", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
            self.other = 2 * self.table
        if "sum" not in self.tables:
            self.tables["sum"] = self.table + self.other
        return super().forward(x + self.table * self.other - self.tables["sum"])


@pytest.mark.parametrize("name", WITHOUT_ATTENTION)
def test_a_module_keeps_nothing_of_a_score(name: str):
    """Least of all a tensor without data, which a later use would fall over."""
    last = Remembers()
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last
    )
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    score(name, module, x)
    assert last.table is None and last.other is None and not last.tables
    assert module(x).isfinite().all()


def test_the_worst_proxy_is_undone_even_when_it_fails():
    module = network()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    weight = module[0].weight
    random = torch.get_rng_state()

    def vandalise() -> None:
        module.train()
        assert module[4].bias.grad is None
        module(torch.randn(2, 3, 8, 8)).sum().backward()
        nn.init.zeros_(module[4].weight)
        module[0].weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
        module.requires_grad_(False)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), untouched(module):
        vandalise()
    assert module[0].weight is weight and weight.grad is None and weight.requires_grad
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    assert torch.equal(module[4].bias.grad, torch.arange(5.0))
    assert not module[1].training and module[2].training
    assert torch.equal(random, torch.get_rng_state())


def test_the_generator_reaches_the_proxy_and_defaults_to_a_fixed_one():
    @proxy("dice", direction="lower")
    def dice(module: nn.Module, inputs: tuple[Tensor, ...], generator: torch.Generator, *, sides: int = 6):
        """A throw."""
        return float(torch.randint(sides, (), generator=generator)), {"sides": sides}

    module, x = nn.Linear(2, 2), torch.ones(1, 2)
    throw = score("dice", module, x, sides=2**40)
    assert throw.direction == "lower" and throw.components == {"sides": 2**40}
    assert throw.value == score("dice", module, x, sides=2**40).value
    assert throw.value != score("dice", module, x, torch.Generator().manual_seed(1), sides=2**40).value


def test_a_score_cannot_be_changed():
    result = score("params", nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(AttributeError):
        result.value = 1.0
    with pytest.raises(TypeError):
        result.components["more"] = 1.0


def test_two_proxies_cannot_share_a_name():
    with pytest.raises(
        UninasError,
        match=r"named params: one of uninas\.proxies\.counts, one of .*test_base",
    ):
        proxy("params")(lambda module, inputs, generator: (0.0, {}))


def test_a_proxy_cannot_take_the_options_of_all():
    def greedy(module: nn.Module, inputs: tuple[Tensor, ...], generator: torch.Generator, *, repeats: int = 1):
        return 0.0, {}

    with pytest.raises(ValueError, match="'greedy' has options of `score` itself: repeats"):
        proxy("greedy")(greedy)


def test_repeats_draw_anew_what_is_drawn():
    """A mean and a sample deviation over generators that the given one seeds; what is given as it is stays."""

    @proxy("look")
    def look(module: nn.Module, inputs: tuple[Tensor, ...], generator: torch.Generator):
        return float(inputs[0]), {
            "weight": float(module.weight.detach()),
            "throw": float(torch.rand((), generator=generator)),
        }

    def noise(generator: torch.Generator) -> tuple[Tensor, ...]:
        seen.append(torch.randn(1, generator=generator))
        return (seen[-1],)

    seen: list[Tensor] = []
    module = nn.Linear(1, 1)
    before = module.weight.item()
    result = score("look", module, noise, torch.Generator().manual_seed(3), repeats=4)
    values = [one.item() for one in seen]
    assert len(set(values)) == 4
    assert result.value == pytest.approx(statistics.mean(values))
    assert result.spread == pytest.approx(statistics.stdev(values))
    assert result.components["weight"] == pytest.approx(before)

    drawn = score(
        "look", module, torch.ones(1), repeats=4, init=lambda module, g: module.weight.data.normal_(generator=g)
    )
    assert (drawn.value, drawn.spread, drawn.repeats) == (1, 0, 4)
    assert drawn.components["weight"] != pytest.approx(before)
    assert module.weight.item() == before


def test_one_score_has_no_spread_and_none_is_an_error():
    result = score("params", nn.Linear(2, 2), torch.ones(1, 2))
    assert (result.spread, result.repeats) == (None, 1)
    with pytest.raises(ProxyError, match="expected from 1 to 100,000 repeats, but got 0"):
        score("params", nn.Linear(2, 2), torch.ones(1, 2), repeats=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("scalars", "2"), ("scalars", True), ("scalars", 2.5), ("quantiles", 0.5), ("dtype", "float9"), ("dtype", 32)],
)
def test_an_option_of_another_kind_is_an_error(option: str, value: object):
    with pytest.raises(ProxyError, match=f"expected the option {option} of vkdnw to be like .*, but got {value}"):
        score("vkdnw", nn.Linear(2, 2), torch.ones(1, 2), **{option: value})


def test_a_data_type_goes_by_its_name():
    module, x = nn.Linear(2, 3), torch.ones(1, 2)
    assert score("vkdnw", module, x, dtype="float64").value == score("vkdnw", module, x, dtype=torch.float64).value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_an_error(value: float):
    proxy("broken")(lambda module, inputs, generator: (0.0, {"part": value}))
    with pytest.raises(ProxyError, match=f"'broken' has no finite value for this module: its part is {value}"):
        score("broken", nn.Linear(2, 2), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vkdmw", {}, "there is no proxy 'vkdmw'\n.*did you mean 'vkdnw'"),
        ("vkdnw", {"quantiles": ["a"]}, "expected the option quantiles of vkdnw to be like"),
        ("vkdnw", {"vkdnv.scalars": 2}, "has no option 'vkdnv.scalars'"),
        ("vkdnw", {"scalar": 2}, "has no option 'scalar'\n.*did you mean 'scalars'"),
        ("params", {"seed": 2}, r"has no option 'seed'\n.*its options are \(none\)"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(name: str, options: dict[str, int], message: str):
    with pytest.raises(ProxyError, match=message):
        score(name, nn.Linear(2, 2), torch.ones(1, 2), **options)


@pytest.mark.parametrize("batch", [(), torch.ones(()), torch.ones(0, 2)])
def test_an_empty_batch_is_an_error(batch: Tensor | tuple[Tensor, ...]):
    with pytest.raises(ProxyError, match="expected a batch of at least one sample"):
        score("vkdnw", nn.Linear(2, 2), batch)


@pytest.mark.parametrize("name", ["vkdnw", "jacov", "trainability", "zen", "flops", "path_depth"])
def test_what_is_switched_around_a_score_does_not_matter(name: str):
    module, x = network(), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = score(name, module, x).value
    with torch.inference_mode():
        assert score(name, module, x.clone()).value == expected
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert score(name, module, x).value == expected


class Scales(nn.Module):
    """Normalises its input, in place or not."""

    def __init__(self, in_place: bool):
        super().__init__()
        self.in_place, self.rest = in_place, network()

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(x.sub_(0.5).div_(0.25) if self.in_place else (x - 0.5) / 0.25)


@pytest.mark.parametrize("name", ["vkdnw", "jacov", "epe_nas", "expressivity", "fisher", "grad_norm", "ntk", "zico"])
def test_a_module_may_write_into_its_input(name: str):
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x, before = x.to(memory_format=torch.channels_last), x.clone()
    writes, other = Scales(True), Scales(False)
    other.load_state_dict(writes.state_dict())
    assert score(name, writes, x).value == pytest.approx(score(name, other, x).value, rel=1e-5)
    assert torch.equal(x, before)


def test_a_compiled_module_is_the_original():
    module, x = network(), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(module, backend="eager")
    compiled(x)
    assert score("expressivity", compiled, x).value == score("expressivity", module, x).value


@pytest.mark.parametrize("made", [torch.jit.script, lambda module: torch.jit.trace(module, torch.zeros(2, 3, 8, 8))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_a_scripted_module_is_an_error_and_stays(made):
    module = made(network().eval())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ProxyError, match="scripted or traced"):
        score("synflow", module, torch.zeros(2, 3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_an_exported_module_is_an_error():
    exported = torch.export.export(network().eval(), (torch.zeros(2, 3, 8, 8),)).module()
    with pytest.raises(ProxyError, match="was exported"):
        score("vkdnw", exported, torch.zeros(2, 3, 8, 8))


def test_a_sparse_buffer_stays():
    module = nn.Linear(4, 3)
    module.register_buffer("mask", torch.eye(3).to_sparse())
    assert score("params", module, torch.zeros(1, 4)).value == 15
    assert module.mask.is_sparse and torch.equal(module.mask.to_dense(), torch.eye(3))


@pytest.mark.parametrize(
    ("module", "batch", "message"),
    [
        (network, torch.zeros(1, 3, 8, 8), "expected an nn.Module"),
        (nn.Linear(4, 3), torch.zeros(1, 4).numpy(), "a tuple of such tensors"),
        (nn.Linear(4, 3), None, "a tuple of such tensors"),
        (nn.Linear(4, 3), torch.full((1, 4), math.nan), "the batch has numbers that are not finite"),
        (nn.LazyBatchNorm2d(affine=False), torch.zeros(1, 4), "lazy parameters"),
    ],
)
def test_what_is_no_module_or_batch_is_an_error(module, batch, message: str):
    with pytest.raises(ProxyError, match=message):
        score("params", module, batch)


def test_lazy_parameters_are_an_error():
    with pytest.raises(ProxyError, match="lazy parameters without a shape"):
        score("params", nn.LazyLinear(2), torch.ones(1, 2))
