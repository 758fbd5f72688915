"""The exact Jacobian of a network's logits with respect to a few of its weights, in forward mode.

Reverse mode needs one backward pass per class and sample. Forward mode needs one tangent per chosen weight, and a
weight deep in the network has no tangent above it. So the module is lowered once to a flat program of ATen
operations (a `torch.fx` graph), and the program is walked in order, carrying stacks of those tangents only that
are alive. Weights are taken in chunks in the order in which the program meets them, as many as the memory limit
allows; a chunk starts at its first weight, and what lies before is computed once for all chunks.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, functionalize, jvp
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from uninas.proxies.base import Inputs, ProxyError
from uninas.proxies.tangents import Call, Tangent, push

aten = torch.ops.aten


@dataclass(frozen=True)
class Weight:
    """One scalar weight: element `index` of the flattened parameter called `name`."""

    name: str
    index: int = 0


@dataclass(frozen=True)
class Jacobian:
    """`values[n, k, p]` is the derivative of `logits[n, k]` by weight p: shapes (N, K, P) and (N, K)."""

    logits: Tensor
    values: Tensor


def logit_jacobian(
    module: nn.Module,
    inputs: Inputs,
    weights: Sequence[Weight],
    *,
    memory: int = 2**30,
    dtype: torch.dtype = torch.float32,
) -> Jacobian:
    """The Jacobian of the logits (N, K) of `module(*inputs)` by the chosen weights, computed in `dtype`.

    The module runs in the mode it is in and is not changed. `memory` bounds, in bytes, what is held at once
    beside the weights; one weight at a time is the least it can do. Modules that cannot be lowered (their
    control flow looks at values) get one plain forward-mode pass per weight instead.

    Raises ProxyError if the module fails on `inputs`, if its output is not one finite tensor (N, K), or if memory
    runs out even for one weight.
    """
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    tensors = {name: _cast(tensor, dtype) for name, tensor in tensors.items()}
    inputs = tuple(_cast(part, dtype) for part in inputs)
    with torch.no_grad(), _differentiable_kernels():
        program = lower(module, tensors, inputs)
        if program is None:
            return _pass_per_weight(module, tensors, inputs, weights)
        values = [_fast_layout(value) for value in (*tensors.values(), *inputs)]
        return _walk_in_chunks(program, values, list(tensors), weights, memory)


def _fast_layout(tensor: Tensor) -> Tensor:
    """On CPUs convolutions of large batches run up to five times faster with the channels innermost."""
    inner = tensor.ndim == 4 and tensor.device.type == "cpu"
    return tensor.contiguous(memory_format=torch.channels_last) if inner else tensor


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach()
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@contextmanager
def _differentiable_kernels() -> Iterator[None]:
    """Fused attention has no forward derivative: let it fall apart into its elementary operations."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            # What torch cannot vectorise is looped over, which is slow but right; jvp scripts helpers of its own.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


# Lowering: module -> program


@dataclass(frozen=True)
class Program:
    """A module as a list of ATen operations without side effects.

    `leaves` are a node's arguments, flattened; `dying[i]` are the nodes that step i uses last; `size` is the
    number of bytes of a node's floating-point output, 0 where it has no derivative; `activations` is the number
    of bytes of all intermediate results together.
    """

    constants: fx.GraphModule
    placeholders: tuple[fx.Node, ...]
    steps: tuple[fx.Node, ...]
    output: fx.Node
    leaves: Mapping[fx.Node, tuple[Any, ...]]
    dying: tuple[tuple[fx.Node, ...], ...]
    size: Mapping[fx.Node, int]
    activations: int


def lower(module: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs) -> Program | None:
    """Trace `module` on tensors without data. Its arguments are `tensors`, in order, then `inputs`.

    None if the module's Python code asks for values, or fails.
    """
    names = list(tensors)

    def run(*values: Tensor) -> Any:
        return functional_call(module, dict(zip(names, values, strict=False)), values[len(names) :])

    lowered = make_fx(functionalize(run), _SIMPLER, tracing_mode="fake", _allow_non_fake_inputs=True)
    try:
        traced = lowered(*tensors.values(), *inputs)
    except Exception:  # Tracing raises many kinds; the plain pass that follows tells a user's mistake from them.
        return None
    return _program(traced) if _simplify(traced.graph) else None


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
    )


def _bytes(value: Any) -> int:
    tensors = (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor))
    return sum(t.numel() * t.element_size() for t in tensors if t.is_floating_point())


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    epsilon: float,
) -> Any:
    """In evaluation mode: one scale and one shift per channel, which cost a tangent one multiplication."""
    if training or mean is None or variance is None:
        return NotImplemented
    scale = (variance + epsilon).rsqrt() * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - mean * scale
    channels = (-1, *[1] * (x.ndim - 2))
    return x * scale.view(channels) + shift.view(channels), x.new_empty(0), x.new_empty(0)


_SIMPLER = {aten.native_batch_norm.default: _batch_norm}


def _storages(value: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


# Walking: program -> Jacobian

Seeds = Mapping[fx.Node, Mapping[int, int]]  # parameter -> {column of the Jacobian: element of the parameter}

# Larger stacks of tangents are slower on a CPU: their memory is mapped, and faulted in, anew for every operation.
_CPU_CHUNK = 2**26


def _walk_in_chunks(
    program: Program, values: Sequence[Tensor], names: Sequence[str], weights: Sequence[Weight], memory: int
) -> Jacobian:
    env: dict[fx.Node, Any] = dict(zip(program.placeholders, values, strict=True))
    parameter = dict(zip(names, program.placeholders, strict=False))
    first_use = {leaf: i for i in reversed(range(len(program.steps))) for leaf in program.leaves[program.steps[i]]}
    nodes = [parameter[weight.name] for weight in weights]
    origin = {column: first_use[node] for column, node in enumerate(nodes) if node in first_use}
    waiting = sorted(origin, key=origin.__getitem__)

    def seeds(columns: Sequence[int]) -> Seeds:
        chosen: dict[fx.Node, dict[int, int]] = {}
        for column in sorted(columns):
            chosen.setdefault(nodes[column], {})[column] = weights[column].index
        return chosen

    room = min(memory // 2, _CPU_CHUNK) if values[-1].device.type == "cpu" else memory // 2
    keep = program.activations <= memory - room
    if keep:
        _advance(program, env, 0, len(program.steps), keep=True)

    step, most, jacobian = 0, len(weights), None
    while waiting or jacobian is None:
        start = origin[waiting[0]] if waiting else step
        if not keep:
            _advance(program, env, step, start)
        step = start
        count = _fitting(program, step, [seeds(waiting[: n + 1]) for n in range(min(most, len(waiting)))], room)
        try:
            logits, tangent = _walk(program, dict(env), step, seeds(waiting[:count]))
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if count <= 1:
                raise ProxyError("memory runs out even for the tangent of one weight", "use a smaller batch") from error
            most = count // 2
            continue
        if jacobian is None:
            jacobian = Jacobian(_finite(logits), logits.new_zeros(*logits.shape, len(weights)))
        if tangent is not None:
            jacobian.values[:, :, list(tangent.columns)] = tangent.stack.permute(1, 2, 0)
        waiting = waiting[count:]
    return jacobian


def _finite(logits: Tensor) -> Tensor:
    if not logits.isfinite().all():
        raise ProxyError("the module's logits are not finite", "check its initialisation and the batch")
    return logits


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error)


def _call(program: Program, node: fx.Node, env: dict[fx.Node, Any]) -> Call:
    """The operation at `node`, executed unless its result is already in `env`, where it is put."""
    if node.op == "get_attr":
        env[node] = getattr(program.constants, str(node.target))
        return Call(getattr, (), {}, env[node])
    args, kwargs = map_arg((node.args, node.kwargs), env.__getitem__)
    if node not in env:
        env[node] = node.target(*args, **kwargs)  # type: ignore[operator]
    return Call(node.target, args, kwargs, env[node])  # type: ignore[arg-type]


def _advance(program: Program, env: dict[fx.Node, Any], start: int, stop: int, keep: bool = False) -> None:
    """Run the steps from `start` to `stop` without tangents."""
    for i in range(start, stop):
        _call(program, program.steps[i], env)
        for dead in () if keep else program.dying[i]:
            del env[dead]


def _walk(program: Program, env: dict[fx.Node, Any], start: int, seeds: Seeds) -> tuple[Tensor, Tangent | None]:
    """Go through the steps from `start` to the end with the tangents of the weights in `seeds`."""
    tangents: dict[fx.Node, Tangent] = {}
    for i in range(start, len(program.steps)):
        node = program.steps[i]
        call = _call(program, node, env)
        for leaf in program.leaves[node]:
            if leaf in seeds and leaf not in tangents:
                tangents[leaf] = _one_hot(env[leaf], seeds[leaf])
        alive = {slot: tangents[leaf] for slot, leaf in enumerate(program.leaves[node]) if leaf in tangents}
        if alive and program.size[node]:
            pushed = _push(call, alive)
            if pushed is not None:
                tangents[node] = pushed
        del call, alive
        for dead in program.dying[i]:
            del env[dead]
            tangents.pop(dead, None)
    return env[program.output], tangents.get(program.output)


def _push(call: Call, alive: Mapping[int, Tangent]) -> Tangent | None:
    try:
        return push(call, alive)
    except NotImplementedError as error:
        raise ProxyError(f"torch has no forward derivative of {call.op}") from error


def _one_hot(value: Tensor, elements: Mapping[int, int]) -> Tangent:
    stack = value.new_zeros(len(elements), value.numel())
    stack[range(len(elements)), list(elements.values())] = 1
    return Tangent(tuple(elements), stack.reshape(len(elements), *value.shape))


# Planning: how many weights fit


def _fitting(program: Program, start: int, prefixes: Sequence[Seeds], memory: int) -> int:
    """The largest number of weights whose tangents stay below `memory` bytes together; at least one."""
    return max(1, bisect_right(prefixes, memory, key=lambda seeds: _peak(program, start, seeds)))


def _peak(program: Program, start: int, seeds: Seeds) -> int:
    """The most bytes that a walk holds in tangents; it follows which weights reach which node, as bit sets."""
    reach: dict[fx.Node, int] = {}
    held = peak = 0
    for i in range(start, len(program.steps)):
        node, columns = program.steps[i], 0
        for leaf in program.leaves[node]:
            if leaf in seeds and leaf not in reach:
                reach[leaf] = sum(1 << column for column in seeds[leaf])
                held += len(seeds[leaf]) * program.size[leaf]
            columns |= reach.get(leaf, 0)
        if columns:
            reach[node] = columns
            held += columns.bit_count() * program.size[node]
            peak = max(peak, held)
        for dead in program.dying[i]:
            held -= reach.pop(dead, 0).bit_count() * program.size[dead]
    return peak


# Without lowering


def _pass_per_weight(
    module: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs, weights: Sequence[Weight]
) -> Jacobian:
    columns = []
    logits = _run(module, tensors, inputs)
    for weight in weights:
        value = tensors[weight.name]
        tangent = _one_hot(value, {0: weight.index}).stack[0]

        def run(value: Tensor, name: str = weight.name) -> Tensor:
            return _run(module, {**tensors, name: value}, inputs)

        columns.append(jvp(run, (value,), (tangent,))[1])
    return Jacobian(_finite(logits), torch.stack(columns, 2) if columns else logits.new_zeros(*logits.shape, 0))


def _run(module: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
    try:
        out = functional_call(module, dict(tensors), inputs)
    except Exception as error:  # Whatever the user's module raises, it is the reason why there is no score.
        shapes = ", ".join(str(tuple(part.shape)) for part in inputs)
        raise ProxyError(f"the module fails on inputs of shape {shapes}: {error}") from error
    if not isinstance(out, Tensor) or out.ndim != 2:
        found = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise ProxyError(f"expected a module whose output is one tensor of logits (N, K), but got {found}")
    return out
