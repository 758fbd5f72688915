"""Model of the published toolkit -> Graph, built so that its text reads as if a person had written it.

What the toolkit writes as a tree of anonymous modules gets names: sequences that people know by a name become blocks
(MBConv, SqueezeExcite, FFN, Attention, Down), equal heads become one `each`, and everything else stands where it acts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from uninas.errors import Source, Span
from uninas.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.graph.builder import Builder, Wires, snake_case
from uninas.graph.network import HEAD, STEM, block_name, stage_name
from uninas.interop.published import (
    CONVS,
    FFN,
    GATE,
    HEAD_DIM,
    MBCONV,
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
    resized,
)  # fmt: skip
from uninas.ops.activation import Gelu, Sigmoid
from uninas.ops.attention import Matmul1, Matmul2, RelPosBias
from uninas.ops.conv import Conv
from uninas.ops.linear import Linear
from uninas.ops.merge import Add, Concat, Multiply
from uninas.ops.norm import BatchNorm, LayerNorm
from uninas.ops.op import Op, Shape
from uninas.ops.pool import AvgPool, GlobalAvgPool, Upsample
from uninas.ops.regulariser import Dropout
from uninas.ops.split import Chunk, Split

NOWHERE = Span(Source("", ""), 0, 0)  # a model was checked before it comes here, so no message needs a place

DOWN = AvgPool(2, 2)
"""The down-sampling of a stage's first block."""


def to_graph(model: Model, name: str) -> Graph:
    """The network of a model that `published.parse` has found well-formed."""
    return _Reader(model).network(name)


class _Sketch:
    """A graph under construction, with the few words that the reader needs."""

    def __init__(self, *inputs: Shape):
        self.builder = Builder(inputs, lambda: None)
        self.input = self.builder.input

    def add(self, op: Op | Block | Each, *wires: Wires, name: str = "") -> Wires:
        base = op.name if isinstance(op, Op) else "parts" if isinstance(op, Each) else snake_case(op.graph.name)
        joined = Wires(self.builder, tuple(wire for bundle in wires for wire in bundle.wires))
        made = self.builder.add(op, joined, base, NOWHERE)
        return self.named(made, name) if name else made

    def named(self, wires: Wires, name: str) -> Wires:
        """Call the node that made these wires `name`, or name_2, ... where the graph has such a node already."""
        node, taken, free, count = wires.wires[0][0], set(self.builder.labels.values()), name, 2
        while free in taken and node not in self.builder.labels:
            free, count = f"{name}_{count}", count + 1
        self.builder.label(wires, free)
        return wires

    def finish(self, wires: Wires, name: str) -> Graph:
        """The graph. Nodes that a text must give a name to get one that leaves the others their usual names."""
        uses = Counter(number for _, inputs, _, _ in self.builder.ops for number, _ in inputs)
        uses.update(number for number, _ in wires.wires)
        last = len(self.builder.ops) - 1
        for number, (_, _, base, _) in enumerate(self.builder.ops[:last]):
            outputs = tuple((number, n) for n in range(len(self.builder.shapes[number])))
            if uses[number] != len(outputs) or self.builder.ops[number + 1][1] != outputs:
                self.named(Wires(self.builder, outputs), base)
        return self.builder.finish(wires, name)


def port(wires: Wires, number: int) -> Wires:
    """One wire of a bundle."""
    return Wires(wires.builder, wires.wires[number : number + 1])


class _Reader:
    def __init__(self, model: Model):
        self.model = model
        self.known: dict[tuple[object, ...], Graph] = {}
        self.shared: dict[tuple[str, Graph], Graph] = {}

    def once(self, make: Callable[..., Graph], *arguments: object) -> Graph:
        """Equal parts of a model are one graph, built once."""
        key = (make, *arguments)
        if key not in self.known:
            made = make(*arguments)
            self.known[key] = self.shared.setdefault((made.name, made), made)
        return self.known[key]

    # ---- network, stages, blocks ---------------------------------------------------------------------------------

    def network(self, name: str) -> Graph:
        model, shape = self.model, (3, self.model.img_size, self.model.img_size)
        sections = [(STEM, self.stem(shape))]
        for number, blocks in enumerate(model.stages):
            incoming = sections[-1][1].output_shapes[0]
            sections.append((stage_name(number), self.stage(blocks, incoming, model.shape(number))))
        sections.append((HEAD, self.head(sections[-1][1].output_shapes[0])))
        return _row(sections, shape, name)

    def stem(self, shape: Shape) -> Graph:
        first, second = self.model.stem_width
        ops = [Conv(first, 3, 2, bias=False), BatchNorm(), Gelu(), Conv(second, 3, bias=False)]
        return _chain(ops, shape, "stem")

    def head(self, shape: Shape) -> Graph:
        drop = [Dropout(self.model.drop_rate)] if self.model.drop_rate else []
        return _chain([LayerNorm(), GlobalAvgPool(), *drop, Linear(self.model.num_classes)], shape, "head")

    def stage(self, blocks: Sequence[StageBlock], incoming: Shape, shape: Shape) -> Graph:
        graphs = [
            self.once(self.block, block, incoming if n == 0 else shape, shape[0], n == 0)
            for n, block in enumerate(blocks)
        ]
        return _row([(block_name(n), graph) for n, graph in enumerate(graphs)], incoming, "stage")

    def block(self, block: StageBlock, incoming: Shape, width: int, down: bool) -> Graph:
        """y = shortcut(in) + first(norm(in)), out = y + second(norm(y))."""
        g = _Sketch(incoming)
        x = g.named(self.down(g, g.input, width), "shortcut") if down else g.input
        normed = g.add(LayerNorm(), g.input)
        if down:
            normed = self.down(g, normed, width)
        y = g.add(Add(), x, self.modules(g, block.first, normed), name="y")
        out = g.add(Add(), y, self.modules(g, block.second, g.add(LayerNorm(), y)))
        return g.finish(out, f"{_title(block)}{'Down' if down else 'Block'}")

    def down(self, g: _Sketch, x: Wires, width: int) -> Wires:
        """Half the height and width; a 1x1 convolution where the channels change."""
        (shape,) = x.shapes
        if shape[0] == width:
            return g.add(DOWN, x)
        return g.add(Block(self.once(_chain, (DOWN, Conv(width, 1)), shape, "Down")), x)

    # ---- modules -------------------------------------------------------------------------------------------------

    def modules(self, g: _Sketch, modules: Modules, x: Wires) -> Wires:
        """One after another; those that people know by a name become blocks."""
        while modules:
            (shape,) = x.shapes
            for pattern, name in (
                (MBCONV, "MBConv"),
                ((FFN,), "FFN"),
                (CONVS, "ConvBlock"),
                ((GATE,), "SqueezeExcite"),
            ):
                if modules[: len(pattern)] == pattern and not (name == "SqueezeExcite" and shape[1:] == (1, 1)):
                    x = g.add(Block(self.once(self.inline, pattern, shape, name)), x)
                    modules = modules[len(pattern) :]
                    break
            else:
                taken = 2 if isinstance(modules[0], Attention) and modules[1:2] == (Plain("Conv1"),) else 1
                x, modules = self.module(g, modules[:taken], x), modules[taken:]
        return x

    def inline(self, modules: Modules, shape: Shape, name: str) -> Graph:
        g = _Sketch(shape)
        x = g.input
        for module in modules:
            x = self.inner(g, module, x)
        return g.finish(x, name)

    def module(self, g: _Sketch, modules: Modules, x: Wires) -> Wires:
        """One module (an Attention with the convolution that follows), in a block where it begins and ends."""
        module, shape = modules[0], x.shapes[0]
        if isinstance(module, Attention):
            return g.add(Block(self.once(self.attention, modules, shape)), x)
        if isinstance(module, Resize | Pooled):
            return g.add(Block(self.once(self.inline, modules, shape, _name(module))), x)
        return self.inner(g, module, x)

    def inner(self, g: _Sketch, module: Module, x: Wires) -> Wires:
        """A module written out where it stands."""
        (shape,) = x.shapes
        if isinstance(module, Plain):
            return g.add(PLAIN[module.kind](shape), x)
        if isinstance(module, Resize):
            x = g.add(Conv(resized(module.kind, shape[0], module.factor), 1), x)
            return g.add(Conv(shape[0], 1), self.modules(g, module.inner, x))
        if isinstance(module, Pooled):
            x = self.modules(g, module.inner, g.add(GlobalAvgPool(), x))
            return g.add(Upsample(shape[1], shape[2]), x)
        assert isinstance(module, Fork)
        return self.fork(g, module, x)

    def fork(self, g: _Sketch, fork: Fork, x: Wires) -> Wires:
        parts = [x] * len(fork.branches)
        if fork.split == "chunk":
            cut = g.add(Chunk(len(parts)), x)
            parts = [port(cut, n) for n in range(len(parts))]
        if fork.merge == "multiply":
            gate = g.add(Sigmoid(), self.gate(g, fork.branches[1], x), name="gate")
            return g.add(Multiply(), self.modules(g, fork.branches[0], x), gate)
        ends = [self.modules(g, branch, part) for branch, part in zip(fork.branches, parts, strict=True)]
        return g.add(Add() if fork.merge == "add" else Concat(), *ends)

    def gate(self, g: _Sketch, modules: Modules, x: Wires) -> Wires:
        """The gate of a product. A product broadcasts, so an up-sampling at the gate's end is left out."""
        if modules and isinstance(modules[-1], Pooled) and x.shapes[0][1:] != (1, 1):
            x = g.add(GlobalAvgPool(), self.modules(g, modules[:-1], x))
            inner = modules[-1].inner
            if len(inner) == 1 and isinstance(inner[0], Resize):  # a lone resize needs no block to show where it ends
                return self.inner(g, inner[0], x)
            return self.modules(g, inner, x)
        return self.modules(g, modules, x)

    def attention(self, modules: Modules, shape: Shape) -> Graph:
        """qkv -> split -> heads -> concat (-> projection). Equal heads are one `each`, others stand alone."""
        attention = modules[0]
        assert isinstance(attention, Attention)
        g = _Sketch(shape)
        qkv = g.add(Conv(3 * shape[0], 1), g.input, name="qkv")
        parts = g.add(Split(3 * HEAD_DIM), qkv)
        heads = [
            (attention.pieces[3 * n : 3 * n + 3], sequence, attention.outs[n])
            for n, sequence in enumerate(attention.maps)
        ]
        ends: dict[int, Wires] = {}
        for head in sorted(set(heads), key=lambda head: (-heads.count(head), heads.index(head))):
            equal = [n for n, other in enumerate(heads) if other == head]
            if len(equal) > 1 or len(heads) == 1:
                body = self.once(self.head_body, *head, shape, "each")
                made = g.add(Each(body), *(port(parts, n) for n in equal), name="heads")
                ends.update({n: port(made, place) for place, n in enumerate(equal)})
            else:
                body = self.once(self.head_body, *head, shape, "Head")
                ends[equal[0]] = g.add(Block(body), port(parts, equal[0]), name=f"head_{equal[0]}")
        x = g.add(Concat(), *(ends[n] for n in range(len(heads))))
        return g.finish(g.add(Conv(shape[0], 1), x) if len(modules) > 1 else x, "Attention")

    def head_body(self, pieces: tuple[Modules, ...], pairs: Modules, out: Modules, shape: Shape, name: str) -> Graph:
        g = _Sketch((3 * HEAD_DIM, *shape[1:]))
        qkv = g.add(Chunk(3), g.input, name="qkv")
        q, k, v = (self.modules(g, sequence, port(qkv, n)) for n, sequence in enumerate(pieces))
        scores = g.add(Matmul1(), q, k)
        if pairs[:1] == (Plain("RelPosBias"),):  # the only place where the grid of positions has a name
            scores, pairs = g.add(RelPosBias(shape[1], shape[2]), scores), pairs[1:]
        scores = g.named(self.modules(g, pairs, scores), "map")
        return g.finish(self.modules(g, out, g.add(Matmul2(), scores, v)), name)


def _row(sections: Sequence[tuple[str, Graph]], shape: Shape, name: str) -> Graph:
    """Blocks in a row."""
    nodes, wire = [], Wire(INPUT)
    for title, graph in sections:
        nodes.append(Node(title, Block(graph), (wire,)))
        wire = Wire(title)
    return Graph((shape,), tuple(nodes), (wire,), name)


def _chain(ops: Sequence[Op], shape: Shape, name: str) -> Graph:
    g = _Sketch(shape)
    x = g.input
    for op in ops:
        x = g.add(op, x)
    return g.finish(x, name)


def _name(module: Resize | Pooled) -> str:
    if isinstance(module, Pooled):
        return "GlobalContext"
    return "InvertedBottleneck" if module.kind == "ExpandAndReduce" else "Bottleneck"


def _title(block: StageBlock) -> str:
    """What a block of a stage is called, after its first half."""
    if block.first == MBCONV:
        return "MBConv"
    if block.first == CONVS:
        return "Residual"
    if any(isinstance(module, Attention) for module in block.first):
        return "Transformer"
    return "Mixed"
