"""Random walks of 50 moves of every kind: all read back; a sample compiles to what was predicted, and is finite.

python benchmarks/bench_walks.py [WALKS] [COMPILED] [FIRST SEED]

The checks are those of tests/mutate/test_walks.py. The full count is 10000 walks, of which 500 are compiled. Networks
that are finite in float64 only are counted, with their seeds, and the walks go on.
"""

import sys
import time
from collections import Counter
from pathlib import Path

import torch

from uninas.graph import Graph
from uninas.language.elaborate import space
from uninas.language.library import find
from uninas.mutate import walk_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "mutate"))
from test_walks import as_predicted, finite, read_back, walked

MOVES = 50


def main() -> None:
    """Walk, check and print; the first failure ends it with its seed."""
    walks, compiled, first = (int(given) for given in [*sys.argv[1:], *("20", "2", "0")[len(sys.argv) - 1 :]])
    walk = walk_of(space(*find("UniDAG")))
    kinds: Counter[str] = Counter()
    overflows: list[int] = []
    start = time.process_time()
    every = max(1, walks // compiled) if compiled else walks + 1
    for number in range(walks):
        seed = first + number
        try:
            graph = walked(walk, seed, MOVES, kinds)
            read_back(graph)
            if number % every == 0:
                as_predicted(graph)
                overflows += [seed] * overflowing(graph)
            if (number + 1) % max(1, walks // 10) == 0:
                print(f"{number + 1} walks", file=sys.stderr, flush=True)
        except BaseException:
            print(f"failed at seed {seed}", flush=True)
            raise
    taken = time.process_time() - start
    print(f"{walks} walks of {MOVES} moves, {-(-walks // every)} compiled and run: {taken:.0f} s")
    print(f"  {len(overflows)} finite in float64 only", *overflows)
    print("  " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))


def overflowing(graph: Graph) -> bool:
    """Whether a step forwards and backwards is beyond float32; raises AssertionError where it is beyond float64 too."""
    try:
        finite(graph)
    except AssertionError:
        finite(graph, torch.float64)
        return True
    return False


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
