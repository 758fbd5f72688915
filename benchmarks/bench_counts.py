"""What counts on a graph cost, beside the same counts on a recorded module: FLOPs and paths of cells of NAS-Bench-201.

    python benchmarks/bench_counts.py [--cells 40]

The scores are equal; so says tests/scores/test_paths_of_graphs.py. Building a graph from its answers is told apart.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

import uninas
from uninas.graph import Graph
from uninas.proxies import ProxyError, same_structure, score
from uninas.runs.scorer import Scorer
from uninas.scores.aggregate import AGGREGATES

NAMES = tuple(AGGREGATES["paths_agg"].components)


def on_module(graph: Graph) -> None:
    """The components of `paths_agg` of a module that does not say which graph it came from."""
    module = uninas.compile(graph).eval()
    del module.meta["uninas"]
    with same_structure():
        for name in NAMES:
            try:
                score(name, module, torch.zeros(1, *graph.inputs[0]))
            except ProxyError:  # nothing passes through this cell
                return


def milliseconds(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Processor time of one item, on average, after a first one."""
    work(items[0])
    began = time.process_time()
    for item in items[1:]:
        work(item)
    return 1000 * (time.process_time() - began) / (len(items) - 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=40)
    options = parser.parse_args()
    space = uninas.space("nasbench201")
    random_numbers = random.Random(0)

    def drawn() -> list[Graph]:
        return [space.sample(random_numbers)[0] for _ in range(options.cells)]

    build = milliseconds(lambda rng: space.sample(rng), [random_numbers] * options.cells)
    flops = milliseconds(lambda graph: graph.cost.flops, drawn())
    scorer = Scorer(NAMES, 1)
    graphs = milliseconds(lambda graph: scorer(graph, 0), drawn())
    modules = milliseconds(on_module, drawn()[:8])
    print(f"building a cell's graph {build:.2f} ms, its FLOPs {flops:.2f} ms")
    print(f"paths_agg on the graph {graphs:.2f} ms, on a recorded module {modules:.0f} ms: {modules / graphs:.0f} x")


if __name__ == "__main__":
    main()
