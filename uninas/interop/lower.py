"""Calls of somebody's functions -> operations of ours.

`Lowering` goes through a trace once. For every value it keeps a `View`; a rule for each function (see `rules`) routes
the views of its arguments to where an operation wants them, appends the operation, and says what the result looks like.
What has no rule, or does not fit the one it has, is remembered with its place, and all of it is reported at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from math import prod
from typing import Any, TypeVar

import numpy as np

from uninas.graph import INPUT, Each, Wire
from uninas.interop.trace import Call, Place, Static, Trace, Value
from uninas.interop.views import (
    Batch,
    Factor,
    Foreign,
    Layout,
    View,
    cheapest,
    extent,
    flat,
    made,
    refined,
    route,
    shape_of,
)
from uninas.ops.foreign import Foreign as ForeignPart
from uninas.ops.op import Op, Shape, ShapeError
from uninas.ops.pool import Upsample
from uninas.ops.shape import Learned
from uninas.plugins import Registry


@dataclass(frozen=True)
class Weight:
    """Where a weight of ours comes from: a tensor, cut into axes of these sizes, in another order; then reshaped."""

    static: Static
    sizes: tuple[int, ...] = ()
    order: tuple[int, ...] = ()


@dataclass
class Step:
    """One operation of ours with what it takes, where it comes from and what its weights are."""

    op: Op | Each
    inputs: tuple[Wire, ...]
    shapes: tuple[Shape, ...]
    place: Place
    weights: dict[str, Weight] = field(default_factory=dict)
    moves: bool = False
    """It only brings numbers to other places, for the next operation."""


@dataclass(frozen=True)
class Missing:
    """Something that has no counterpart here, and where it stands."""

    what: str
    place: Place


Rule = Callable[..., Any]
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
R = TypeVar("R", bound=Rule)
RULES: Registry[Rule] = Registry("import rule")
"""How functions are lowered, by their names: those of ATen alone (`gelu`), others with their library (`toy::cut`)."""
UNKNOWN = "unknown"
"""The node of wires that carry further results of a function, for which there is no operation."""
LAYERS = ("linear", "conv2d", "conv1d", "batch_norm", "layer_norm", "group_norm", "rms_norm")
"""Functions whose arguments after the first are weights."""


def rule(*functions: str) -> Callable[[R], R]:
    """Register how these functions are lowered: `rule(lowering, *arguments, **keywords)` -> a view, or several.

    Raises UNI011 for a function that has a rule.
    """

    def register(found: R) -> R:
        for name in functions:
            RULES.add(name, found)
        return found

    return register


class Lowering:
    """The operations made so far, and the views of all values."""

    def __init__(self, trace: Trace, *, partial: bool = False):
        self.trace, self.partial = trace, partial
        self.batch = Batch(trace.inputs[0].shape[0])
        self.steps: list[Step] = []
        self.missing: list[Missing] = []
        self.views: dict[Value, View] = {}
        self.place = Place()
        self.done = self.total = 0
        self.learnt: dict[str, View] = {}
        self.known: dict[Static, View] = {}
        self.shared = _used_often(trace)
        self.often = _in_several(trace)
        self.users = _users(trace)
        for port, value in enumerate(trace.inputs):
            axes = ((self.batch,), *map(made, value.shape[1:]))
            self.views[value] = View(Wire(INPUT, port), natural(axes), axes)
        self.inputs = tuple(shape_of(self.views[value].own) for value in trace.inputs)

    def run(self) -> list[View]:
        """Lower all calls; the views of the outputs."""
        for call in self.trace.calls:
            self.place = call.place
            self.total += 1
            try:
                results = self.call(call)
            except (Foreign, ShapeError) as problem:
                self.missing.append(Missing(str(problem), call.place))
                results = self.foreign(call) if self.partial else [self.opaque(value) for value in call.outputs]
            if not self.missing:
                self.done += 1
            self.views.update(zip(call.outputs, results, strict=True))
        self.place = Place()
        return [self.views[value] for value in self.trace.outputs]

    def call(self, call: Call) -> list[View]:
        made_of = [self.argument(argument) for argument in call.arguments]
        keywords = {name: self.argument(argument) for name, argument in call.keywords.items()}
        results = self.ruled(call.function, made_of, keywords)
        results = results if isinstance(results, list) else [results]
        if not all(isinstance(view, View) for view in results):
            raise Foreign("a result that does not depend on the input")
        results += [self.opaque(value, Wire(UNKNOWN)) for value in call.outputs[len(results) :]]
        return [
            self.in_order(call, value, self.checked(call, value, view))
            for value, view in zip(call.outputs, results, strict=True)
        ]

    def in_order(self, call: Call, value: Value, view: View) -> View:
        """The view with its positions as they follow each other in the tensor, where several calls take it.

        So a map that is cut into windows is cut once, before the blocks that work on them, and not again in each; and a
        module that puts it together again does so itself, not the next one.
        """
        channels = view.own[0]
        axis = next((n for n, each in enumerate(view.axes) if each == channels), 0)
        users = self.users.get(value, [])
        leaves = view.axes[0] == (self.batch,) and not any(_inside(user, call.place) for user in users)
        if not axis or len(view.own) != 3 or not (len(users) > 1 or leaves):
            return view
        inner = [tuple(f for f in each if not isinstance(f, Batch)) for n, each in enumerate(view.axes) if n != axis]
        positions = flat((*inner,))
        here = flat(view.own[1:])
        if positions == here or sorted(map(id, positions)) != sorted(map(id, here)):
            return view
        if len(inner) == 3 and not inner[0]:
            return self.laid(view, (channels, inner[1], inner[2]))
        return self.laid(view, (channels, inner[0], flat((*inner[1:],))))

    def ruled(self, function: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """What the rule of a function makes of views. Raises Foreign."""
        found = RULES.get(function)
        if found is None:
            raise Foreign(f"a recurrent layer ({function})" if function in RECURRENT else f"the function {function}")
        try:
            return found(self, *arguments, **keywords)
        except TypeError as problem:
            if "argument" not in str(problem):
                raise
            raise Foreign(f"{function} with such arguments") from None
        except (ArithmeticError, LookupError):
            raise Foreign(f"{function} with such arguments") from None

    def checked(self, call: Call, value: Value, view: View) -> View:
        """A result, which must have the shape that was traced; what was made once may be there for every sample."""
        if not value.shape:
            value.shape = view.shape
        wanted = tuple(value.shape)
        if view.shape[1:] == wanted[1:] and view.shape[:1] == (1,) and wanted[0] == self.batch.size:
            return replace(view, axes=((self.batch,), *view.axes[1:]))
        if view.shape != wanted and not call.function.startswith("expand"):
            raise Foreign(f"{call.function} that gives {wanted}, not {view.shape}")
        return view

    def computed(self, static: Static, like: View) -> View | None:
        """What does not depend on the input, as the operations that compute it from learned tensors.

        None where its numbers are those of its parameters in another shape, which nothing else uses, or where an
        operation is missing: then they are taken as they are. `like` is where the learned tensors take the size of the
        batch from.
        """
        count = sum(prod(self.trace.parameters.get(name, ())) for name in static.sources)
        if static.made is None or (count == prod(static.shape) and not self.often.intersection(static.sources)):
            return None
        before = len(self.steps)
        try:
            return self.evaluated(static, like)
        except (Foreign, ShapeError):
            del self.steps[before:]
            self.known = {key: view for key, view in self.known.items() if self.is_there(view)}
            return None

    def is_there(self, view: View) -> bool:
        """Whether the operation that makes a view is still among the steps."""
        name = view.wire.node
        return not (name[0] == "n" and name[1:].isdigit()) or int(name[1:]) < len(self.steps)

    def evaluated(self, static: Static, like: View) -> View:
        """A static as a wire: a learned or fixed tensor, or what rules make of those. Raises Foreign."""
        if static not in self.known:
            if static.made is None or not static.sources:
                self.known[static] = self.table(static, like)
            else:
                self.known[static] = self.redone(static, static.made, like)
        return self.known[static]

    def table(self, static: Static, like: View) -> View:
        """A learned or fixed tensor as a wire, once for all samples."""
        if not static.is_parameter and static.shape[:1] == (self.batch.size,):
            inner = tuple(map(made, static.shape[1:]))
            view = self.learned(one_sample(static, 0), like, (*natural(((), *inner)), (), ())[:3], ((), *inner))
            return replace(view, axes=((self.batch,), *inner))
        axes = tuple(map(made, static.shape))
        return self.learned(static, like, (*natural(axes, batched=False), (), ())[:3], axes)

    def redone(self, static: Static, call: Call, like: View) -> View:
        """The call that computes a static once more, now on wires."""

        def given(argument: Any, always: bool) -> Any:
            if isinstance(argument, list | tuple):
                return [given(each, always) for each in argument]
            if isinstance(argument, Static) and (always or (argument.sources and call.function not in LAYERS)):
                return self.evaluated(argument, like)
            return argument

        arguments = [given(each, n == 0) for n, each in enumerate(call.arguments)]
        before, self.place = self.place, call.place
        try:
            view = self.ruled(call.function, arguments, call.keywords)
        finally:
            self.place = before
        if not isinstance(view, View):
            raise Foreign(f"{call.function} of what does not depend on the input")
        return self.checked(call, Value(static.shape), view)

    def argument(self, argument: Any) -> Any:
        if isinstance(argument, Value):
            return self.views[argument]
        if isinstance(argument, Static) and argument.name in self.shared:
            return self.common(argument)
        if isinstance(argument, list | tuple):
            return [self.argument(each) for each in argument]
        return argument

    def common(self, static: Static) -> View:
        """A learned tensor that several calls use, made once."""
        if static.name not in self.learnt:
            start = View(Wire(INPUT), self.views[self.trace.inputs[0]].own, self.views[self.trace.inputs[0]].axes)
            axes = tuple(map(made, static.shape))
            own = (axes[-1], axes[-3] if len(axes) > 3 else (), axes[-2])
            view = self.learned(static, start, own, axes)
            self.learnt[static.name] = replace(view, axes=((self.batch,), *axes[1:]))
        return self.learnt[static.name]

    def opaque(self, value: Value, wire: Wire | None = None) -> View:
        """A view of something of which only the shape is known; that is not there, so that others can be looked for."""
        if not value.shape:  # nothing is known
            value.shape = (self.batch.size,)
        size, *others = value.shape
        inner = tuple(map(made, others))
        parts = made(size // self.batch.size) if size % self.batch.size == 0 else made(size)
        own = natural(((), *inner))
        own = (own[0], parts + (*own, ())[1], (*own, (), ())[2]) if parts else own
        return View(wire or Wire("foreign"), own, ((self.batch, *parts), *inner))

    def foreign(self, call: Call) -> list[View]:
        """The results of a call that has no counterpart, of parts that are known by their shapes and costs."""
        given = [part for each in call.arguments for part in (each if isinstance(each, list | tuple) else [each])]
        taken = [self.views[each] for each in dict.fromkeys(p for p in given if isinstance(p, Value))]
        taken = [view for view in taken if view.wire.node != UNKNOWN] or [self.views[self.trace.inputs[0]]]
        names = {name for each in given if isinstance(each, Static) for name in each.sources}
        parameters = sum(prod(self.trace.parameters.get(name, ())) for name in names)
        macs = call.macs() // self.batch.size if call.macs else 0
        results = []
        for value in call.outputs:
            view = self.opaque(value)
            shape = shape_of(view.own)
            height, width = shape[1:] or (0, 1)
            op = ForeignPart(shape[0], height, width, parameters, macs)
            (wire,) = self.emit(op, *taken)
            results.append(replace(view, wire=wire))
            parameters = macs = 0
        return results

    # ---- what rules call -----------------------------------------------------------------------------------------

    def emit(self, op: Op | Each, *views: View, weights: dict[str, Weight] | None = None) -> list[Wire]:
        """Append an operation; its outputs. Raises ShapeError."""
        if any(view.wire.node == UNKNOWN for view in views):
            raise Foreign("a further result of a function, such as the places of largest values")
        shapes = op.outputs(*(shape_of(view.own) for view in views))
        name = f"n{len(self.steps)}"
        self.steps.append(Step(op, tuple(view.wire for view in views), shapes, self.place, weights or {}))
        return [Wire(name, port) for port in range(len(shapes))]

    def apply(self, op: Op, view: View, **weights: Static | Weight | None) -> View:
        """An operation of one input that keeps the layout."""
        (wire,) = self.emit(op, view, weights=weighed(weights))
        return replace(view, wire=wire)

    def laid(self, view: View, own: Layout) -> View:
        """The view with its factors on those axes of ours."""
        view = self.copied(view, own)
        if sorted(map(id, flat(view.own))) != sorted(map(id, flat(own))):
            raise Foreign(f"a tensor of {view.shape} laid out in such a way")
        if view.own != own and (again := self.learned_so(view, own)):
            return again
        for op in route(view.own, own):
            (wire,) = self.emit(op, view)
            self.steps[-1].moves = True
            # The layout in between is of no interest; its shape is what the next operation needs.
            shape = self.steps[-1].shapes[0]
            view = View(wire, tuple(made(size) for size in shape), view.axes)
        return replace(view, own=own)

    def copied(self, view: View, own: Layout) -> View:
        """The view with copies along those factors of a layout along which its numbers are all the same."""
        lacking = tuple(factor for factor in flat(own) if factor not in flat(view.own))
        if not lacking or not set(lacking) <= set(flat(view.axes)):
            return view
        every = flat(view.own)
        if view.own != (every, (), ()):
            view = self.laid(view, (every, (), ()))
        (wire,) = self.emit(Upsample(extent(lacking), 1), view)
        return View(wire, (every, lacking, ()), view.axes)

    def learned_so(self, view: View, own: Layout) -> View | None:
        """A learned tensor whose numbers lie as they are wanted from the start; None for all other views."""
        step = self.step_of(view)
        if step is None or not isinstance(step.op, Learned) or len(own) != 3:
            return None
        weight = step.weights["weight"]
        if weight.order:
            return None
        channels, height, width = shape_of(own)
        here = flat(view.own)
        order = tuple(here.index(factor) for factor in flat(own))
        moved = order != tuple(range(len(order)))
        again = Weight(weight.static, tuple(factor.size for factor in here), order) if moved else weight
        op = step.op.having(channels=channels, height=height, width=width)
        self.steps.append(Step(op, step.inputs, ((channels, height, width),), step.place, {"weight": again}))
        return View(Wire(f"n{len(self.steps) - 1}"), own, view.axes)

    def mapped(self, view: View) -> View:
        """The view with three axes."""
        return view if len(view.own) == 3 else self.laid(view, (view.own[0], (), ()))

    def learned(self, static: Static, like: View, own: Layout, axes: Layout) -> View:
        """A tensor that does not depend on the input, laid out like `own`, which has the factors of `axes`."""
        channels, height, width = shape_of(own)
        trainable = bool(static.sources)
        op = Learned(channels, height, width, trainable=trainable)
        (wire,) = self.emit(op, like, weights={"weight": ordered(static, axes, own)})
        return View(wire, own, axes)

    def step_of(self, view: View) -> Step | None:
        """The operation that makes a view."""
        name = view.wire.node
        return self.steps[int(name[1:])] if name[0] == "n" and name[1:].isdigit() else None


def _users(trace: Trace) -> dict[Value, list[Place]]:
    """Where the calls stand that take each value."""
    found: dict[Value, list[Place]] = {}
    for call in trace.calls if isinstance(trace.calls, Sequence) else ():
        given = [part for each in call.arguments for part in (each if isinstance(each, list | tuple) else [each])]
        for value in dict.fromkeys(part for part in given if isinstance(part, Value)):
            found.setdefault(value, []).append(call.place)
    return found


def _inside(place: Place, other: Place) -> bool:
    """Whether a place lies in the module of another."""
    return f"{place.path}.".startswith(f"{other.path}." if other.path else "")


def _used_often(trace: Trace) -> set[str]:
    """Names of learned tensors 1 x N x C or 1 x H x W x C that several calls take."""
    found: dict[str, int] = {}
    for call in trace.calls if isinstance(trace.calls, Sequence) else ():
        given = [part for each in call.arguments for part in (each if isinstance(each, list | tuple) else [each])]
        for each in given:
            if isinstance(each, Static) and each.is_parameter and len(each.shape) in (3, 4) and each.shape[0] == 1:
                found[each.name] = found.get(each.name, 0) + 1
    return {name for name, count in found.items() if count > 1}


def _in_several(trace: Trace) -> set[str]:
    """Names of parameters from which several tensors are computed, or that are used beside one that is."""
    users: dict[str, set[Static]] = {}
    for call in trace.calls if isinstance(trace.calls, Sequence) else ():
        for each in (*call.arguments, *call.keywords.values()):
            for part in each if isinstance(each, list | tuple) else [each]:
                for name in part.sources if isinstance(part, Static) else ():
                    users.setdefault(name, set()).add(part)
    return {name for name, statics in users.items() if len(statics) > 1}


def natural(axes: Layout, *, batched: bool = True) -> Layout:
    """Where factors lie that nothing has moved: B x C x H x W, B x N x C, B x C; without a batch as they come."""
    own = axes[1:] if batched or (len(axes) > 2 and not axes[0]) else axes
    if len(own) == 3:
        return own
    if len(own) == 2:
        return (own[1], (), own[0]) if own is not axes else (own[0], (), own[1])
    if len(own) <= 1:
        return own or ((),)
    return (own[-1], own[0], sum(own[1:-1], ()))


def weighed(weights: dict[str, Any]) -> dict[str, Weight]:
    """Weights by name, without those that are not there; `bias__table` stands for bias.table.

    Raises Foreign for those that depend on the input.
    """
    if any(isinstance(each, View) for each in weights.values()):
        raise Foreign("a layer with weights that depend on the input")
    return {
        name.replace("__", "."): static if isinstance(static, Weight) else Weight(static)
        for name, static in weights.items()
        if static is not None
    }


def one_sample(static: Static, place: int) -> Static:
    """A constant that was repeated for every sample, for one of them."""
    values = np.asarray(static.read())
    first = np.take(values, [0], place)
    if not np.array_equal(values, np.broadcast_to(first, values.shape)):
        raise Foreign(f"a constant of {static.shape} that differs from sample to sample")
    return Static(first.shape, lambda: first, None, static.sources)


def ordered(static: Static, axes: Layout, own: Layout) -> Weight:
    """How the numbers of a tensor with these axes are put into our order."""
    theirs, ours = list(flat(axes)), flat(own)
    order = tuple(theirs.index(factor) for factor in ours)
    if order == tuple(range(len(order))):
        return Weight(static)
    return Weight(static, tuple(factor.size for factor in theirs), order)


def best(layouts: Iterable[Layout], views: Sequence[View]) -> Layout:
    """The layout with the fewest operations on the way; the first of those."""
    options = list(layouts)
    ways = [[_towards(view, layout) for view in views] for layout in options]
    return options[cheapest([(sum(others for others, _ in way), [route for _, route in way]) for way in ways])]


def _towards(view: View, layout: Layout) -> tuple[int, tuple[Layout, Layout]]:
    """What brings a view to a layout: copies along what is the same everywhere, and a route."""
    there = set(flat(view.own))
    inner = tuple(tuple(factor for factor in axis if factor in there) for axis in layout)
    if set(flat(layout)) != there and flat(inner) == flat(layout):
        raise Foreign(f"a tensor of {view.shape} laid out in such a way")
    return int(inner != tuple(layout)), (view.own, inner)


def aligned(lowering: Lowering, one: View, other: View) -> tuple[View, View]:
    """Two views, routed so that one broadcasts over the other on our axes as it does on theirs."""
    one, other = refined(one, other)
    if len(one.own) != len(other.own):
        one, other = lowering.mapped(one), lowering.mapped(other)
    options: list[tuple[View, View, Layout, Layout, bool]] = []
    for first, second, swap in ((one, other, False), (other, one, True)):
        if set(flat(second.own)) <= set(flat(first.own)):
            for own in dict.fromkeys((first.own, *spread(first, second))):
                inner = restricted(own, second)
                if inner is not None:
                    options.append((first, second, own, inner, swap))
    if not options:
        return crossed(lowering, one, other)
    ways = [(0, ((first.own, own), (second.own, inner))) for first, second, own, inner, _ in options]
    *_, own, inner, swap = options[cheapest(ways)]
    return (
        (lowering.laid(one, inner), lowering.laid(other, own))
        if swap
        else (lowering.laid(one, own), lowering.laid(other, inner))
    )


def crossed(lowering: Lowering, one: View, other: View) -> tuple[View, View]:
    """Two views of which each has factors that the other has not, routed so that each broadcasts over the other."""
    if all(not a or not b or a == b for a, b in zip(one.own, other.own, strict=True)):
        return one, other
    inside = [set(flat(one.own)), set(flat(other.own))]
    groups = (
        tuple(factor for factor in flat(one.own) if factor in inside[1]),
        tuple(factor for factor in flat(one.own) if factor not in inside[1]),
        tuple(factor for factor in flat(other.own) if factor not in inside[0]),
    )
    ways = [
        (tuple(groups[n] if n != 2 else () for n in order), tuple(groups[n] if n != 1 else () for n in order))
        for order in permutations(range(3))
    ]
    first, second = ways[cheapest([(0, ((one.own, a), (other.own, b))) for a, b in ways])]
    return lowering.laid(one, first), lowering.laid(other, second)


def restricted(own: Layout, view: View) -> Layout | None:
    """The layout without the axes that a view has not; None where it has a part of one."""
    inside = set(flat(view.own))
    parts = []
    for axis in own:
        count = sum(factor in inside for factor in axis)
        if count not in (0, len(axis)):
            return None
        parts.append(axis if count else ())
    return tuple(parts)


def spread(first: View, second: View) -> list[Layout]:
    """Other layouts of a view in which what the second has, and has not, lies on different axes."""
    if len(first.own) != 3:
        return []
    inside = set(flat(second.own))
    runs: list[list[Factor]] = []
    for factor in flat(first.own):
        if runs and (runs[-1][-1] in inside) == (factor in inside):
            runs[-1].append(factor)
        else:
            runs.append([factor])
    found: list[Layout] = []
    if len(runs) <= 3:
        found.append(tuple(map(tuple, runs)) + ((),) * (3 - len(runs)))
    shared = tuple(f for f in flat(first.own) if f in inside)
    rest = tuple(f for f in flat(first.own) if f not in inside)
    found += [(shared, (), rest), (rest, (), shared), (*second.own[:1], (), rest)] if shared and rest else []
    return [own for own in found if sorted(map(id, flat(own))) == sorted(map(id, flat(first.own)))]
