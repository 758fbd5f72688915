"""The rules of the derivative engine: each is met by some network, and shipped networks need no slow one."""

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import uninas
from uninas.proxies import score
from uninas.proxies.engine.aten_graph import Program, differentiable_kernels, lower
from uninas.proxies.engine.jvp_rules import RULES
from uninas.proxies.engine.vjp_rules import PULLS
from uninas.proxies.types import ProxyError

PULLED_BY_TORCH = {
    "permute", "transpose", "t", "expand", "unsqueeze", "slice", "split", "select", "index_select", "roll", "tril",
    "triu", "pixel_unshuffle", "mean", "max_pool2d_with_indices", "upsample_nearest2d",
}  # fmt: skip
"""Operations that torch's own derivative takes backwards as fast as a rule would: they move or select numbers."""


def program_of(module: nn.Module, *shapes: tuple[int, ...]) -> Program:
    inputs = tuple(torch.zeros(2, *shape, device="meta") for shape in shapes)
    module = module.eval().to("meta")
    with differentiable_kernels():
        program = lower(module, dict(module.named_parameters()), inputs)
    assert program is not None
    return program


def operations(program: Program) -> set[object]:
    return {node.target for node in program.steps if node.op == "call_function"}


def is_quick(target: object, rules: object) -> bool:
    """Whether an operation has a rule of its own, or is a view or an elementwise function, which rules cover."""
    return (
        target in rules
        or getattr(target, "is_view", False)
        or torch.Tag.pointwise in getattr(target, "tags", ())
    )  # fmt: skip


def classifiers() -> list[str]:
    """The shipped networks that make one vector of one image."""
    graphs = {name: uninas.load(name) for name in uninas.list_models()}
    return [name for name, graph in graphs.items() if [len(s) for s in (*graph.inputs, *graph.output_shapes)] == [3, 1]]


@pytest.mark.parametrize("name", classifiers())
def test_shipped_networks_are_recorded_and_need_no_slow_rule(name):
    graph = uninas.load(name)
    found = operations(program_of(uninas.compile(graph), *graph.inputs))
    assert not {str(target) for target in found if not is_quick(target, RULES)}
    slow = {str(target) for target in found if not is_quick(target, PULLS)}
    assert {text.split(".")[1] for text in slow} <= PULLED_BY_TORCH
    MET.update(found)


MET: set[object] = set()


class Does(nn.Module):
    """A convolution, what is given, and a linear layer."""

    def __init__(self, middle, channels: int = 4):
        super().__init__()
        self.conv, self.middle, self.last = nn.Conv2d(3, 4, 3, padding=1), middle, nn.Linear(channels, 5)

    def forward(self, x):
        y = self.middle(self.conv(x))
        return self.last(y.mean((2, 3)) if y.ndim == 4 else y)


WEIGHT = nn.Parameter(torch.ones(4, 4))
EXTRA = {
    "stack": Does(lambda y: torch.stack([y, y.relu()], 1).sum(1)),
    "matrices": Does(lambda y: y.mean((2, 3)) @ y.mean((2, 3)).T @ y.mean((2, 3))),
    "group norm": Does(nn.GroupNorm(2, 4)),
    "difference": Does(lambda y: y - y.relu()),
    "attention": Does(lambda y: F.scaled_dot_product_attention(y, y, y)),
    "pad": Does(lambda y: F.pad(y, (1, 1, 1, 1))),
    "sums": Does(lambda y: y.sum((2, 3)) / y.sum() + y.mean()),
    "adaptive pool": Does(nn.AdaptiveAvgPool2d(2)),
    "nearest": Does(lambda y: F.interpolate(y, scale_factor=2)),
    "nearest to a size": Does(lambda y: torch.ops.aten.upsample_nearest2d(y, [16, 16])),
    "bilinear": Does(lambda y: F.interpolate(y, scale_factor=2, mode="bilinear")),
    "bilinear to a size": Does(lambda y: torch.ops.aten.upsample_bilinear2d(y, [16, 16], False)),
    "index": Does(lambda y: y[:, torch.tensor([0, 1, 2, 3])]),
    "another precision": Does(lambda y: y.double().float()),
    "masks": Does(lambda y: y.tril() + y.triu(1)),
    "pixels": Does(lambda y: F.pixel_shuffle(y, 2).expand(-1, 4, -1, -1)),
}


def test_every_rule_is_met_by_some_network():
    met = set(MET)
    for module in EXTRA.values():
        met |= operations(program_of(module, (3, 8, 8)))
    if len(MET) == 0:  # run alone: the networks that have the rest
        for name in ("coatnet", "densenet121", "swin_tiny_patch4_window7_224", "inception_v3", "ghostnet_100"):
            met |= operations(program_of(uninas.create_model(name), *uninas.load(name).inputs))
    assert not {str(target) for target in {*RULES, *PULLS} - met}


def test_what_cannot_be_recorded_is_noted_for_whoever_looks(caplog):
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(192, 3)

        def forward(self, x):
            y = self.last(x.flatten(1))
            return y if float(y.sum().detach()) < 1e9 else y * 2  # asks for a value

    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with caplog.at_level(logging.DEBUG, logger="uninas"):
        assert score("vkdnw", Asks(), images).value
        assert score("flops", Asks(), images).value == 2 * 192 * 3
    texts = [record.getMessage() for record in caplog.records]
    assert any("cannot be recorded" in text for text in texts) and any("counted without data" in text for text in texts)
    assert all(record.exc_info for record in caplog.records)


def test_a_true_mistake_is_told_and_not_taken_for_a_slow_way():
    with pytest.raises(ProxyError, match="fails on inputs"):
        score("flops", Does(lambda y: y.no_such_method()), torch.zeros(2, 3, 8, 8))
