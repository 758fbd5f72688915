"""A module as a flat program: a list of ATen operations without side effects, to be walked with derivatives.

A `torch.fx` graph of ATen operations has a short vocabulary, whatever layers and functions the module is made of, and
what it says of shapes is known before anything runs.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, functionalize
from torch.fx.node import map_arg
from torch.nn.attention import SDPBackend, sdpa_kernel

from uninas.proxies.engine import torch_private as private
from uninas.proxies.engine.convolutions import CONVOLUTIONS, normed_convolution, plain_arguments
from uninas.proxies.engine.jvp_rules import Call
from uninas.proxies.engine.trace import Constants, recorded
from uninas.proxies.guard import check_logits, same_attributes
from uninas.proxies.types import Inputs, ProxyError

aten = torch.ops.aten
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Program:
    """A module as a list of ATen operations without side effects.

    `leaves` are a node's arguments, flattened; `dying[i]` are the nodes that step i uses last; `size` is the
    number of bytes of a node's floating-point output, 0 where that has no derivative; `activations` is the number
    of bytes of all intermediate results together; `work[i]` is about how long step i takes, in units that only compare;
    `widest` is the number of bytes of the largest result that depends on the inputs;
    `by_sample` are nodes that depend on the inputs and have as many entries, along the first dimension, as these have;
    after `stop` steps the output is there, after 0 where it is one of the inputs.
    """

    constants: Constants
    placeholders: tuple[fx.Node, ...]
    steps: tuple[fx.Node, ...]
    output: fx.Node
    leaves: Mapping[fx.Node, tuple[Any, ...]]
    dying: tuple[tuple[fx.Node, ...], ...]
    size: Mapping[fx.Node, int]
    activations: int
    work: tuple[float, ...]
    widest: int
    by_sample: frozenset[fx.Node]
    stop: int


@contextmanager
def differentiable_kernels() -> Iterator[None]:
    """Fused attention has no forward derivative: let it fall apart into its elementary operations."""
    with private.without_attention_fast_path(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # What torch cannot vectorise is looped over, which is slow but right; jvp scripts helpers of its own.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")
        yield


def lower(module: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs) -> Program | None:
    """Record `module`. The arguments of the program are `tensors`, in order, then `inputs`.

    None if the module's Python code asks for values, or fails.
    """
    run = as_function(module, list(tensors))
    # Functionalising takes longer than all the rest, and most modules write nothing.
    for function in (run, functionalize(run)):
        try:
            graph, constants = recorded(function, (*tensors.values(), *inputs))
        except Exception:  # Recording raises many kinds; the plain pass that follows tells a user's mistake from them.
            logger.debug("the module cannot be recorded and takes the slow way", exc_info=True)
            return None
        if any(map(_is_complex, graph.nodes)):
            return None
        if function is not run or not any(map(_writes, graph.nodes)):
            if not _simplify(graph):
                return None
            _fold_norms(graph)
            return _program(graph, constants, len(inputs))
    return None


def as_function(module: nn.Module, names: Sequence[str]) -> Callable[..., Any]:
    """The module as a function of its tensors of these names, in order, and then of its inputs."""

    def run(*values: Tensor) -> Any:
        with same_attributes(module):
            return functional_call(module, dict(zip(names, values, strict=False)), values[len(names) :])

    return run


def _is_complex(node: fx.Node) -> bool:
    """Whether complex numbers come out, whose derivatives our rules do not know."""
    leaves = private.pytree.tree_leaves(node.meta.get("val"))
    return any(isinstance(leaf, Tensor) and leaf.is_complex() for leaf in leaves)


def _writes(node: fx.Node) -> bool:
    """Whether an operation changes one of its arguments."""
    if node.target in _BATCH_NORMS:
        return bool(node.args[3] and node.args[5])  # the running statistics, which its signature keeps to itself
    return private.is_mutable(node.target) and node.target not in _COPIES


def _simplify(graph: fx.Graph) -> bool:
    """Make the program independent of memory layout and device, and drop copies, which mean nothing without writes.

    False if that is impossible because the module itself speaks of strides.
    """
    for node in graph.nodes:
        if node.target in _VIEWS:
            node.target = aten.reshape.default
        elif node.target in _COPIES:
            node.replace_all_uses_with(node.args[0])
        elif node.target is aten.copy.default:
            _replace_copy(graph, node)
        elif node.target is aten.slice_scatter.default:
            node.args = _from_start(*node.args)
        elif node.target in _BATCH_NORMS:
            node.target, node.meta["val"] = aten.native_batch_norm.default, node.meta["val"][:3]
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if node.target in _COPIES:  # torch's pooling changes strides in place, which counts as a side effect
            graph.erase_node(node)
    return all(node.target is not aten.as_strided.default for node in graph.nodes)


def _replace_copy(graph: fx.Graph, node: fx.Node) -> None:
    """The value that was copied over another one, in the shape and type of that."""
    new: Any = node.args[1]
    over, source = node.meta["val"], new.meta["val"]
    with graph.inserting_before(node):
        if source.dtype != over.dtype:
            new = graph.call_function(private.to_copy, (new,), {"dtype": over.dtype})
            new.meta["val"] = source.to(over.dtype)
        if source.shape != over.shape:
            new = graph.call_function(aten.expand.default, (new, list(over.shape)))
            new.meta["val"] = over
    node.replace_all_uses_with(new)


def _from_start(
    value: fx.Node, part: fx.Node, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> tuple[Any, ...]:
    """The arguments of `slice_scatter`, counted from the start: torch cannot vectorise those counted from the end."""
    return value, part, dim, *slice(start, end, step).indices(value.meta["val"].shape[dim])


def _fold_norms(graph: fx.Graph) -> None:
    """Join a batch norm with running statistics to the convolution before it."""
    for norm in graph.find_nodes(op="call_function", target=aten.native_batch_norm.default):
        conv, weight, bias, mean, variance, training, _, epsilon = norm.args
        folds = not training and mean is not None and conv.target is aten.convolution.default and len(conv.users) == 1
        if not folds or conv.args[6] or any(user.args[1] != 0 for user in norm.users):
            continue
        x, filters, own_bias, *settings = conv.args
        with graph.inserting_before(norm):
            args = (x, filters, own_bias, weight, bias, mean, variance, epsilon, *settings)
            both = graph.call_function(normed_convolution, args)
        both.meta["val"] = conv.meta["val"]
        for user in list(norm.users):
            user.replace_all_uses_with(both)
    graph.eliminate_dead_code()


# What a GPU's own library computes has one output more, for that library.
_BATCH_NORMS = private.BATCH_NORMS
_VIEWS = (aten.view.default, private.unsafe_view)
_COPIES = (aten.clone.default, aten.alias.default, aten.lift_fresh.default, aten.lift_fresh_copy.default,
           aten.as_strided_.default)  # fmt: skip


def _program(graph: fx.Graph, constants: Constants, inputs: int) -> Program:
    nodes = list(graph.nodes)
    steps = tuple(node for node in nodes if node.op in ("get_attr", "call_function"))
    (output,) = (node.args[0] for node in nodes if node.op == "output")
    if not isinstance(output, fx.Node):
        raise ProxyError("expected a module whose output is one tensor of logits (N, K), but got several outputs")
    placeholders = tuple(node for node in nodes if node.op == "placeholder")
    samples = len(placeholders[-inputs].meta["val"])
    check_logits(output.meta["val"], samples)

    leaves = {node: tuple(private.pytree.tree_leaves((node.args, node.kwargs))) for node in steps}
    last_use = {leaf: i for i, node in enumerate(steps) for leaf in leaves[node] if isinstance(leaf, fx.Node)}
    last_use.pop(output, None)
    dying: list[list[fx.Node]] = [[] for _ in steps]
    for node, i in last_use.items():
        dying[i].append(node)
    fed = set(placeholders[len(placeholders) - inputs :])
    for node in steps:
        if any(leaf in fed for leaf in leaves[node]):
            fed.add(node)
    size = {node: 0 if _is_flat(node) else _bytes(node.meta.get("val")) for node in nodes}
    return Program(
        constants=constants,
        placeholders=placeholders,
        steps=steps,
        output=output,
        leaves=leaves,
        dying=tuple(map(tuple, dying)),
        size=size,
        activations=_stored(steps),
        work=tuple(map(_work, steps)),
        widest=max((size[node] for node in fed), default=0),
        by_sample=frozenset(node for node in steps if node in fed and entries(node, samples)),
        stop=steps.index(output) + 1 if output in steps else 0,
    )


def _is_flat(node: fx.Node) -> bool:
    """Whether the derivative is zero everywhere, as of NAS-Bench-201's operation `none`, which multiplies by 0."""
    by_zero = node.target is aten.mul.Tensor and any(type(arg) in (int, float) and arg == 0 for arg in node.args)
    return by_zero or getattr(node.target, "overloadpacket", None) in _FLAT


_FLAT = frozenset([
    aten.detach, aten.sign, aten.floor, aten.ceil, aten.round, aten.trunc,
    # These look at nothing but shapes.
    aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.rand_like, aten.randn_like,
    aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty, aten.new_empty_strided,
])  # fmt: skip


# A processor multiplies about this many numbers in the time in which it fetches one.
_FLOPS_PER_NUMBER = 32


def _work(node: fx.Node) -> float:
    """FLOPs of convolutions and matrix products, and the traffic of every operation that is no view."""
    if getattr(node.target, "is_view", False) or node.op == "get_attr":
        return 0.0
    flops = 0
    packet, args = getattr(node.target, "overloadpacket", None), node.args
    if node.target in CONVOLUTIONS:
        packet, args = aten.convolution, plain_arguments(node.target, args)
    if packet in private.flop_registry:
        values, named = map_arg((args, node.kwargs), lambda leaf: leaf.meta["val"])
        flops = private.flop_registry[packet](*values, **named, out_val=node.meta["val"])
    return float(flops + _FLOPS_PER_NUMBER * _bytes(node.meta.get("val")) // 4)


def _bytes(value: Any) -> int:
    tensors = (leaf for leaf in private.pytree.tree_leaves(value) if isinstance(leaf, Tensor))
    return sum(t.numel() * t.element_size() for t in tensors if t.is_floating_point())


def _stored(steps: Sequence[fx.Node]) -> int:
    """Bytes of all results together, each storage counted once."""
    storages = (storage for node in steps for storage in _storages(node.meta.get("val")))
    return sum({private.storage_key(storage): storage.nbytes() for storage in storages}.values())


def _storages(value: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in private.pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def entries(node: fx.Node, samples: int) -> int:
    """Numbers per sample; 0 for what is not one tensor (samples, ...)."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != samples:
        return 0
    return math.prod(value.shape[1:])


def call(program: Program, node: fx.Node, env: dict[fx.Node, Any]) -> Call:
    """The operation at `node`, executed unless its result is already in `env`, where it is put."""
    if node.op == "get_attr":
        env[node] = program.constants[str(node.target)]
        return Call(getattr, (), {}, env[node])
    args, kwargs = map_arg((node.args, node.kwargs), env.__getitem__)
    if node not in env:
        env[node] = node.target(*args, **kwargs)  # type: ignore[operator]
    return Call(node.target, args, kwargs, env[node])  # type: ignore[arg-type]


def advance(program: Program, env: dict[fx.Node, Any], steps: range, keep: bool = False) -> None:
    """Run some steps; `env` holds the values they need, and afterwards those that later steps need, or (`keep`) all."""
    for i in steps:
        call(program, program.steps[i], env)
        for dead in () if keep else program.dying[i]:
            del env[dead]
