"""Where classes are few: the Jacobian with rows pulled back through the network's waists, instead of columns pushed.

A waist is a value that everything after it depends on alone, such as the output of a residual block. Between two of
them each scalar's tangent is pushed forward to the next waist only, and there it meets the derivatives of the logits,
which are pulled back once for all scalars. In numbers: with J the derivative of the logits by the waist and t_p the
tangent of scalar p at it, the column p of the Jacobian is J t_p.

Pulling back costs one pass per row, and there are as many rows as logits, or as entries of the narrowest waist if that
is smaller: below it J is the product of its own rows and those of the narrow one. A network of ten classes, or of a
thousand classes behind 64 pooled features, needs far fewer rows than columns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, fx

from uninas.proxies.program import Program, call
from uninas.proxies.sweep import Env, Place, sweep
from uninas.proxies.tangents import zeros

BACKWARD = 1.5  # what pulling one row back through some steps costs, in forward passes through them
CHECK = 1.0  # what it costs to verify the outcome with some of the samples, likewise
_MEETINGS = 32  # how many places are tried, at most, for the first parts to end
_TOGETHER = 16  # rows that are pulled back together: more are slower, as they leave the caches


@dataclass(frozen=True)
class Part:
    """Steps between two waists; `entry` is None for the first part."""

    entry: fx.Node | None
    steps: range


@dataclass(frozen=True)
class Route:
    """Parts in order, and how many of the last ones lie behind the narrowest waist (none: the logits are it)."""

    parts: tuple[Part, ...]
    behind: int
    rows: int
    """How many rows are pulled back through the parts before the narrowest waist."""
    passes: float
    """What it costs, in forward passes."""
    bytes: int
    """What the rows take in memory at once, at most."""


def route(program: Program, places: Sequence[Place]) -> Route:
    """The cheapest way through the waists of a program."""
    parts = _parts(program, {node for node, _ in places})
    lasts = range(0, len(parts), 1 + len(parts) // _MEETINGS)
    merged = ((Part(None, range(parts[last].steps.stop)), *parts[last + 1 :]) for last in lasts)
    return min((_costed(program, places, some) for some in merged), key=lambda way: way.passes)


def _costed(program: Program, places: Sequence[Place], parts: tuple[Part, ...]) -> Route:
    samples, classes = program.output.meta["val"].shape
    widths = [_width(part.entry) for part in parts if part.entry is not None]
    narrow = min(widths, default=classes)
    behind = len(widths) - widths.index(narrow) if narrow < classes else 0
    rows = min(narrow, classes)

    total = sum(program.work)
    work = [sum(program.work[part.steps.start : part.steps.stop]) for part in parts]
    split = len(parts) - behind
    pulled = BACKWARD * (rows * sum(work[1:split]) + classes * sum(work[split:] if behind else work[:0]))
    pushed = sum(column_work(program, places, part.steps) for part in parts)
    held = max((rows if i < len(widths) - behind + 1 else classes) * w for i, w in enumerate([*widths, classes]))
    element = program.output.meta["val"].element_size()
    return Route(parts, behind, rows, CHECK + (pulled + pushed) / max(total, 1.0), 2 * held * samples * element)


def column_work(program: Program, places: Sequence[Place], steps: range) -> float:
    """The work of pushing the tangents of `places` from where they start to the end of `steps`."""
    first = {leaf: i for i in reversed(steps) for leaf in program.leaves[program.steps[i]]}
    after = [0.0]
    for i in reversed(steps):
        after.append(after[-1] + program.work[i])
    return sum(after[steps.stop - first[node]] for node, _ in places if node in first)


def through_waists(program: Program, env: Env, places: Sequence[Place], way: Route, memory: int) -> Tensor:
    """The Jacobian (N, K, P) of the logits by the scalars at `places`; `env` holds the values of all steps."""
    logits: Tensor = env[program.output]
    samples, classes = logits.shape
    values = logits.new_zeros(samples, classes, len(places))
    rows = torch.eye(classes, dtype=logits.dtype, device=logits.device)[:, None].expand(classes, samples, classes)
    outer = None
    for number, part in enumerate(reversed(way.parts), 1):
        across = rows.transpose(0, 1).flatten(2)
        for _, tangent in sweep(program, env, places, part.steps, memory, keep=True):
            if tangent is not None:
                met = across @ tangent.stack.transpose(0, 1).flatten(2).transpose(1, 2)
                values[:, :, list(tangent.columns)] += met if outer is None else outer @ met
            del tangent
        if part.entry is not None:
            rows = _pulled_back(program, env, part, rows)
        if number == way.behind:
            outer = rows.transpose(0, 1).flatten(2)
            value = rows[0]
            eye = torch.eye(value[0].numel(), dtype=logits.dtype, device=logits.device)
            rows = eye[:, None].expand(-1, samples, -1).reshape(-1, *value.shape)
    return values


def _parts(program: Program, parameters: set[fx.Node]) -> list[Part]:
    """The program cut at its waists: after each step that meets a chosen parameter at most once, where it is narrow."""
    samples = len(program.output.meta["val"])
    carrying, live = set(parameters), set[fx.Node]()
    cuts: list[tuple[int, fx.Node]] = []
    settled, below = 0, 0  # the cuts above the last parameter; and what one after it must be narrower than
    for i, node in enumerate(program.steps):
        if any(leaf in parameters for leaf in program.leaves[node]):
            settled, below = len(cuts), sys.maxsize
        if program.size[node] and any(leaf in carrying for leaf in program.leaves[node]):
            carrying.add(node)
            live.add(node)
        live.difference_update(program.dying[i])
        if live == {node} and node is not program.output and 0 < _width(node, samples) < below:
            cuts[settled:] = [(i + 1, node)]
            below = _width(node)
    ends = [*cuts, (program.stop, program.output)]
    first = Part(None, range(ends[0][0]))
    return [first, *(Part(node, range(start, stop)) for (start, node), (stop, _) in pairwise(ends))]


def _width(node: fx.Node, samples: int | None = None) -> int:
    """Numbers per sample; 0 for what is not one tensor (samples, ...)."""
    value = node.meta["val"]
    if not isinstance(value, Tensor) or value.ndim < 2 or (samples is not None and len(value) != samples):
        return 0
    return int(value[0].numel())


def _pulled_back(program: Program, env: Env, part: Part, rows: Tensor) -> Tensor:
    """From rows (R, N, ...) at the end of a part to those at its entry."""
    assert part.entry is not None
    entry = env[part.entry].detach().requires_grad_()
    changed = {part.entry}
    local = {**env, part.entry: entry}
    with torch.enable_grad():
        for node in (program.steps[i] for i in part.steps):
            if any(leaf in changed for leaf in program.leaves[node]):
                changed.add(node)
                del local[node]
                call(program, node, local)
        out = local[program.steps[part.steps.stop - 1]]
        pulled = zeros(len(rows), entry.detach())
        for target, some in zip(torch.split(pulled, _TOGETHER), torch.split(rows, _TOGETHER), strict=True):
            (gradient,) = torch.autograd.grad(
                out, entry, some, retain_graph=True, materialize_grads=True, is_grads_batched=True
            )
            target.copy_(gradient)
    return pulled
