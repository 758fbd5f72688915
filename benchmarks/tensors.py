"""Which tensors VKDNW should look at, and what sampled classes cost it, on networks with known accuracies.

    python benchmarks/tensors.py [--data ../shared/benchmarks] [--networks 100] [-o runs/tensors]
        [--page docs/results/tensors.md]

A random part of each of four spaces; `trained_scores.py` has the same for trained members of UniNAS. Images are noise;
a score that does not exist is left out for that network, and counted. Scores are kept in a CSV file for each space, so
that the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rank_spaces
from numpy.typing import NDArray
from scipy.stats import kendalltau

from uninas.errors import UninasError
from uninas.graph import Graph
from uninas.language.elaborate import space as read_space
from uninas.language.library import find
from uninas.runs.scorer import Scorer

Floats = NDArray[np.float64]

SETTINGS: dict[str, tuple[str, Mapping[str, object]]] = {
    "first 64": ("vkdnw", {"max_tensors": 64}),
    "spread 64": ("vkdnw", {"max_tensors": 64, "select": "spread"}),
    "random 64": ("vkdnw", {"max_tensors": 64, "select": "random"}),
    "first 128": ("vkdnw", {}),
    "spread 128": ("vkdnw", {"select": "spread"}),
    "first 64, 2 draws": ("vkdnw_sampled", {"max_tensors": 64, "draws": 2}),
    "first 64, 4 draws": ("vkdnw_sampled", {"max_tensors": 64}),
    "spread 64, 4 draws": ("vkdnw_sampled", {"max_tensors": 64, "select": "spread"}),
}
"""What is compared: a proxy with its options."""
EXACT = {"first 64, 2 draws": "first 64", "first 64, 4 draws": "first 64", "spread 64, 4 draws": "spread 64"}
"""Of estimates: what they estimate."""
IMAGES = {
    "NAS-Bench-201": (32, 32), "NATS-Bench sizes": (32, 32),
    "TransNAS-Bench-101 micro": (32, 16), "AutoFormer-T": (64, 16),
}  # fmt: skip
"""Their side and number: so small that a network takes seconds; maps shrink where a space was made for more."""
DRAWINGS = 400


@dataclass(frozen=True)
class Member:
    """A network with a name, and its accuracies by task."""

    key: str
    graph: Graph
    accuracies: Mapping[str, float]


def members(title: str, data: Path, count: int, side: int | None = None) -> Iterator[Member]:
    """Some networks of a space, drawn at random, for images of this side."""
    name, rows, _ = rank_spaces.SPACES[title]
    every = list(rows(data))
    side = side or IMAGES[title][0]
    space = read_space(*find(name), input=(3, side, side))
    random.Random(7).shuffle(every)
    for row in every[:count]:
        yield Member(row.key, space.member(row.answers), row.accuracies)


def measured(found: Iterator[Member], path: Path, batch: int, fold: bool) -> list[dict[str, float]]:
    """For each network its accuracies, and the score and seconds of every setting; nan where there is no score."""
    known: dict[str, dict[str, str]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            known = {row["key"]: row for row in csv.DictReader(file)}
    rows = []
    for done, member in enumerate(found):
        if member.key not in known:
            row = {"key": member.key, **{f"accuracy {t}": str(a) for t, a in member.accuracies.items()}}
            for label, (proxy, options) in SETTINGS.items():
                row[label], row[f"{label}, s"] = _score(member.graph, proxy, options, batch, fold)
            with path.open("a", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                if not file.tell():
                    writer.writeheader()
                writer.writerow(row)
            known[member.key] = row
            print(f"{path.stem}: {done + 1}", flush=True)
        rows.append({name: float(value) for name, value in known[member.key].items() if name != "key"})
    return rows


def _score(graph: Graph, proxy: str, options: Mapping[str, object], batch: int, fold: bool) -> tuple[str, str]:
    began = time.process_time()
    try:
        value = Scorer([proxy], batch, options=options, fold=fold)(graph, 0)["score"]
    except UninasError:
        value = float("nan")
    return repr(value), f"{time.process_time() - began:.2f}"


def tau(scores: Floats, accuracies: Floats) -> str:
    """Kendall's tau over the networks that have a score, with its 95 % interval."""
    known = np.isfinite(scores)
    scores, accuracies = scores[known], accuracies[known]
    if len(scores) < 3 or not np.ptp(scores):
        return ""
    generator = np.random.default_rng(0)
    drawn = [generator.integers(len(scores), size=len(scores)) for _ in range(DRAWINGS)]
    low, high = np.nanquantile([kendalltau(scores[d], accuracies[d]).statistic for d in drawn], (0.025, 0.975))
    return f"{kendalltau(scores, accuracies).statistic:+.2f} [{low:+.2f}, {high:+.2f}]"


def lines(title: str, rows: Sequence[Mapping[str, float]], batch: int) -> list[str]:
    """The table of one space."""
    tasks = [name.removeprefix("accuracy ") for name in rows[0] if name.startswith("accuracy ")]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    heads = ["setting", *tasks, "with the exact score", "no score", "median s"]
    out = [f"## {title}: {len(rows)} networks, {batch} images\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for label in SETTINGS:
        scores, seconds = columns[label], columns[f"{label}, s"]
        near = tau(scores, columns[EXACT[label]]) if label in EXACT else ""
        cells = [label, *(tau(scores, columns[f"accuracy {task}"]) for task in tasks), near]
        out.append(f"| {' | '.join([*cells, str(int(np.isnan(scores).sum())), f'{np.median(seconds):.2f}'])} |")
    return [*out, ""]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/benchmarks"))
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/tensors"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    parts = []
    for title, (side, batch) in IMAGES.items():
        path = options.output / f"{rank_spaces.SPACES[title][0]}.csv"
        rows = measured(members(title, options.data, options.networks), path, batch, fold=True)
        parts += lines(f"{title}, {side} px", rows, batch)
    text = "\n".join(parts)
    print(text)
    if options.page:
        date = datetime.now(UTC).strftime("%Y-%m-%d")
        command = f"    python benchmarks/tensors.py --networks {options.networks} --page {options.page}"
        options.page.write_text(f"{HEAD.format(date=date, command=command)}\n{text}", encoding="utf-8")


HEAD = """# Which tensors VKDNW looks at

Kendall's tau with accuracies, by which tensors are chosen (`select`) and how many, and of the estimate from sampled
classes (`vkdnw_sampled`); brackets are 95 % intervals from a bootstrap over networks. All scores are label-free. The
column *with the exact score* is Kendall's tau between an estimate and what it estimates, over networks. Seconds are
processor time of one score of one network, with building it, and compare within a table. Images are noise, weights
those of the spaces' own schemes, norms in evaluation mode, one seed, heads folded. [Trained
members](trained_scores.md) of the UniNAS space have a page of their own.

Measured on {date} with

{command}
"""


if __name__ == "__main__":
    main()
