"""Proxies and counts against accuracies in four spaces and on trained members, for sums that should hold everywhere.

    python benchmarks/proxy_spaces.py [--data ../shared/benchmarks] [-o docs/results/proxy_spaces] [--only PASS ...]

A random part of each space of `rank_spaces.py`, and networks that we have trained (`TRAINED`). Every network
is scored by the proxies of `PASSES`. Scores are kept in a CSV file for each pass, without the accuracies, which are not
ours; the files are shipped, so that the same command goes on where they end. Spaces take turns, so that what there is
can be looked at any time. `aggregates.py` chooses sums from these files.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import rank_spaces
from tensors import Member, members

from uninas import load
from uninas.errors import UninasError
from uninas.runs.scorer import Scorer
from uninas.scores.paths import GRAPH_SCORE, MEASURES

TRAINED = {
    "members": Path("docs/results/micro_table.csv"),
    "transformers": Path("docs/results/vit_table.csv"),
    "pooling": Path("docs/results/pit_table.csv"),
    "choices": Path("docs/results/choices_table.csv"),
}
"""Tables of networks that we have trained: members of walks, of two spaces of transformers, and of one of choices."""
SPACES = {
    "members": 200, "transformers": 200, "pooling": 200, "choices": 200, "autoformer": 200, "nasbench201": 160,
    "natsbench_size": 160, "transnas_micro": 160,
}  # fmt: skip
SOME = dict.fromkeys(SPACES, 40)
PASSES: Mapping[str, tuple[tuple[str, ...], Mapping[str, int]]] = {
    "counts": (("params", "flops", "trainable_layers", *MEASURES, GRAPH_SCORE), SPACES),
    "leaders": (("expressivity", "jacov", "near", "naswot", "synflow"), SPACES),
    "more": (("progressivity", "swap", "snip", "zen"), SOME),
    "dear": (("trainability", "vkdnw_sampled"), SOME),
    "published": (("near", "meco", "l_swag", "dss", "dextr"), {"nasbench201": 300}),
    "newest": (("wrcor", "apd"), {**SPACES, "nasbench201": 300}),
}
"""Proxies, and how many networks of which spaces they score at most, a file for each pass."""
OPTIONS: Mapping[str, object] = {"vkdnw_sampled.max_tensors": 32}
IMAGES = 16
SIDES = {"autoformer": 64}
"""The side of the images where it isn't 32: as few pixels as a patch allows. Maps shrink where a space has more."""
TURN = 10  # networks of a space before it is another's turn


def trained(table: Path) -> Iterator[Member]:
    """The networks of a table of ours, each once."""
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["first"] == "1":
                yield Member(row["key"], load(row["architecture"]), {"c10": float(row["c10"])})


def measured(member: Member, proxies: Sequence[str]) -> dict[str, str]:
    """Scores by proxy, to six digits; empty where there is none."""
    row = {}
    options = {key: value for key, value in OPTIONS.items() if key.partition(".")[0] in proxies}
    scorer = Scorer(proxies, IMAGES, options=options, fold=True)
    with scorer.network(member.graph, 0) as network:
        for proxy in proxies:
            try:
                row[proxy] = f"{float(network.score(proxy, 0).value):.6g}"
            except UninasError as problem:
                print(f"{member.key}, {proxy}: {problem.diagnostics[0].message}", flush=True)
                row[proxy] = ""
    return row


def turns(members: dict[str, Iterator[Member]], proxies: Sequence[str], path: Path) -> None:
    """Score all, some of each space in turn; what is known is passed by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = set()
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            known = {(row["space"], row["key"]) for row in csv.DictReader(file)}
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["space", "key", *proxies], lineterminator="\n")
        if not known:
            writer.writeheader()
        while members:
            for name in list(members):
                new = (member for member in members[name] if (name, member.key) not in known)
                taken = list(itertools.islice(new, TURN))
                for member in taken:
                    writer.writerow({"space": name, "key": member.key, **measured(member, proxies)})
                    file.flush()
                if len(taken) < TURN:
                    del members[name]
                else:
                    print(f"{path.stem}, {name}: {TURN} more", flush=True)


def main() -> None:
    """Score what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "benchmarks")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results/proxy_spaces"))
    parser.add_argument("--only", nargs="*", choices=list(PASSES), help="passes; all unless named")
    given = parser.parse_args()
    files = {name: title for title, (name, _, _) in rank_spaces.SPACES.items()}
    for label in given.only or PASSES:
        proxies, counts = PASSES[label]
        rooms: dict[str, Iterator[Member]] = {}
        for name, count in counts.items():
            if name in TRAINED:
                rooms[name] = trained(TRAINED[name])
            else:
                rooms[name] = members(files[name], given.data, count, SIDES.get(name, 32))
        turns(rooms, proxies, given.output / f"{label}.csv")


if __name__ == "__main__":
    main()
