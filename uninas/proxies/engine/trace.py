"""What a function of tensors does, as a torch.fx graph of ATen operations: executed once, on tensors without data.

`torch.fx.experimental.make_fx` records the same, and more (symbolic sizes, decompositions, where each operation was
called), in twice the time; for small networks that is a good part of what a score costs.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from uninas.proxies.engine.torch_private import (
    DEVICE_OF,
    FakeTensor,
    FakeTensorMode,
    TorchDispatchMode,
    detect_fake_mode,
    flop_registry,
    makes_one_new_tensor,
    onednn,
    pytree,
    weight_norm_interface,
    without_dispatch,
)

aten = torch.ops.aten

Constants = Mapping[str, Tensor]


def recorded(function: Callable[..., Any], inputs: Sequence[Tensor]) -> tuple[fx.Graph, Constants]:
    """The graph of `function`, and the values of its `get_attr` nodes.

    Placeholders are the inputs, in order. `meta["val"]` of a node is its value without data. Raises whatever the
    function or torch raise, such as for a question about values.
    """
    with _without_data(inputs) as fakes:
        recorder = _Recorder()
        for i, fake in enumerate(fakes):
            recorder.keep(fake, recorder.graph.placeholder(f"input_{i}"))
        with recorder:
            out = function(*fakes)
        recorder.graph.output(pytree.tree_map_only(Tensor, recorder.node, out))
    return recorder.graph, recorder.constants


def flops_of(function: Callable[..., Any], inputs: Sequence[Tensor]) -> int:
    """Floating-point operations (2 x MACs) of `function`, by torch's formulas. Raises what `recorded` raises."""
    with _without_data(inputs) as fakes, _Counter() as counter:
        function(*fakes)
    total: int = counter.flops  # torch has no types for its modes
    return total


@contextmanager
def _without_data(inputs: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The inputs without data; inside, operations compute shapes only."""
    mode = detect_fake_mode(inputs) or FakeTensorMode(allow_non_fake_inputs=True)
    fakes = [_emptied(tensor, mode) for tensor in inputs]
    log = logging.getLogger("torch._subclasses.fake_tensor")
    quiet, log.disabled = log.disabled, True  # what is wrong is raised, too
    try:
        with elementary_recurrence(), mode:
            yield fakes
    finally:
        log.disabled = quiet


@contextmanager
def elementary_recurrence(wanted: bool = True) -> Iterator[None]:
    """Recurrent layers fall apart into operations that have derivatives and FLOPs, which a CPU's fused ones have not.

    Those are of oneDNN, which inside is not used for convolutions either.
    """
    with onednn(allowed=not wanted):
        yield


def _emptied(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    """The same without data. For ordinary tensors that is made by hand, eight times as fast as torch does it."""
    if isinstance(tensor, FakeTensor) or tensor.layout != torch.strided:
        return mode.from_tensor(tensor, static_shapes=True)
    return _Form(tensor.size(), tensor.stride(), tensor.dtype, tensor.device).made(mode)


class _Form(NamedTuple):
    """Shape, type and device of a tensor without data."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def made(self, mode: FakeTensorMode) -> FakeTensor:
        """Such a tensor."""
        with without_dispatch():
            shell = torch.empty_strided(self.size, self.stride, dtype=self.dtype, device="meta")
            return FakeTensor(mode, shell, self.device)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self._known: dict[int, tuple[Tensor, fx.Node]] = {}  # the tensor is kept, so that its id is not given again

    def keep(self, tensor: Tensor, node: fx.Node) -> None:
        """This node is what computes the tensor."""
        node.meta["val"] = tensor
        self._known[id(tensor)] = tensor, node

    def node(self, tensor: Tensor) -> fx.Node:
        """The node that computes a tensor; a tensor that the function did not make becomes a constant."""
        if id(tensor) not in self._known:
            name = f"constant_{len(self.constants)}"
            self.constants[name] = tensor
            self.keep(tensor, self.graph.create_node("get_attr", name))
        return self._known[id(tensor)][1]

    def _argument(self, leaf: Any) -> Any:
        return self.node(leaf) if isinstance(leaf, Tensor) else leaf

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called for every operation, by torch."""
        if op is DEVICE_OF:
            return args[0].fake_device
        kwargs = kwargs or {}
        if op is weight_norm_interface:
            with self:
                return _weight_norm(*args)
        out = _shaped(op, args, kwargs)
        leaves = [out] if isinstance(out, Tensor) else pytree.tree_leaves(out)
        if any(isinstance(leaf, Tensor) for leaf in leaves):
            given: Any = map_aggregate((args, kwargs), self._argument)  # faster than pytree's
            node = self.graph.call_function(op, *given)
            if isinstance(out, Tensor):
                self.keep(out, node)
            else:
                node.meta["val"] = out
                for i, part in enumerate(leaves):
                    if isinstance(part, Tensor):
                        self.keep(part, self.graph.call_function(operator.getitem, (node, i)))
        return out


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """v with the lengths g, along all dimensions but one (-1: all), and its own: torch's has no forward derivative."""
    lengths = torch.linalg.vector_norm(v, dim=[d for d in range(v.ndim) if d != dim], keepdim=dim != -1)
    return v * (g / lengths), lengths


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called for every operation, by torch."""
        out = _shaped(op, args, kwargs or {})
        if op.overloadpacket in flop_registry:
            self.flops += int(flop_registry[op.overloadpacket](*args, **(kwargs or {}), out_val=out))
        return out


def _shaped(op: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The output of an operation on tensors without data.

    Networks repeat themselves, so what comes out is remembered. Torch does that, too, but takes longer to find it; and
    for a batch norm in use it takes ten times as long.
    """
    if op is aten.native_batch_norm.default and not args[5]:
        nothing = _shaped(aten.new_empty.default, (args[0], [0]), {})
        return _shaped(aten.empty_like.default, (args[0],), {}), nothing, nothing
    fakes: list[FakeTensor] = []
    try:
        key = (op, _key((args, tuple(kwargs.items())), fakes)) if makes_one_tensor(op) else None
    except TypeError:
        key = None
    if key is None or not fakes:
        return op(*args, **kwargs)
    if key in _FORMS:
        return _FORMS[key].made(fakes[0].fake_mode)
    out = op(*args, **kwargs)
    if type(out) is FakeTensor and out.layout is torch.strided:
        if len(_FORMS) >= _MOST_FORMS:
            _FORMS.clear()
        _FORMS[key] = _Form(tuple(out.size()), out.stride(), out.dtype, out.fake_device)
    return out


_FORMS: dict[Any, _Form] = {}
_MOST_FORMS = 10_000


makes_one_tensor = cache(makes_one_new_tensor)


def _key(value: Any, fakes: list[FakeTensor]) -> Any:
    """A hashable key of all that decides the output; `fakes` gains the tensors. TypeError where there is none."""
    if type(value) is FakeTensor and value.constant is None and value.layout is torch.strided:
        fakes.append(value)
        return tuple(value.size()), value.stride(), value.dtype, value.fake_device
    if isinstance(value, (list, tuple)):
        return tuple([_key(part, fakes) for part in value])
    if isinstance(value, _PLAIN):
        return type(value), value
    raise TypeError


_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
