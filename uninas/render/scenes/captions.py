"""What stands in and over a node: operations as people say them."""

from __future__ import annotations

from collections.abc import Sequence

from uninas.graph import INPUT, Each, Graph, Node, Wire, subgraphs
from uninas.graph.summary import human
from uninas.ops.conv import Conv
from uninas.ops.op import Attr, Cost, Op, show_value
from uninas.render.scenes.letters import Letters

FEW = 3  # operations that a box can hold


def brief(graph: Graph) -> bool:
    """Whether a box can say all that is in a block: a short chain in which one operation at most sets channels."""
    ops = [node.op for node in graph.nodes if isinstance(node.op, Op)]
    chain = all(
        node.inputs == (Wire(before),)
        for before, node in zip([INPUT, *(node.name for node in graph.nodes)], graph.nodes, strict=False)
    )
    setting = sum(any(attribute.channels for attribute in op.attrs) for op in ops)
    return chain and 0 < len(ops) == len(graph.nodes) <= FEW and setting <= 1


def chained(blocks: Sequence[Graph], letters: Letters) -> str:
    """The operations of a brief block in all its variants: 'avg pool 2×2, stride 2 → conv 1×1'."""
    chains = [[node.op for node in graph.nodes if isinstance(node.op, Op)] for graph in blocks]
    return " → ".join(caption(ops, letters) for ops in zip(*chains, strict=True))


def arrows(text: str, longest: int = 4) -> str:
    """Steps as people read them, 'max pool → DoubleConv'; of many the first and the last. A name stays as it is."""
    steps = text.split(" -> ")
    if len(steps) == 1:
        return text
    if len(steps) > longest:
        steps = [*steps[: longest - 2], "…", steps[-1]]
    return " → ".join(steps).replace("_", " ")


def caption(ops: Sequence[Op], letters: Letters, attributes: bool = True) -> str:
    """An operation as people say it: 'conv 3×3, stride 2'. What the shapes at its edges say is left out."""
    op = ops[0]
    words = op.name.replace("_", " ")
    if not attributes:
        return words
    spread = {attribute.name for attribute in op.attrs}
    if "kernel" in spread:
        words += " {}×{}".format(*window(op))
    if "n" in spread:
        words += f" {letters.number([getattr(one, 'n', 0) for one in ops])}"
    details = []
    if {"height", "width"} <= spread:
        sides = [tuple(getattr(one, side) for one in ops) for side in ("height", "width")]
        if any(map(any, sides)):
            details.append("×".join(letters.size(side, axis) for side, axis in zip(sides, "HW", strict=True)))
    for attribute in op.attrs:
        values = [getattr(one, attribute.name) for one in ops]
        if any(named(attribute, value, spread) for value in values):
            details.append(detail(attribute, values, letters))
    return ", ".join([words, *details])


def window(op: Op) -> tuple[int, int]:
    """Height and width of a kernel."""
    kernel = getattr(op, "kernel", 1)
    return kernel, getattr(op, "width", 0) or kernel


def family_of(graph: Graph, node: Node) -> str:
    """The family by which an operation is coloured; '' for blocks.

    A 1x1 convolution of tokens, one beside attention, or one of several that do nothing but mix channels, is what
    people call a linear layer.
    """
    op = node.op
    if not isinstance(op, Op):
        return ""
    if is_pointwise(op):
        rows = graph.input_shapes(node)[0][1]
        if rows == 1 < graph.input_shapes(node)[0][2] or beside_attention(graph) or mixes_channels(graph):
            return "linear"
    return op.family


def is_pointwise(op: object) -> bool:
    """Whether an operation is a linear layer at every place by itself."""
    return isinstance(op, Conv) and op.kernels == op.strides == (1, 1) and op.groups == 1


def beside_attention(graph: Graph) -> bool:
    """Whether a graph holds operations of attention itself, also in parts of a bundle."""
    return any(
        node.op.family == "attention"
        if isinstance(node.op, Op)
        else isinstance(node.op, Each) and beside_attention(node.op.body)
        for node in graph.nodes
    )


BY_PLACE = {"activation", "norm", "regulariser", "merge"}
"""Families of operations that look at every place by itself."""


def mixes_channels(graph: Graph) -> bool:
    """Whether a graph is what people call an MLP: several 1x1 convolutions, and no look at any other place.

    One convolution is enough where a block of attention stands in the same graph. Batch norm belongs to convolutions.
    """
    ops = [node.op for node in graph.nodes if isinstance(node.op, Op)]
    if any(op.name == "batch_norm" or not (op.family in BY_PLACE or is_pointwise(op)) for op in ops):
        return False
    if len(ops) == len(graph.nodes):
        return sum(map(is_pointwise, ops)) > 1
    return holds_attention(graph, {})


def holds_attention(graph: Graph, known: dict[int, bool]) -> bool:
    """Whether there is attention anywhere inside."""
    if id(graph) not in known:
        inner = (one for node in graph.nodes for one, _ in subgraphs(node))
        known[id(graph)] = beside_attention(graph) or any(holds_attention(one, known) for one in inner)
    return known[id(graph)]


SAID_OTHERWISE = {"kernel", "n", "bias", "padding", "ceil", "eps", "momentum"}  # or of no interest in a picture


def named(attribute: Attr, value: object, spread: set[str]) -> bool:
    """Whether a caption names the attribute."""
    if attribute.channels or attribute.name in SAID_OTHERWISE:
        return False
    if attribute.name in ("height", "width") and ("kernel" in spread or {"height", "width"} <= spread):
        return False
    return attribute.required or value != attribute.default


def detail(attribute: Attr, values: Sequence[object], letters: Letters) -> str:
    """'stride 2', 'scale 0.0884', or 'row wise' and 'no affine' for a switch; a letter where variants differ."""
    words = attribute.name.replace("_", " ")
    value = values[0]
    if value is True:
        return words
    if value is False:
        return f"no {words}"
    numbers = [number for number in values if isinstance(number, (int, float))]
    return f"{words} {letters.number(numbers) if numbers else show_value(value)}"


STRUCTURE = {"kernel", "stride", "stride_width", "padding", "output_padding", "dilation"}
"""Numbers that say which operation it is: blocks that differ in them are told apart in pictures."""


def flexible(attribute: Attr, op: Op) -> bool:
    """Whether variants of one drawing may differ in the attribute: a size, another number, or nothing that is shown.

    What is not written because it has its usual value stays apart from what is.
    """
    spread = {one.name for one in op.attrs}
    if attribute.channels or attribute.name in ("eps", "momentum"):
        return True
    if attribute.name in ("height", "width"):
        return {"height", "width"} <= spread
    if attribute.type not in (int, float) or attribute.name in STRUCTURE or (op.family == "split"):
        return False
    return attribute.required or getattr(op, attribute.name) != attribute.default


def tooltip(name: str, op: object, cost: Cost) -> str:
    """What a browser shows over a node: its path, the whole operation, its cost."""
    parts = [name, str(op)]
    if cost.params:
        parts.append(f"{cost.params:,} parameters")
    if cost.flops:
        parts.append(unit(cost.flops, "FLOPs"))
    return " | ".join(parts)


def unit(number: float, word: str) -> str:
    """9.82 GFLOPs"""
    text = human(number)
    return f"{text}{word}" if " " in text else f"{text} {word}"


def spanned(numbers: Sequence[float], word: str) -> str:
    """'9.2 k params', or '9.2 k to 37 k params' where variants differ; nothing where there is nothing."""
    low, high = min(numbers), max(numbers)
    if not high:
        return ""
    joint = "" if word == "FLOPs" and " " in human(high) else " "
    written = human(high) + joint + word
    return written if human(low) == human(high) else f"{human(low)} to {written}"
