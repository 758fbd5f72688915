"""Forward mode: tangents of many weights, carried through a program together.

A weight deep in the network has no tangent above it, so a sweep walks the steps in order with stacks of those tangents
only that are alive. Weights are taken in chunks, in the order in which the program meets them, as many as the memory
allows; a chunk starts at its first weight, and what lies before is computed once for all chunks.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from torch import fx

from uninas.errors import out_of_memory
from uninas.proxies.engine.aten_graph import Program, advance, call
from uninas.proxies.engine.jvp_rules import Call, Seed, Tangent, push
from uninas.proxies.types import ProxyError

Place = tuple[fx.Node, int]  # a parameter of a program, and an element of it
Env = dict[fx.Node, Any]
Direction = Mapping[int, float]  # of a parameter: how far each element goes, the others standing still
Seeds = Mapping[fx.Node, Mapping[int, Direction]]  # what each column of the Jacobian starts from in a parameter


def sweep(
    program: Program, env: Env, places: Sequence[Place], steps: range, memory: int, *, keep: bool
) -> Iterator[tuple[Any, Tangent | None]]:
    """The value that the last of `steps` computes, and its tangents by the scalars at `places`, chunk by chunk.

    Only what the scalars do within `steps` counts. Columns of a tangent are positions in `places`; those without
    influence come in no chunk, but there is always one chunk. `env` holds the values known before the first step;
    with `keep` it holds those of all steps already. `memory` bounds the tangents held at once, in bytes.
    """
    first = {leaf: i for i in reversed(steps) for leaf in program.leaves[program.steps[i]]}
    origin = {column: first[node] for column, (node, _) in enumerate(places) if node in first}
    waiting = sorted(origin, key=origin.__getitem__)
    last = program.steps[steps.stop - 1]
    step, most, once = steps.start, max(1, len(waiting)), True
    while waiting or once:
        start = origin[waiting[0]] if waiting else step
        if not keep:
            advance(program, env, range(step, start))
        step, rest = start, range(start, steps.stop)
        count = _fitting(
            program, rest, [seeds_of(places, waiting[: n + 1]) for n in range(min(most, len(waiting)))], memory
        )
        local = dict(env)
        try:
            found = walk(program, local, rest, seeds_of(places, waiting[:count]), {last})
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if count <= 1:
                raise ProxyError("memory runs out even for the tangent of one weight", "use a smaller batch") from error
            most = count // 2
            continue
        yield local.pop(last), found.pop(last, None)
        waiting, once = waiting[count:], False


def seeds_of(places: Sequence[Place], columns: Sequence[int]) -> Seeds:
    """The seeds of these columns of the Jacobian."""
    chosen: dict[fx.Node, dict[int, Direction]] = {}
    for column in sorted(columns):
        node, element = places[column]
        chosen.setdefault(node, {})[column] = {element: 1.0}
    return chosen


def walk(program: Program, env: Env, steps: range, seeds: Seeds, ends: Container[fx.Node]) -> dict[fx.Node, Tangent]:
    """The tangents at the nodes of `ends`, where they stop. `env` gains the values that are not dead by then."""
    tangents: dict[fx.Node, Tangent] = {}
    found: dict[fx.Node, Tangent] = {}
    for i in steps:
        node = program.steps[i]
        done = call(program, node, env)
        for leaf in program.leaves[node]:
            if leaf in seeds and leaf not in tangents:
                tangents[leaf] = Seed(env[leaf], seeds[leaf])
        alive = {slot: tangents[leaf] for slot, leaf in enumerate(program.leaves[node]) if leaf in tangents}
        if alive and program.size[node]:
            pushed = _push(done, alive)
            if pushed is not None:
                (found if node in ends else tangents)[node] = pushed
        del done, alive
        for dead in program.dying[i]:
            del env[dead]
            tangents.pop(dead, None)
    return found


def _push(done: Call, alive: Mapping[int, Tangent]) -> Tangent | None:
    try:
        return push(done, alive)
    except NotImplementedError as error:
        raise ProxyError(f"torch has no forward derivative of {done.op}") from error


def _fitting(program: Program, steps: range, prefixes: Sequence[Seeds], memory: int) -> int:
    """The largest number of weights whose tangents stay below `memory` bytes together; at least one."""
    return max(1, bisect_right(prefixes, memory, key=lambda seeds: _peak(program, steps, seeds)))


def _peak(program: Program, steps: range, seeds: Seeds) -> int:
    """The most bytes that a walk holds in tangents; it follows which weights reach which node, as bit sets.

    A stack with more numbers than fit in 32 bits counts as endless, as some kernels of GPUs cannot take it. Those of
    parameters do not count: they are gone when their layer has its own.
    """
    reach: dict[fx.Node, int] = {}
    leaves: dict[fx.Node, int] = {node: sum(1 << column for column in some) for node, some in seeds.items()}
    most = (2**31 - 1) * int(program.output.meta["val"].element_size())
    held = peak = 0
    for i in steps:
        node, columns = program.steps[i], 0
        for leaf in program.leaves[node]:
            columns |= reach.get(leaf, 0) | leaves.get(leaf, 0)
        if columns:
            reach[node] = columns
            added = columns.bit_count() * program.size[node]
            held += added
            peak = max(peak, held if added <= most else sys.maxsize)
        for dead in program.dying[i]:
            held -= reach.pop(dead, 0).bit_count() * program.size[dead]
    return peak
