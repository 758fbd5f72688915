"""Graph -> torch.fx.GraphModule, whose submodule names follow the source text.

`compile` walks the graph once and makes one fx node per operation: a `call_module` where the operation has weights or
state, a `call_function` otherwise. Blocks leave no trace but the dotted names of what is inside them
(`stages.2.blocks.0.attention.qkv`), so tracebacks, state dicts and `print(model)` speak the user's words.
"""

from __future__ import annotations

import keyword
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx

from uninas.backend import layers
from uninas.backend.fuse import fuse_attention
from uninas.backend.model import Model
from uninas.errors import error, shown
from uninas.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.ops.op import Op, Shape


def compile(
    graph: Graph,
    *,
    init: str | None = None,
    generator: torch.Generator | None = None,
    fold: bool = False,
    fuse: bool = False,
) -> Model:
    """The torch module of a graph, in training mode, with fresh weights.

    Args:
        graph: any graph. Its inputs become the inputs of `forward`, each with a batch axis in front.
        init: the scheme of initial weights (see `layers.initialise`); by default the one the graph names.
        generator: where the weights come from; without one, a generator seeded with 0.
        fold: run equal `each` bodies as one batch, with stacked weights, where every operation in them can.
        fuse: replace matmul1 -> (rel_pos_bias) -> softmax -> matmul2 by torch's scaled_dot_product_attention.

    The result has passed `lint`. Its outputs are one tensor, or a tuple when the graph has several outputs.
    """
    if not isinstance(graph, Graph):
        raise error("UNI060", f"expected a Graph, but got {shown(graph)}", None, "load or create_model read a text")
    if not isinstance(generator, torch.Generator | None):
        raise error("UNI060", f"expected generator to be a torch.Generator, but got {shown(generator)}")
    emitter = _Emitter(fold)
    inputs = [emitter.fx.placeholder(name) for name in _input_names(graph)]
    outputs, sections = emitter.graph(graph, inputs, "")
    emitter.fx.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
    emitter.fx.lint()
    model = Model(_nested(emitter.modules), emitter.fx, class_name=_class_name(graph))
    model.meta["uninas"] = {"graph": graph, "sections": sections, "folded": emitter.folds}
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    layers.initialise(model, init or graph.init, generator)
    return fuse_attention(model) if fuse else model


def _nested(modules: dict[str, torch.nn.Module]) -> torch.nn.Module:
    """One module that holds all of them at their paths. (A dict would reach the state dict sorted by depth.)"""
    root = torch.nn.Module()
    for path, module in modules.items():
        *outer, name = path.split(".")
        place = root
        for part in outer:
            if part not in place._modules:
                place.add_module(part, torch.nn.Module())
            place = place.get_submodule(part)
        place.add_module(name, module)
    return root


def _input_names(graph: Graph) -> Sequence[str]:
    return ["x"] if len(graph.inputs) == 1 else [f"x{number}" for number in range(len(graph.inputs))]


def _class_name(graph: Graph) -> str:
    return graph.name if graph.name.isidentifier() and not keyword.iskeyword(graph.name) else "Model"


class _Emitter:
    def __init__(self, fold: bool):
        self.fold = fold
        self.fx = fx.Graph()
        self.modules: dict[str, torch.nn.Module] = {}
        self.folds: dict[str, int] = {}  # paths of parts that run as one, and how many they are

    def graph(self, graph: Graph, inputs: Sequence[fx.Node], prefix: str) -> tuple[list[fx.Node], dict[str, str]]:
        """Emit all nodes; returns the outputs, and the fx node that ends each node of this graph."""
        values: dict[Wire, fx.Node] = {Wire(INPUT, port): value for port, value in enumerate(inputs)}
        ends: dict[str, str] = {}
        names = attributes(graph, top=not prefix)
        for node in graph.nodes:
            arguments = [values[wire] for wire in node.inputs]
            outputs = self.node(node, graph, arguments, prefix + names[node.name])
            ends[node.name] = outputs[0].name
            values.update({Wire(node.name, port): value for port, value in enumerate(outputs)})
        return [values[wire] for wire in graph.outputs], ends

    def node(self, node: Node, graph: Graph, inputs: list[fx.Node], path: str) -> Sequence[fx.Node]:
        if isinstance(node.op, Block):
            for _ in range(node.op.times):
                inputs = self.graph(node.op.graph, inputs, f"{path}.")[0]
            return inputs
        if isinstance(node.op, Each):
            return self.each(node.op, inputs, path, graph.input_shapes(node))
        shapes = graph.input_shapes(node)
        made = self.operation(node.op, node.op.emit(layers, *shapes), inputs, path)
        return self.outputs(node.op, made, shapes)

    def outputs(self, op: Op, value: fx.Node, shapes: Sequence[Shape]) -> Sequence[fx.Node]:
        """The outputs of an operation. One that splits returns a tuple, even of one part."""
        made = op.shape(*shapes)
        return list(self.ports(value, len(made))) if isinstance(made, list) else [value]

    def ports(self, value: fx.Node, count: int) -> Iterator[fx.Node]:
        for port in range(count):
            yield self.fx.create_node("call_function", operator.getitem, (value, port), name=f"{value.name}_{port}")

    def operation(self, op: Op, emitted: Any, inputs: list[fx.Node], path: str) -> fx.Node:
        """One fx node for a module, a function, or a function with further arguments (`layers.Call`)."""
        name = path.replace(".", "_")
        if isinstance(emitted, torch.nn.Module):
            path = self.placed(emitted, path)
            return self.fx.create_node("call_module", path, tuple(inputs), name=name)
        if isinstance(emitted, layers.Call):
            return self.fx.create_node(
                "call_function", emitted.function, (*inputs, *emitted.arguments), dict(emitted.keywords), name=name
            )
        return self.fx.create_node("call_function", emitted, tuple(inputs), name=name)

    def placed(self, module: torch.nn.Module, path: str) -> str:
        """Where the module stands: at its path, where one like it may stand already whose weights it shares."""
        name, number = path, 1
        while name in self.modules:
            if _like(self.modules[name], module):
                return name
            name, number = f"{path}_{number}", number + 1
        self.modules[name] = module
        return name

    def each(self, each: Each, inputs: list[fx.Node], path: str, shapes: Sequence[Shape]) -> Sequence[fx.Node]:
        if each.shared:
            shared: list[fx.Node] = []
            for sizes, part in zip(each.parts(shapes), each.parts(inputs), strict=True):
                shared += self.graph(each.body_for(sizes), part, f"{path}.")[0]
            return shared
        if self.fold and each.copies(len(inputs)) > 1 and foldable(each.body):
            return self.folded(each, inputs, path)
        made: list[fx.Node] = []
        for number, part in enumerate(each.parts(inputs)):
            made += self.graph(each.body, part, f"{path}.{number}.")[0]
        return made

    def folded(self, each: Each, inputs: list[fx.Node], path: str) -> Sequence[fx.Node]:
        """All parts as one batch: B x C x H x W, n times, becomes (B n) x C x H x W."""
        body, count, name = each.body, each.copies(len(inputs)), path.replace(".", "_")
        self.folds[path] = count
        values = {}
        for port, bundle in enumerate(zip(*each.parts(inputs), strict=True)):
            called = f"{name}_stacked" + (f"_{port}" if port else "")
            values[Wire(INPUT, port)] = self.fx.create_node("call_function", layers.stack_parts, bundle, name=called)
        names = attributes(body)
        for node in body.nodes:
            assert isinstance(node.op, Op)
            emitted = node.op.emit_stacked(layers, count, *body.input_shapes(node))
            made = self.operation(node.op, emitted, [values[w] for w in node.inputs], f"{path}.{names[node.name]}")
            outputs = self.outputs(node.op, made, body.input_shapes(node))
            values.update({Wire(node.name, port): value for port, value in enumerate(outputs)})
        parts = self.fx.create_node(
            "call_function", layers.unstack_parts, (values[body.outputs[0]], count), name=f"{name}_parts"
        )
        return list(self.ports(parts, count))


def _like(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two modules do the same, but for the values of their weights."""
    tensors = ([(name, value.shape) for name, value in module.state_dict().items()] for module in (one, other))
    kept = ([(name, value.shape) for name, value in module.named_buffers()] for module in (one, other))
    return repr(one) == repr(other) and next(tensors) == next(tensors) and next(kept) == next(kept)


def foldable(body: Graph) -> bool:
    """Whether every operation of an `each` body works on all parts as one batch."""
    plain = all(isinstance(node.op, Op) and node.op.stackable(*body.input_shapes(node)) for node in body.nodes)
    return plain and len(body.outputs) == 1 and bool(body.nodes)


_OF_MODULES = frozenset(dir(torch.nn.Module())) | frozenset(keyword.kwlist) | {"self", "__debug__"}
_OF_MODELS = _OF_MODULES | frozenset(dir(Model(torch.nn.Module(), fx.Graph())))


def attributes(graph: Graph, top: bool = False) -> dict[str, str]:
    """For every node of a graph the attribute under which a torch module holds what is at the node.

    It is the node's own name, with underscores behind it where Python, `nn.Module` or, at the `top`, `Model` needs that
    name for something else: a convolution called `class` is `class_`, in state dicts, too. Names stay different.
    """
    taken = _OF_MODELS if top else _OF_MODULES
    found: dict[str, str] = {}
    used = {node.name.partition(".")[0] for node in graph.nodes} - taken
    for name in (node.name for node in graph.nodes):
        first, dot, rest = name.partition(".")
        attribute = first
        if first in taken or _mangled(first):
            while attribute in taken or attribute in used or _mangled(attribute):
                attribute += "_"
            if not dot:
                used.add(attribute)
        found[name] = attribute + dot + rest
    return found


def _mangled(name: str) -> bool:
    """Whether Python calls an attribute otherwise inside a class."""
    return name.startswith("__") and not name.endswith("__")
