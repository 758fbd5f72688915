"""Sums of scores that should hold everywhere, chosen on all spaces but one and reported on that one.

    python benchmarks/aggregates.py [--scores runs/proxy_spaces] [--page docs/results/sums.md]

It reads what `proxy_spaces.py` has scored. A sum is one of logarithms of ranks, of up to three of `TERMS`, of which one
may count twice. Trained members of walks are a fifth space.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from proxy_spaces import PASSES
from rank_spaces import SPACES, Space, differences, tau, written
from scipy.stats import spearmanr

from uninas.scores.aggregate import AGGREGATES

Floats = NDArray[np.float64]
Formula = Mapping[str, float]

TERMS = ("params", "flops", "graph_score", "expressivity", "jacov", "near", "naswot", "synflow")
SINGLE = (
    *TERMS, "trainable_layers", "path_depth", "path_width", "path_count", "pooled_paths", "shortcuts", "progressivity",
    "swap", "snip", "zen", "trainability", "vkdnw_sampled",
)  # fmt: skip
SHORT = 0.05
"""By how much a sum may rank worse than the better of parameters and FLOPs on a task that it is chosen on."""
TITLES = {**{name: title for title, (name, _, _) in SPACES.items()}, "members": "Trained members"}
HALVES = 200
PUBLISHED = {
    "near": "no figure found",
    "meco": ".89 Spearman on CIFAR-10 (Jiang et al., NeurIPS 2023, abstract)",
    "l_swag": "no figure found",
    "dss": "none: made for transformers (Zhou et al., CVPR 2022), `synflow` on cells",
    "dextr": "no figure found",
}
"""What is published of the newer scores on NAS-Bench-201, where we could look it up."""


def read(folder: Path, name: str, passes: Sequence[str]) -> Space | None:
    """The networks of a space that all these passes have scored; a score that there is not is below all others."""
    parts = []
    for one in passes:
        path = folder / one / f"{name}.csv"
        if not path.is_file():
            return None
        with path.open(encoding="utf-8", newline="") as file:
            parts.append({row["key"]: row for row in csv.DictReader(file)})
    keys = [key for key in parts[0] if all(key in part for part in parts)]
    rows = [{name: text for part in parts for name, text in part[key].items()} for key in keys]
    scores, accuracies = {}, {}
    for column in rows[0]:
        if column == "key" or column.endswith(", s"):
            continue
        values = np.array([float(row[column]) if row[column] else np.nan for row in rows])
        if column.startswith("accuracy "):
            accuracies[column.removeprefix("accuracy ")] = values
        else:
            scores[column] = np.where(np.isfinite(values), values, np.nanmin(values) - 1)
    if "vkdnw_sampled" in scores:
        scores["vkdnw_single"] = scores["vkdnw_sampled"] + scores["trainable_layers"]
    if "flops" in scores:
        scores["complexity"] = scores["flops"]
    return Space(TITLES[name], scores, accuracies)


def formulas() -> Iterator[Formula]:
    """Every sum of up to three terms, and of two of which one counts twice."""
    for count in (1, 2, 3):
        for names in itertools.combinations(TERMS, count):
            yield dict.fromkeys(names, 1.0)
    for one, other in itertools.permutations(TERMS, 2):
        yield {one: 2.0, other: 1.0}


def shortfall(space: Space, taus: Sequence[float]) -> float:
    """By how much these are below the better of parameters and FLOPs on the worst task; below 0 where they are not."""
    return float(np.max(space.bases - np.array(taus)))


def choose(spaces: Sequence[Space], known: dict[str, list[list[float]]]) -> Formula:
    """The sum with the highest mean tau of those that are nowhere more than `SHORT` short."""
    tried = list(formulas())
    for space in spaces:
        if space.title not in known:
            known[space.title] = [space.taus(space.score(formula)) for formula in tried]
    taus = [[known[space.title][place] for space in spaces] for place in range(len(tried))]
    short = [max(map(shortfall, spaces, row)) for row in taus]
    mean = [float(np.mean([np.mean(one) for one in row])) for row in taus]
    return tried[max(range(len(tried)), key=lambda place: (short[place] <= SHORT, mean[place]))]


def singles(spaces: Sequence[Space]) -> Iterator[str]:
    """Tau of every score in every task."""
    heads = [f"{space.title}, {task}" for space in spaces for task in space.accuracies]
    yield f"| score | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for name in SINGLE:
        cells = [
            f"{found:+.2f}" if name in space.counts and np.ptp(space.counts[name]) else ""
            for space in spaces
            for found in (space.taus(space.counts[name]) if name in space.counts else [0.0] * len(space.accuracies))
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def table(rows: Sequence[tuple[Space, Formula]]) -> Iterator[str]:
    """Tau of sums, and less that of the better of parameters and FLOPs."""
    return differences([(space, formula, space.score(formula)) for space, formula in rows], "space", digits=2)


def aggregates(spaces: Sequence[Space], chosen: Formula) -> Iterator[str]:
    """Mean tau in every space of aggregates, and of the chosen sum, on the networks of all passes."""
    heads = [f"{space.title}, {len(space.counts['params'])}" for space in spaces]
    yield f"| score | {' | '.join(heads)} | mean |"
    yield "|---" * (len(spaces) + 2) + "|"
    named: dict[str, Formula] = {name: {name: 1.0} for name in ("params", "flops", "graph_score", "expressivity")}
    for name in ("paths_agg", "graph_agg", "az_nas", "vkdnw_agg"):
        named[f"`{name}`"] = dict.fromkeys(AGGREGATES[name].components, 1.0)
    for name, formula in {**named, written(chosen): chosen}.items():
        means = [float(np.mean(space.taus(space.score(formula)))) for space in spaces]
        yield f"| {name} | {' | '.join(f'{mean:.2f}' for mean in [*means, float(np.mean(means))])} |"


def halves(space: Space) -> Iterator[str]:
    """Sums of two chosen on one half of trained members and reported on the other, beside single scores."""
    (accuracies,) = space.accuracies.values()
    names = [name for name in SINGLE if name in space.counts and name != "pooled_paths"]
    single = {name: {name: 1.0} for name in names}
    pairs = {f"{one} + {other}": {one: 1.0, other: 1.0} for one, other in itertools.combinations(names, 2)}
    rng, total = np.random.default_rng(0), len(accuracies)
    found: dict[str, list[float]] = {"the best single": [], "the best sum of two": [], "expressivity": []}
    took: dict[str, int] = {}
    for _ in range(HALVES):
        order = rng.permutation(total)
        mine, other = (
            Space("", {name: space.counts[name][part] for name in names}, {"c10": accuracies[part]})
            for part in (order[: total // 2], order[total // 2 :])
        )
        for label, tried in (("the best single", single), ("the best sum of two", pairs)):
            best = max(tried, key=lambda name: mine.taus(mine.score(tried[name]))[0])
            found[label].append(other.taus(other.score(tried[best]))[0])
            if label != "the best single":
                took[best] = took.get(best, 0) + 1
        found["expressivity"].append(other.taus(other.counts["expressivity"])[0])
    yield "| chosen on one half | tau on the other: mean, and 95 % of the halves | less that of expressivity |"
    yield "|---|---|---|"
    for label, taus in found.items():
        low, high = np.quantile(taus, (0.025, 0.975))
        less = np.array(taus) - found["expressivity"]
        span = np.quantile(less, (0.025, 0.975))
        yield (
            f"| {label} | {np.mean(taus):+.2f} [{low:+.2f}, {high:+.2f}] "
            f"| {np.mean(less):+.2f} [{span[0]:+.2f}, {span[1]:+.2f}] |"
        )
    most = sorted(took, key=lambda name: -took[name])[:4]
    yield f"\nChosen most often: {', '.join(f'{name} ({took[name] / HALVES:.0%})' for name in most)}."


def newer(space: Space) -> Iterator[str]:
    """Kendall's tau with its interval and Spearman's correlation of the newer scores, beside what is published."""
    yield f"| score | {' | '.join(space.accuracies)} | published |"
    yield "|---" * (len(space.accuracies) + 2) + "|"
    for name, said in PUBLISHED.items():
        scores, cells = space.counts[name], []
        for task, accuracies in space.accuracies.items():
            low, high, _ = space.intervals(scores, task)
            rho = float(spearmanr(scores, accuracies).statistic)
            cells.append(f"{tau(scores, accuracies):.2f} [{low:.2f}, {high:.2f}] / {rho:.2f}")
        yield f"| `{name}` | {' | '.join(cells)} | {said} |"


def page(folder: Path, command: str) -> str:
    """All tables as Markdown."""
    names = [name for name in TITLES if (folder / "leaders" / f"{name}.csv").is_file()]
    spaces = [space for name in names if (space := read(folder, name, ("counts", "leaders")))]
    full = [space for name in names if (space := read(folder, name, ("counts", "leaders", "more", "dear")))]
    more = [space for name in names if (space := read(folder, name, ("counts", "leaders", "more")))]
    known: dict[str, list[list[float]]] = {}
    chosen = choose(spaces, known)
    left = [(space, choose([one for one in spaces if one is not space], known)) for space in spaces]
    counts = ", ".join(f"{len(space.counts['params'])} of {space.title}" for space in spaces)
    date = datetime.now(UTC).date().isoformat()
    lines = [
        HEAD.format(command=command, date=date, counts=counts, more=" and ".join(PASSES)),
        *singles(full or more), CHOICE.format(tried=sum(1 for _ in formulas()), short=SHORT), *table(left),
        WHOLE.format(chosen=written(chosen)), *table([(space, chosen) for space in spaces]),
    ]  # fmt: skip
    if full:
        lines += [OTHERS, *aggregates(full, chosen)]
    members = [space for space in full or more if space.title == TITLES["members"]]
    for space in members:
        lines += [HALF.format(halves=HALVES, count=len(space.counts["params"])), *halves(space)]
    cells = read(folder, "nasbench201", ("published",))
    if cells:
        lines += [NEWER.format(count=len(cells.counts["near"])), *newer(cells)]
    return "\n".join(lines) + "\n"


HEAD = """# Sums of scores

Kendall's tau with accuracies of proxies, counts and sums of their ranks, in four spaces and on the [trained
members](micro_table.md) of walks. Networks are drawn at random:
{counts}.
Images are noise, 16 of 32 x 32 (64 x 64 for AutoFormer-T), weights those of the spaces' own schemes, one seed, heads
folded. Scores are label-free; a sum is **chosen with labels**, those of the spaces that it was chosen on. Brackets are
95 % intervals (bootstrap over networks, paired).

Measured on {date} with

    python benchmarks/proxy_spaces.py
    {command}

## Single scores

On the networks that all passes have scored. `pooled_paths` is meant to be low.
"""

CHOICE = """
## Chosen on all spaces but one

{tried} sums of logarithms of ranks were tried: up to three of `params`, `flops`, `graph_score`, `expressivity`,
`jacov`, `near`, `naswot` and `synflow`, or two of which one counts twice. Of those that are on no task more than
{short} below the better of parameters and FLOPs, the one with the highest mean tau is chosen; reported is the space
left out.
"""

WHOLE = """
What it says: where the space left out is the only one of transformers, flowers are lost, as in [Spaces](spaces.md):
convolutions and trained members do not tell that width counts there. In no other space is the choice of the others
below the better of the two by more than its interval.

## Chosen on all

    {chosen}

This is `broad_agg`, whose choice all five spaces had a say in; on none of the eleven tasks it is below the better of
parameters and FLOPs by more than its interval. `expressivity` alone ranks trained members best, and is far behind on
flowers.
"""

OTHERS = """
## Beside aggregates

The mean tau over tasks, on the networks that all passes have scored. `vkdnw_agg` is made of `vkdnw_sampled` with 32
tensors here, which ranks like the exact score ([Which tensors VKDNW looks at](tensors.md)).
"""

HALF = """
## Sums of two on trained members

Chosen on one half of the {count} members, reported on the other: {halves} drawings of halves.
"""


NEWER = """
## Newer scores on NAS-Bench-201

Kendall's tau with its 95 % interval / Spearman's correlation on {count} random cells of the 9 445 that are not
redundant, 16 images of noise, and what their papers have. All are label-free.
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scores", type=Path, default=Path("runs/proxy_spaces"))
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    found = page(given.scores, f"python benchmarks/aggregates.py --page {given.page or 'FILE'}")
    print(found)
    if given.page:
        given.page.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
