"""Networks for people who will not install us: one plain Python file of `nn.Module`s, or an ONNX model.

The file holds a class for every distinct block, in the words of the source, and the few layers of ours that it needs.
Its state dict has the same names as that of `uninas.compile(graph)`.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from uninas.backend import layers
from uninas.backend.emit import attributes, compile
from uninas.errors import UninasError, error
from uninas.graph import INPUT, Block, Each, Graph, Node, Wire, subgraphs
from uninas.interop.python import comments
from uninas.language.printer import dumps
from uninas.ops.op import Op, show_shape


def _grids(table: layers.OffsetTable) -> tuple[int, ...]:
    """The grid, and that of the table where it is another one."""
    grid = (table.height, table.width)
    return grid if table.made_for == grid else (*grid, *table.made_for)


def _shapes(embedding: layers.PosEmbed) -> tuple[tuple[int, ...], ...]:
    """The shape of the input, and that of the learned tensor where it is another one."""
    table = tuple(embedding.weight.shape)
    return (table,) if embedding.size is None else ((table[0], *embedding.size), table)


# How our own layers are constructed; torch's print themselves as their constructor.
_CONSTRUCTORS: dict[type, Callable[[Any, Any], str]] = {
    layers.RelPosBias: lambda module, op: "RelPosBias({}{})".format(
        ", ".join(map(str, _grids(module.bias))), ", mirrored=True" * module.bias.mirrored
    ),
    layers.DropPath: lambda module, op: f"DropPath({module.p})",
    layers.LayerScale: lambda module, op: f"LayerScale({tuple(module.weight.shape)}, {module.init})",
    layers.PosEmbed: lambda module, op: f"PosEmbed({', '.join(map(str, _shapes(module)))})",
    layers.ClassToken: lambda module, op: f"ClassToken({len(module.weight)})",
    layers.LearnedTensor: lambda module, op: f"LearnedTensor({tuple(module.weight.shape)}, {op.trainable})",
    layers.HeadsBias: lambda module, op: "HeadsBias({}, {}{})".format(
        module.heads, ", ".join(map(str, _grids(module.bias))), ", mirrored=True" * module.bias.mirrored
    ),
    layers.WindowMask: lambda module, op: "WindowMask({}, {}, {}, {}{})".format(
        op.height, op.width, op.window, op.shift, f", {op.heads}" if op.heads else ""
    ),
}
# Outside, a linear layer draws its own weights.
_TEXT = inspect.getsource(layers).replace("class FlatLinear(_RawLinear)", "class FlatLinear(nn.Linear)")


def to_python(graph: Graph) -> str:
    """The text of a Python module that needs torch alone; its last class is the network.

    Weights begin as torch's own layers begin; load a state dict of `uninas.compile(graph)` to have ours.
    """
    writer = _Writer()
    network = writer.define(graph, top=True)
    if "Learned" in _needed(writer.used):
        writer.used |= {"Generator"}
        writer.classes.append(_RESET.format(network=network))
    head = (
        f'"""{network}: {show_shape(graph.inputs[0])}, {graph.cost.params:,} parameters, '
        f'{graph.cost.flops:,} FLOPs (2 x MACs) for one sample."""\n'
    )
    library = "\n\n\n".join(_library(writer.used))
    imports = [*_imports(writer.used), *writer.imports()]
    text = f"# The same in the language of UniNAS toolkit, which reads it back.\n{comments(dumps(graph))}"
    return "\n".join([head, *imports, "\n", library, "\n", "\n\n\n".join(writer.classes), "\n", text])


def to_onnx(
    graph: Graph, *, generator: torch.Generator | None = None, model: torch.nn.Module | None = None,
    any_size: bool = False,
) -> bytes:  # fmt: skip
    """An ONNX model in evaluation mode with a free batch size. Needs onnx and onnxscript.

    Weights are fresh, or those of `model`, the module of this graph. With `any_size` height and width of images are
    free, too; raises UNI060 for a network that is made for one size.
    """
    model = (compile(graph, generator=generator) if model is None else model).eval()
    examples = tuple(torch.zeros(2, *shape) for shape in graph.inputs)
    free = {0: torch.export.Dim("batch")}
    if any_size:
        _must_take_other_sizes(graph, model)
        free |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    shapes = tuple({axis: dim for axis, dim in free.items() if axis <= len(shape)} for shape in graph.inputs)
    try:
        program = torch.onnx.export(model, examples, dynamo=True, dynamic_shapes=shapes, verbose=False)
    except ImportError as problem:
        raise error("UNI060", f"cannot write ONNX: {problem}", None, "pip install onnx onnxscript") from None
    except (RuntimeError, ValueError) as problem:
        if not any_size:
            raise
        raise _of_one_size(graph) from problem
    assert program is not None
    written = program.model_proto
    sides = [axis.dim_param for value in written.graph.input for axis in value.type.tensor_type.shape.dim[2:4]]
    if any_size and not all(sides):
        raise _of_one_size(graph)
    return bytes(written.SerializeToString())


def _must_take_other_sizes(graph: Graph, model: torch.nn.Module) -> None:
    """Refuse a network that images of twice the size do not fit. To find that out by tracing takes half a minute.

    Shapes alone flow through the module, on the device "meta", so that this takes no time for a large one.
    """
    meta = torch.device("meta")
    larger = (torch.zeros(1, *shape[:1], *(2 * side for side in shape[1:]), device=meta) for shape in graph.inputs)
    weights = {name: tensor.to(meta) for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    try:
        with torch.inference_mode():
            torch.func.functional_call(model, weights, tuple(larger))
    except (RuntimeError, UninasError) as problem:
        raise _of_one_size(graph) from problem


def _of_one_size(graph: Graph) -> UninasError:
    hint = "write it for the size that you need: --img-size 384"
    return error("UNI060", f"{graph.name} is made for one size of images", None, hint)


_RESET = """@torch.no_grad()
def reset(model: nn.Module, generator: Generator) -> nn.Module:
    \"\"\"Draw the weights that torch does not draw by itself.\"\"\"
    for layer in model.modules():
        if isinstance(layer, Learned):
            layer.reset(generator)
    return model


def create(seed: int = 0) -> {network}:
    \"\"\"The network with fresh weights.\"\"\"
    torch.manual_seed(seed)
    return reset({network}(), Generator().manual_seed(seed))"""


class _Writer:
    def __init__(self) -> None:
        self.graphs: dict[Graph, str] = {}
        self.classes: list[str] = []
        self.used: set[str] = {"nn", "torch", "Tensor"}
        self.foreign: dict[
            str, tuple[str, str]
        ] = {}  # functions of other packages: the name here, module and name there

    def define(self, graph: Graph, top: bool = False) -> str:
        """The class of a graph, written after those of the blocks inside it; equal graphs share one."""
        if graph not in self.graphs:
            for node in graph.nodes:
                for inner, _ in subgraphs(node):
                    self.define(inner)
            name = self.fresh(graph.name)
            self.graphs[graph] = name
            self.classes.append(self.text(graph, name, attributes(graph, top)))
        return self.graphs[graph]

    def imports(self) -> Iterator[str]:
        for local, (module, name) in sorted(self.foreign.items()):
            yield f"from {module} import {name}" + (f" as {local}" if local != name else "")

    def fresh(self, label: str) -> str:
        base = "".join(part[:1].upper() + part[1:] for part in label.split("_")) if label.isidentifier() else "Block"
        name, number = base, 2
        while name in self.graphs.values() or hasattr(layers, name) or hasattr(builtins, name):
            name, number = f"{base}{number}", number + 1
        return name

    def text(self, graph: Graph, name: str, names: Mapping[str, str]) -> str:
        rows: dict[str, list[str]] = {}
        for member, constructor in self.members(graph):
            rows.setdefault(names[member].split(".")[0], []).append(constructor)
        alone = set(names.values())
        members = [
            f"self.{attribute} = " + (made[0] if attribute in alone else "nn.ModuleList([" + ", ".join(made) + "])")
            for attribute, made in rows.items()
        ]
        inputs = ["x"] if len(graph.inputs) == 1 else [f"x{n}" for n in range(len(graph.inputs))]
        lines = [f"class {name}(nn.Module):", "    def __init__(self) -> None:", "        super().__init__()"]
        lines += [f"        {member}" for member in members]
        lines += ["", f"    def forward(self, {', '.join(f'{x}: Tensor' for x in inputs)}):"]
        lines += [f"        {line}" for line in self.statements(graph, inputs, names)]
        return "\n".join(lines)

    def members(self, graph: Graph) -> Iterator[tuple[str, str]]:
        """Every node that has a module, and its constructor."""
        for node in graph.nodes:
            if isinstance(node.op, Block):
                yield node.name, f"{self.define(node.op.graph)}()"
            elif isinstance(node.op, Each):
                body = self.define(node.op.body)
                several = f"nn.ModuleList([{body}() for _ in range({node.op.copies(len(node.inputs))})])"
                yield node.name, f"{body}()" if node.op.shared else several
            else:
                emitted = node.op.emit(layers, *graph.input_shapes(node))
                if isinstance(emitted, torch.nn.Module):
                    yield node.name, self.constructor(emitted, node.op)

    def constructor(self, module: torch.nn.Module, op: Op) -> str:
        kind = type(module)
        if kind.__module__.startswith("torch."):
            return f"nn.{module!r}"
        if getattr(layers, kind.__name__, None) is not kind:
            raise _unwritable(op, f"no constructor of its module {kind.__name__} is known")
        self.used.add(kind.__name__)
        return _CONSTRUCTORS[kind](module, op) if kind in _CONSTRUCTORS else repr(module)

    def statements(self, graph: Graph, inputs: list[str], names: Mapping[str, str]) -> Iterator[str]:
        values = {Wire(INPUT, port): name for port, name in enumerate(inputs)}
        taken = {*inputs, "self", "zip", "__debug__", *keyword.kwlist}
        for node in graph.nodes:
            local = node.name.replace(".", "_")
            while local in taken or hasattr(layers, local):  # the file uses that name for something else
                local += "_"
            taken.add(local)
            shapes = graph.shapes(node.name)
            arguments = [values[wire] for wire in node.inputs]
            several = isinstance(node.op, Each) or len(shapes) > 1 or self.is_tuple(node, graph)
            yield f"{local} = {self.call(node, graph, arguments, names[node.name])}"
            if isinstance(node.op, Block) and node.op.times > 1:
                yield f"for _ in range({node.op.times - 1}):"
                again = [f"*{local}" if several else local]
                yield f"    {local} = {self.call(node, graph, again, names[node.name])}"
            for port in range(len(shapes)):
                values[Wire(node.name, port)] = f"{local}[{port}]" if several else local
        outputs = ", ".join(values[wire] for wire in graph.outputs)
        yield f"return {outputs}"

    @staticmethod
    def is_tuple(node: Node, graph: Graph) -> bool:
        return isinstance(node.op, Op) and isinstance(node.op.shape(*graph.input_shapes(node)), list)

    def call(self, node: Node, graph: Graph, arguments: list[str], attribute: str) -> str:
        place = f"self.{attribute}" if "." not in attribute else "self.{}[{}]".format(*attribute.split("."))
        if isinstance(node.op, Each):
            given = [", ".join(part) for part in node.op.parts(arguments)]
            several = len(node.op.body.inputs) > 1
            parts = f"[{', '.join(f'({part})' if several else part for part in given)}]"
            one = "*part" if several else "part"
            if node.op.shared:
                self.alike(node.op)
                one = f"{place}({one})"
                return (
                    f"[out for part in {parts} for out in {one}]"
                    if len(node.op.body.outputs) > 1
                    else f"[{one} for part in {parts}]"
                )
            if len(node.op.body.outputs) > 1:
                return f"[out for body, part in zip({place}, {parts}) for out in body({one})]"
            return f"[body({one}) for body, part in zip({place}, {parts})]"
        if isinstance(node.op, Block):
            return f"{place}({', '.join(arguments)})"
        emitted = node.op.emit(layers, *graph.input_shapes(node))
        if isinstance(emitted, torch.nn.Module):
            return f"{place}({', '.join(arguments)})"
        function, extra = emitted, list[str]()
        if isinstance(emitted, layers.Call):
            function = emitted.function
            extra = [repr(a) for a in emitted.arguments] + [f"{name}={a!r}" for name, a in emitted.keywords]
        return f"{self.function(function, node.op)}({', '.join([*arguments, *extra])})"

    def alike(self, each: Each) -> None:
        """Guard: one class does what is to be done to parts of all shapes."""
        texts = {self.text(body, "Body", attributes(body)) for body in (each.body, *each.variants)}
        if len(texts) > 1:
            raise error("UNI060", "expected the same code for all parts that share weights, to write them as Python",
                        None, "resize maps before or behind them")  # fmt: skip

    def function(self, function: Any, op: Op) -> str:
        """How the file calls a function: by its name in our layers, in torch, or in its own package."""
        for prefix, place in (("", layers), ("torch.", torch), ("torch.nn.functional.", torch.nn.functional)):
            for name, value in vars(place).items():
                if value is function:
                    self.used.add(name if place is layers else "torch")
                    return prefix + name
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
        if getattr(sys.modules.get(module or ""), name, None) is not function:
            raise _unwritable(op, "its function has no name to import it by")
        local = name
        while hasattr(layers, local) or self.foreign.get(local, (module, name)) != (module, name):
            local += "_"
        self.foreign[local] = (str(module), name)
        return local


def _unwritable(op: Op, why: str) -> UninasError:
    way_out = "let it emit a layer of torch or of uninas, or a function that stands in a module"
    return error("UNI060", f"cannot write the operation {op.name} as Python: {why}", None, way_out)


# ---- the layers that a file needs, cut out of uninas.backend.layers --------------------------------------------------

_SOURCE = ast.parse(_TEXT)
_DEFINITIONS = {node.name: node for node in _SOURCE.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def _needed(used: set[str]) -> set[str]:
    """All names of the source that these names lead to."""
    found: set[str] = set()
    waiting = set(used)
    while waiting:
        name = waiting.pop()
        found.add(name)
        if name in _DEFINITIONS:
            inside = {node.id for node in ast.walk(_DEFINITIONS[name]) if isinstance(node, ast.Name)}
            waiting |= inside - found
    return found


def _library(used: set[str]) -> Iterator[str]:
    needed = _needed(used)
    for name, node in _DEFINITIONS.items():
        if name in needed:
            text = ast.get_source_segment(_TEXT, node)
            decorators = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list)
            yield decorators + str(text)


def _imports(used: set[str]) -> Iterator[str]:
    needed = _needed(used)
    yield "from __future__ import annotations\n"
    for node in _SOURCE.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name) in needed:
                    yield ast.unparse(ast.Import([alias]))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith(("uninas", "__future__")):
            kept = [alias for alias in node.names if (alias.asname or alias.name) in needed]
            if kept:
                yield ast.unparse(ast.ImportFrom(node.module, kept, 0))
