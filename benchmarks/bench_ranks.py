"""What the strategy `rank` takes to know its best candidates: ranking the whole history anew, and following it.

    python benchmarks/bench_ranks.py [--candidates 10000] [--objectives 4]

Objectives are related as scores are: half of each is shared, half its own. Both give the same candidates.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from uninas.scores.aggregate import log_rank_sum
from uninas.search.ranks import Ranking

BEST = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--objectives", type=int, default=4)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    total = options.candidates
    rows = rng.normal(size=(total, 1)) + rng.normal(size=(total, options.objectives))
    weights = [1.0] * options.objectives

    ranking, began = Ranking(BEST, weights), time.perf_counter()
    for number, row in enumerate(rows.tolist()):
        ranking.add(number, row)
        followed = ranking.best
    each = (time.perf_counter() - began) / total

    few = range(total // 20, total + 1, total // 20)  # the time grows with the history: its mean is over these
    log_rank_sum(rows[:10], weights)
    began = time.perf_counter()
    for size in few:
        order = np.argsort(-log_rank_sum(rows[:size], weights), kind="stable")
    anew = (time.perf_counter() - began) / len(few)
    print(f"{total:,} candidates, {options.objectives} objectives, {ranking.contenders:,} contenders at the end")
    print(
        f"ranking all anew: {1000 * anew:.3f} ms a candidate; following: {1000 * each:.3f} ms; ratio {anew / each:.1f}"
    )
    print("the same best:", followed == order[:BEST].tolist())


if __name__ == "__main__":
    main()
