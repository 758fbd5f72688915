"""Moves in a network and samples of spaces of choices, on one core; ratios side by side in one run.

python benchmarks/bench_moves.py [MOVES] [PYTHON]

PYTHON is that of an environment with the published toolkit (`pip install uninas`), to compare with its step. Times are
those of the process's CPU, so that other programs on the machine do not count.
"""

import copy
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import uninas
from uninas.language.elaborate import space
from uninas.language.library import find
from uninas.mutate import Depth, MoveWalk, apply, walk_of
from uninas.ranking import nasbench201
from uninas.space import Budget

ROUNDS = 5


def seconds(*tasks: Callable[[], object]) -> list[float]:
    """Median CPU seconds of each task; the tasks take turns, so that all see the same machine."""
    taken: list[list[float]] = [[] for _ in tasks]
    for _ in range(ROUNDS + 1):
        for times, task in zip(taken, tasks, strict=True):
            start = time.process_time()
            task()
            times.append(time.process_time() - start)
    return [statistics.median(times[1:]) for times in taken]


def walked(walk: MoveWalk, moves: int, crossover: bool = False) -> None:
    """Accepted, budget-checked moves, each new; every fifty begin at the start again."""
    rng, seen = random.Random(0), {walk.start.key}
    graph = mate = walk.start
    for number in range(moves):
        if crossover:
            graph, mate = mate, walk.crossover(mate, graph, rng, seen).graph
            seen.add(mate.key)
        else:
            graph = walk.start if number % 50 == 0 else graph
            graph = walk.propose(graph, rng, seen).graph
            seen.add(graph.key)


def longer(walk: MoveWalk, times: int) -> MoveWalk:
    """The same walk from a network with so many times the blocks, and no budget."""
    graph = walk.start
    for node in walk.start.nodes:
        if node.name.startswith("stages."):
            graph = apply(graph, Depth((node.name,), times * len(node.op.graph.nodes)), walk.moves)
    return MoveWalk(walk.moves, Budget(), graph)


def published_step(python: str) -> float:
    """CPU seconds of a step of the published toolkit, in a process of its own."""
    command = [python, str(Path(__file__).with_name("published_step.py")), "50"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def main() -> None:
    """Measure and print."""
    moves = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    theirs = published_step(sys.argv[2]) if len(sys.argv) > 2 else None
    published, every = walk_of(space(*find("UniNAS"))), walk_of(space(*find("UniDAG")))
    free, tenfold = longer(published, 1), longer(published, 10)
    module = uninas.compile(published.start)
    copying, published_moves, short, long, wild = seconds(
        lambda: copy.deepcopy(module),
        lambda: walked(published, moves),
        lambda: walked(free, moves),
        lambda: walked(tenfold, moves),
        lambda: walked(every, moves // 4),
    )
    print(f"CoAtNet, moves of the UniNAS space:   {moves / published_moves:8,.0f} per second, accepted and new")
    print(f"  a deep copy of its torch module     {1 / copying:8,.1f} per second: "
          f"a move is {copying / published_moves * moves:,.0f} times as fast")  # fmt: skip
    if theirs is not None:
        print(f"  a step of the published toolkit     {1 / theirs:8,.1f} per second: "
              f"a move is {theirs / published_moves * moves:,.0f} times as fast")  # fmt: skip
    print(f"  without a budget, 12 blocks         {moves / short:8,.0f} per second")
    print(f"  without a budget, 120 blocks        {moves / long:8,.0f} per second: {long / short:.2f} x the time")
    print(f"CoAtNet, every kind of move (UniDAG): {moves // 4 / wild:8,.0f} per second")
    cells, mobile = space(*find("nasbench201")), space(*find("mobilenetv2"))
    generator = random.Random(0)
    drawn, other, built, named = seconds(
        lambda: [cells.draw(generator) for _ in range(10_000)],
        lambda: [mobile.draw(generator) for _ in range(10_000)],
        lambda: [mobile.sample(generator) for _ in range(20)],
        lambda: [nasbench201.string_of(cells.encode(cells.draw(generator))) for _ in range(10_000)],
    )
    print(f"NAS-Bench-201, cells drawn:           {60 * 10_000 / drawn:14,.0f} per minute")
    print(f"  with their official strings         {60 * 10_000 / named:14,.0f} per minute")
    print(f"MobileNetV2, answers drawn:           {60 * 10_000 / other:14,.0f} per minute")
    print(f"  and built                           {60 * 20 / built:14,.0f} per minute")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
