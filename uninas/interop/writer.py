"""Graph -> Model of the published toolkit, or a UNI051 that names the node in the way.

Blocks say how a person groups operations, not what the toolkit needs, so each block of a stage is flattened and read
anew: a row of operations, with forks where paths part, and pairs of operations that open and close (a 1x1 convolution
and the one that restores the channels, a global pooling and the up-sampling). Where several could close, the one in the
same block of ours does; so whatever `reader` has built comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from uninas.errors import UninasError, error
from uninas.graph import INPUT, Block, Each, Graph, Wire, sharing
from uninas.graph.network import HEAD, STEM, block_name, stage_name
from uninas.interop.published import (
    HEAD_DIM,
    MAX_MODULES,
    PLAIN,
    Attention,
    Fork,
    Model,
    Module,
    Modules,
    Plain,
    Pooled,
    Resize,
    StageBlock,
)  # fmt: skip
from uninas.interop.reader import DOWN
from uninas.ops.activation import Gelu, Sigmoid
from uninas.ops.attention import Matmul1, Matmul2, RelPosBias
from uninas.ops.conv import Conv, DepthwiseConv
from uninas.ops.linear import Linear
from uninas.ops.merge import Add, Concat, Multiply
from uninas.ops.norm import BatchNorm, LayerNorm
from uninas.ops.op import Op, Shape, show_shape
from uninas.ops.pool import AvgPool, GlobalAvgPool, MaxPool, Upsample
from uninas.ops.regulariser import Dropout
from uninas.ops.shape import Identity
from uninas.ops.split import Chunk, Copy, Split


@dataclass(eq=False)
class _Flat:
    """One output of one operation, blocks and `each` removed. A splitter is followed by one of these per port."""

    path: str
    op: Op | None  # None: an input, or a port of a splitter
    inputs: tuple[_Flat, ...]
    shape: Shape
    index: int
    above: _Flat | None  # the nearest one that every way from the input passes
    port: int = 0

    @property
    def block(self) -> str:
        """The dotted path of the block that holds the node."""
        return self.path.rpartition(".")[0]

    @property
    def incoming(self) -> Shape:
        return self.inputs[0].shape


def meet(nodes: Sequence[_Flat]) -> _Flat:
    """The nearest node that every way to all of these passes."""
    a = nodes[0]
    for b in nodes[1:]:
        while a is not b:
            later, other = (a, b) if a.index > b.index else (b, a)
            assert later.above
            a, b = later.above, other
    return a


def cannot(path: str, found: str, wanted: str, *notes: str) -> UninasError:
    """What the published toolkit has nothing for."""
    return error("UNI051", f"{path}: expected {wanted}, but got {found}", None, *notes)


def to_model(graph: Graph) -> Model:
    """The model that a graph is equivalent to. Raises UninasError (UNI051)."""
    names = [node.name for node in graph.nodes]
    count = len(names) - 2
    wanted = [STEM, *(stage_name(n) for n in range(count)), HEAD]
    inner = [node.op.graph for node in graph.nodes if isinstance(node.op, Block)]
    row = all(node.inputs == (Wire(before),) for node, before in zip(graph.nodes, [INPUT, *names[:-1]], strict=True))
    if count < 1 or names != wanted or len(inner) != len(names) or not row or graph.outputs != (Wire(HEAD),):
        raise cannot("the network", ", ".join(names[:8]) or "nothing", "a row of a stem, stages and a head")
    (shape,) = graph.inputs
    if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2] or shape[1] % 2 ** (count + 1):
        wanted_input = f"square images of 3 channels that halve {count + 1} times"
        raise cannot("the network", f"an input {show_shape(shape)}", wanted_input)
    if graph.operations > MAX_MODULES:
        raise cannot("the network", f"{graph.operations:,}", f"at most {MAX_MODULES:,} operations")
    stem_width, stem = _stem(inner[0])
    stages = tuple(tuple(_stage(stage, stage_name(n))) for n, stage in enumerate(inner[1:-1]))
    classes, rate, head = _head(inner[-1])
    widths = tuple(stage.output_shapes[0][0] for stage in inner[1:-1])
    return Model(shape[1], classes, rate, stem_width, widths, stages, stem | head)


# ---- flattening ----------------------------------------------------------------------------------------------------


@dataclass
class _Flattener:
    count: int = 0

    def add(self, path: str, op: Op | None, inputs: Sequence[_Flat], shape: Shape, port: int = 0) -> _Flat:
        self.count += 1
        return _Flat(path, op, tuple(inputs), shape, self.count, meet(inputs) if inputs else None, port)

    def run(self, graph: Graph, inputs: Sequence[_Flat], path: str) -> list[_Flat]:
        """The outputs of a graph on these inputs."""
        values = {Wire(INPUT, n): flat for n, flat in enumerate(inputs)}
        for node in graph.nodes:
            given = [values[wire] for wire in node.inputs]
            name = f"{path}.{node.name}"
            if sharing(node.op) != (1, False, ()):
                raise error("UNI060", f"expected weights of its own for every operation, but {name} shares them",
                            None, "the format of the published toolkit has no word for that")  # fmt: skip
            if isinstance(node.op, Block):
                made = self.run(node.op.graph, given, name)
            elif isinstance(node.op, Each):
                made = [
                    end
                    for n, part in enumerate(node.op.parts(given))
                    for end in self.run(node.op.body, list(part), f"{name}.{n}")
                ]
            elif isinstance(node.op, Identity | Copy):
                made = given * len(graph.shapes(node.name))
            else:
                shapes = graph.shapes(node.name)
                made = [self.add(name, node.op, given, shapes[0])]
                if isinstance(node.op, Chunk | Split):
                    made = [self.add(name, None, made, shape, port) for port, shape in enumerate(shapes)]
            values.update({Wire(node.name, n): flat for n, flat in enumerate(made)})
        return [values[wire] for wire in graph.outputs]


def _flattened(graph: Graph, path: str) -> tuple[_Flat, _Flat]:
    """Input and output of a graph with one of each."""
    flattener = _Flattener()
    start = flattener.add(path, None, (), graph.inputs[0])
    ends = flattener.run(graph, [start], path)
    if len(graph.inputs) != 1 or len(ends) != 1:
        raise cannot(path, f"{len(graph.inputs)} and {len(ends)}", "one input and one output")
    return start, ends[0]


# ---- rows of operations, forks and attention -----------------------------------------------------------------------

Step = _Flat | Fork | Attention


class _Walker:
    """Walks a flat graph from the end to the beginning. Every operation is passed once."""

    def __init__(self) -> None:
        self.passed: set[int] = set()

    def take(self, node: _Flat) -> _Flat:
        if node.index in self.passed:
            raise cannot(node.path, "a second use of it", "a result that is used in one place, or where paths fork")
        self.passed.add(node.index)
        return node

    def between(self, start: _Flat, end: _Flat) -> list[Step]:
        """The steps that lead from one node to another."""
        steps, reached = self.back(end, start)
        if reached is not start:
            raise cannot(end.path, f"one that begins at {reached.path}", f"a path from {start.path}")
        return steps

    def back(self, end: _Flat, start: _Flat | None = None) -> tuple[list[Step], _Flat]:
        """The steps that lead to a node, from `start` or, when that is met first, an input, a port or a product."""
        steps: list[Step] = []
        node = end
        while node is not start and node.op is not None and not isinstance(node.op, Matmul1 | Matmul2):
            self.take(node)
            if isinstance(node.op, Add | Multiply):
                step, node = self.merge(node)
                steps.append(step)
            elif isinstance(node.op, Concat):
                step, node = self.concat(node)
                steps.append(step)
            elif len(node.inputs) == 1:
                steps.append(node)
                node = node.inputs[0]
            else:
                raise cannot(node.path, str(node.op), "an operation of the published toolkit")
        return steps[::-1], node

    def merge(self, node: _Flat) -> tuple[Step, _Flat]:
        """A sum, or the product of something and a gate; and where its paths part."""
        inputs = node.inputs
        if len(inputs) < 2:
            raise cannot(node.path, "one", "two inputs or more")
        if isinstance(node.op, Multiply):
            inputs = self.gated(node)
        start = meet(inputs)
        branches = []
        for end in inputs:
            implied = node.shape if end.shape == (node.shape[0], 1, 1) else end.shape
            branches.append(modules(self.between(start, end), implied))
            if implied != node.shape:
                raise cannot(
                    end.path, show_shape(end.shape), f"an input of {node.path} of shape {show_shape(node.shape)}"
                )
        return Fork("copy", "add" if isinstance(node.op, Add) else "multiply", tuple(branches)), start

    def gated(self, node: _Flat) -> tuple[_Flat, ...]:
        gates = [n for n, end in enumerate(node.inputs) if isinstance(end.op, Sigmoid)]
        if len(node.inputs) != 2 or not gates:
            raise cannot(node.path, "another product", "a product of something and a sigmoid")
        gate = self.take(node.inputs[gates[-1]])
        return (node.inputs[1 - gates[-1]], gate.inputs[0])

    def concat(self, node: _Flat) -> tuple[Step, _Flat]:
        """The chunks or the heads that are joined here, and what was cut."""
        rows = [self.back(end) for end in node.inputs]
        if all(isinstance(reached.op, Matmul2) for _, reached in rows):
            return self.attention(node, rows)
        splitter = rows[0][1].inputs[0] if rows[0][1].op is None and rows[0][1].inputs else None
        ports = [(reached.inputs[0] if reached.inputs else None, reached.port) for _, reached in rows]
        whole = splitter and node.shape[0] == splitter.incoming[0] == len(rows) * rows[0][1].shape[0]
        if not whole or ports != [(splitter, n) for n in range(len(rows))] or len(rows) < 2:
            raise cannot(node.path, "others", "all parts of one chunk, in their order, each with operations of its own")
        assert splitter
        branches = tuple(modules(steps, splitter.incoming) for steps, _ in rows)
        return Fork("chunk", "concat", branches), splitter.inputs[0]

    def attention(self, node: _Flat, rows: Sequence[tuple[list[Step], _Flat]]) -> tuple[Step, _Flat]:
        """Heads: out of (map of (piece 3n, piece 3n + 1), piece 3n + 2)."""
        pieces, maps, outs, places = [], [], [], []
        for steps, weighted in rows:
            self.plain_product(weighted)
            pairs, scores = self.back(weighted.inputs[0])
            if not isinstance(scores.op, Matmul1):
                raise cannot(weighted.path, f"a map from {scores.path}", "a map that begins with matmul1")
            self.plain_product(scores)
            for end in (*scores.inputs, weighted.inputs[1]):
                row, piece = self.back(end)
                pieces.append(modules(row, piece.shape))
                places.append(self.place(piece))
            maps.append(modules(pairs, scores.shape))
            outs.append(modules(steps, weighted.shape))
        qkv = places[0][0]
        c, h, w = node.shape
        if places != [(qkv, HEAD_DIM * n, HEAD_DIM) for n in range(3 * c // HEAD_DIM)]:
            raise cannot(
                node.path, "another cut", f"heads of three pieces of {HEAD_DIM} channels each, cut in their order"
            )
        if normal(qkv) != Conv(3 * c, 1) or qkv.incoming != (c, h, w):
            raise cannot(qkv.path, str(qkv.op), f"conv({3 * c}, 1), which the heads are cut from")
        return Attention(tuple(pieces), tuple(maps), tuple(outs), (qkv.path,)), self.take(qkv).inputs[0]

    def plain_product(self, node: _Flat) -> None:
        assert isinstance(node.op, Matmul1 | Matmul2)
        if node.op.row_wise or len({end.shape for end in node.inputs}) != isinstance(node.op, Matmul2) + 1:
            raise cannot(node.path, str(node.op), "a product over all positions of equal pieces")
        self.take(node)

    def place(self, piece: _Flat) -> tuple[_Flat, int, int]:
        """What a piece was cut from, at which channel, and how many channels it has."""
        offset, node = 0, piece
        while node.op is None and node.inputs:
            offset += node.port * node.shape[0]
            node = node.inputs[0].inputs[0]
        return node, offset, piece.shape[0]


# ---- modules -------------------------------------------------------------------------------------------------------


def modules(steps: Sequence[Step], shape: Shape) -> Modules:
    """Steps as modules that keep `shape`. A pooling that nothing closes reaches to the end (a merge broadcasts)."""
    found: list[Module] = []
    n = 0
    while n < len(steps):
        step = steps[n]
        if isinstance(step, Fork | Attention):
            found.append(step)
        elif isinstance(step.op, GlobalAvgPool):
            end = _pool_end(steps, n, shape)
            found.append(Pooled(modules(steps[n + 1 : end], (step.shape[0], 1, 1))))
            n = end
        elif step.shape[0] != step.incoming[0]:
            kind, factor = _resize(step)
            end, close = _resize_end(steps, n, step)
            found.append(Resize(kind, factor, modules(steps[n + 1 : end], step.shape), (step.path, close.path)))
            n = end
        else:
            found.append(_plain(step))
        n += 1
    return tuple(found)


def _plain(node: _Flat) -> Plain:
    op = normal(node)
    for kind, make in PLAIN.items():
        if op == make(node.incoming):
            return Plain(kind, (node.path,))
    raise cannot(node.path, str(node.op), "an operation of the published toolkit")


def normal(node: _Flat) -> Op | None:
    """The operation of a node, spelt as `PLAIN` spells it where two spellings mean the same."""
    op = node.op
    if isinstance(op, Conv):
        op = replace(op, width=0 if op.width == op.kernel else op.width, padding=_same(op.padding, op.kernel))
        if op.groups == op.out == node.incoming[0] > 1 and op == Conv(op.out, op.kernel, groups=op.groups, bias=False):
            return DepthwiseConv(op.kernel, bias=False)
    elif isinstance(op, DepthwiseConv | MaxPool | AvgPool):
        op = replace(op, padding=_same(op.padding, op.kernel))
    elif isinstance(op, RelPosBias) and len({*op.grid(node.incoming), *op.table(node.incoming)}) == 1:
        return RelPosBias()
    return op


def _same(padding: int, kernel: int) -> int:
    return -1 if padding == (kernel - 1) // 2 else padding


def _pool_end(steps: Sequence[Step], start: int, shape: Shape) -> int:
    """Where the up-sampling stands that undoes a global pooling, or the end of the steps where a merge broadcasts."""
    opened, depth = steps[start], 0
    assert isinstance(opened, _Flat)
    for n, step in enumerate(steps[start:], start):
        if isinstance(step, _Flat):
            depth += isinstance(step.op, GlobalAvgPool) - isinstance(step.op, Upsample)
            if depth == 0:
                if step.shape != opened.incoming:
                    raise cannot(step.path, show_shape(step.shape), f"the shape before {opened.path}")
                return n
    if opened.incoming != shape or shape[1:] == (1, 1):
        raise cannot(opened.path, "none", f"an upsample that restores {show_shape(opened.incoming)}")
    return len(steps)


def _resize(node: _Flat) -> tuple[str, int]:
    """What kind of resize a convolution opens, and its factor."""
    before, after = node.incoming[0], node.shape[0]
    if normal(node) == Conv(after, 1) and after % before == 0:
        return "ExpandAndReduce", after // before
    if normal(node) == Conv(after, 1) and before % after == 0:
        return "ReduceAndExpand", before // after
    raise cannot(node.path, str(node.op), "a 1x1 convolution to a multiple or a fraction of the channels")


def _resize_end(steps: Sequence[Step], start: int, opened: _Flat) -> tuple[int, _Flat]:
    """Where the convolution stands that restores the channels: in the same block of ours if there is one."""
    ends: list[tuple[int, _Flat]] = []
    depth = 0
    for n, step in enumerate(steps[start + 1 :], start + 1):
        if isinstance(step, _Flat):
            depth += isinstance(step.op, GlobalAvgPool) - isinstance(step.op, Upsample)
            restores = step.incoming == opened.shape and normal(step) == Conv(opened.incoming[0], 1)
            if depth == 0 and restores:
                ends.append((n, step))
    for n, step in ends:
        if step.block == opened.block:
            return n, step
    if ends:
        return ends[0]
    raise cannot(opened.path, str(opened.op), f"a 1x1 convolution after it that restores {opened.incoming[0]} channels")


# ---- stem, stages, head --------------------------------------------------------------------------------------------


def _row(graph: Graph, path: str) -> list[_Flat]:
    """The operations of a graph that is a plain row."""
    start, end = _flattened(graph, path)
    steps = _Walker().between(start, end)
    for step in steps:
        if not isinstance(step, _Flat):
            raise cannot(path, "one that parts", "a row of operations")
    return [step for step in steps if isinstance(step, _Flat)]


def _stem(graph: Graph) -> tuple[tuple[int, int], dict[str, str]]:
    row = _row(graph, STEM)
    first, second = (row[0].shape[0], row[-1].shape[0]) if row else (1, 1)
    wanted = [Conv(first, 3, 2, bias=False), BatchNorm(), Gelu(), Conv(second, 3, bias=False)]
    _expect("stem", row, wanted)
    names = ("stem.conv1", "stem.norm1", "", "stem.conv2")
    return (first, second), {name: node.path for name, node in zip(names, row, strict=True) if name}


def _head(graph: Graph) -> tuple[int, float, dict[str, str]]:
    row = _row(graph, HEAD)
    drops = [node.op for node in row if isinstance(node.op, Dropout)][:1]
    (classes,) = graph.output_shapes[0] if len(graph.output_shapes[0]) == 1 else (1,)
    _expect("head", row, [LayerNorm(), GlobalAvgPool(), *drops, Linear(classes)])
    return classes, float(drops[0].p) if drops else 0.0, {"norm": row[0].path, "head.fc": row[-1].path}


def _expect(path: str, row: Sequence[_Flat], wanted: Sequence[Op]) -> None:
    if [normal(node) for node in row] != wanted:
        raise cannot(path, " -> ".join(str(node.op) for node in row[:12]) or "nothing", " -> ".join(map(str, wanted)))


def _stage(graph: Graph, path: str) -> Iterator[StageBlock]:
    before = INPUT
    for n, node in enumerate(graph.nodes):
        name = f"{path}.{node.name}"
        if node.name != block_name(n) or not isinstance(node.op, Block) or node.inputs != (Wire(before),):
            raise cannot(name, str(node.op), f"a block blocks.{n} after {before}")
        width = graph.output_shapes[0][0]
        yield _stage_block(node.op.graph, name, width, first=n == 0)
        before = node.name
    if graph.outputs != (Wire(before),) or before == INPUT:
        raise cannot(path, "another", "a row of blocks")


def _stage_block(graph: Graph, path: str, width: int, first: bool) -> StageBlock:
    """y = shortcut(in) + first(norm1(in)), out = y + second(norm2(y)); see `reader`."""
    start, end = _flattened(graph, path)
    walker = _Walker()
    y, other = _sum(walker, end, lambda node: node is meet(end.inputs), path)
    second = walker.between(y, other)
    short, other = _sum(walker, y, lambda node: _is_shortcut(node, start), path)
    beside = walker.between(start, short)
    body = walker.between(start, other)
    norms = [_norm(row, path) for row in (body, second)]
    body, second = body[1:], second[1:]
    nodes = {"norm2": norms[1]}
    if not first:
        nodes["norm1"] = norms[0]
        if beside:
            raise cannot(short.path, "a down-sampling", "the input itself, as this block is not the first of its stage")
    else:
        nodes["norm1.norm"] = norms[0]
        wanted = [DOWN] + [Conv(width, 1)] * (start.shape[0] != width)
        down, body = body[: len(wanted)], body[len(wanted) :]
        for row, name in ((beside, "shortcut.expand"), (down, "norm1.down.expand")):
            plain = [node for node in row if isinstance(node, _Flat)]
            _expect(path, plain, wanted)
            if len(wanted) > 1:
                nodes[name] = plain[1].path
    return StageBlock(modules(body, y.shape), modules(second, y.shape), nodes)


def _sum(walker: _Walker, node: _Flat, known: Callable[[_Flat], bool], path: str) -> tuple[_Flat, _Flat]:
    """The two inputs of a sum, the known one first."""
    if not isinstance(node.op, Add) or len(node.inputs) != 2 or not any(map(known, node.inputs)):
        raise cannot(
            path,
            f"one that ends in {node.path}",
            "a block like y = shortcut(in) + first(norm(in)), y + second(norm(y))",
        )
    walker.take(node)
    a, b = node.inputs
    return (a, b) if known(a) else (b, a)


def _is_shortcut(node: _Flat, start: _Flat) -> bool:
    if isinstance(node.op, Conv):
        node = node.inputs[0]
    return node is start or (isinstance(node.op, AvgPool) and node.inputs[0] is start)


def _norm(row: Sequence[Step], path: str) -> str:
    if not row or not isinstance(row[0], _Flat) or row[0].op != LayerNorm():
        raise cannot(path, "another", "a layer_norm in front of each half of a block")
    return row[0].path


# ---- names of weights ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """A module with weights: its name there, the node here, and its parameters with their names here."""

    module: str
    node: str
    parameters: Mapping[str, str]


_BOTH = {"weight": "weight", "bias": "bias"}
_WEIGHTED = {
    "Conv1": (".conv", _BOTH),
    "Conv3": (".conv", _BOTH),
    "ConvDepth3": (".conv", {"weight": "weight"}),
    "ConvDepth5": (".conv", {"weight": "weight"}),
    "BatchNorm": (".bn", _BOTH),
    "LayerNorm": (".ln", _BOTH),
    "RelPosBias": ("", {"relative_position_bias_table": "bias.table"}),
}


def weights(model: Model) -> Iterator[Weights]:
    """All modules with weights of a model that `to_model` has made, in the toolkit's order."""
    for name in ("stem.conv1", "stem.norm1", "stem.conv2"):
        yield Weights(name, model.nodes[name], {"weight": "weight"} if "conv" in name else _BOTH)
    for i, stage in enumerate(model.stages):
        for j, block in enumerate(stage):
            path = f"stages.{i}.blocks.{j}"
            yield from _weights(block.first, f"{path}.subblock1")
            yield from _weights(block.second, f"{path}.subblock2")
            for name in ("shortcut.expand", "norm1", "norm1.norm", "norm1.down.expand", "norm2"):
                if name in block.nodes:
                    yield Weights(f"{path}.{name}", block.nodes[name], _BOTH)
    for name in ("norm", "head.fc"):
        yield Weights(name, model.nodes[name], _BOTH)


def _weights(row: Modules, path: str) -> Iterator[Weights]:
    for n, module in enumerate(row):
        name = f"{path}.sequential.{n}"
        if isinstance(module, Plain):
            if module.kind in _WEIGHTED:
                suffix, parameters = _WEIGHTED[module.kind]
                yield Weights(name + suffix, module.nodes[0], parameters)
        elif isinstance(module, Resize):
            yield Weights(f"{name}.resize1", module.nodes[0], _BOTH)
            yield from _weights(module.inner, f"{name}.sequential")
            yield Weights(f"{name}.resize2", module.nodes[1], _BOTH)
        elif isinstance(module, Pooled):
            yield from _weights(module.inner, f"{name}.sequential")
        elif isinstance(module, Fork):
            for k, branch in enumerate(module.branches):
                yield from _weights(branch, f"{name}.branches.{k}")
        else:
            yield Weights(f"{name}.qkv.conv", module.nodes[0], _BOTH)
            lists = (("branches", module.pieces), ("connections", module.maps), ("post_branches", module.outs))
            for title, rows in lists:
                for k, inner in enumerate(rows):
                    yield from _weights(inner, f"{name}.{title}.{k}")
