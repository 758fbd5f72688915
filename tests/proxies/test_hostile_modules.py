"""Whatever module, batch or argument is given to a score: a finite number, or an error that says why."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import named
from torch import Tensor, nn
from torch.ao.nn.quantized.dynamic import Linear as QuantisedLinear

from uninas import UninasError
from uninas.proxies import proxies, score
from uninas.proxies.types import ProxyError, Score

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    """A small network; what is passed is done to its output."""

    def __init__(self, change=None):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(c, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
                                                    nn.Conv2d(6, 6, 1)) for c in (3, 6)))  # fmt: skip
        self.last, self.change = nn.Linear(6, 5), change

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.blocks(x).mean((2, 3)))
        return self.change(y) if self.change else y


class BrokenBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise KeyError("no way back")


class Hook(nn.Module):
    """Writes over a value that the derivative needs."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        y = self.conv(x).exp()
        y.mul_(2)
        return self.last(y.mean((2, 3)))


class Raises(nn.Module):
    def __init__(self, problem: BaseException):
        super().__init__()
        self.weight, self.problem = nn.Parameter(torch.ones(3, 3)), problem

    def forward(self, x):
        raise self.problem


def quantised() -> nn.Module:
    module = Plain()
    module.last = QuantisedLinear(6, 5)
    return module


def weight_normed() -> nn.Module:
    module = Plain()
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(module.last)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(module.blocks[0][0])
    return module


MODULES = {
    "on the meta device": lambda: Plain().to("meta"),
    "in half precision": lambda: Plain().half(),
    "in bfloat16": lambda: Plain().bfloat16(),
    "in double precision": lambda: Plain().double(),
    "half of it in half precision": lambda: nn.Sequential(nn.Conv2d(3, 4, 3).half(), nn.Flatten(), nn.LazyLinear(5)),
    "complex": lambda: Plain().to(torch.complex64),
    "quantised": quantised,
    "with the old weight_norm": weight_normed,
    "with weight_norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.Flatten(),
                                              nn.Linear(144, 5)),
    "with spectral_norm": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(),
                                                nn.Flatten(), nn.Linear(144, 5)),
    "in DataParallel": lambda: nn.DataParallel(Plain()),
    "with integers as output": lambda: Plain(lambda y: y.argmax(1, keepdim=True).expand(-1, 3)),
    "with complex output": lambda: Plain(lambda y: torch.complex(y, y)),
    "with one logit": lambda: Plain(lambda y: y[:, :1]),
    "with no logits": lambda: Plain(lambda y: y[:, :0]),
    "with a scalar": lambda: Plain(lambda y: y.sum()),
    "with two outputs": lambda: Plain(lambda y: (y, y)),
    "with a dictionary": lambda: Plain(lambda y: {"logits": y}),
    "with nothing": lambda: Plain(lambda y: None),
    "with numpy": lambda: Plain(lambda y: y.detach().numpy()),
    "with a list of floats": lambda: Plain(lambda y: y.tolist()),
    "detached": lambda: Plain(lambda y: y.detach()),
    "infinite": lambda: Plain(lambda y: y / 0),
    "not a number": lambda: Plain(lambda y: y * math.nan),
    "constant": lambda: Plain(lambda y: torch.zeros_like(y)),
    "with a broken backward": lambda: Plain(BrokenBackward.apply),
    "that writes where the derivative looks": Hook,
    "that raises": lambda: Raises(ValueError("text\nof two lines")),
    "that raises a word": lambda: Raises(KeyError("x")),
    "that raises without a word": lambda: Raises(AssertionError()),
    "that asks for memory": lambda: Raises(MemoryError()),
    "that recurses": lambda: Raises(RecursionError("maximum")),
    "that stops": lambda: Raises(StopIteration()),
    "without parameters": lambda: nn.Flatten(),
    "of nothing": lambda: nn.Sequential(),
    "frozen": lambda: Plain().requires_grad_(False),
    "sparse": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 5)).to_sparse()
              if hasattr(nn.Module, "to_sparse") else nn.Identity(),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5)),
    "with embeddings": lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(768, 5)),
    "that grows": lambda: Plain(lambda y: torch.cat([y, y])),
    "random": lambda: Plain(lambda y: y + torch.rand_like(y)),
    "recurrent": lambda: nn.Sequential(nn.Flatten(2), nn.LSTM(64, 4)),
}  # fmt: skip


def outcome(name: str, *args, **options) -> Score | None:
    """The score, or None for an error of ours. Nothing else may come out."""
    try:
        found = score(name, *args, **options)
    except UninasError:
        return None
    assert math.isfinite(found.value)
    return found


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("what", MODULES)
def test_any_module_has_a_score_or_an_error_that_says_why(what):
    torch.manual_seed(0)
    module = MODULES[what]()
    before = copy.deepcopy(module.state_dict()) if "lazy" not in what and "half of it" not in what else {}
    state = torch.random.get_rng_state()
    for name in proxies():
        outcome(name, module, IMAGES)
    assert torch.equal(state, torch.random.get_rng_state())
    for key, value in before.items():
        after = module.state_dict()[key]
        assert not isinstance(value, Tensor) or value.is_meta or value.is_quantized or torch.equal(value, after), key


ARGUMENTS = {
    "batch": [None, 5, "normal", [], (), {}, np.zeros((2, 3, 8, 8)), torch.zeros(0, 3, 8, 8), torch.tensor(1.0),
              torch.zeros(2, 3, 8, 8, dtype=torch.int64), torch.zeros(2, 3, 8, 8, dtype=torch.complex64),
              torch.zeros(2, 1),
              torch.zeros(2, 3, 1, 1), torch.full((2, 3, 8, 8), math.inf), torch.zeros(2, 3, 8, 8).to_sparse(), (None,),
              lambda generator: None, lambda generator: 1 / 0, lambda: 5, torch.zeros(2, 3, 8, 8, device="meta"),
              [torch.zeros(2, 3, 8, 8), "x"], torch.zeros(2, 3, 8, 8).half(), iter([IMAGES])],
    "module": [None, 5, "resnet18", Plain, lambda x: x, [Plain()], {}, torch.zeros(3)],
    "generator": [1.5, True, 10**30, -(10**30), "0", torch.Generator, [], np.random.default_rng(0)],
    "init": [5, None, "no such scheme", [], lambda module: None, lambda module, generator: 1 / 0],
    "repeats": [0, -1, "2", 1.5, None, math.nan, True, 10**30],
    "name": [None, 5, "", "no such proxy", ["snip"], b"snip", "az_nas"],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("argument", "value"), [(a, v) for a, values in ARGUMENTS.items() for v in values], ids=named)
def test_any_argument_of_a_wrong_kind_is_told(argument, value):
    given = {"name": "snip", "module": Plain(), "batch": IMAGES, "generator": None, "init": "own", "repeats": 1}
    given[argument] = value
    for name in ("snip", "naswot", "vkdnw", "params", "flops", "trainability") if argument == "batch" else ("snip",):
        if argument != "name":
            given["name"] = name
        outcome(given.pop("name"), given.pop("module"), given.pop("batch"), **given)
        given = {"name": "snip", "module": Plain(), "batch": IMAGES, "generator": None, "init": "own", "repeats": 1}
        given[argument] = value


@pytest.mark.parametrize("name", proxies())
def test_any_option_of_a_wrong_kind_is_told(name):
    from uninas.proxies.base import get

    for option in get(name).options:
        for value in (None, "x", -1, 0, 10**30, 1.5, math.nan, [], {}, object(), (1, "x"), True, torch.zeros(2), b"x"):
            outcome(name, Plain(), IMAGES, **{option: value})
    with pytest.raises(ProxyError):
        score(name, Plain(), IMAGES, no_such_option=1)


@pytest.mark.parametrize("name", ["vkdnw", "vkdnw_single", "path_depth", "snip"])
@pytest.mark.parametrize("what", ["with complex output", "with integers as output", "that grows", "with no logits"])
def test_outputs_that_are_no_logits_have_no_number(what, name):
    with pytest.raises(ProxyError):
        score(name, MODULES[what](), IMAGES)


def test_a_distributed_module_has_the_score_of_the_one_inside():
    torch.manual_seed(0)
    module = Plain()
    for name in proxies():
        one, other = outcome(name, module, IMAGES), outcome(name, nn.DataParallel(module), IMAGES)
        assert one == other or (one and other and one.value == other.value), name


def test_a_module_without_data_can_be_counted():
    module, images = Plain().to("meta"), IMAGES.to("meta")
    assert score("params", module, images).value == score("params", Plain(), IMAGES).value
    assert score("flops", module, images).value == score("flops", Plain(), IMAGES).value


def test_the_reason_is_kept_as_the_cause():
    with pytest.raises(ProxyError, match="text") as caught:
        score("snip", Raises(ValueError("text\nof two lines")), IMAGES)
    chain = caught.value
    while chain.__cause__:
        chain = chain.__cause__
    assert isinstance(chain, ValueError)


def test_want_of_memory_is_told_as_such():
    from uninas.errors import out_of_memory

    with pytest.raises(ProxyError, match="memory") as caught:
        score("snip", Raises(MemoryError()), IMAGES)
    assert out_of_memory(caught.value)
