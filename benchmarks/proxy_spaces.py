"""Proxies and counts against accuracies in four spaces and on trained members, for sums that should hold everywhere.

    python benchmarks/proxy_spaces.py [--data ../shared/benchmarks] [-o runs/proxy_spaces]

A random part of each space of `rank_spaces.py`, and the trained members of docs/results/micro_table.csv. Every network
is scored by the proxies of `PASSES`. Scores are kept in a CSV file for each space, so that the same command goes on
where it stopped; spaces take turns, so that what there is can be looked at any time. `aggregates.py` chooses sums from
these files.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import rank_spaces
from tensors import Member, members

from uninas import load
from uninas.errors import UninasError
from uninas.runs.scorer import Scorer
from uninas.scores.paths import GRAPH_SCORE, MEASURES

SPACES = dict.fromkeys(("members", "nasbench201", "natsbench_size", "transnas_micro", "autoformer"), 120)
PASSES: Mapping[str, tuple[tuple[str, ...], Mapping[str, int]]] = {
    "counts": (("params", "flops", "trainable_layers", *MEASURES, GRAPH_SCORE), SPACES),
    "leaders": (("expressivity", "jacov", "near", "naswot", "synflow"), SPACES),
    "more": (("progressivity", "swap", "snip", "zen"), dict.fromkeys(SPACES, 60)),
    "dear": (("trainability", "vkdnw_sampled"), dict.fromkeys(SPACES, 60)),
    "published": (("near", "meco", "l_swag", "dss", "dextr"), {"nasbench201": 300}),
}
"""Proxies, and how many networks of which files they score at most, a folder for each pass."""
OPTIONS: Mapping[str, object] = {"vkdnw_sampled.max_tensors": 32}
IMAGES = 16
SIDES = {"autoformer": 64}
"""The side of the images where it isn't 32: as few pixels as a patch allows. Maps shrink where a space has more."""
TURN = 10  # networks of a space before it is another's turn


def trained(table: Path) -> Iterator[Member]:
    """The trained members of walks, each once."""
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["first"] == "1":
                yield Member(row["key"], load(row["architecture"]), {"c10": float(row["c10"])})


def measured(member: Member, proxies: Sequence[str]) -> dict[str, str]:
    """A row of a file: accuracies, scores and their processor seconds; empty where there is none."""
    row = {"key": member.key, **{f"accuracy {task}": repr(value) for task, value in member.accuracies.items()}}
    options = {key: value for key, value in OPTIONS.items() if key.partition(".")[0] in proxies}
    scorer = Scorer(proxies, IMAGES, options=options, fold=True)
    with scorer.network(member.graph, 0) as network:
        for proxy in proxies:
            began = time.process_time()
            try:
                row[proxy] = repr(float(network.score(proxy, 0).value))
            except UninasError as problem:
                print(f"{member.key}, {proxy}: {problem.diagnostics[0].message}", flush=True)
                row[proxy] = ""
            row[f"{proxy}, s"] = f"{time.process_time() - began:.2f}"
    return row


def turns(members: dict[str, Iterator[Member]], proxies: Sequence[str], output: Path) -> None:
    """Score all, some of each space in turn; what is known is passed by."""
    output.mkdir(parents=True, exist_ok=True)
    known = {name: _keys(output / f"{name}.csv") for name in members}
    while members:
        for name in list(members):
            path, done = output / f"{name}.csv", 0
            for member in members[name]:
                if member.key in known[name]:
                    continue
                row = measured(member, proxies)
                with path.open("a", encoding="utf-8", newline="") as file:
                    writer = csv.DictWriter(file, list(row), lineterminator="\n")
                    if not file.tell():
                        writer.writeheader()
                    writer.writerow(row)
                known[name].add(member.key)
                done += 1
                if done == TURN:
                    break
            else:
                del members[name]
            print(f"{name}: {len(known[name])}", flush=True)


def _keys(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        return {row["key"] for row in csv.DictReader(file)}


def main() -> None:
    """Score what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "benchmarks")
    parser.add_argument("--table", type=Path, default=Path("docs/results/micro_table.csv"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/proxy_spaces"))
    given = parser.parse_args()
    files = {"members": "", **{name: title for title, (name, _, _) in rank_spaces.SPACES.items()}}
    for folder, (proxies, counts) in PASSES.items():
        rooms: dict[str, Iterator[Member]] = {}
        for name, count in counts.items():
            title, side = files[name], SIDES.get(name, 32)
            rooms[name] = members(title, given.data, count, side) if title else trained(given.table)
        turns(rooms, proxies, given.output / folder)


if __name__ == "__main__":
    main()
