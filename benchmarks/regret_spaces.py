"""Strategies against random search in two more spaces whose accuracies are known: regret by number of queries.

    python benchmarks/regret_spaces.py [--data ../shared/benchmarks] [--seeds 24] [--queries 300]
        [--strategies random,rank,surrogate] [--page docs/results/regret.md]

The size space of NATS-Bench (32,768 networks) and the cells of TransNAS-Bench-101 (4,096). A query is an accuracy from
the table; the regret is the best of all less the best met so far, in standard deviations of all accuracies, so that
spaces compare. Halving sorts out by parameters, which do not count as queries; rank and nsga2 have them as their second
objective. `regret.py` has the same for NAS-Bench-201, `regret_moves.py` for a space of moves.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import rank_spaces
from numpy.typing import NDArray

import uninas
from uninas.graph import Graph
from uninas.mutate import ChoiceWalk
from uninas.search.asktell import Search
from uninas.search.plan import Plan, Settings, make_plan

Floats = NDArray[np.float64]
Answers = tuple[int, ...]

RUNS: dict[str, dict[str, object]] = {
    "random": {},
    "walk": {},
    "climb": {},
    "anneal": {},
    "evolution": {},
    "rank": {"further": ("params:higher",), "tuning": {"population": 8}},
    "nsga2": {"further": ("params",), "tuning": {"population": 16}},
    "halving": {"cheap": ("params:higher",)},
    "surrogate": {},
}
QUICK = tuple(name for name in RUNS if name != "surrogate")
"""Strategies of the usual table; `surrogate` fits forests, which takes much longer."""
TASKS = (("NATS-Bench sizes", "c10"), ("TransNAS-Bench-101 micro", "class_scene"),
         ("TransNAS-Bench-101 micro", "autoencoder"))  # fmt: skip
SHOWN = (10, 30, 100, 200, 300)


def regrets(
    table: Mapping[Answers, float], space: str, build: Callable[[Answers], Graph], name: str, seed: int, queries: int
) -> list[float]:
    """Regret after each query of one run, in the units of the table."""
    search = Search(planned(Settings(space, "score", strategy=name, seed=seed, **RUNS[name]), build))  # type: ignore[arg-type]
    best, curve, optimum = -np.inf, [], max(table.values())
    for draft in search:
        params = float(draft.graph.cost.params)
        if draft.rung < len(search.rungs) - 1:
            search.tell(draft, params)
            continue
        walk = search.plan.walk
        assert isinstance(walk, ChoiceWalk)
        found = table[search.plan.space.encode(walk.member(draft.graph).answers)]
        search.tell(draft, {"score": found, "params": params})
        best = max(best, found)
        curve.append(optimum - best)
        if len(curve) == queries:
            break
    return curve + [curve[-1]] * (queries - len(curve))  # where a small space is used up


def planned(settings: Settings, build: Callable[[Answers], Graph]) -> Plan:
    """The plan of a search, except that members are built once for all runs, which takes most of the time otherwise."""
    plan = make_plan(settings)
    space = dataclasses.replace(plan.space, build=lambda decide: build(tuple(map(decide, plan.space.choices))))
    walk = ChoiceWalk(space, plan.budget)
    start = walk.sample(random.Random(f"start of {settings.seed}"))
    return dataclasses.replace(plan, space=space, start=start, walk=walk)


def table_of(title: str, task: str, data: Path) -> tuple[str, dict[Answers, float]]:
    """The name of a space, and the accuracies of all its members by their answers."""
    name, rows, _ = rank_spaces.SPACES[title]
    choices = [choice.path for choice in uninas.space(name).choices]
    return name, {tuple(row.answers[path] for path in choices): row.accuracies[task] for row in rows(data)}


def lines(title: str, task: str, curves: Mapping[str, Floats]) -> list[str]:
    """The table of one task."""
    queries = len(curves["random"][0])
    shown = [n for n in SHOWN if n <= queries]
    found = [f"## {title}, {task}\n", f"| strategy | {' | '.join(f'{n} queries' for n in shown)} | better |",
             "|---" * (len(shown) + 2) + "|"]  # fmt: skip
    for name, curve in curves.items():
        mean, error = curve.mean(axis=0), curve.std(axis=0, ddof=1) / np.sqrt(len(curve))
        cells = [f"{mean[n - 1]:.2f} ({error[n - 1]:.2f})" for n in shown]
        better = float(np.mean(curve[:, -1] < curves["random"][:, -1]))
        found.append(f"| {name} | {' | '.join(cells)} | {'' if name == 'random' else f'{better:.0%}'} |")
    return [*found, ""]


def main() -> None:
    """Run all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--data", type=Path, default=Path("../shared/benchmarks"))
    parser.add_argument("--strategies", default=",".join(QUICK), help="random among them")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    parts: list[str] = []
    for title, task in TASKS:
        space, table = table_of(title, task, options.data)
        deviation = float(np.std(list(table.values())))
        build = cache(uninas.space(space).member)
        curves = {}
        for name in options.strategies.split(","):
            found = [regrets(table, space, build, name, seed, options.queries) for seed in range(options.seeds)]
            curves[name] = np.array(found) / deviation
            print(f"{title}, {task}, {name}: {curves[name][:, -1].mean():.2f}", flush=True)
        parts += lines(title, task, curves)
        if options.page:
            date = datetime.now(UTC).strftime("%Y-%m-%d")
            command = f"python benchmarks/regret_spaces.py --seeds {options.seeds} --queries {options.queries}"
            if options.strategies != ",".join(QUICK):
                command += f" --strategies {options.strategies}"
            head = HEAD.format(date=date, command=f"{command} --page {options.page}", seeds=options.seeds)
            options.page.write_text("\n".join([head, *parts]).rstrip() + "\n", encoding="utf-8")


HEAD = """# Regret in further spaces

Regret after a number of queries of a table of accuracies, in standard deviations of all accuracies of the space: mean
(standard error) of {seeds} seeds. *Better* is the share of seeds that beat random search of the same seed in the end.
Nothing is trained or scored; `rank` and `nsga2` also see parameters, and `halving` sorts out by them.
[Searching](../searching.md) has NAS-Bench-201 and a space of moves.

Measured on {date} with

    {command}
"""


if __name__ == "__main__":
    main()
