"""Contract checks for what a plug-in brings: the same that our own operations, proxies and strategies pass.

    from uninas.testing import check_operation

    def test_my_operation():
        check_operation(MyOp(0.5), (8, 14, 14))

Each check is a function of its own, so that a test can name what it looks at; a broken promise is an AssertionError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from uninas.backend import layers
from uninas.ops.op import REGISTRY, Op, Shape
from uninas.ops.regulariser import Dropout, DropPath
from uninas.proxies import get, score
from uninas.search.asktell import Search
from uninas.search.strategies import STRATEGIES

Shapes = Sequence[Shape]

# ---- operations ------------------------------------------------------------------------------------------------------


def check_operation(op: Op, *shapes: Shape) -> None:
    """Hold an operation to its card, for inputs of these shapes (C x H x W or C, without the batch)."""
    assert REGISTRY.get(op.name) is type(op), f"{op.name} is not registered"
    for check in OPERATION_CHECKS:
        check(op, shapes)


def card_is_complete(op: Op, shapes: Shapes = ()) -> None:
    """The documentation begins with a sentence, attributes say what they mean, and required ones come first."""
    sentence = (type(op).__doc__ or "").strip().splitlines()[0]
    assert len(sentence) > 15 and sentence.endswith((".", ":")), f"expected a sentence, but got {sentence!r}"
    assert all(attribute.doc and attribute.domain for attribute in op.attrs), "every attribute says what it means"
    required = [attribute.required for attribute in op.attrs]
    assert required == sorted(required, reverse=True), "required attributes come first"


def agrees_with_torch(op: Op, shapes: Shapes) -> None:
    """Shapes, parameters and FLOPs (2 x MACs) are those that torch measures on the meta device."""
    with torch.device("meta"):
        module = Wrapped(op.emit(layers, *shapes)).eval()
        tensors = [torch.empty(1, *shape) for shape in shapes]
    with FlopCounterMode(display=False) as counter:
        results = as_tuple(module(*tensors))
    cost = op.cost(*shapes)
    assert [tuple(result.shape[1:]) for result in results] == list(op.outputs(*shapes))
    assert sum(p.numel() for p in module.parameters()) == cost.params
    assert counter.get_total_flops() == cost.flops
    assert cost.elementwise >= 0


def gradients_are_finite(op: Op, shapes: Shapes) -> None:
    """Values are finite on noise, and so are the gradients of every input and weight."""
    module = Wrapped(emitted(op, shapes))
    tensors = [tensor.requires_grad_() for tensor in noise(shapes)]
    results = as_tuple(module(*tensors))
    assert all(bool(result.isfinite().all()) for result in results)
    torch.stack([result.square().sum() for result in results]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in [*tensors, *module.parameters()])


def grows_as_its_degree_says(op: Op, shapes: Shapes) -> None:
    """Inputs a thousand times as large give outputs at most thousand^degree times as large."""
    module = Wrapped(emitted(op, shapes)).double().train(not is_random(op))
    near, far = (as_tuple(module(*(scale * tensor.double() for tensor in noise(shapes)))) for scale in (1e3, 1e6))
    for small, large in zip(near, far, strict=True):
        assert large.abs().max() <= 1.01 * 1e3 ** op.degree(*(1 for _ in shapes)) * small.abs().max().clamp(min=10)


def samples_are_independent(op: Op, shapes: Shapes) -> None:
    """In evaluation mode a sample's output does not depend on the rest of the batch."""
    module = Wrapped(emitted(op, shapes)).eval()
    tensors = noise(shapes, batch=3)
    together = as_tuple(module(*tensors))
    for sample in range(3):
        alone = as_tuple(module(*(tensor[sample : sample + 1] for tensor in tensors)))
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a, b[sample : sample + 1], rtol=1e-4, atol=1e-6)


def exports(op: Op, shapes: Shapes) -> None:
    """torch.export takes it, with a batch of any size."""
    module = Wrapped(emitted(op, shapes)).eval()
    tensors = noise(shapes)
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(module, tuple(tensors), dynamic_shapes={"tensors": ({0: batch},) * len(tensors)})
    others = noise(shapes, batch=5, seed=2)
    torch.testing.assert_close(exported.module()(*others), module(*others))


def differentiates_forwards(op: Op, shapes: Shapes) -> None:
    """It has forward-mode derivatives, also of several directions at once under vmap."""
    module = Wrapped(emitted(op, shapes)).eval()
    tensors = tuple(noise(shapes))
    directions = tuple(torch.stack([torch.ones_like(t), -2 * torch.ones_like(t)]) for t in tensors)

    def derivative(*along: Tensor) -> Any:
        return torch.func.jvp(lambda *x: as_tuple(module(*x)), tensors, along)[1]

    one, other = (derivative(*(direction[row] for direction in directions)) for row in (0, 1))
    for stack, *singles in zip(torch.func.vmap(derivative)(*directions), one, other, strict=True):
        torch.testing.assert_close(stack, torch.stack(singles), rtol=1e-4, atol=1e-5)


def stacks(op: Op, shapes: Shapes) -> None:
    """Copies with weights of their own, stacked into one, compute what the single ones do; else it says it cannot."""
    if not op.stackable(*shapes):
        return
    count, single = 3, [emitted(op, shapes, seed) for seed in range(3)]
    whole = op.emit_stacked(layers, count, *shapes)
    if isinstance(whole, nn.Module):
        _same_weights(single, whole)
    parts = [noise(shapes, seed=seed) for seed in range(count)]
    for training in (False,) if is_random(op) else (True, False):
        for module in (*single, whole):
            if isinstance(module, nn.Module):
                module.train(training)
        batch = [layers.stack_parts(*tensors) for tensors in zip(*parts, strict=True)]
        got = [layers.unstack_parts(result, count) for result in as_tuple(whole(*batch))]
        wanted = [as_tuple(module(*tensors)) for module, tensors in zip(single, parts, strict=True)]
        torch.testing.assert_close(list(zip(*got, strict=True)), wanted, rtol=1e-4, atol=1e-5)
    if isinstance(whole, nn.Module):  # also what training wrote into the running statistics
        states = [part.state_dict() for part in single]
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(value, torch.stack([state[name] for state in states]))


def _same_weights(single: Sequence[nn.Module], whole: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for weight in (weight for part in single for weight in part.parameters()):
        weight.data.normal_(generator=generator)  # also those that begin equal in all copies
    states = [part.state_dict() for part in single]
    whole.load_state_dict({name: torch.stack([state[name] for state in states]) for name in states[0]})


OPERATION_CHECKS: tuple[Callable[[Op, Shapes], None], ...] = (
    card_is_complete, agrees_with_torch, gradients_are_finite, grows_as_its_degree_says, samples_are_independent,
    exports, differentiates_forwards, stacks,
)  # fmt: skip


class Wrapped(nn.Module):
    """What the compiler makes of a function: something with a `forward`."""

    def __init__(self, made: Any):
        super().__init__()
        self.made = made

    def forward(self, *tensors: Tensor) -> Any:
        return self.made(*tensors)


def emitted(op: Op, shapes: Shapes, seed: int = 0) -> Any:
    """The torch object of an operation, with weights drawn by the seed."""
    made = op.emit(layers, *shapes)
    if isinstance(made, nn.Module):
        layers.initialise(made, "default", torch.Generator().manual_seed(seed))
    return made


def noise(shapes: Shapes, batch: int = 2, seed: int = 1) -> list[Tensor]:
    """Standard normal inputs of these shapes."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, *shape, generator=generator) for shape in shapes]


def as_tuple(result: Any) -> tuple[Tensor, ...]:
    """The outputs of an operation, also of one that gives a single tensor."""
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def is_random(op: Op) -> bool:
    """Whether the operation draws numbers while it trains."""
    return isinstance(op, Dropout | DropPath)


# ---- proxies ---------------------------------------------------------------------------------------------------------


def check_proxy(name: str, module: nn.Module | None = None, inputs: Tensor | None = None, **options: Any) -> None:
    """Hold a proxy to its promises: documented, finite, repeatable, and nothing is left behind in the module.

    By default the module is a small convolutional network with a frozen bias and a norm in evaluation mode.
    """
    module = small_network() if module is None else module
    x = noise([(3, 8, 8)])[0] if inputs is None else inputs
    known = get(name)
    assert known.direction in ("higher", "lower")
    assert ":" in name or known.summary.endswith((".", ":")), f"{name} is not documented by a sentence"
    state = {key: value.clone() for key, value in module.state_dict().items()}
    tensors = [(id(p), p.requires_grad, p.grad) for p in module.parameters()]
    modes = [layer.training for layer in module.modules()]
    random = torch.get_rng_state()
    first = score(name, module, x, **options)
    assert math.isfinite(first.value) and all(map(math.isfinite, first.components.values()))
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items()), "weights changed"
    assert tensors == [(id(p), p.requires_grad, p.grad) for p in module.parameters()], "parameters or gradients changed"
    assert modes == [layer.training for layer in module.modules()], "modes changed"
    assert torch.equal(random, torch.get_rng_state()), "torch's global random state changed"
    assert score(name, module, x, **options).value == first.value, "the same call gave another score"


def small_network() -> nn.Module:
    """A convolution with a frozen bias, a norm in evaluation mode, dropout, and a linear layer for 5 classes."""
    end = nn.Sequential(nn.ReLU(), nn.Flatten())
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), end, nn.Linear(144, 5))
    module[0].bias.requires_grad_(False)
    module[1].eval()
    return module


# ---- strategies ------------------------------------------------------------------------------------------------------


def first_edit(question: Mapping[str, Any]) -> Mapping[str, Any]:
    """A proposer for the strategy `outside`: it takes the first edit that it is offered."""
    offered: Mapping[str, Any] = question["edits"][0]
    return offered


def check_strategy(name: str, space: str = "UniNAS", start: str | None = "resnet", iterations: int = 12) -> None:
    """Hold a strategy to its promises: documented, deterministic by its seed, and indifferent to who is told first."""
    assert STRATEGIES.find(name).summary()
    once, again, late = (_walked(name, space, start, iterations, order) for order in ("now", "now", "late"))
    assert once == again, "the same seed gave other candidates"
    assert once == late, "the candidates depend on which scores come first"
    assert len(once) == iterations + 1


def _walked(name: str, space: str, start: str | None, iterations: int, order: str) -> list[str]:
    """Keys of the candidates of one search, each told at once, or as late and as much out of order as it allows."""
    search = Search.over(space, start=start, strategy=name, seed=1, iterations=iterations, proposer=first_edit)
    keys: list[str] = []
    waiting: list[Any] = []
    while len(keys) <= iterations and not search.exhausted:
        candidate = search.ask()
        if candidate is not None:
            keys.append(candidate.graph.key)
            waiting.append(candidate)
        if candidate is None or order == "now":
            while waiting:
                told = waiting.pop()
                search.tell(told, float(told.graph.cost.params % 1009))
    return keys
