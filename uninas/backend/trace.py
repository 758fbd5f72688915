"""Torch modules -> traces that `uninas.interop` turns into graphs.

A module is run once by `torch.export` on fake tensors, in evaluation mode, with a batch of a size that axes seldom
have. What does not depend on the input stays lazy: it is computed only where its numbers matter.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from uninas.backend.emit import attributes, compile
from uninas.backend.weights import save_weights, take
from uninas.errors import error, shown
from uninas.graph import Graph, subgraphs
from uninas.interop.imported import Imported, imported
from uninas.interop.trace import Call, Place, Static, Trace, Value

_KEPT = "_imported"
BATCH = 13  # a number that tells the batch from other axes
PARTS = ("slice", "select", "narrow", "unbind", "split", "chunk", "getitem", "view", "transpose", "permute")
"""Functions that give a part, or another view, of a tensor."""
MADE = ("new_zeros", "new_ones", "new_full")
"""Functions that take no more than a kind of number from a tensor."""
KEEPS = ("expand", "expand_as", "alias", "detach", "contiguous", "clone", "lift_fresh_copy", "to", "dropout")
"""Functions after which a parameter still is the same; an expanded one broadcasts by itself."""


def from_module(module: nn.Module, example_input: Tensor | tuple[int, ...], name: str = "") -> Graph:
    """The graph of any module, with its classes as blocks.

    Args:
        module: a module that takes one tensor and gives one. It is not changed.
        example_input: a batch of inputs, or the shape of one input (C x H x W); its values do not matter.
        name: what the network is called; by default as its class.

    Raises UninasError (UNI054) with everything that has no counterpart here, or when torch cannot trace the module.
    `import_module` gives the names of the weights, too.
    """
    return import_module(module, example_input, name).graph


def import_module(
    module: nn.Module, example_input: Tensor | tuple[int, ...], name: str = "", *, partial: bool = False
) -> Imported:
    """The graph of any module, its text, and where each of its weights comes from; see `from_module`.

    Where it is `partial`, what has no counterpart here becomes a `foreign` part, with its shape and costs.
    """
    found = imported(traced(module, example_input, name), partial=partial)
    found.graph.__dict__[_KEPT] = found  # so that `create_model` can take the weights
    return found


def carried(found: Imported, original: Mapping[str, Tensor], model: nn.Module) -> nn.Module:
    """The compiled module of an imported graph, with the weights of the original loaded; returns it."""
    with torch.no_grad():
        take(model, found.state(original, model.state_dict(), _places(found)))
    return model


def with_weights(
    model: nn.Module, graph: Graph, original: Mapping[str, Tensor] | None, names: str | Path | None
) -> None:
    """Load the state dict of the module that a graph was imported from, if there is one.

    `names` is the file that `uninas import` wrote beside the text; a graph of `from_module` knows them itself, and any
    other takes a state dict under its own names. Raises UninasError (UNI055).
    """
    if original is None:
        return
    found: Imported | None = graph.__dict__.get(_KEPT)
    if names is not None:
        found = _read_names(Path(names), graph)
    if found is not None:
        carried(found, original, model)
        return
    take(model, original, "the weights", "give names=, the file that uninas import wrote beside the text")


def _read_names(path: Path, graph: Graph) -> Imported:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        names = {str(ours): str(theirs) for ours, theirs in record["names"].items()}
        cuts = {str(n): (tuple(map(int, c["sizes"])), tuple(map(int, c["order"]))) for n, c in record["cuts"].items()}
        computed = list(map(str, record["computed"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise error("UNI055", f"cannot read the names in {shown(path)}: {shown(problem, 120)}") from None
    if computed:
        raise error("UNI055", f"expected weights that stand in the state dict, but {shown(computed[0])} is computed",
                    None, "write them as they are: uninas import SOURCE --weights net.safetensors")  # fmt: skip
    return Imported(graph, "", names, cuts, {}, ())


def names_json(found: Imported) -> str:
    """Where each weight comes from, as JSON: its name in the original, and how its axes are cut and ordered."""
    cuts = {name: {"sizes": list(sizes), "order": list(order)} for name, (sizes, order) in found.cuts.items()}
    record = {"format": 1, "names": dict(found.names), "cuts": cuts, "computed": sorted(found.values)}
    return json.dumps(record, indent=1) + "\n"


def saved(found: Imported | None, module: nn.Module | None, path: Path) -> None:
    """Write the weights of a module, under our names, to a file that `create_model` reads."""
    if found is None:
        raise error("UNI060", "expected a source that has weights, to write them")
    copy = compile(found.graph)
    original = module.state_dict() if module is not None else found.weights
    save_weights(path, carried(found, original, copy).state_dict(), {"text": found.text})


def _places(found: Imported) -> dict[str, str]:
    """Weights whose name in a compiled module differs from the path of their node (`class` is `class_`)."""
    paths: dict[str, str] = {}

    def walk(graph: Graph, prefix: str, ours: str) -> None:
        named = attributes(graph, top=not prefix)
        for node in graph.nodes:
            paths[f"{prefix}{node.name}"] = f"{ours}{named[node.name]}"
            for inner, _ in subgraphs(node):
                walk(inner, f"{prefix}{node.name}.", f"{ours}{named[node.name]}.")

    walk(found.graph, "", "")
    renamed: dict[str, str] = {}
    for path in (*found.names, *found.values):
        node, _, weight = path.rpartition(".")
        while node not in paths:
            node, _, middle = node.rpartition(".")
            weight = f"{middle}.{weight}"
        renamed[path] = f"{paths[node]}.{weight}"
    return renamed


def traced(module: nn.Module, example_input: Tensor | tuple[int, ...], name: str = "") -> Trace:
    """What a module calls in evaluation mode."""
    if not isinstance(module, nn.Module):
        raise error("UNI060", f"expected an nn.Module, but got {shown(module)}")
    shape = tuple(example_input.shape[1:]) if isinstance(example_input, Tensor) else tuple(example_input)
    kind = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    training = {each: each.training for each in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about how the module is written
            x = torch.zeros(BATCH, *shape, dtype=kind, device=device)
            program = _exported(module, x)
            if _writes_into_what_is_read(program.graph):
                program = program.run_decompositions({})  # without writes in place
    except Exception as problem:  # whatever the module of somebody else raises is theirs
        reason = " ".join(str(problem).split())[:300]
        raise error(
            "UNI054", f"torch cannot trace {type(module).__name__}: {type(problem).__name__}: {reason}"
        ) from None
    finally:
        for each, mode in training.items():
            each.training = mode
    return _Reader(program, type(module).__name__).trace(name or type(module).__name__)


def _exported(module: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """A module as torch.export has it; where that fails, what torch.fx makes of the module, without its dead code.

    So modules come in that also look at numbers, to log them say, which tensors without numbers do not have.
    """
    try:
        return torch.export.export(module, (x,), strict=False)
    except Exception as problem:  # anything that the module of somebody else raises
        try:
            plain = fx.symbolic_trace(module)
            plain.graph.eliminate_dead_code()
            plain.recompile()
            return torch.export.export(plain, (x,), strict=False)
        except Exception:
            raise problem from None


class _Reader:
    """An exported program as a trace."""

    def __init__(self, program: torch.export.ExportedProgram, top: str):
        self.program = program
        self.top = top
        self.state: dict[str, Tensor] = {**program.state_dict, **program.constants}
        self.values: dict[fx.Node, Any] = {}
        self.inputs: list[Value] = []
        self.calls: list[Call] = []
        self.known: dict[tuple[fx.Node, bool], Any] = {}
        self.targets: dict[fx.Node, str] = {}
        self.aliases: dict[fx.Node, fx.Node] = {}
        self.parameters = {
            spec.target: tuple(self.state[spec.target].shape)
            for spec in program.graph_signature.input_specs
            if spec.kind is torch.export.graph_signature.InputKind.PARAMETER and spec.target
        }

    def trace(self, name: str) -> Trace:
        signature = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        outputs: Sequence[Any] = ()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.placeholder(node, signature[node.name])
            elif node.op == "call_function":
                self.function(node)
            elif node.op == "get_attr":
                self.values[node] = getattr(self.program.graph_module, str(node.target))
            elif node.op == "output":
                outputs = [self.values[each] for each in node.args[0] if isinstance(each, fx.Node)]
        if not outputs or not all(isinstance(value, Value) for value in outputs):
            raise error("UNI054", "expected a module whose output depends on its input")
        return Trace(self.inputs, self.calls, outputs, self.parameters, name, self.fixed_macs)

    def fixed_macs(self) -> int:
        """Multiply-accumulates, for one sample, of what is computed from numbers that nobody learns."""
        total = 0
        for node, found in self.values.items():
            value = node.meta.get("val")
            taken = [isinstance(each.meta.get("val"), Tensor) for each in node.all_input_nodes]
            fixed = isinstance(found, Static) and not found.sources and node.op == "call_function" and all(taken)
            if fixed and taken and isinstance(value, Tensor):
                with suppress(NotImplementedError):  # what looks at numbers, which count nothing
                    total += _macs(node) // (BATCH if value.shape[:1] == (BATCH,) else 1)
        return total

    def placeholder(self, node: fx.Node, spec: Any) -> None:
        value = node.meta.get("val")
        shape = tuple(value.shape) if isinstance(value, Tensor) else ()
        if spec.kind is torch.export.graph_signature.InputKind.USER_INPUT:
            found = self.values[node] = Value(shape)
            self.inputs.append(found)
            return
        self.targets[node] = spec.target
        name = spec.target if spec.target in self.program.state_dict else ""
        sources = (spec.target,) if spec.target in self.parameters else ()
        self.values[node] = Static(shape, self.reader(node), self.reader(node, probe=True), sources, name)

    def reader(self, node: fx.Node, probe: bool = False) -> Callable[[], Any]:
        return lambda: self.compute(node, probe).detach().cpu().numpy()

    def compute(self, node: fx.Node, probe: bool) -> Any:
        """The value of something that does not depend on the input."""
        node = self.aliases.get(node, node)
        if (node, probe) not in self.known:
            if node in self.targets:
                target = self.targets[node]
                value = self.state[target]
                if probe and target in self.parameters:
                    generator = torch.Generator().manual_seed(len(self.targets) + sum(map(ord, target)))
                    value = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
                self.known[node, probe] = value
            else:
                given = (torch.empty(1), *node.args[1:]) if _named(node.target) in MADE else node.args
                arguments, keywords = fx.map_arg((given, dict(node.kwargs)), lambda n: self.compute(n, probe))
                with torch.no_grad():
                    self.known[node, probe] = node.target(*arguments, **keywords)  # type: ignore[operator]
        return copy.copy(self.known[node, probe])

    def function(self, node: fx.Node) -> None:
        function = _named(node.target)
        if function.startswith("wrap_with"):
            self.wrapped(node)
            return
        above = [self.values[each] for each in node.all_input_nodes if each in self.values]
        value = node.meta.get("val")
        if function == "getitem":
            source, place = node.args
            several = self.values[source]  # type: ignore[index]
            self.values[node] = several[place] if isinstance(several, list) else self.static(node, function, above)  # type: ignore[index]
        elif (function in MADE or not any(_depends(each) for each in above)) and isinstance(
            value, Tensor | list | tuple
        ):
            self.values[node] = self.static(node, function, above)
        elif isinstance(value, Tensor):
            result = self.values[node] = Value(tuple(value.shape))
            self.append(node, function, [result])
        elif isinstance(value, list | tuple):
            results = [Value(tuple(each.shape)) for each in value]
            self.values[node] = results
            self.append(node, function, results)

    def wrapped(self, node: fx.Node) -> None:
        """Calls inside a context of the whole, such as one of another precision."""
        given: list[Any] = list(node.args)
        while not isinstance(inner := self.values.get(given.pop(0)), fx.GraphModule):
            pass
        for each in inner.graph.nodes:
            if each.op == "placeholder":
                source = given.pop(0)
                self.values[each] = self.values[source]
                self.aliases[each] = source
            elif each.op == "call_function":
                self.function(each)
            elif each.op == "output":
                self.values[node] = [self.values[result] for result in each.args[0]]

    def static(self, node: fx.Node, function: str, above: Sequence[Any]) -> Static:
        first = above[0] if above else None
        if function in KEEPS and isinstance(first, Static):
            return first
        value = node.meta.get("val")
        shape = tuple(value.shape) if isinstance(value, Tensor) else ()
        sources = tuple(dict.fromkeys(name for each in above for name in getattr(each, "sources", ())))
        made = self.called(node, function, [Value(shape)]) if sources and isinstance(value, Tensor) else None
        return Static(shape, self.reader(node), self.reader(node, probe=True), sources, made=made)

    def append(self, node: fx.Node, function: str, outputs: list[Value]) -> None:
        self.calls.append(self.called(node, function, outputs))

    def called(self, node: fx.Node, function: str, outputs: list[Value]) -> Call:
        arguments = fx.map_arg(node.args, lambda each: self.values[each])
        keywords = fx.map_arg(dict(node.kwargs), lambda each: self.values[each])
        return Call(function, arguments, keywords, outputs, self.place(node), lambda: _macs(node))

    def place(self, node: fx.Node) -> Place:
        classes = []
        for key, (path, kind) in (node.meta.get("nn_module_stack") or {}).items():
            if path := path.removeprefix("L['self']."):
                call = re.search(r"@\d+$", key)  # the second call of a module is marked by @1
                classes.append((path + (call.group() if call else ""), str(kind).rpartition(".")[2]))
        return Place(classes[-1][0].partition("@")[0] if classes else "", (("", self.top), *classes))


def _macs(node: fx.Node) -> int:
    """Multiply-accumulates of a call, as torch counts them."""

    def on_meta(each: fx.Node) -> Any:
        value: Any = each.meta.get("val")
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")

    arguments, keywords = fx.map_arg((node.args, dict(node.kwargs)), on_meta)
    with FlopCounterMode(display=False) as counter:
        node.target(*arguments, **keywords)  # type: ignore[operator]
    return int(counter.get_total_flops()) // 2


def _named(target: Any) -> str:
    """The name of a function without its overload and the underscore of what is done in place.

    One that is not of ATen keeps the name of its library, as `torchvision::nms` does.
    """
    schema = getattr(target, "_schema", None)
    text = str(schema.name).removeprefix("aten::") if schema is not None else getattr(target, "__name__", str(target))
    return text if text.startswith("_") and text != "_to_copy" and text in ("_softmax",) else text.rstrip("_")


def _writes_into_what_is_read(graph: fx.Graph) -> bool:
    """Whether a tensor that is written in place is a part of another, or is used again under its old name."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None or not schema.is_mutable or not isinstance(node.args[0], fx.Node):
            continue
        first = node.args[0]
        if (
            _named(first.target) in PARTS
            or "copy_" in str(schema.name)
            or any(order[user] > order[node] for user in first.users)
        ):
            return True
    return False


def _depends(value: Any) -> bool:
    return isinstance(value, Value) or (isinstance(value, list) and any(map(_depends, value)))
