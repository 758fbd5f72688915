"""ONNX files -> graphs. A file is data: nothing of it is run, and no other file that it names is read.

    found = read_onnx("model.onnx")
    found.text, found.graph, found.weights

The batch may be free or fixed. Nodes that exporters of torch have marked with the modules they come from become blocks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from uninas.errors import UninasError, contents, error, shown
from uninas.interop.imported import Imported, imported
from uninas.interop.trace import Call, Place, Static, Trace, Value
from uninas.interop.views import Foreign

MAX_BYTES = 2**31
BATCH = 2  # what a free batch is while the file is read
MOST = 2**28  # numbers of a constant that is computed from others

SIMPLE = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hardswish", "Softplus": "softplus",
    "Mish": "mish", "Neg": "neg", "Sqrt": "sqrt", "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div",
    "Pow": "pow", "Max": "maximum", "Identity": "alias", "Cast": "alias", "MatMul": "matmul", "PRelu": "prelu",
}  # fmt: skip


def read_onnx(path: str | Path, name: str = "", *, partial: bool = False) -> Imported:
    """The network in an ONNX file. Raises UninasError: UNI001, UNI060 without the package onnx, UNI054.

    Where it is `partial`, `foreign` parts stand for what has no operation here.
    """
    path = Path(path)
    try:
        import onnx
    except ImportError:
        raise error("UNI060", "reading ONNX needs the package onnx", None, "pip install onnx") from None
    try:
        model = onnx.load_model_from_string(contents(path, MAX_BYTES))
    except UninasError:
        raise
    except Exception as problem:  # protobuf raises classes of its own
        raise error("UNI001", f"cannot read {shown(path)} as ONNX: {shown(problem, 120)}") from None
    reader = _Reader(model)
    found = imported(reader.trace(name or path.stem), partial=partial)
    return replace(found, weights=reader.weights)


class _Reader:
    """The nodes of a model as calls, one after the other, with what is constant folded."""

    def __init__(self, model: Any):
        from onnx import numpy_helper

        self.graph = model.graph
        self.opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=1)
        self.values: dict[str, Any] = {"": None}
        self.weights: dict[str, Any] = {}
        self.arrays: dict[str, Any] = {}
        for tensor in self.graph.initializer:
            if tensor.data_location == 1:
                raise error("UNI054", f"expected all weights in the file, but {shown(tensor.name)} lies in another")
            try:
                array = numpy_helper.to_array(tensor)
            except (LookupError, TypeError, ValueError) as problem:
                raise error("UNI001", f"cannot read the weight {shown(tensor.name)}: {shown(problem, 120)}") from None
            self.constant(tensor.name, array, learned=array.dtype.kind == "f" and array.size > 1)
        self.users: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for given in node.input:
                self.users.setdefault(given, []).append(node)
        self.makers = {made: node for node in self.graph.node for made in node.output}
        products = [node for node in self.graph.node if node.op_type == "Mul"]
        self.erfs = {id(self.erf_before(node)) for node in products if self.gelu_of(node)}

    def constant(self, name: str, array: Any, *, learned: bool = False) -> None:
        self.arrays[name] = array
        if learned:
            self.weights[name] = array
        sources = (name,) if learned else ()
        self.values[name] = Static(tuple(array.shape), lambda: array, None, sources, name if learned else "")

    def trace(self, name: str) -> Trace:
        inputs = []
        for given in self.graph.input:
            if given.name in self.arrays:
                continue
            dims = given.type.tensor_type.shape.dim
            sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims]
            if len(sizes) < 2 or any(size <= 0 for size in sizes[1:]):
                raise error("UNI054", f"expected an input of fixed size behind the batch, but {given.name} has {sizes}")
            value = self.values[given.name] = Value((sizes[0] if sizes[0] > 0 else BATCH, *sizes[1:]))
            inputs.append(value)
        if len(inputs) != 1:
            raise error("UNI054", f"expected a network with one input, but it has {len(inputs)}")
        outputs = [Value(()) for _ in self.graph.output]
        calls = self.calls(outputs)
        parameters = {key: tuple(array.shape) for key, array in self.weights.items()}
        return Trace(inputs, calls, outputs, parameters, name)

    def calls(self, outputs: Sequence[Value]) -> Iterator[Call]:
        """Calls, each made when the one before it has been lowered, so that shapes are known."""
        for node in self.graph.node:
            given = [self.made(name) for name in node.input]
            if not any(isinstance(value, Value) for value in given) or node.op_type == "Shape":
                self.fold(node, given)
                continue
            yield from self.lowered(node, given)
        for value, output in zip(outputs, self.graph.output, strict=True):
            yield Call("alias", [self.made(output.name)], {}, [value], Place())

    def made(self, name: str) -> Any:
        """The value of that name. Raises UNI001 where nothing makes it."""
        if name not in self.values:
            raise error("UNI001", f"cannot read the graph: nothing makes {shown(name)}, which it uses")
        return self.values[name]

    def fold(self, node: Any, given: Sequence[Any]) -> None:
        """The value of a node that does not depend on the input. Raises UNI054 where it cannot be computed."""
        if node.op_type == "Shape":
            shape = given[0].shape
            first, last = (_attributes(node).get(word) for word in ("start", "end"))
            self.constant(node.output[0], np.array(shape[slice(first or 0, last)], np.int64))
            return
        from onnx.reference import ReferenceEvaluator

        arrays = {name: np.asarray(value.read()) for name, value in zip(node.input, given, strict=True) if name}
        try:
            if _largest(node, list(arrays.values())) > MOST or any(a.HasField("g") for a in node.attribute):
                raise ValueError("it is too large, or has a graph of its own")
            results = ReferenceEvaluator(node).run(None, arrays)
        except Exception as problem:  # what the evaluator raises is of any class
            what = f"cannot compute the constant {shown(node.output[0])} ({shown(node.op_type)})"
            raise error("UNI054", f"{what}: {shown(problem, 120)}") from None
        sources = tuple(dict.fromkeys(s for value in given if value for s in value.sources))
        for name, array in zip(node.output, results, strict=True):
            array = np.asarray(array)
            self.arrays[name] = array
            self.values[name] = Static(tuple(array.shape), partial(np.asarray, array), None, sources)

    # ---- nodes as calls ------------------------------------------------------------------------------------------

    def lowered(self, node: Any, given: list[Any]) -> Iterator[Call]:
        place = _place(node)
        if node.op_type == "Mul" and (gelu := self.gelu_of(node)):
            yield self.call("gelu", [self.made(gelu)], node, place)
            return
        if node.op_type in ("Erf", "Add", "Div", "Mul") and self.inside_gelu(node):
            return
        method = getattr(self, f"on_{node.op_type.lower()}", None)
        if node.op_type in SIMPLE and method is None:
            yield self.call(SIMPLE[node.op_type], given[:1] if node.op_type == "Cast" else given, node, place)
        elif method is None:
            yield self.call(f"onnx {node.op_type}", given, node, place)
        else:
            try:
                for function, arguments in method(_attributes(node), given):
                    last = function.startswith("=")
                    call = self.call(function.removeprefix("="), arguments, node if last else None, place)
                    yield call
                    given[0] = call.outputs[0]
            except (Foreign, ArithmeticError, LookupError, ValueError):
                yield self.call(f"onnx {node.op_type} with such arguments", given[:1], node, place)

    def call(self, function: str, arguments: Sequence[Any], node: Any, place: Place) -> Call:
        results = [Value(()) for _ in (node.output if node is not None else [""])]
        if node is not None:
            self.values.update(zip(node.output, results, strict=True))
        plain = [float(a.read()) if isinstance(a, Static) and a.shape == () and not a.sources else a for a in arguments]
        return Call(function, plain, {}, results, place)

    def array(self, value: Any) -> Any:
        """The numbers of a constant. Raises Foreign for what depends on the input."""
        if not isinstance(value, Static):
            raise Foreign("arguments that depend on the input")
        return np.asarray(value.read())

    def numbers(self, value: Any) -> list[int]:
        return [int(number) for number in self.array(value).ravel()]

    def gelu_of(self, last: Any) -> str:
        """The name of x, when a product ends the formula x / 2 (1 + erf(x / sqrt 2)), whose inner nodes are skipped."""
        erf = self.erf_before(last)
        scaled = self.makers.get(erf.input[0]) if erf is not None else None
        if scaled is None or scaled.op_type not in ("Div", "Mul"):
            return ""
        x = next((name for name in scaled.input if name not in self.arrays), "")
        found, seen = {"x": False, "half": False}, set()

        def collect(name: str) -> None:
            node = self.makers.get(name)
            if name == x:
                found["x"] = True
            elif name in self.arrays:
                found["half"] |= bool(np.all(self.arrays[name] == 0.5))
            elif node is not None and node.op_type == "Mul" and id(node) not in seen:
                seen.add(id(node))
                for each in node.input:
                    collect(each)

        for name in last.input:
            collect(name)
        after = self.users.get(last.output[0], [])
        if not all(found.values()) or any(user.op_type == "Mul" and self.halves(user) for user in after):
            return ""
        return x

    def halves(self, user: Any) -> bool:
        """Whether one of two factors is 1 / 2, so that the formula goes on."""
        return any(name in self.arrays and np.all(self.arrays[name] == 0.5) for name in user.input)

    def erf_before(self, node: Any, depth: int = 4) -> Any:
        """The erf that leads to a product through a sum and products."""
        for name in node.input:
            maker = self.makers.get(name)
            if maker is None or depth == 0:
                continue
            if maker.op_type == "Erf":
                return maker
            if maker.op_type in ("Add", "Mul") and (found := self.erf_before(maker, depth - 1)) is not None:
                return found
        return None

    def inside_gelu(self, node: Any) -> bool:
        """Whether a node is inside such a formula: it leads to erf, or comes from it, and to nothing else."""
        users = self.users.get(node.output[0], [])
        to_erf = node.op_type in ("Div", "Mul") and all(id(user) in self.erfs for user in users)
        from_erf = id(self.erf_before(node)) in self.erfs and all(user.op_type == "Mul" for user in users)
        beside = node.op_type == "Mul" and self.halves(node) and all(
            user.op_type == "Mul" and id(self.erf_before(user)) in self.erfs for user in users
        )  # fmt: skip
        inside = id(node) in self.erfs or (bool(users) and (to_erf or from_erf or beside))
        if inside:
            self.values.update((name, Value(())) for name in node.output)
        return inside

    # ---- one function for each kind of node: (name of a call, its arguments), the last marked by = -----------------

    def on_conv(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        dims = len(x[1].shape) - 2
        pads = list(a.get("pads", [0] * 2 * dims))
        bias = x[2] if len(x) > 2 else None
        dilations, strides = list(a.get("dilations", [1] * dims)), list(a.get("strides", [1] * dims))
        if a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            yield "=onnx Conv with auto_pad", [x[0]]
            return
        before, after = pads[:dims], pads[dims:]
        if before != after:
            yield "constant_pad_nd", [x[0], [p for n in reversed(range(dims)) for p in (before[n], after[n])], 0.0]
            before = [0] * dims
        yield f"=conv{dims}d", [x[0], x[1], bias, strides, before, dilations, a.get("group", 1)]

    def on_batchnormalization(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        arguments = [*x[:5], False, 1 - a.get("momentum", 0.9), a.get("epsilon", 1e-5)]
        yield "=batch_norm", [round(each, 9) if isinstance(each, float) else each for each in arguments]

    def on_layernormalization(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        axis = a.get("axis", -1)
        bias = x[2] if len(x) > 2 else None
        yield "=layer_norm", [x[0], list(x[0].shape[axis:]), x[1], bias, round(a.get("epsilon", 1e-5), 12)]

    def on_gelu(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=gelu", [x[0], a.get("approximate", b"none").decode()]

    def on_hardsigmoid(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        usual = abs(a.get("alpha", 0.2) - 1 / 6) < 1e-6 and a.get("beta", 0.5) == 0.5
        yield "=hardsigmoid" if usual else "=onnx HardSigmoid", [x[0]]

    def on_leakyrelu(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=leaky_relu", [x[0], round(a.get("alpha", 0.01), 9)]

    def on_elu(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=elu", [x[0], a.get("alpha", 1.0)]

    def on_clip(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        bounds = [None if each is None else float(self.array(each)) for each in (*x[1:], None, None)[:2]]
        yield "=clamp", [x[0], *bounds]

    def on_softmax(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        rank, axis = len(x[0].shape), a.get("axis", -1 if self.opset >= 13 else 1)
        if self.opset < 13 and axis % rank != rank - 1:
            raise Foreign("a softmax over several axes")  # before opset 13, over this axis and all behind it
        yield "=softmax", [x[0], axis]

    def on_gemm(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        bias = x[2] if len(x) > 2 else None
        if a.get("alpha", 1.0) != 1 or a.get("beta", 1.0) != 1 or a.get("transA", 0):
            yield "=onnx Gemm with factors", [x[0]]
        else:
            yield "=linear", [x[0], x[1], bias, not a.get("transB", 0)]

    def on_globalaveragepool(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=mean", [x[0], list(range(2, len(x[0].shape))), True]

    def on_reducemean(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=mean", [x[0], self.axes(a, x), bool(a.get("keepdims", 1))]

    def on_reducesum(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=sum", [x[0], self.axes(a, x), bool(a.get("keepdims", 1))]

    def axes(self, a: dict[str, Any], x: list[Any]) -> list[int] | None:
        """Which axes, as an input or, in older files, as an attribute; all, where there is neither."""
        return self.numbers(x[1]) if len(x) > 1 else a.get("axes")

    def on_maxpool(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=max_pool2d", [*self.window(a, x[0]), list(a.get("dilations", [1, 1])), bool(a.get("ceil_mode", 0))]

    def on_averagepool(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=avg_pool2d", [*self.window(a, x[0]), bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0))]

    def window(self, a: dict[str, Any], x: Any) -> list[Any]:
        pads = list(a.get("pads", [0, 0, 0, 0]))
        if pads[:2] != pads[2:] or len(pads) != 4:
            raise Foreign("a pooling of maps that are not padded alike on both sides")
        return [x, list(a["kernel_shape"]), list(a.get("strides", [1, 1])), pads[:2]]

    def on_reshape(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        sizes = [x[0].shape[n] if size == 0 else size for n, size in enumerate(self.numbers(x[1]))]
        yield "=reshape", [x[0], sizes]

    def on_flatten(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=flatten", [x[0], a.get("axis", 1), -1]

    def on_transpose(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=permute", [x[0], list(a.get("perm", range(len(x[0].shape))[::-1]))]

    def on_unsqueeze(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        axes = self.axes(a, x) or []
        rank = len(x[0].shape) + len(axes)
        sizes, given = [], iter(x[0].shape)
        for place in range(rank):
            sizes.append(1 if place in [axis % rank for axis in axes] else next(given))
        yield "=reshape", [x[0], sizes]

    def on_squeeze(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=squeeze", [x[0], self.axes(a, x)]

    def on_expand(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=expand", [x[0], self.numbers(x[1])]

    def on_dropout(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=alias", [x[0]]

    def on_concat(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        yield "=cat", [list(x), a["axis"]]

    def on_split(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        axis = a.get("axis", 0)
        count = a.get("num_outputs", 2)
        sizes = self.numbers(x[1]) if len(x) > 1 else -(-x[0].shape[axis] // count)
        yield "=split", [x[0], sizes, axis]

    def on_slice(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        starts, ends = self.numbers(x[1]), self.numbers(x[2])
        axes = self.numbers(x[3]) if len(x) > 3 and x[3] is not None else list(range(len(starts)))
        steps = self.numbers(x[4]) if len(x) > 4 else [1] * len(starts)
        for n, (start, end, axis, step) in enumerate(zip(starts, ends, axes, steps, strict=True)):
            yield "=slice" if n == len(starts) - 1 else "slice", [x[0], axis, start, min(end, 2**40), step]

    def on_gather(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        if x[1].shape == ():
            yield "=select", [x[0], a.get("axis", 0), int(self.array(x[1]))]
        else:
            yield "=onnx Gather of several", [x[0]]

    def on_pad(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        pads = self.numbers(x[1])
        rank = len(pads) // 2
        value = float(self.array(x[2])) if len(x) > 2 and x[2] is not None else 0.0
        sides = [side for n in reversed(range(rank)) for side in (pads[n], pads[n + rank])]
        mode = a.get("mode", b"constant").decode()
        yield "=pad", [x[0], sides, mode, value]

    def on_depthtospace(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        crd = a.get("mode", b"DCR") == b"CRD"
        yield "=pixel_shuffle" if crd else "=onnx DepthToSpace", [x[0], a["blocksize"]]

    def on_resize(self, a: dict[str, Any], x: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        sizes = x[3] if len(x) > 3 else None
        scales = [float(s) for s in self.array(x[2]).ravel()] if sizes is None else []
        scaled = [int(n * s) for n, s in zip(x[0].shape[2:], scales[2:], strict=True)] if scales else []
        size = scaled or self.numbers(sizes)[2:]
        mode = {b"nearest": "nearest2d", b"linear": "bilinear2d", b"cubic": "bicubic2d"}[a.get("mode", b"nearest")]
        align = a.get("coordinate_transformation_mode", b"half_pixel") == b"align_corners"
        yield f"=upsample_{mode}", [x[0], size, *([align] if mode != "nearest2d" else [])]


def _largest(node: Any, arrays: list[Any]) -> int:
    """How many numbers the result of a node has at most, of those nodes whose result may be larger than its inputs."""
    if node.op_type in ("ConstantOfShape", "Expand"):
        return int(max(1, arrays[0].size) * np.prod(np.maximum(1, arrays[-1].ravel()), dtype=float))
    if node.op_type in ("Tile", "Resize", "Upsample"):
        return int(arrays[0].size * np.prod(np.maximum(1, arrays[-1].ravel()), dtype=float))
    if node.op_type == "Range":
        return int(abs((arrays[1] - arrays[0]) / arrays[2])) if arrays[2] else 0
    if node.op_type.startswith("Gather") and arrays[1:]:
        return int(arrays[1].size * arrays[0].size // max(1, min(arrays[0].shape, default=1)))
    if node.op_type in ("Pad", "OneHot", "EyeLike"):
        return int(max(1, arrays[0].size) * np.prod(1 + np.abs(arrays[1].ravel()), dtype=float)) if arrays[1:] else 0
    return prod(max(sizes) for sizes in zip_longest(*(array.shape[::-1] for array in arrays), fillvalue=1))


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _place(node: Any) -> Place:
    """Where a node comes from, as exporters of torch say it: in its metadata, or in its name."""
    about = {entry.key: entry.value for entry in node.metadata_props}
    try:
        scopes = ast.literal_eval(about.get("pkg.torch.onnx.name_scopes", "[]"))
        kinds = ast.literal_eval(about.get("pkg.torch.onnx.class_hierarchy", "[]"))
    except (ValueError, SyntaxError):
        scopes, kinds = [], []
    if scopes and len(kinds) >= len(scopes):
        classes = [(str(path), str(kind).rpartition(".")[2]) for path, kind in zip(scopes[:-1], kinds, strict=False)]
        classes = [(path, kind) for path, kind in classes if path]
    else:
        parts = node.name.strip("/").split("/")[:-1] if "/" in node.name else []
        paths = [part if "." in part else ".".join(parts[: n + 1]) for n, part in enumerate(parts)]
        classes = [(path, _title(path.rpartition(".")[2])) for path in paths]
    return Place(classes[-1][0] if classes else "", (("", "Model"), *classes))


def _title(name: str) -> str:
    """layer_norm1 -> LayerNorm"""
    return "".join(word.capitalize() for word in name.rstrip("0123456789").split("_")) or "Block"
