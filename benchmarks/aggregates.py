"""Sums of scores that should hold everywhere, chosen on all spaces but one and reported on that one.

    python benchmarks/aggregates.py [--scores docs/results/proxy_spaces] [--data ../shared/benchmarks]
        [--page docs/results/sums.md]

It reads what `proxy_spaces.py` has scored, and accuracies from their tables. A sum is one of logarithms of ranks, of
any of `TERMS`. Networks that we have trained are further spaces to choose on; `ASIDE` is reported on, and nothing is
chosen there. All that the page says of results is counted from them.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from proxy_spaces import TRAINED
from rank_spaces import SPACES, Space, differences, tau, verdict, written
from scipy.stats import spearmanr

from uninas.scores.aggregate import AGGREGATES

Floats = NDArray[np.float64]
Formula = Mapping[str, float]

TERMS = ("params", "flops", "graph_score", "expressivity", "jacov", "near", "naswot", "synflow", "wrcor", "apd")
SINGLE = (
    *TERMS, "trainable_layers", "path_depth", "path_width", "path_count", "pooled_paths", "shortcuts", "progressivity",
    "swap", "snip", "zen", "trainability", "vkdnw_sampled",
)  # fmt: skip
SHORT = 0.05
"""By how much a sum may rank worse than the better of parameters and FLOPs on a task that it is chosen on."""
RANKED = {name: title for title, (name, _, _) in SPACES.items()}
TITLES = {
    **RANKED, "members": "Trained members", "transformers": "Small transformers", "pooling": "Transformers that pool",
    "choices": "Members of choices",
}  # fmt: skip
ASIDE = "choices"
SIZES = ("params", "flops", "graph_score")
FORMER = dict.fromkeys(AGGREGATES["consensus_agg"].components, 1.0)
"""What was chosen before there were transformers that we had trained."""
HALVES = 200
WIDTH = 120
PUBLISHED = {
    "near": "no figure found",
    "meco": ".89 Spearman on CIFAR-10 (Jiang et al., NeurIPS 2023, abstract)",
    "l_swag": "no figure found",
    "dss": "none: made for transformers (Zhou et al., CVPR 2022), `synflow` on cells",
    "dextr": "no figure found",
    "wrcor": ".81 Spearman on CIFAR-10 (Jing et al., arXiv 2507.08841, table 2, from a quotation)",
    "apd": "no figure found",
}
"""What is published of the newer scores on NAS-Bench-201, where we could look it up."""


def read(scores: Path, data: Path, name: str, passes: Sequence[str]) -> Space | None:
    """The networks of a space that all these passes have scored; a score that there is not is below all others.

    None where there are no scores of it, or a file with them or its table of accuracies is not there.
    """
    parts = []
    try:
        for one in passes:
            with (scores / f"{one}.csv").open(encoding="utf-8", newline="") as file:
                parts.append({row["key"]: row for row in csv.DictReader(file) if row["space"] == name})
        known = _accuracies(name, data)
    except FileNotFoundError as problem:
        print(f"{TITLES[name]} is left out: {problem}")
        return None
    keys = [key for key in parts[0] if all(key in part for part in parts)]
    if not keys:
        return None
    rows = [{name: text for part in parts for name, text in part[key].items()} for key in keys]
    columns = {}
    for column in rows[0].keys() - {"space", "key"}:
        values = np.array([float(row[column]) if row[column] else np.nan for row in rows])
        columns[column] = np.where(np.isfinite(values), values, np.nanmin(values) - 1)
    if "vkdnw_sampled" in columns:
        columns["vkdnw_single"] = columns["vkdnw_sampled"] + columns["trainable_layers"]
    if "flops" in columns:
        columns["complexity"] = columns["flops"]
    return Space(TITLES[name], columns, {task: np.array([known[key][task] for key in keys]) for task in known[keys[0]]})


def _accuracies(name: str, data: Path) -> dict[str, Mapping[str, float]]:
    """By the keys of networks, their accuracies by task."""
    if name in RANKED:
        return {row.key: row.accuracies for row in SPACES[RANKED[name]][1](data)}
    with TRAINED[name].open(encoding="utf-8", newline="") as file:
        return {row["key"]: {"c10": float(row["c10"])} for row in csv.DictReader(file) if row["first"] == "1"}


def formulas() -> Iterator[Formula]:
    """Every sum of terms, each of which counts once."""
    for count in range(1, len(TERMS) + 1):
        for names in itertools.combinations(TERMS, count):
            yield dict.fromkeys(names, 1.0)


def shortfall(space: Space, taus: Sequence[float]) -> float:
    """By how much these are below the better of parameters and FLOPs on the worst task; below 0 where they are not."""
    return float(np.max(space.bases - np.array(taus)))


Known = dict[str, list[list[float]]]
"""Of spaces, by their titles: the taus of every formula by task."""
Merit = Callable[[Formula, Sequence[Space], Sequence[Sequence[float]]], tuple[float, ...]]
"""The larger, the rather a formula with these taus on some spaces is chosen."""


def _shortest(spaces: Sequence[Space], taus: Sequence[Sequence[float]]) -> float:
    return max(map(shortfall, spaces, taus))


def by_mean(formula: Formula, spaces: Sequence[Space], taus: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The highest mean tau of those that are nowhere more than `SHORT` short."""
    return _shortest(spaces, taus) <= SHORT, float(np.mean([np.mean(one) for one in taus]))


def by_worst(formula: Formula, spaces: Sequence[Space], taus: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The smallest shortfall on the worst task."""
    return (-_shortest(spaces, taus),)


def with_size(formula: Formula, spaces: Sequence[Space], taus: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The same as `by_mean`, of those with parameters, FLOPs or `graph_score` in them."""
    return any(name in SIZES for name in formula), *by_mean(formula, spaces, taus)


RULES: Mapping[str, Merit] = {
    "the highest mean": by_mean, "the best worst task": by_worst, "size among the terms": with_size,
}  # fmt: skip


def choose(spaces: Sequence[Space], known: Known, merit: Merit = by_mean) -> Formula:
    """The sum that a rule chooses on these spaces."""
    tried = list(formulas())
    for space in spaces:
        if space.title not in known:
            known[space.title] = [space.taus(space.score(formula)) for formula in tried]
    taus = [[known[space.title][place] for space in spaces] for place in range(len(tried))]
    return tried[max(range(len(tried)), key=lambda place: merit(tried[place], spaces, taus[place]))]


def rules(spaces: Sequence[Space], known: Known) -> Iterator[str]:
    """What each rule chooses on all spaces but one, and how it does on the worst task of that one."""
    yield "| rule | space left out | formula | worst task | difference |\n|---|---|---|---|---|"
    for label, merit in RULES.items():
        for space in spaces:
            formula = choose([one for one in spaces if one is not space], known, merit)
            found = space.differences(space.score(formula))
            task = min(found, key=lambda task: found[task][0])
            value, low, high = found[task]
            yield f"| {label} | {space.title} | {written(formula)} | {task} | {value:+.2f} [{low:+.2f}, {high:+.2f}] |"


def lost(rows: Sequence[tuple[Space, Formula, Floats]]) -> str:
    """The tasks on which formulas are below the better of parameters and FLOPs by more than the interval."""
    found = [
        f"{space.title} ({task}, {difference:+.2f})"
        for space, _, scores in rows
        for task, (difference, _, high) in space.differences(scores).items()
        if high < 0
    ]
    return "; ".join(found) or "none"


def singles(spaces: Sequence[Space]) -> Iterator[str]:
    """Tau of every score in every task, of those that there are."""
    heads = [f"{space.title}, {task}" for space in spaces for task in space.accuracies]
    yield f"| score | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for name in (name for name in SINGLE if any(name in space.counts for space in spaces)):
        cells = [
            f"{found:+.2f}" if name in space.counts and np.ptp(space.counts[name]) else ""
            for space in spaces
            for found in (space.taus(space.counts[name]) if name in space.counts else [0.0] * len(space.accuracies))
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def scored(rows: Sequence[tuple[Space, Formula]]) -> list[tuple[Space, Formula, Floats]]:
    """With the scores of each formula."""
    return [(space, formula, space.score(formula)) for space, formula in rows]


def means(spaces: Sequence[Space], rows: Mapping[str, Formula]) -> Iterator[str]:
    """The mean tau over tasks of formulas, in every space and over spaces, and on how many tasks they win and lose."""
    yield f"| score | {' | '.join(space.title for space in spaces)} | mean | above | below |"
    yield "|---" * (len(spaces) + 4) + "|"
    for name, formula in rows.items():
        found = [float(np.mean(space.taus(space.score(formula)))) for space in spaces]
        spans = [span for space in spaces for span in space.differences(space.score(formula)).values()]
        above, below = sum(low > 0 for _, low, _ in spans), sum(high < 0 for *_, high in spans)
        yield f"| {name} | {' | '.join(f'{one:.2f}' for one in [*found, np.mean(found)])} | {above} | {below} |"


def aggregates(spaces: Sequence[Space]) -> Iterator[str]:
    """Mean tau in every space of aggregates, on the networks of all passes."""
    heads = [f"{space.title}, {len(space.counts['params'])}" for space in spaces]
    yield f"| score | {' | '.join(heads)} | mean |"
    yield "|---" * (len(spaces) + 2) + "|"
    named: dict[str, Formula] = {name: {name: 1.0} for name in ("params", "flops", "graph_score", "expressivity")}
    for name in ("paths_agg", "graph_agg", "az_nas", "vkdnw_agg", "broad_agg", "consensus_agg", "steady_agg"):
        named[f"`{name}`"] = dict.fromkeys(AGGREGATES[name].components, 1.0)
    for name, formula in named.items():
        found = [float(np.mean(space.taus(space.score(formula)))) for space in spaces]
        yield f"| {name} | {' | '.join(f'{one:.2f}' for one in [*found, float(np.mean(found))])} |"


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


def filled(text: str, **values: str) -> str:
    """A text with values in its places; paragraphs that became too long are broken again."""
    core = text.strip("\n")

    def broken(part: str) -> str:
        fits = part.startswith("    ") or max(map(len, part.split("\n"))) <= WIDTH
        return part if fits else textwrap.fill(part, WIDTH, break_on_hyphens=False)

    parts = map(broken, core.format(**values).split("\n\n"))
    before, after = text.split(core)
    return before + "\n\n".join(parts) + after


def page(scores: Path, data: Path, command: str) -> str:
    """All tables as Markdown."""

    def known_to(*passes: str) -> list[Space]:
        return [space for name in TITLES if (space := read(scores, data, name, passes))]

    every = known_to("counts", "leaders", "newest")
    full = known_to("counts", "leaders", "newest", "more", "dear")
    spaces = [space for space in every if space.title != TITLES[ASIDE]]
    known: Known = {}
    chosen = choose(spaces, known)
    left = scored([(space, choose([one for one in spaces if one is not space], known)) for space in spaces])
    inside = scored([(space, chosen) for space in spaces])
    outside = scored([(space, chosen) for space in every if space not in spaces])
    former = scored([(space, FORMER) for space in every])
    counts = ", ".join(f"{len(space.counts['params'])} of {space.title}" for space in every)
    names = {tuple(dict.fromkeys(one.components, 1.0).items()): name for name, one in AGGREGATES.items()}
    name = names.get(tuple(chosen.items()))
    without = {f"without {term}": {name: weight for name, weight in chosen.items() if name != term} for term in chosen}
    rows = {
        **{name: {name: 1.0} for name in TERMS}, "`graph_agg`": dict.fromkeys(AGGREGATES["graph_agg"].components, 1.0),
        "`broad_agg`": dict.fromkeys(AGGREGATES["broad_agg"].components, 1.0), "`consensus_agg`": FORMER,
        f"`{name}`" if name else written(chosen): chosen, **without, "all terms": dict.fromkeys(TERMS, 1.0),
    }  # fmt: skip
    lines = [
        filled(HEAD, command=command, date=datetime.now(UTC).date().isoformat(), counts=counts, aside=TITLES[ASIDE]),
        *singles(every),
        CHOICE.format(tried=sum(1 for _ in formulas()), short=SHORT), *differences(left, "space left out", digits=2),
        filled(LEFT, verdict=verdict(left), lost=lost(left)), *rules(spaces, known),
        filled(WHOLE, chosen=written(chosen), named=f"This is `{name}`" if name else "It has no name",
               verdict=verdict(inside), lost=lost(inside), outside=verdict(outside) if outside else "not measured"),
        *differences([*inside, *outside], "space", digits=2),
        filled(MEANS, former=written(FORMER), verdict=verdict(former), lost=lost(former)),
        *means(every, rows),
    ]  # fmt: skip
    if full:
        lines += [OTHERS, *singles(full), "", *aggregates(full)]
    for space in (space for space in full if space.title == TITLES["members"]):
        lines += [HALF.format(halves=HALVES, count=len(space.counts["params"])), *halves(space)]
    if cells := read(scores, data, "nasbench201", ("published", "newest")):
        lines += [NEWER.format(count=len(cells.counts["near"])), *newer(cells)]
    return "\n".join(lines) + "\n"


HEAD = """# Sums of scores

Kendall's tau with accuracies of proxies, counts and sums of their ranks, in four spaces whose accuracies others
published, and on networks that we have trained: [members of walks](micro_table.md), small transformers of two spaces
of choices (`benchmarks/micro_vit.uni` and `micro_pit.uni`, two looks at 12,000 images each), and {aside}, those of [a
space of convolutions](choices_scores.md), on which nothing is chosen. Networks are drawn at random:
{counts}.
Images are noise, 16 of 32 x 32 (64 x 64 for AutoFormer-T), weights those of the spaces' own schemes, one seed, heads
folded. Scores are label-free; a sum is **chosen with labels**, those of the spaces that it was chosen on. Brackets are
95 % intervals (bootstrap over networks, paired). *Above* and *below* mean by more than the interval. The scores are
shipped (`docs/results/proxy_spaces`), and so are the accuracies that are ours; those of others are not.

Measured on {date} with

    python benchmarks/proxy_spaces.py
    {command}

## Single scores
"""

CHOICE = """
## Chosen on all spaces but one

{tried} sums of logarithms of ranks were tried: of any of `params`, `flops`, `graph_score`, `expressivity`, `jacov`,
`near`, `naswot`, `synflow`, `wrcor` and `apd`. Of those that are on no task more than {short} below the better of
parameters and FLOPs, the one with the highest mean tau over spaces is chosen; reported is the space left out.
"""

LEFT = """
Chosen without the space, formulas are {verdict}: {lost}.

As long as AutoFormer-T was the only space of transformers here, every choice without it fell behind on its flowers;
this is why small transformers were trained. Would another rule choose better? The best worst task instead of the best
mean; or a term of size in every sum, as what is larger can hold more. Of each rule, the worst task of the space left
out:
"""

WHOLE = """
## Chosen on all

    {chosen}

{named}. On the spaces that had a say in it, it is {verdict}: {lost}. On the space kept aside it is {outside}.
"""

MEANS = """
What is it worth beside others? Below, tau as a mean over the tasks of each space, then over spaces, and on how many
tasks a sum is above or below the better of parameters and FLOPs. `consensus_agg`, {former}, was chosen before the small
transformers were trained, when it was behind on no task. Now it is {verdict}: {lost}. So a sum that holds in six spaces
may fail in the seventh, and so may this one in the next.
"""

OTHERS = """
## Beside aggregates

On the networks that all passes have scored: tau of single scores, then the mean tau over tasks. `pooled_paths` is meant
to be low. `vkdnw_agg` is made of `vkdnw_sampled` with 32 tensors here, which ranks like the exact score ([Which tensors
VKDNW looks at](tensors.md)).
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
    parser.add_argument("--scores", type=Path, default=Path("docs/results/proxy_spaces"))
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "benchmarks")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    found = page(given.scores, given.data, f"python benchmarks/aggregates.py --page {given.page or 'FILE'}")
    print(found)
    if given.page:
        given.page.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
