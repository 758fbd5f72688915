"""Strategies against each other in a space of moves, by the score itself: `python benchmarks/regret_moves.py`.

Walks of the UniNAS space from a micro network of 32 px, scored by a cheap proxy (expressivity, 16 images, one seed of
weights), within 2.2 M parameters and 100 MFLOPs. Nothing is trained: what is measured is how fast a strategy finds high
scores, not how good networks are. The regret after n queries is the best score that any run here has found less the
best of the first n, in standard deviations of the scores of the random walks.
"""

from __future__ import annotations

import argparse
from itertools import islice

import numpy as np
import torch

from uninas.graph import Graph
from uninas.proxies import ProxyError
from uninas.runs.scorer import score
from uninas.search.asktell import Search
from uninas.search.plan import Settings, make_plan

RUNS: dict[str, dict[str, object]] = {
    "walk": {},
    "random": {},
    "climb": {},
    "anneal": {},
    "evolution": {},
    "evolution, 16 of which 4": {"tuning": {"population": 16, "tournament": 4}},
    "rank": {"tuning": {"population": 8}},
    "surrogate": {},
}
SHOWN = (10, 30, 100, 300)
LIMITS = {"params_max": 2.2e6, "flops_max": 1e8}


def main() -> None:
    """Run all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--proxy", default="expressivity")
    parser.add_argument("--start", default="micro_coatnet")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known: dict[str, float | None] = {}

    def scored(graph: Graph) -> float | None:
        """The score, each network once; None where it has none."""
        if graph.key not in known:
            try:
                known[graph.key] = score(graph, options.proxy, 0, batch_size=16, fold=True).value
            except ProxyError:
                known[graph.key] = None
        return known[graph.key]

    told: dict[str, np.ndarray] = {}
    for name, chosen in RUNS.items():
        rows = []
        for seed in range(options.seeds):
            settings = Settings("UniNAS", "score", seed, options.start, name.partition(",")[0], **LIMITS, **chosen)
            search, row = Search(make_plan(settings)), []
            for draft in islice(search, options.queries):
                value = scored(draft.graph)
                search.tell(draft, value)
                row.append(np.nan if value is None else value)
            rows.append(row)
        told[name] = np.array(rows)
    highest = max(np.nanmax(found) for found in told.values())
    unit = np.nanstd(told["walk"])
    shown = [n for n in SHOWN if n <= options.queries]
    print(f"Regret in {options.proxy} from {options.start}, in standard deviations of a random walk ({unit:.3g});")
    print(f"mean (standard error) of {options.seeds} seeds; highest score {highest:.4g}.\n")
    print("| strategy | " + " | ".join(f"{n} queries" for n in shown) + " |")
    print("|---|" + "---|" * len(shown))
    for name, found in told.items():
        best = np.maximum.accumulate(np.nan_to_num(found, nan=-np.inf), axis=1)
        regret = (highest - best) / unit
        cells = [
            f"{regret[:, n - 1].mean():.2f} ({regret[:, n - 1].std(ddof=1) / np.sqrt(len(regret)):.2f})" for n in shown
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
