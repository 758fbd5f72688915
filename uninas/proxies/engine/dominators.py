"""Rows of the Jacobian, pulled back through the network to where tangents of the weights meet them.

From the logits back, the derivatives of the logits by the values in between are computed, once for all weights. Each
weight's tangent is pushed only to the first value that belongs to single samples, most often the output of its own
layer: with J the derivative of the logits by that value and t_p the tangent of scalar p at it, the column p of the
Jacobian is J t_p.

Pulling back costs one pass per row. Two things spare passes, and both need a waist: a value that everything after it
depends on alone, such as the output of a residual block.

- There are as many rows as logits, or as entries of the narrowest waist if that is smaller: below it J is the product
  of its own rows and those of the narrow one. A thousand classes behind 64 pooled features are 64 rows.
- Few weights lie in the first part of a network. It may be cheaper to push their tangents on to the waist where that
  part ends, and to pull no rows through it at all.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor, fx

from uninas.proxies.engine.aten_graph import Program, call, entries
from uninas.proxies.engine.forward import Env, Place, seeds_of, sweep, walk
from uninas.proxies.engine.jvp_rules import Local, Tangent, empty, laid_as, neighbours
from uninas.proxies.engine.vjp_rules import Pull, plus, pull

BACKWARD = 1.0  # what pulling one row back through some steps costs, in forward passes through them
CHECK = 1.0  # what it costs to verify the outcome with some of the samples, likewise
_STARTS = 32  # how many waists are tried, at most, as the end of the first part
_TOGETHER = 16  # rows that are pulled back together: more are slower, as they leave the caches
_GPU_STACK = 2**31  # bytes of them at most, on a GPU, which has no use for small stacks


@dataclass(frozen=True)
class Waist:
    """After `step` steps everything depends on the value of `node` alone; it has `width` numbers per sample."""

    step: int
    node: fx.Node
    width: int


@dataclass(frozen=True)
class Route:
    """Where rows come to an end: rows of the logits at `narrow`, its own rows at `first`.

    Without `narrow` the logits' rows go all the way. Up to `first` tangents are pushed; without it, nowhere.
    """

    first: Waist | None
    narrow: Waist | None
    passes: float
    """What it costs, in forward passes."""
    bytes: int
    """What it takes in memory at once beside the values of all steps, at most."""


def route(program: Program, places: Sequence[Place]) -> Route:
    """The cheapest way through the waists of a program."""
    waists = _waists(program, {node for node, _ in places})
    firsts = [None, *waists[:: 1 + len(waists) // _STARTS]]
    return min((_costed(program, places, waists, first) for first in firsts), key=lambda way: way.passes)


def _costed(program: Program, places: Sequence[Place], waists: Sequence[Waist], first: Waist | None) -> Route:
    """The way that pushes tangents as far as `first`."""
    samples, classes = program.output.meta["val"].shape
    start = first.step if first else 0
    narrow = min((w for w in reversed(waists) if w.step > start), key=lambda waist: waist.width, default=None)
    if narrow is not None and narrow.width >= classes:
        narrow = None
    rows, end = (narrow.width, narrow.step) if narrow else (classes, program.stop)

    pulled = BACKWARD * (rows * sum(program.work[start:end]) + classes * sum(program.work[end:]))
    passes = (pulled + column_work(program, places, range(start))) / max(sum(program.work), 1.0)
    ends = rows * (first.width if first else 0) + classes * (narrow.width if narrow else 0)
    size = samples * program.output.meta["val"].element_size()
    slopes, transient = program.activations, 3 * min(max(rows, classes), _together(program)) * program.widest
    held = slopes + _met_bytes(program, places, range(start, program.stop)) + 2 * ends * size + transient
    return Route(first, narrow, CHECK + passes, held)


def _together(program: Program) -> int:
    """Number of rows that are pulled back together."""
    on_cpu = program.output.meta["val"].device.type == "cpu"
    return _TOGETHER if on_cpu else max(1, _GPU_STACK // max(program.widest, 1))


def column_work(program: Program, places: Sequence[Place], steps: range) -> float:
    """The work of pushing the tangents of `places` from where they start to the end of `steps`."""
    first = {leaf: i for i in reversed(steps) for leaf in program.leaves[program.steps[i]]}
    after = [0.0]
    for i in reversed(steps):
        after.append(after[-1] + program.work[i])
    return sum(after[steps.stop - first[node]] for node, _ in places if node in first)


def _met_bytes(program: Program, places: Sequence[Place], steps: range) -> int:
    """The bytes of all tangents where they meet rows; it follows which weights reach which node, as bit sets."""
    reach: dict[fx.Node, int] = {}
    for column, (node, _) in enumerate(places):
        reach[node] = reach.get(node, 0) | 1 << column
    held = 0
    for node in (program.steps[i] for i in steps):
        columns = reduce(or_, (reach.get(leaf, 0) for leaf in program.leaves[node] if isinstance(leaf, fx.Node)), 0)
        if columns and node in program.by_sample:
            held += columns.bit_count() * program.size[node]
        elif columns:
            reach[node] = columns
    return held


def through_waists(program: Program, env: Env, places: Sequence[Place], way: Route, memory: int) -> Tensor:
    """The Jacobian (N, K, P) of the logits by the scalars at `places`; `env` holds the values of all steps."""
    logits: Tensor = env[program.output]
    samples, classes = logits.shape
    rows = torch.eye(classes, dtype=logits.dtype, device=logits.device)[:, None].expand(classes, samples, classes)
    values, rows = _pulled(program, env, places, way.narrow or way.first, program.stop, rows)
    outer = None
    if way.narrow:
        outer = rows.transpose(0, 1).flatten(2)
        value, width = rows[0], way.narrow.width
        eye = torch.eye(width, dtype=logits.dtype, device=logits.device)[:, None].expand(width, samples, width)
        met, rows = _pulled(program, env, places, way.first, way.narrow.step, eye.reshape(width, *value.shape))
        values += outer @ met
    if way.first:
        for _, tangent in sweep(program, env, places, range(way.first.step), memory, keep=True):
            if tangent is not None:
                met = _meeting(rows, tangent)
                values[:, :, neighbours(tangent.columns)] += met if outer is None else outer @ met
            del tangent
    return values


def _pulled(
    program: Program, env: Env, places: Sequence[Place], entry: Waist | None, stop: int, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """What rows (R, N, ...) at the value of step `stop` say of the scalars after `entry`: (N, R, P). And rows there."""
    steps = range(entry.step if entry else 0, stop)
    tangents = walk(program, dict(env), steps, seeds_of(places, range(len(places))), program.by_sample)
    wanted: set[fx.Node] = {*tangents, *((entry.node,) if entry else ())}
    pulls = _pulls(program, env, steps, wanted)
    met = rows.new_zeros(rows.shape[1], len(rows), len(places))
    arrived = empty(len(rows), env[entry.node]) if entry else rows[:0]
    together = _together(program)
    for start in range(0, len(rows), together):
        here = slice(start, start + together)
        known: dict[fx.Node, Any] = {program.steps[stop - 1]: rows[here]}
        for node in (program.steps[i] for i in reversed(steps)):
            some = known.pop(node, None) if node in wanted else None
            if some is None:
                continue
            if node in tangents:
                met[:, here, neighbours(tangents[node].columns)] += _meeting(some, tangents[node])
            for leaf, back in pulls.get(node, ()):
                more = back(some)
                if isinstance(more, Tensor):
                    more = laid_as(more, env[leaf])
                known[leaf] = plus(known[leaf], more) if leaf in known else more
        if entry:
            arrived[here] = known.get(entry.node, 0)
    return met, arrived


def _pulls(
    program: Program, env: Env, steps: range, wanted: set[fx.Node]
) -> Mapping[fx.Node, Sequence[tuple[fx.Node, Pull]]]:
    """Pulls rows back to the arguments of everything that depends on `wanted`, which gains these nodes."""
    pulls = {}
    for node in (program.steps[i] for i in steps):
        if program.size[node] and any(leaf in wanted for leaf in program.leaves[node]):
            wanted.add(node)
            done = call(program, node, env)
            pulls[node] = [(leaf, pull(done, i)) for i, leaf in enumerate(program.leaves[node]) if leaf in wanted]
    return pulls


def _meeting(rows: Tensor, tangent: Tangent) -> Tensor:
    """What rows (R, N, ...) say of the tangents (P, N, ...) of a value (N, ...): the products (N, R, P)."""
    if isinstance(tangent, Local):
        rows, stack = rows[:, :, neighbours(tangent.channels)], tangent.part
    else:
        stack = tangent.stack
    return by_sample(rows, stack) @ by_sample(stack, stack).transpose(1, 2)


def by_sample(stack: Tensor, like: Tensor) -> Tensor:
    """(R, N, ...) as (N, R, numbers), the numbers in the order of `like`'s memory, so that they need not be moved."""
    strides = like.stride()
    return stack.permute(1, 0, *sorted(range(2, stack.ndim), key=lambda d: -strides[d])).flatten(2)


def _waists(program: Program, parameters: set[fx.Node]) -> list[Waist]:
    """Between two steps that meet chosen parameters at most one waist, the narrowest, and so after the last one."""
    samples = len(program.output.meta["val"])
    carrying, live = set(parameters), set[fx.Node]()
    waists: list[Waist] = []
    settled, below = 0, 0  # the waists above the last parameter; and what one after it must be narrower than
    for i, node in enumerate(program.steps):
        if any(leaf in parameters for leaf in program.leaves[node]):
            settled, below = len(waists), sys.maxsize
        if program.size[node] and any(leaf in carrying for leaf in program.leaves[node]):
            carrying.add(node)
            live.add(node)
        live.difference_update(program.dying[i])
        if live == {node} and node is not program.output and 0 < entries(node, samples) < below:
            below = entries(node, samples)
            waists[settled:] = [Waist(i + 1, node, below)]
    return waists
