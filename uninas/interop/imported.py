"""A trace -> a graph of readable blocks, and where its weights come from.

Calls become operations (`lower`, `rules`), operations nested graphs (`assembly`), and these the shortest text, which is
read again: what it elaborates to is the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from uninas.errors import UninasError, error
from uninas.graph import INPUT, Graph, Wire, subgraphs
from uninas.interop import rules as _rules  # noqa: F401  # registers them
from uninas.interop.assembly import Assembly
from uninas.interop.folding import tidied
from uninas.interop.lower import Lowering, Missing, Step, natural
from uninas.interop.trace import Place, Trace
from uninas.interop.views import Batch, Foreign, View, shape_of
from uninas.language.compact import compact
from uninas.language.elaborate import build
from uninas.language.library import load_text
from uninas.ops.activation import HardSigmoid, HardSwish, Sigmoid, Silu
from uninas.ops.conv import Conv
from uninas.ops.linear import Linear
from uninas.ops.merge import Add, Concat, Multiply
from uninas.ops.op import Op, Shape
from uninas.ops.shape import Flatten, Learned
from uninas.ops.split import Chunk, Slice


@dataclass(frozen=True)
class Imported:
    """A graph that came from elsewhere.

    `names` says for every weight of `uninas.compile(graph)` under which name the original keeps it; the numbers of
    those that are computed there from others are in `values`. Sizes and orders of axes are in `cuts` where they differ.
    """

    graph: Graph
    text: str
    names: Mapping[str, str]
    cuts: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    values: Mapping[str, Any]
    left: tuple[str, ...]
    """Parameters of the original that nothing here uses."""
    weights: Mapping[str, Any] = field(default_factory=dict)
    """The weights under their original names, where they came along (ONNX)."""

    def state(self, original: Mapping[str, Any], ours: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
        """The weights under our names, from a state dict of the original.

        `ours` is the state dict of the module that they are for: it gives the shapes, and what the original has not.
        `places` are the names in it of those weights whose node is called otherwise there.
        """
        found = dict(ours)
        for path, theirs in self.names.items():
            name = places.get(path, path)
            if theirs not in original:
                raise error("UNI055", f"expected a weight {theirs} for {name}, but there is none")
            count, wanted = prod(original[theirs].shape), prod(ours[name].shape)
            if count != wanted:
                raise error("UNI055", f"expected a weight {theirs} of {wanted} numbers for {name}, but it has {count}")
            found[name] = _cut(original[theirs], self.cuts.get(path), tuple(ours[name].shape))
        for path, value in self.values.items():
            name = places.get(path, path)
            found[name] = ours[name].new_tensor(value).reshape(ours[name].shape)
        return found


def _cut(value: Any, cut: tuple[tuple[int, ...], tuple[int, ...]] | None, shape: tuple[int, ...] | None) -> Any:
    """An array or tensor with its axes cut and ordered anew."""
    if cut:
        value = value.reshape(cut[0])
        value = value.permute(cut[1]) if hasattr(value, "permute") else value.transpose(cut[1])
    return value if shape is None else value.reshape(shape)


def imported(trace: Trace, *, partial: bool = False) -> Imported:
    """The graph of a trace. Raises UninasError (UNI054) that lists everything without a counterpart here.

    Where it is `partial`, that becomes `foreign` parts instead, and stands as a comment above the text.
    """
    lowering = Lowering(trace, partial=partial)
    outputs = lowering.run()
    if lowering.missing and not partial:
        raise _refusal(trace, lowering)
    try:
        outputs = [_finished(lowering, view) for view in outputs]
    except Foreign as problem:
        lowering.missing.append(Missing(f"as an output {problem}", Place()))
        raise _refusal(trace, lowering) from None
    steps = _tidied(lowering.steps, [view.wire for view in outputs])
    found = _assembled(Assembly(trace, lowering.inputs, steps, [view.wire for view in outputs]))
    if lowering.missing:
        comments = [f"# foreign: {line}\n" for line in _missing(lowering)]
        found = replace(found, text="".join(comments) + "\n" + found.text)
    return found


def _refusal(trace: Trace, lowering: Lowering) -> UninasError:
    """One error with everything that is missing, where it stands, and how far the import came."""
    done = f"{lowering.done} of {lowering.total} calls came in before the first of them"
    lines = "; ".join(_missing(lowering))
    return error("UNI054", f"{trace.name} needs what there is no operation for: {lines}", None, done,
                 "--partial writes the rest, with foreign parts that are drawn and counted")  # fmt: skip


def _missing(lowering: Lowering) -> list[str]:
    """What has no counterpart, and where it stands, a line each."""
    places: dict[str, list[Place]] = {}
    for missing in lowering.missing:
        places.setdefault(missing.what, []).append(missing.place)
    return [
        f"{what}, at {found[0]}" + (f" and {len(found) - 1} more places" if len(found) > 1 else "")
        for what, found in places.items()
    ]


def _finished(lowering: Lowering, view: View) -> View:
    """An output as it leaves: a vector where theirs is one, and the classifier as a linear layer."""
    others = [axis for axis in view.axes if axis and not isinstance(axis[0], Batch)]
    if len(others) > 1:
        own = natural(view.axes)
        return lowering.laid(view, own) if view.batch_axis == 0 and len(own) == 3 else view
    if len(view.own) == 1:
        return view
    step = lowering.step_of(view)
    plain = step and isinstance(step.op, Conv) and step.op.kernels == (1, 1) and step.shapes[0][1:] == (1, 1)
    uses = sum(view.wire in other.inputs for other in lowering.steps)
    if step and plain and not uses and isinstance(step.op, Conv) and step.op.groups == 1 and step.op.stride == 1:
        source = _shape(lowering, step.inputs[0])
        if source[1:] == (1, 1):
            step.op = Linear(step.op.out, step.op.bias)
            step.shapes = ((step.op.out,),)
            return replace(view, own=(view.own[0],))
    if shape_of(view.own)[1:] == (1, 1):
        (wire,) = lowering.emit(Flatten(), view)
        return replace(view, wire=wire, own=(view.own[0],))
    return view


def _shape(lowering: Lowering, wire: Wire) -> Shape:
    if wire.node == INPUT:
        return lowering.inputs[wire.port]
    return lowering.steps[int(wire.node[1:])].shapes[wire.port]


def _tidied(steps: Sequence[Step], outputs: Sequence[Wire]) -> list[tuple[str, Step]]:
    """The steps that reach an output, slices of one wire into equal parts as one chunk."""
    named = {f"n{number}": step for number, step in enumerate(steps)}
    _anchored(named)
    _chunked(named)
    _flattened(named, outputs)
    _gated(named)
    _joined(named, outputs)
    _passed_on(named)
    needed = {wire.node for wire in outputs}
    for name, step in reversed(named.items()):
        if name in needed:
            needed |= {wire.node for wire in step.inputs}
    return [(name, step) for name, step in named.items() if name in needed]


def _anchored(named: dict[str, Step]) -> None:
    """Learned tensors take what stands beside them where they are used, and not the image, which would go a long way.

    Changes the steps and their order.
    """
    for name in [name for name, step in named.items() if isinstance(step.op, Learned)]:
        step = named[name]
        after = {name}
        for other, one in named.items():
            if any(wire.node in after for wire in one.inputs):
                after.add(other)
        users = [one for one in named.values() if any(wire.node == name for wire in one.inputs)]
        beside = [wire for wire in users[0].inputs if wire.node not in after and wire.node != INPUT] if users else []
        if not beside or step.inputs[0].node != INPUT:
            continue
        step.inputs = tuple(beside[:1])
        rest = [(other, one) for other, one in named.items() if other != name]
        place = next(number for number, (_, one) in enumerate(rest) if one is users[0])
        named.clear()
        named.update([*rest[:place], (name, step), *rest[place:]])


def _joined(named: dict[str, Step], outputs: Sequence[Wire]) -> None:
    """A concatenation of one tensor is that tensor."""
    alone = {
        Wire(name): step.inputs[0]
        for name, step in named.items()
        if isinstance(step.op, Concat) and len(step.inputs) == 1 and Wire(name) not in outputs
    }
    for step in named.values() if alone else ():
        step.inputs = tuple(alone.get(wire, wire) for wire in step.inputs)


def _passed_on(named: dict[str, Step]) -> None:
    """Concatenations of ever more tensors, each as one of what is joined already and the rest; changes the steps.

    So the layers of a dense block are alike, whatever number of tensors they take. Each joins what it has got and what
    it makes, and passes that on.
    """
    joined = {step.inputs: Wire(name) for name, step in named.items() if isinstance(step.op, Concat)}
    order = {name: number for number, name in enumerate(named)}
    changed: set[str] = set()
    for name, step in named.items():
        if not isinstance(step.op, Concat):
            continue
        for count in range(len(step.inputs) - 1, 1, -1):
            before = joined.get(step.inputs[:count])
            if before and order[before.node] < order[name]:
                step.inputs = (before, *step.inputs[count:])
                changed |= {name, before.node}
                break
    for name in changed:
        step = named[name]
        maker = named.get(step.inputs[-1].node)
        if maker is None or len(step.inputs) != 2:
            continue
        classes = maker.place.classes
        shared = sum(1 for one, other in zip(classes, step.place.classes, strict=False) if one == other)
        if shared < len(classes):
            around = classes[: shared + 1]
            step.place = Place(around[-1][0].partition("@")[0], around)


def _gated(named: dict[str, Step]) -> None:
    """x * sigmoid(x) by its name, and x * hard_sigmoid(x)."""
    for step in named.values():
        if not isinstance(step.op, Multiply) or len(step.inputs) != 2:
            continue
        for x, gate in (step.inputs, step.inputs[::-1]):
            maker = named.get(gate.node)
            if maker and maker.inputs == (x,) and isinstance(maker.op, Sigmoid | HardSigmoid):
                step.op = Silu() if isinstance(maker.op, Sigmoid) else HardSwish()
                step.inputs = (x,)
                break


def _flattened(named: dict[str, Step], outputs: Sequence[Wire]) -> None:
    """A sum that only goes into another sum, as its first part, becomes one with it; products, too."""
    uses: dict[str, int] = {}
    for wire in [*outputs, *(wire for step in named.values() for wire in step.inputs)]:
        uses[wire.node] = uses.get(wire.node, 0) + 1
    for step in named.values():
        first = named.get(step.inputs[0].node) if step.inputs else None
        if first is None or not isinstance(step.op, Add | Multiply) or type(first.op) is not type(step.op):
            continue
        if uses[step.inputs[0].node] == 1 and first.shapes == step.shapes and first.place.path == step.place.path:
            step.inputs = (*first.inputs, *step.inputs[1:])


def _chunked(named: dict[str, Step]) -> None:
    """Slices that cut a wire into equal parts, all of them, become ports of one chunk; changes the steps."""
    slices: dict[Wire, list[str]] = {}
    for name, step in named.items():
        if isinstance(step.op, Slice):
            slices.setdefault(step.inputs[0], []).append(name)
    moved: dict[Wire, Wire] = {}
    for wire, names in slices.items():
        cuts = {n: op for n in names if isinstance(op := named[n].op, Slice)}
        spans = sorted({(op.start, op.stop) for op in cuts.values()})
        total = named[wire.node].shapes[wire.port][0] if wire.node in named else 0
        size = spans[0][1] - spans[0][0]
        if len(spans) < 2 or spans != [(start, start + size) for start in range(0, total, size)]:
            continue
        first = named[names[0]]
        part = first.shapes[0]
        moved.update({Wire(n): Wire(names[0], op.start // size) for n, op in cuts.items()})
        first.op, first.shapes = Chunk(len(spans)), (part,) * len(spans)
    if moved:
        for step in named.values():
            step.inputs = tuple(moved.get(wire, wire) for wire in step.inputs)


# ---- text ------------------------------------------------------------------------------------------------------------


def _reread(graph: Graph) -> tuple[str, Graph, dict[str, str]]:
    """The shortest text of a graph, what it elaborates to, and the new paths of nodes by the old ones."""
    text = compact(graph)
    module = load_text(text)
    other = build(module, list(module.definitions)[-1])
    places: dict[str, str] = {}
    match(graph, other, "", "", places)
    return text, other, places


def match(one: Graph, other: Graph, prefix: str, ours: str, places: dict[str, str]) -> None:
    """Note which node of the second graph each of the first is; both have them in the same order."""
    assert len(one.nodes) == len(other.nodes), (one, other)
    for a, b in zip(one.nodes, other.nodes, strict=True):
        places[f"{prefix}{a.name}"] = f"{ours}{b.name}"
        for (inner, _), (twin, _) in zip(subgraphs(a), subgraphs(b), strict=True):
            match(inner, twin, f"{prefix}{a.name}.", f"{ours}{b.name}.", places)
        if isinstance(a.op, Op):
            assert a.op == b.op, (a, b)


def _renamed(name: str, places: Mapping[str, str]) -> str:
    """The path of a weight by the new name of its node."""
    node, _, weight = name.rpartition(".")
    if node not in places:  # a weight inside a layer of ours: bias.table
        node, _, middle = node.rpartition(".")
        weight = f"{middle}.{weight}"
    return f"{places[node]}.{weight}"


def _assembled(assembly: Assembly) -> Imported:
    """What the graph of an assembly is as text, and where its weights come from."""
    top = assembly.tree()
    graph = assembly.network(top)
    names: dict[str, str] = {}
    cuts: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    values: dict[str, Any] = {}
    graph, moved = tidied(graph)
    text, graph, found = _reread(graph)
    places = {old: found[new] for old, new in moved.items()}
    used: set[str] = set()
    for written, weight in assembly.weights.items():
        ours = _renamed(written, places)
        used.update(weight.static.sources)
        if weight.static.name:
            names[ours] = weight.static.name
            if weight.order:
                cuts[ours] = (weight.sizes, weight.order)
        else:
            values[ours] = _cut(
                np.array(weight.static.read()), (weight.sizes, weight.order) if weight.order else None, None
            )
    left = tuple(name for name in assembly.trace.parameters if name not in used)
    return Imported(graph, text, names, cuts, values, left)
