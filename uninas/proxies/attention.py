"""Attention in any network: found in its operations, however it is written.

A network is lowered to a list of operations. Attention is a softmax, and the first product of its output with
something else that depends on the input; its weights are those of the operations that make the two factors of the map,
the values, and what is done with the product first.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from uninas.proxies.engine.aten_graph import Program, differentiable_kernels, lower
from uninas.proxies.engine.forward import Env
from uninas.proxies.engine.torch_private import safe_softmax, softmax
from uninas.proxies.paths import PRODUCTS, packet, reached
from uninas.proxies.types import Inputs, ProxyError


@dataclass(frozen=True)
class Attention:
    """The map of a head, or of several, after its softmax, and its product with the values."""

    map: fx.Node
    product: fx.Node


@dataclass(frozen=True)
class Lowered:
    """A network as a program of its parameters by name and its inputs, and the attention in it."""

    program: Program
    names: tuple[str, ...]
    heads: tuple[Attention, ...]

    def start(self, module: nn.Module, inputs: Inputs) -> Env:
        """The values that the program starts from."""
        tensors = _tensors(module)
        return dict(zip(self.program.placeholders, (*(tensors[name] for name in self.names), *inputs), strict=True))

    def weights(self) -> set[str]:
        """The names of the weights of all attention: of queries, keys, values, and what comes right after."""
        found: set[str] = set()
        steps, parameters = (
            _Steps(self.program, len(self.names)),
            dict(zip(self.program.placeholders, self.names, strict=False)),
        )
        for head in self.heads:
            for node in (*steps.before(head.product), *steps.after(head.product)):
                found.update(parameters[leaf] for leaf in steps.learned_by(node) if leaf in parameters)
        return found


def lowered(module: nn.Module, inputs: Inputs) -> Lowered:
    """The network in evaluation mode, and its attention. ProxyError where it cannot be recorded."""
    module.eval()
    tensors = _tensors(module)
    with differentiable_kernels():  # fused attention hides its map
        program = lower(module, tensors, inputs)
    if program is None:
        raise ProxyError(
            "the network's operations cannot be recorded",
            "it fails on this input, asks for values, or computes complex numbers",
        )
    steps = _Steps(program, len(tensors))
    heads = tuple(
        Attention(node, product)
        for node in program.steps
        if node.target in (softmax, safe_softmax) and (product := steps.product_of(node)) is not None
    )
    return Lowered(program, tuple(tensors), heads)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


class _Steps:
    """Which operations have weights, and how they follow each other."""

    def __init__(self, program: Program, tensors: int):
        self.program = program
        self.fed = reached(program, program.placeholders[tensors:])
        self.learned = reached(program, program.placeholders[:tensors]) - self.fed

    def learned_by(self, node: fx.Node) -> Set[fx.Node]:
        """What an operation takes that does not depend on the input: its weights, back to the parameters."""
        found, waiting = set(), [leaf for leaf in self.program.leaves[node] if leaf in self.learned]
        while waiting:
            leaf = waiting.pop()
            found.add(leaf)
            waiting += [one for one in self.program.leaves.get(leaf, ()) if one in self.learned and one not in found]
        return found

    def is_weighted(self, node: fx.Node) -> bool:
        """Whether it multiplies what depends on the input with weights."""
        return packet(node) in PRODUCTS and any(leaf in self.learned for leaf in self.program.leaves[node])

    def product_of(self, node: fx.Node) -> fx.Node | None:
        """The first product of a value with another one that depends on the input."""
        derived = {node}
        for step in self.program.steps[self.program.steps.index(node) + 1 :]:
            if not any(leaf in derived for leaf in self.program.leaves[step]):
                continue
            if packet(step) in PRODUCTS:
                return None if self.is_weighted(step) else step
            derived.add(step)
        return None

    def before(self, node: fx.Node) -> Iterator[fx.Node]:
        """The nearest weighted operations that a value depends on."""
        seen: set[Any] = set()
        waiting = [leaf for leaf in self.program.leaves[node] if leaf in self.fed]
        while waiting:
            leaf = waiting.pop()
            if leaf in seen or leaf not in self.program.leaves:
                continue
            seen.add(leaf)
            if self.is_weighted(leaf):
                yield leaf
            else:
                waiting += [one for one in self.program.leaves[leaf] if one in self.fed]

    def after(self, node: fx.Node) -> Iterator[fx.Node]:
        """The nearest weighted operations that depend on a value."""
        derived = {node}
        for step in self.program.steps[self.program.steps.index(node) + 1 :]:
            if any(leaf in derived for leaf in self.program.leaves[step]):
                if self.is_weighted(step):
                    yield step
                else:
                    derived.add(step)
