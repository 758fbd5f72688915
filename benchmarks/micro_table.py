"""A table of trained networks of the UniNAS space at a micro size: `make bench-table`.

Members of random walks of 5 to 60 moves, from four starts of 1.6 to 1.7 M parameters on 32 px images, each trained
alike by the recipe `brief` on 12,000 images and measured on 4,000 others; the test images stay untouched. Every fifth
member is trained with three seeds, to know the noise. Rows are written as they come, and the same command goes on
where it was stopped. What a row says depends on its number and seed alone.

    python benchmarks/micro_table.py --data cifar.npz --members 300 -o docs/results/micro_table.csv -j 2

`uninas rank --table docs/results/micro_table.csv --where first` reads the result. With `--space`, the members are drawn
from a space of choices instead, and `--recipe` trains them otherwise: small vision transformers, twice as long.

    python benchmarks/micro_table.py --data cifar.npz --members 80 -o docs/results/vit_table.csv
        --space benchmarks/micro_vit.uni --recipe benchmarks/micro_vit.yaml
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

import uninas
from uninas import Graph, dumps, load
from uninas.graph.degree import degree
from uninas.graph.simplify import redundant
from uninas.language.elaborate import space
from uninas.language.library import find
from uninas.mutate.walk import walk_of
from uninas.runs.process import keep_memory, written
from uninas.space import Budget, Limit
from uninas.training.loop import Diverged
from uninas.training.recipe import Recipe
from uninas.training.score import TrainedScore
from uninas.training.seeds import seed_of

STARTS = ("micro_coatnet", "micro_resnet", "micro_efficientnet", "micro_transformer")
BUDGET = Budget((Limit("params", None, 2_200_000), Limit("flops", None, 100_000_000)))
MOVES = (5, 60)
SEEDS, REPEATED = 3, 5  # every fifth member has three seeds
CHANCE = 10.0  # percent of ten classes: what a network that diverged is worth
COLUMNS = (
    "index", "member", "train_seed", "first", "start", "moves", "c10", "top5", "loss", "outcome", "params", "flops",
    "elementwise", "activations", "operations", "depth", "degree", "redundant", "seconds", "key", "architecture",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is trained how: members of walks, or of a space of choices in a file, by a recipe, on images of a file."""

    data: str
    space: str | None = None
    recipe: str = "brief"

    def member(self, number: int) -> tuple[Graph, str, int]:
        """The network of that number, where it comes from, and how many moves it took."""
        if self.space is None:
            return walked(number)
        graph, _ = uninas.space(self.space).sample(random.Random(seed_of("micro table", number)))
        return graph, Path(self.space).stem, 0


def walked(number: int) -> tuple[Graph, str, int]:
    """A member of a walk, where that began, and how many moves it took. The first four are the starts."""
    start = STARTS[number % len(STARTS)]
    graph = load(start)
    if number < len(STARTS):
        return graph, start, 0
    rng = random.Random(seed_of("micro table", number))
    moves = rng.randint(*MOVES)
    walk = walk_of(space(*find("UniNAS")), graph, BUDGET)
    seen = {graph.key}
    for _ in range(moves):
        graph = walk.propose(graph, rng, seen).graph
        seen.add(graph.key)
    return graph, start, moves


def row(number: int, seed: int, plan: Plan) -> dict[str, object]:
    """Train a member with a seed; everything that is known of it."""
    keep_memory()
    torch.set_num_threads(1)
    graph, start, moves = plan.member(number)
    began = time.process_time()
    try:
        recipe = Recipe.load(plan.recipe, "classification")
        found, outcome = TrainedScore(plan.data, recipe)(graph, seed), "finished"
    except (Diverged, RuntimeError) as problem:  # what cannot be trained is worth what chance gives
        outcome = "diverged" if isinstance(problem, Diverged) else "failed"
        found = {"top1": CHANCE, "top5": 5 * CHANCE, "loss": float("nan")}
    return {
        "index": f"{number}.{seed}",
        "member": number,
        "train_seed": seed,
        "first": int(seed == 0),
        "start": start,
        "moves": moves,
        "c10": round(found["top1"], 4),
        "top5": round(found["top5"], 4),
        "loss": round(found["loss"], 6),
        "outcome": outcome,
        "params": graph.cost.params,
        "flops": graph.cost.flops,
        "elementwise": graph.cost.elementwise,
        "activations": graph.activations,
        "operations": graph.operations,
        "depth": graph.depth,
        "degree": degree(graph),
        "redundant": redundant(graph),
        "seconds": round(time.process_time() - began, 1),
        "key": graph.key,
        "architecture": dumps(graph, f"member_{number}"),
    }


def wanted(members: int) -> Iterator[tuple[int, int]]:
    """Numbers and seeds, the first seed of all members before the others."""
    yield from ((number, 0) for number in range(members))
    yield from ((number, seed) for seed in range(1, SEEDS) for number in range(0, members, REPEATED))


def read(path: Path) -> dict[tuple[int, int], dict[str, object]]:
    """The rows that are there."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {(int(each["member"]), int(each["train_seed"])): dict(each) for each in csv.DictReader(file)}


def write(path: Path, rows: dict[tuple[int, int], dict[str, object]]) -> None:
    """All rows in the order of their numbers, whole or not at all."""

    def fill(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows[key] for key in sorted(rows))

    written(path, fill)


def main() -> None:
    """Fill the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an .npz file of CIFAR-10, see docs/training.md")
    parser.add_argument("--members", type=int, default=300)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("--space", help="a file with a space of choices; without it, walks of the UniNAS space")
    parser.add_argument("--recipe", default="brief")
    given = parser.parse_args()
    plan = Plan(given.data, given.space, given.recipe)
    rows = read(given.output)
    todo = [each for each in wanted(given.members) if each not in rows]
    print(f"{len(rows)} rows are there, {len(todo)} to come", flush=True)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        pending = {pool.submit(row, number, seed, plan): (number, seed) for number, seed in todo}
        for done in as_completed(pending):
            rows[pending[done]] = done.result()
            write(given.output, rows)
            one = rows[pending[done]]
            print(f"{one['index']:>6} {one['start']:<18} {one['moves']:>2} moves  {one['c10']:6.2f} %  "
                  f"{one['seconds']} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
