"""What a text may say by mistake although it is right: `uninas check` tells it as warnings.

Each is a trap in which people who write their first texts fall: `C` is that of the block and not of the wire at hand, a
stage only offers its width and stride, and tokens lie in a row. A warning says what is unusual, and how to write it so
that it is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from uninas.errors import Diagnostic
from uninas.graph import Graph
from uninas.graph.network import stage_name
from uninas.language import tree as ast
from uninas.language.elaborate import Checked, Passage
from uninas.language.library import Module
from uninas.ops.op import Op, show_shape

SIZES = "CHW"
COUNTED = {"groups": "C", "n": "C", "size": "C", "height": "H", "width": "W"}
"""Arguments for which a size that is not that of the wire at hand is no common sight, and the size that they count."""


def cautions(module: Module, checked: Checked) -> list[Diagnostic]:
    """The warnings about a text that has no mistakes, in the order of their places."""
    found = [caution for passage in checked.passages.values() for caution in _of_step(passage)]
    for name, definition in module.definitions.items():
        if isinstance(definition, ast.Network) and isinstance(graph := checked.definitions[name], Graph):
            found += _of_stages(definition, graph)
    return sorted(dict.fromkeys(found), key=lambda one: one.span.start if one.span else 0)


def _of_step(passage: Passage) -> Iterator[Diagnostic]:
    step, op = passage.step, passage.operator
    if not isinstance(step, ast.Apply) or not isinstance(op, Op):
        return
    before = passage.inputs[0]
    kernels = (getattr(op, "kernel", 1), getattr(op, "width", 0) or getattr(op, "kernel", 1))
    tall = op.family in ("conv", "pool") and isinstance(kernels[0], int) and kernels[0] > 1
    if tall and len(before) == 3 and before[1] == 1 < before[2]:
        message = f"a kernel {kernels[0]} rows high runs over {show_shape(before)}, which has one row"
        yield Diagnostic("UNIW03", message, step.span, ("along a row: conv(C, 1, width=3)",))
    names = [attribute.name for attribute in op.attrs]
    for position, argument in enumerate(step.arguments or ()):
        name = argument.name.text if argument.name else names[min(position, len(names) - 1)]
        letter = COUNTED.get(name, "")
        if op.name in ("conv", "depthwise_conv", "embedding") and name == "width":
            letter = ""
        value = argument.value
        plain = isinstance(value, ast.Reference) and letter != "C"  # back to the size of the block
        if letter and not plain and _mentions(value, letter):
            yield from _other_size(passage, argument, letter)


def _other_size(passage: Passage, argument: ast.Argument, letter: str) -> Iterator[Diagnostic]:
    axis = SIZES.index(letter)
    before = passage.inputs[0]
    if axis >= min(len(before), len(passage.sizes)) or before[axis] == passage.sizes[axis]:
        return
    yield Diagnostic(
        "UNIW01",
        f"{letter} is {passage.sizes[axis]} here, that of what flows into the block, but the wire at hand has "
        f"{before[axis]}",
        argument.span,
        (f"name the wire and write its size, as in wire.{letter}; or write {letter} times a number that you mean",),
    )


def _mentions(value: object, letter: str) -> bool:
    """Whether a size of the block stands in an argument by its bare letter."""
    if isinstance(value, ast.Reference):
        return value.name.text == letter and value.arguments is None
    if isinstance(value, ast.Operation):
        return any(_mentions(operand, letter) for operand in value.operands)
    return False


def _of_stages(network: ast.Network, graph: Graph) -> Iterator[Diagnostic]:
    """Stages that say a width or stride which their blocks do not have."""
    stages = [member for member in network.members if isinstance(member, ast.Stage)]
    for number, stage in enumerate(stages):
        yield from _of_stage(stage, graph, stage_name(number))


def _of_stage(stage: ast.Stage, graph: Graph, name: str) -> Iterator[Diagnostic]:
    before, after = graph.input_shapes(graph.by_name[name])[0], graph.shapes(name)[0]
    wanted = stage.width.value if isinstance(stage.width, ast.Number) else after[0]
    if after[0] != wanted:
        message = f"the stage says {wanted} channels, but its blocks make {after[0]}"
        hint = "the width is a number to use: write width in the block"
        yield Diagnostic("UNIW02", message, stage.width.span, (hint,))
    stride = stage.stride.value if isinstance(stage.stride, ast.Number) else 1
    if stride > 1 and len(before) == len(after) == 3 and before[1:] == after[1:] and before[1] > 1:
        assert stage.stride
        yield Diagnostic("UNIW02", f"the stage says a stride of {stride}, but its maps stay {after[1]} x {after[2]}",
                         stage.stride.span, ("the stride is a number to use: write stride in the block",))  # fmt: skip
