"""A module as a flat program: a list of ATen operations without side effects, to be walked with derivatives.

A `torch.fx` graph of ATen operations has a short vocabulary, whatever layers and functions the module is made of, and
what it says of shapes is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import flop_registry

from uninas.proxies.base import Inputs, ProxyError
from uninas.proxies.tangents import Call

aten = torch.ops.aten


@dataclass(frozen=True)
class Program:
    """A module as a list of ATen operations without side effects.

    `leaves` are a node's arguments, flattened; `dying[i]` are the nodes that step i uses last; `size` is the
    number of bytes of a node's floating-point output, 0 where it has no derivative; `activations` is the number
    of bytes of all intermediate results together; `work[i]` is about how long step i takes, in units that only compare;
    after `stop` steps the output is there, after 0 where it is one of the inputs.
    """

    constants: fx.GraphModule
    placeholders: tuple[fx.Node, ...]
    steps: tuple[fx.Node, ...]
    output: fx.Node
    leaves: Mapping[fx.Node, tuple[Any, ...]]
    dying: tuple[tuple[fx.Node, ...], ...]
    size: Mapping[fx.Node, int]
    activations: int
    work: tuple[float, ...]
    stop: int


def lower(module: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs) -> Program | None:
    """Trace `module` on tensors without data. Its arguments are `tensors`, in order, then `inputs`.

    None if the module's Python code asks for values, or fails.
    """
    names = list(tensors)

    def run(*values: Tensor) -> Any:
        return functional_call(module, dict(zip(names, values, strict=False)), values[len(names) :])

    # Functionalising takes longer than all the rest, and most modules write nothing.
    for function in (run, functionalize(run)):
        lowered = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)
        try:
            traced = lowered(*tensors.values(), *inputs)
        except Exception:  # Tracing raises many kinds; the plain pass that follows tells a user's mistake from them.
            return None
        if function is not run or not any(map(_writes, traced.graph.nodes)):
            return _program(traced) if _simplify(traced.graph) else None
    return None


def _writes(node: fx.Node) -> bool:
    """Whether an operation changes one of its arguments."""
    if node.target is aten.native_batch_norm.default:
        return bool(node.args[3] and node.args[5])  # the running statistics, which its signature keeps to itself
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable and node.target not in _COPIES


def _simplify(graph: fx.Graph) -> bool:
    """Make the program independent of memory layout and drop copies, which mean nothing where nothing is written.

    False if that is impossible because the module itself speaks of strides.
    """
    for node in graph.nodes:
        if node.target in _VIEWS:
            node.target = aten.reshape.default
        elif node.target in _COPIES:
            node.replace_all_uses_with(node.args[0])
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if node.target in _COPIES:  # torch's pooling changes strides in place, which counts as a side effect
            graph.erase_node(node)
    return all(node.target is not aten.as_strided.default for node in graph.nodes)


_VIEWS = (aten.view.default, aten._unsafe_view.default)
_COPIES = (aten.clone.default, aten.alias.default, aten.lift_fresh_copy.default, aten.as_strided_.default)


def _program(traced: fx.GraphModule) -> Program:
    nodes = list(traced.graph.nodes)
    steps = tuple(node for node in nodes if node.op in ("get_attr", "call_function"))
    (output,) = (node.args[0] for node in nodes if node.op == "output")
    if not isinstance(output, fx.Node) or output.meta["val"].ndim != 2:
        found = f"shape {tuple(output.meta['val'].shape)}" if isinstance(output, fx.Node) else "several outputs"
        raise ProxyError(f"expected a module whose output is one tensor of logits (N, K), but got {found}")

    leaves = {node: tuple(pytree.tree_leaves((node.args, node.kwargs))) for node in steps}
    last_use = {leaf: i for i, node in enumerate(steps) for leaf in leaves[node] if isinstance(leaf, fx.Node)}
    last_use.pop(output, None)
    dying: list[list[fx.Node]] = [[] for _ in steps]
    for node, i in last_use.items():
        dying[i].append(node)
    return Program(
        constants=traced,
        placeholders=tuple(node for node in nodes if node.op == "placeholder"),
        steps=steps,
        output=output,
        leaves=leaves,
        dying=tuple(map(tuple, dying)),
        size={node: _bytes(node.meta.get("val")) for node in nodes},
        activations=sum({s._cdata: s.nbytes() for node in steps for s in _storages(node.meta.get("val"))}.values()),
        work=tuple(map(_work, steps)),
        stop=steps.index(output) + 1 if output in steps else 0,
    )


# A processor multiplies about this many numbers in the time in which it fetches one.
_FLOPS_PER_NUMBER = 32


def _work(node: fx.Node) -> float:
    """FLOPs of convolutions and matrix products, and the traffic of every operation that is no view."""
    if getattr(node.target, "is_view", False) or node.op == "get_attr":
        return 0.0
    flops = 0
    packet = getattr(node.target, "overloadpacket", None)
    if packet in flop_registry:
        args, kwargs = map_arg((node.args, node.kwargs), lambda leaf: leaf.meta["val"])
        flops = flop_registry[packet](*args, **kwargs, out_val=node.meta["val"])
    return float(flops + _FLOPS_PER_NUMBER * _bytes(node.meta.get("val")) // 4)


def _bytes(value: Any) -> int:
    tensors = (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor))
    return sum(t.numel() * t.element_size() for t in tensors if t.is_floating_point())


def _storages(value: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def call(program: Program, node: fx.Node, env: dict[fx.Node, Any]) -> Call:
    """The operation at `node`, executed unless its result is already in `env`, where it is put."""
    if node.op == "get_attr":
        env[node] = getattr(program.constants, str(node.target))
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
