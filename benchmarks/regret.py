"""Strategies against random search on NAS-Bench-201: regret by number of queries, over many seeds.

    python benchmarks/regret.py [--seeds 24] [--queries 300] [--dataset c10] [-o docs/pictures/regret.svg]

A query is the validation accuracy of one cell, read from the table of all (../shared/benchmarks/nb201_tss.csv), so that
nothing is trained. The regret after n queries is the best test accuracy in the space less the test accuracy of the cell
with the best validation accuracy so far. Halving sorts out by NASWOT scores published with the benchmark, which do not
count as queries; nsga2 has parameters as its second objective.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import random
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from uninas.graph import Graph
from uninas.mutate import ChoiceWalk
from uninas.ranking import nasbench201
from uninas.search.asktell import Search
from uninas.search.candidate import Candidate
from uninas.search.plan import Plan, Settings, make_plan

DATA = Path(__file__).resolve().parents[2] / "shared" / "benchmarks"
RUNS: dict[str, dict[str, object]] = {
    "random": {},
    "walk": {},
    "climb": {},
    "anneal": {},
    "evolution": {},
    "evolution, 16 of which 4": {"tuning": {"population": 16, "tournament": 4}},
    "evolution, crossover 0.5": {"tuning": {"population": 16, "tournament": 4, "crossover": 0.5}},
    "rank": {"tuning": {"population": 8}},
    "nsga2": {"further": ("params",), "tuning": {"population": 16}},
    "surrogate": {},
    "halving": {"cheap": ("naswot",)},
}
SHOWN = (10, 30, 100, 200, 300)


class Table:
    """Validation and test accuracies of all cells, and a cheap score of those that have one."""

    def __init__(self, dataset: str, data: Path):
        with (data / "nb201_tss.csv").open() as file:
            rows = list(csv.DictReader(file))
        self.validation = [float(row[f"{dataset}_val"]) for row in rows]
        self.test = [float(row[f"{dataset}_test"]) for row in rows]
        with (data / f"nb201_zc_{'in16' if dataset == 'in16' else 'c10'}.csv").open() as file:
            self.cheap = {int(row["index"]): float(row["nwot"]) for row in csv.DictReader(file)}


def regrets(table: Table, name: str, seed: int, queries: int) -> list[float]:
    """Regret after each query of one run."""
    strategy = name.partition(",")[0]
    settings = {"space": "nasbench201", "proxy": "score", "strategy": strategy, "seed": seed, **RUNS[name]}
    search = Search(planned(Settings(**settings)))
    best, curve, optimum = (-1.0, 0.0), [], max(table.test)
    for draft in search:
        index = index_of(search, draft)
        if draft.rung < len(search.rungs) - 1:
            search.tell(draft, table.cheap.get(index))
            continue
        found = table.validation[index]
        search.tell(draft, {"score": found, "params": draft.graph.cost.params})
        best = max(best, (found, table.test[index]))
        curve.append(optimum - best[1])
        if len(curve) == queries:
            break
    return curve


def planned(settings: Settings) -> Plan:
    """The plan of a search, except that members are built once for all runs, which takes most of the time otherwise."""
    plan = make_plan(settings)
    space = dataclasses.replace(plan.space, build=lambda decide: member(tuple(map(decide, plan.space.choices))))
    walk = ChoiceWalk(space, plan.budget)
    start = walk.sample(random.Random(f"start of {settings.seed}"))
    return dataclasses.replace(plan, space=space, start=start, walk=walk)


@cache
def member(answers: tuple[int, ...]) -> Graph:
    """The network of a cell."""
    return nasbench201.graph_of(answers)


def index_of(search: Search, draft: Candidate) -> int:
    """The official index of a cell."""
    member = search.plan.walk.member(draft.graph)
    return nasbench201.index_of(search.plan.space.encode(member.answers))


def main() -> None:
    """Run all, print a table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--dataset", default="c10", choices=["c10", "c100", "in16"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(RUNS), help="of the strategies, besides random")
    options = parser.parse_args()
    table = Table(options.dataset, options.data)
    curves = {
        name: np.array([regrets(table, name, seed, options.queries) for seed in range(options.seeds)])
        for name in RUNS
        if name == "random" or not options.only or name in options.only
    }
    shown = [n for n in SHOWN if n <= options.queries]
    print(f"Regret in points of test accuracy on {options.dataset}, mean (standard error) of {options.seeds} seeds;")
    print(f"'better' is the share of seeds that beat random search of the same seed after {options.queries} queries.\n")
    print("| strategy | " + " | ".join(f"{n} queries" for n in shown) + " | better |")
    print("|---|" + "---|" * (len(shown) + 1))
    for name, found in curves.items():
        mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
        cells = [f"{mean[n - 1]:.2f} ({error[n - 1]:.2f})" for n in shown]
        better = np.mean(found[:, -1] < curves["random"][:, -1]) if name != "random" else np.nan
        print(f"| {name} | {' | '.join(cells)} | {'' if name == 'random' else f'{better:.0%}'} |")
    if options.output:
        draw(curves, options.output)


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """Mean regret by queries, with bands of one standard error."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for position, (name, found) in enumerate(curves.items()):
        queries = np.arange(1, found.shape[1] + 1)
        mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
        colour = "black" if name == "random" else f"C{position}"
        (line,) = axes.plot(queries, mean, label=name, color=colour, lw=2.2 if name == "random" else 1.4)
        axes.fill_between(queries, mean - error, mean + error, color=line.get_color(), alpha=0.15, lw=0)
    axes.set(xscale="log", yscale="log", xlabel="queries of an accuracy", ylabel="regret (points of test accuracy)")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
