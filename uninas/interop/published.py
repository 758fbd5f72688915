"""The model JSON of the published UniNAS toolkit: what it says, checked, and how it is written.

    {"img_size": 224, "num_classes": 1000, "drop_rate": 0.0, "embed_dim": [96, ...], "depths": [2, ...],
     "stem_width": [32, 64], "model_str": "[[\\"E\\", \\"E\\"], ...]"}

`model_str` is JSON inside JSON: a list of stages, each a list of blocks. A block is a code (T, E or R) or an object of
two sequences of modules, `subblock1` and `subblock2`. A module has a `class`, the `shape` it keeps, and `params`.

Everything here was learned from models and their numbers. Channels and positions stay as they are in every module; the
first block of a stage halves the map and sets the stage's width before its `subblock1`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uninas.errors import Source, Span, UninasError, did_you_mean, error, shown
from uninas.ops.activation import Gelu, Sigmoid, Softmax
from uninas.ops.attention import Mask, RelPosBias
from uninas.ops.conv import Conv, DepthwiseConv
from uninas.ops.norm import BatchNorm, LayerNorm
from uninas.ops.op import Op, Shape, ShapeError, show_shape
from uninas.ops.pool import MaxPool
from uninas.ops.regulariser import Dropout
from uninas.ops.shape import Zero

MAX_TEXT = 16 * 2**20  # characters of a file; the largest published model has a hundredth of it
MAX_NESTING = 48  # modules inside modules
MAX_MODULES = 200_000
MAX_IMAGE = 2**14
MAX_WIDTH = 2**17  # channels of a stage
MAX_STAGES = 12
MAX_DEPTH = 1000  # blocks of a stage
HEAD_DIM = 32  # channels of a query, key or value

SCHEME = "kaiming_normal"  # how the toolkit draws the weights of a resize; of no consequence for a trained model

# ---- a model as values ---------------------------------------------------------------------------------------------
#
# `nodes` holds, where a model was made from one of our graphs, the dotted paths of the nodes with weights.


@dataclass(frozen=True)
class Plain:
    """One operation (see PLAIN)."""

    kind: str
    nodes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Resize:
    """1x1 convolution to factor times (or a factor-th of) the channels, modules, 1x1 convolution back."""

    kind: str
    factor: int
    inner: Modules
    nodes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Pooled:
    """Global average pooling, modules on C x 1 x 1, nearest upsampling back."""

    inner: Modules


@dataclass(frozen=True)
class Fork:
    """The input copied or cut into chunks, one sequence per branch, and the sum, gated product or concatenation."""

    split: str
    merge: str
    branches: tuple[Modules, ...]


@dataclass(frozen=True)
class Attention:
    """Heads with sequences of their own: three pieces per head, one map per head, one output per head."""

    pieces: tuple[Modules, ...]
    maps: tuple[Modules, ...]
    outs: tuple[Modules, ...]
    nodes: tuple[str, ...] = field(default=(), compare=False)


Module = Plain | Resize | Pooled | Fork | Attention
Modules = tuple[Module, ...]


@dataclass(frozen=True)
class StageBlock:
    """y = shortcut(x) + first(norm1(x)), y + second(norm2(y))."""

    first: Modules
    second: Modules
    nodes: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Model:
    """A whole model. Stage i halves the map and has widths[i] channels."""

    img_size: int
    num_classes: int
    drop_rate: float
    stem_width: tuple[int, int]
    widths: tuple[int, ...]
    stages: tuple[tuple[StageBlock, ...], ...]
    nodes: Mapping[str, str] = field(default_factory=dict, compare=False)

    def shape(self, stage: int) -> Shape:
        """The map inside a stage."""
        return (self.widths[stage], *[self.img_size >> (stage + 2)] * 2)


# The operation that each class stands for. Every one keeps the shape of its input.
PLAIN: Mapping[str, Callable[[Shape], Op]] = {
    "Conv1": lambda x: Conv(x[0], 1),
    "Conv3": lambda x: Conv(x[0], 3),
    "ConvDepth3": lambda x: DepthwiseConv(3, bias=False),
    "ConvDepth5": lambda x: DepthwiseConv(5, bias=False),
    "BatchNorm": lambda x: BatchNorm(),
    "LayerNorm": lambda x: LayerNorm(),
    "GELU": lambda x: Gelu(),
    "Sigmoid": lambda x: Sigmoid(),
    "Softmax": lambda x: Softmax(),
    "Dropout": lambda x: Dropout(),
    "MaxPool": lambda x: MaxPool(),
    "Mask": lambda x: Mask(),
    "RelPosBias": lambda x: RelPosBias(),
    "Zero": lambda x: Zero(),
}
FORKS = (("copy", "add"), ("copy", "multiply"), ("chunk", "concat"))
RESIZES = ("ExpandAndReduce", "ReduceAndExpand")
CLASSES = (*PLAIN, *RESIZES, "AvgAndUpsample", "ForkMerge", "ForkMergeAttention")


def plain(*kinds: str) -> Modules:
    """Modules without attributes, by their class names."""
    return tuple(map(Plain, kinds))


# ---- what the codes stand for --------------------------------------------------------------------------------------

GATE = Fork("copy", "multiply", ((), (Pooled((Resize("ReduceAndExpand", 4, plain("GELU")),)),)))
MBCONV: Modules = (
    Resize("ExpandAndReduce", 4, (*plain("BatchNorm", "GELU", "ConvDepth5", "BatchNorm", "GELU"), GATE)),
    *plain("BatchNorm"),
)
FFN = Resize("ExpandAndReduce", 4, plain("LayerNorm", "GELU"))
CONVS = plain("Conv3", "BatchNorm", "GELU") * 2


def code(letter: str, width: int) -> StageBlock:
    """The block a code stands for: T transformer, E inverted bottleneck (EfficientNet), R convolutions (ResNet)."""
    if letter == "T":
        n = width // HEAD_DIM
        heads = Attention(((),) * 3 * n, (plain("RelPosBias", "Softmax"),) * n, ((),) * n)
        return StageBlock((heads, *plain("Conv1")), (FFN,))
    return StageBlock(MBCONV if letter == "E" else CONVS, plain("Zero"))


CODES = ("T", "E", "R")

# ---- reading -------------------------------------------------------------------------------------------------------

KEYS = ("img_size", "num_classes", "drop_rate", "embed_dim", "depths", "model_str", "stem_width")


def parse(text: str, name: str = "") -> Model:
    """The model that a JSON text describes; `name` is what messages call the text. Raises UninasError (UNI050)."""
    where = f"{name}: $" if name else "$"
    data = _object(_load(text, name or "<json>", where), where, KEYS)
    widths = _integers(data["embed_dim"], f"{where}.embed_dim", MAX_WIDTH, (1, MAX_STAGES))
    depths = _integers(data["depths"], f"{where}.depths", MAX_DEPTH, (len(widths), len(widths)), low=0)
    first, second = _integers(data["stem_width"], f"{where}.stem_width", MAX_WIDTH, (2, 2))
    img_size = _integer(data["img_size"], f"{where}.img_size", 1, MAX_IMAGE)
    if img_size % (step := 2 ** (len(widths) + 1)):
        raise _bad(f"{where}.img_size", f"a multiple of {step}, since {len(widths)} stages halve the image", img_size)
    classes = _integer(data["num_classes"], f"{where}.num_classes", 1, 2**24)
    rate = data["drop_rate"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise _bad(f"{where}.drop_rate", "a number from 0 to below 1", rate)
    where = f"{where}.model_str"
    if not isinstance(data["model_str"], str):
        raise _bad(where, "a string that holds JSON", data["model_str"])
    rows = _list(_load(data["model_str"], where, where), where, len(widths), "one list of blocks for each embed_dim")
    empty = Model(img_size, classes, float(rate), (first, second), widths, ())
    parser = _Parser()
    stages = []
    for i, row in enumerate(rows):
        blocks = _list(row, f"{where}[{i}]", depths[i], f"as many blocks as depths[{i}] says")
        stages.append(tuple(parser.block(b, empty.shape(i), f"{where}[{i}][{j}]") for j, b in enumerate(blocks)))
    return Model(img_size, classes, float(rate), (first, second), widths, tuple(stages))


class _Parser:
    """Objects -> modules, each of which must keep the shape of its input."""

    def __init__(self) -> None:
        self.count = 0

    def block(self, data: Any, shape: Shape, where: str) -> StageBlock:
        if isinstance(data, str):
            if data not in CODES:
                raise _bad(where, "a code T, E or R", data, did_you_mean(data, CODES))
            if data == "T" and shape[0] % HEAD_DIM:
                raise _bad(where, f"a width that heads of {HEAD_DIM} channels divide, for a block T", shape[0])
            self.counted(where, 12 if data != "T" else shape[0])
            return code(data, shape[0])
        pair = _object(data, where, ("subblock1", "subblock2"))
        first, second = (self.sequence(pair[key], shape, f"{where}.{key}", 0) for key in pair)
        return StageBlock(first, second)

    def sequence(self, data: Any, shape: Shape, where: str, depth: int, around: Shape | None = None) -> Modules:
        """Modules in a row; `around` is the shape outside of the resize that they stand in."""
        _, params = self.opened(data, ("SequentialModule",), shape, where, depth)
        items = _object(params, f"{where}.params", ("modules",))["modules"]
        where = f"{where}.params.modules"
        return tuple(
            self.module(item, shape, f"{where}[{n}]", depth + 1, around) for n, item in enumerate(_list(items, where))
        )

    def sequences(self, items: Any, number: int, shape: Shape, where: str, depth: int) -> tuple[Modules, ...]:
        listed = _list(items, where, number)
        return tuple(self.sequence(item, shape, f"{where}[{n}]", depth) for n, item in enumerate(listed))

    def opened(
        self, data: Any, classes: Sequence[str], shape: Shape, where: str, depth: int, around: Shape | None = None
    ) -> tuple[str, Any]:
        """Class and params of a module, when it is one of these classes and has the shape of its input.

        The toolkit notes the shape outside of the resize on some GELUs inside; nothing follows from it.
        """
        self.counted(where, 1)
        if depth > MAX_NESTING:
            raise error("UNI050", f"{where}: expected modules nested at most {MAX_NESTING} deep")
        fields = _object(data, where, ("class", "shape", "params"))
        name = fields["class"]
        if not isinstance(name, str) or name not in classes:
            wanted = classes[0] if len(classes) == 1 else "a class of the toolkit"
            hint = did_you_mean(name, classes) if isinstance(name, str) else ""
            raise _bad(f"{where}.class", wanted, name, hint or f"there are {', '.join(classes)}")
        noted = fields["shape"]
        if noted != list(shape) and not (name == "GELU" and around and noted == list(around)):
            raise _bad(f"{where}.shape", f"{list(shape)}, the shape of what comes in", noted)
        return name, fields["params"]

    def counted(self, where: str, number: int) -> None:
        self.count += number
        if self.count > MAX_MODULES:
            raise error("UNI050", f"{where}: expected at most {MAX_MODULES:,} modules in a model")

    def module(self, data: Any, shape: Shape, where: str, depth: int, around: Shape | None) -> Module:
        name, params = self.opened(data, CLASSES, shape, where, depth, around)
        where = f"{where}.params"
        try:
            if name in PLAIN:
                _object(params, where, ())
                PLAIN[name](shape).outputs(shape)  # refuses shapes that the operation cannot have
                return Plain(name)
            if name in RESIZES:
                return self.resize(name, params, shape, where, depth)
            if name == "AvgAndUpsample":
                inner = _object(params, where, ("sequential",))["sequential"]
                return Pooled(self.sequence(inner, (shape[0], 1, 1), f"{where}.sequential", depth + 1))
            return (self.fork if name == "ForkMerge" else self.attention)(params, shape, where, depth)
        except ShapeError as problem:
            raise error("UNI050", f"{where}: {problem}", None, f"this is a {name} on {show_shape(shape)}") from None

    def resize(self, name: str, params: Any, shape: Shape, where: str, depth: int) -> Resize:
        fields = _object(params, where, ("sequential", "factor", "scheme"))
        factor = _integer(fields["factor"], f"{where}.factor", 2, MAX_WIDTH)
        if not isinstance(fields["scheme"], str):
            raise _bad(f"{where}.scheme", f"a scheme of initial weights like {SCHEME!r}", fields["scheme"])
        if name == "ReduceAndExpand" and shape[0] % factor:
            raise _bad(f"{where}.factor", f"a divisor of the {shape[0]} channels", factor)
        between = resized(name, shape[0], factor)
        Conv(between, 1).outputs(shape)
        inner = self.sequence(fields["sequential"], (between, *shape[1:]), f"{where}.sequential", depth + 1, shape)
        return Resize(name, factor, inner)

    def fork(self, params: Any, shape: Shape, where: str, depth: int) -> Fork:
        fields = _object(params, where, ("branches", "branches_count", "fork_merge_tuple"))
        kind = fields["fork_merge_tuple"]
        if not (isinstance(kind, list) and len(kind) == 2 and tuple(kind) in FORKS):
            wanted = " or ".join(json.dumps(pair) for pair in FORKS)
            raise _bad(f"{where}.fork_merge_tuple", wanted, kind)
        count = _integer(fields["branches_count"], f"{where}.branches_count", 2, 2 if kind[1] == "multiply" else 1024)
        if kind[0] == "chunk" and shape[0] % count:
            raise _bad(f"{where}.branches_count", f"a divisor of the {shape[0]} channels", count)
        part = (shape[0] // count if kind[0] == "chunk" else shape[0], *shape[1:])
        branches = self.sequences(fields["branches"], count, part, f"{where}.branches", depth + 1)
        return Fork(kind[0], kind[1], branches)

    def attention(self, params: Any, shape: Shape, where: str, depth: int) -> Attention:
        keys = ("branches", "matmullefts", "matmulrights", "connections", "post_branches")
        fields = _object(params, where, keys)
        if shape[0] % HEAD_DIM:
            raise error("UNI050", f"{where}: expected channels that heads of {HEAD_DIM} divide, but got {shape[0]}")
        heads, positions = shape[0] // HEAD_DIM, shape[1] * shape[2]
        piece, pairs = (HEAD_DIM, *shape[1:]), (1, positions, positions)
        for key, name, made in (("matmullefts", "MatmulLeft", pairs), ("matmulrights", "MatmulRight", piece)):
            for n, item in enumerate(_list(fields[key], f"{where}.{key}", heads)):
                _, inside = self.opened(item, (name,), made, f"{where}.{key}[{n}]", depth + 1)
                _object(inside, f"{where}.{key}[{n}].params", ())
        pieces = self.sequences(fields["branches"], 3 * heads, piece, f"{where}.branches", depth + 1)
        maps = self.sequences(fields["connections"], heads, pairs, f"{where}.connections", depth + 1)
        outs = self.sequences(fields["post_branches"], heads, piece, f"{where}.post_branches", depth + 1)
        return Attention(pieces, maps, outs)


def resized(kind: str, channels: int, factor: int) -> int:
    """The channels inside a resize."""
    return channels * factor if kind == "ExpandAndReduce" else channels // factor


def _bad(where: str, wanted: str, found: Any, note: str = "") -> UninasError:
    return error("UNI050", f"{where}: expected {wanted}, but got {_described(found)}", None, note)


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(shown, list(value)[:4])) or 'nothing in it'}"
    if isinstance(value, list) and (len(value) > 4 or any(isinstance(item, dict | list) for item in value)):
        return f"a list of {len(value)}"
    return shown(json.dumps(value))


def _load(text: str, name: str, where: str) -> Any:
    if len(text) > MAX_TEXT:
        raise error("UNI050", f"{where}: expected at most {MAX_TEXT:,} characters, but got {len(text):,}")
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as problem:
        span = Span(Source(name, text), problem.pos, problem.pos + 1)
        raise error("UNI050", f"expected JSON, but {problem.msg}", span) from None
    except RecursionError:
        raise error(
            "UNI050", f"{where}: expected JSON that a person could have meant, but it nests too deeply"
        ) from None
    except ValueError as problem:  # NaN, or a number of thousands of digits
        raise error("UNI050", f"{where}: expected JSON, but {shown(problem)}") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _object(value: Any, where: str, keys: Sequence[str]) -> dict[str, Any]:
    """The members of an object that must have exactly these keys, in their order."""
    if not isinstance(value, dict):
        raise _bad(where, f"an object with {', '.join(keys)}" if keys else "an empty object {}", value)
    for key in value:
        if key not in keys:
            raise error("UNI050", f"{where}: unknown key {shown(json.dumps(key))}", None,
                        did_you_mean(key, keys) or (f"there are {', '.join(keys)}" if keys else ""))  # fmt: skip
    for key in keys:
        if key not in value:
            raise error("UNI050", f"{where}: expected a key {key!r}, but there is none")
    return {key: value[key] for key in keys}


def _list(value: Any, where: str, length: int | None = None, why: str = "") -> list[Any]:
    if not isinstance(value, list) or length not in (None, len(value)):
        wanted = "a list" if length is None else f"a list of {length}"
        raise _bad(where, f"{wanted} ({why})" if why else wanted, value)
    return value


def _integer(value: Any, where: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise _bad(where, f"an integer from {low:,} to {high:,}" if low < high else f"{low}", value)
    return value


def _integers(value: Any, where: str, high: int, length: tuple[int, int], low: int = 1) -> tuple[int, ...]:
    if not isinstance(value, list) or not length[0] <= len(value) <= length[1]:
        many = str(length[0]) if length[0] == length[1] else f"{length[0]} to {length[1]}"
        raise _bad(where, f"a list of {many} integers", value)
    return tuple(_integer(item, f"{where}[{n}]", low, high) for n, item in enumerate(value))


# ---- writing -------------------------------------------------------------------------------------------------------


def render(model: Model, indent: int | None = 2) -> str:
    """The JSON text of a model. Codes stand for the blocks when all of them have one, as in the toolkit's own files."""
    letters = [[_letter(block, model.widths[i]) for block in stage] for i, stage in enumerate(model.stages)]
    coded = all(letter for row in letters for letter in row)
    trees = [[_block(block, model.shape(i)) for block in stage] for i, stage in enumerate(model.stages)]
    data = {
        "img_size": model.img_size,
        "num_classes": model.num_classes,
        "drop_rate": model.drop_rate,
        "embed_dim": list(model.widths),
        "depths": [len(stage) for stage in model.stages],
        "model_str": json.dumps(letters if coded else trees),
        "stem_width": list(model.stem_width),
    }
    return json.dumps(data, indent=indent)


def _letter(block: StageBlock, width: int) -> str:
    return next((c for c in CODES if (c != "T" or width % HEAD_DIM == 0) and block == code(c, width)), "")


def _block(block: StageBlock, shape: Shape) -> Any:
    return {"subblock1": _sequence(block.first, shape), "subblock2": _sequence(block.second, shape)}


def _node(name: str, shape: Shape, params: Any) -> Any:
    return {"class": name, "shape": list(shape), "params": params}


def _sequence(modules: Modules, shape: Shape) -> Any:
    return _node("SequentialModule", shape, {"modules": [_module(module, shape) for module in modules]})


def _sequences(branches: Iterable[Modules], shape: Shape) -> list[Any]:
    return [_sequence(branch, shape) for branch in branches]


def _module(module: Module, shape: Shape) -> Any:
    c, h, w = shape
    if isinstance(module, Plain):
        return _node(module.kind, shape, {})
    if isinstance(module, Resize):
        inner = _sequence(module.inner, (resized(module.kind, c, module.factor), h, w))
        return _node(module.kind, shape, {"sequential": inner, "factor": module.factor, "scheme": SCHEME})
    if isinstance(module, Pooled):
        return _node("AvgAndUpsample", shape, {"sequential": _sequence(module.inner, (c, 1, 1))})
    if isinstance(module, Fork):
        count = len(module.branches)
        part = (c // count if module.split == "chunk" else c, h, w)
        kind = [module.split, module.merge]
        branches = _sequences(module.branches, part)
        return _node("ForkMerge", shape, {"branches_count": count, "fork_merge_tuple": kind, "branches": branches})
    piece, pairs = (HEAD_DIM, h, w), (1, h * w, h * w)
    params = {
        "branches": _sequences(module.pieces, piece),
        "matmullefts": [_node("MatmulLeft", pairs, {}) for _ in module.maps],
        "matmulrights": [_node("MatmulRight", piece, {}) for _ in module.maps],
        "connections": _sequences(module.maps, pairs),
        "post_branches": _sequences(module.outs, piece),
    }
    return _node("ForkMergeAttention", shape, params)
