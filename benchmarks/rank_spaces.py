"""Counts on graphs against accuracies in four spaces, and one formula chosen on three of them for the fourth.

    python benchmarks/rank_spaces.py [--data ../shared/benchmarks] [-o runs/rank_spaces] [--page docs/results/spaces.md]

Nothing is trained and no image passes through a network: what a graph costs, and what its paths are, is counted once
for each network and kept in a CSV file for each space, so that the same command goes on where it stopped. The tables of
accuracies are those that docs/results/spaces.md names; a space whose table is not there is left out.

A formula is a sum of logarithms of ranks with weights from a small grid. Chosen is the one with the highest Kendall
tau, the mean over the tasks of a space, then over spaces: on all spaces but one, and reported on that one, beside the
better of parameters and FLOPs with the 95 % interval of the difference (bootstrap over networks, paired). A second kind
of formula is a sum of magnitudes, chosen and reported likewise.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

import uninas
from uninas.graph import Graph
from uninas.ranking import nasbench201
from uninas.scores.aggregate import AGGREGATES, log_rank_sum
from uninas.scores.paths import MEASURES, regions_of_graph
from uninas.space import COSTS

Floats = NDArray[np.float64]
Answers = Mapping[str, int]

COUNTED = ("params", "flops", "elementwise", "activations", "operations", "depth")
MEASURED = (*COUNTED, *MEASURES)
TERMS = ("regions", "with_shortcut", "surplus", "in_a_row")
"""What `shortcuts` is made of, counted too."""
LOWER = ("pooled_paths",)
PICKED = ("path_depth", "pooled_paths", "shortcuts")
"""Counts that were chosen by the accuracies of NAS-Bench-201."""
GRID: dict[str, tuple[float, ...]] = {
    "params": (0, 1, 2), "flops": (0, 1, 2), "path_width": (0, 0.5, 1), "shortcuts": (0, 0.25, 0.5, 1),
    "pooled_paths": (0, 0.5, 1),
}  # fmt: skip
MAGNITUDES: dict[str, tuple[float, ...]] = {
    "ln params": (1,), "ln path_width": (0, 1, 2), "with_shortcut": (0, 1, 2), "surplus": (0, -1, -2, -3, -4),
    "in_a_row": (0, -1, -2, -3, -4), "pooled_paths": (0, -1, -2, -3, -4),
}  # fmt: skip
"""Weights of sums of magnitudes; the last four are counted per region."""
SHORT = 0.02  # by how much a sum of magnitudes may rank worse than the better of two on a task that it is chosen on
CLOSE = 0.01  # tau below the best that a sum of smaller weights may have
PATHS = dict.fromkeys(AGGREGATES["paths_agg"].components, 1.0)
CLOSENESS = (0, 0.005, 0.01)
CHOSEN_ON = 1000  # networks of a space that formulas are chosen on
DRAWINGS = 100


@dataclass(frozen=True)
class Row:
    """A network of a table: its key, the answers to the choices of its space, its accuracies by task."""

    key: str
    answers: Answers
    accuracies: Mapping[str, float]


def nasbench201_rows(data: Path) -> Iterator[Row]:
    """The cells that are not redundant, with test accuracies."""
    for row in _csv(data / "nb201_tss.csv"):
        if row["valid9445"] == "1":
            answers = dict(zip("abcdef", nasbench201.answers_of(row["arch_str"]), strict=True))
            yield Row(row["index"], answers, {task: float(row[f"{task}_test"]) for task in ("c10", "c100", "in16")})


def size_rows(data: Path) -> Iterator[Row]:
    """Channels of five stages."""
    for row in _csv(data / "nats_sss_c10.csv"):
        channels = row["architecture"].split(":")
        answers = {f"c{place}": int(width) // 8 - 1 for place, width in enumerate(channels, 1)}
        yield Row(row["architecture"], answers, {"c10": float(row["c10"])})


def micro_rows(data: Path) -> Iterator[Row]:
    """Cells in digits, which are the numbers of their options."""
    for row in _csv(data / "transnas_micro.csv"):
        digits = [int(one) for one in row["architecture"].strip("()").split(",")]
        tasks = ("class_scene", "jigsaw", "autoencoder")
        yield Row(row["architecture"], dict(zip("abcdef", digits, strict=True)), {t: float(row[t]) for t in tasks})


def autoformer_rows(data: Path) -> Iterator[Row]:
    """Vision transformers by their layers; accuracies after training with distillation."""
    lines = (data / "autoformer.jsonl").read_text(encoding="utf-8").splitlines()
    for number, row in enumerate(map(json.loads, lines)):
        shape = row["arch"]
        answers = {"hidden": (shape["hidden_dim"] - 192) // 24, "stages.0.count": shape["depth"] - 12}
        for layer, (heads, ratio) in enumerate(zip(shape["num_heads"], shape["mlp_ratio"], strict=True)):
            place = f"stages.0.blocks.{layer}.encoder@0"
            answers |= {f"{place}.heads": heads - 3, f"{place}.ratio": int(ratio == 4)}
        yield Row(str(number), answers, {t: float(row[f"{t}_kd_acc"]) for t in ("c100", "flower", "chaoyang")})


SPACES: dict[str, tuple[str, Callable[[Path], Iterator[Row]], int]] = {
    "NAS-Bench-201": ("nasbench201", nasbench201_rows, 10_000),
    "NATS-Bench sizes": ("natsbench_size", size_rows, 4_000),
    "TransNAS-Bench-101 micro": ("transnas_micro", micro_rows, 10_000),
    "AutoFormer-T": ("autoformer", autoformer_rows, 10_000),
}
"""By its title: the shipped space, the rows of its table, and how many of them are drawn at most."""


def _csv(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


# ---- measuring -------------------------------------------------------------------------------------------------------


def counts(graph: Graph) -> dict[str, float]:
    """All that is measured of a network."""
    found = regions_of_graph(graph)
    costs = {name: float(COSTS[name](graph)) for name in COUNTED}
    _, terms = MEASURES["shortcuts"](found)
    measures = {name: float(measure(found)[0]) for name, measure in MEASURES.items()}
    return costs | measures | {name: float(terms[name]) for name in TERMS}


def measured(rows: Sequence[Row], name: str, path: Path) -> dict[str, dict[str, float]]:
    """The counts of every network by its key, those from the file and what was missing there."""
    known = {}
    if path.is_file():
        known = {row["key"]: {one: float(row[one]) for one in (*MEASURED, *TERMS)} for row in _csv(path)}
    space = uninas.space(name)
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not known:
            writer.writerow(["key", *MEASURED, *TERMS])
        began = time.perf_counter()
        for done, row in enumerate(one for one in rows if one.key not in known):
            known[row.key] = counts(space.member(row.answers))
            writer.writerow([row.key, *(repr(known[row.key][one]) for one in (*MEASURED, *TERMS))])
            if done % 500 == 0:
                file.flush()
                print(f"{name}: {len(known)} of {len(rows)}, {time.perf_counter() - began:.0f} s", flush=True)
    return known


@dataclass(frozen=True)
class Space:
    """What is known of the networks of a space: counts (n,) by name, accuracies (n,) by task."""

    title: str
    counts: Mapping[str, Floats]
    accuracies: Mapping[str, Floats]

    def part(self, number: int) -> Space:
        """So many of its networks, drawn at random."""
        total = len(self.counts["params"])
        kept = np.random.default_rng(0).permutation(total)[:number]
        return Space(self.title, *({n: v[kept] for n, v in group.items()} for group in (self.counts, self.accuracies)))

    def score(self, formula: Mapping[str, float]) -> Floats:
        """The weighted sum of the logarithms of ranks; of a single count, that itself."""
        columns = [self.counts[name] * (-1 if name in LOWER else 1) for name in formula]
        return columns[0] if len(columns) == 1 else log_rank_sum(np.array(columns).T, list(formula.values()))

    def sum_of(self, formula: Mapping[str, float]) -> Floats:
        """The weighted sum of magnitudes."""
        total: Floats = np.sum([weight * self.magnitudes[name] for name, weight in formula.items()], axis=0)
        return total

    @cached_property
    def magnitudes(self) -> dict[str, Floats]:
        """The terms of sums of magnitudes."""
        regions = np.maximum(self.counts["regions"], 1)
        shares = {name: self.counts[name] / regions for name in MAGNITUDES if name in self.counts}
        return {
            "ln params": np.log(self.counts["params"]),
            "ln path_width": np.log1p(self.counts["path_width"]),
            **shares,
        }

    def taus(self, scores: Floats) -> list[float]:
        return [tau(scores, accuracies) for accuracies in self.accuracies.values()]

    @cached_property
    def drawn(self) -> list[NDArray[np.intp]]:
        """Networks of every drawing of the bootstrap."""
        generator, total = np.random.default_rng(1), len(next(iter(self.accuracies.values())))
        return [generator.integers(total, size=total) for _ in range(DRAWINGS)]

    def intervals(self, scores: Floats, task: str) -> tuple[float, float, Floats]:
        """The 95 % interval of tau, and tau in every drawing."""
        accuracies = self.accuracies[task]
        found = np.array([tau(scores[draw], accuracies[draw]) for draw in self.drawn])
        low, high = np.quantile(found, (0.025, 0.975))
        return float(low), float(high), found

    @cached_property
    def baselines(self) -> dict[str, tuple[str, float, Floats]]:
        """By task: the better of parameters and FLOPs, its tau, and its tau in every drawing."""
        found = {}
        for task, accuracies in self.accuracies.items():
            best = max(("params", "flops"), key=lambda name: tau(self.counts[name], accuracies))
            scores = self.counts[best]
            found[task] = best, tau(scores, accuracies), self.intervals(scores, task)[2]
        return found

    @property
    def bases(self) -> Floats:
        """The tau of the better of parameters and FLOPs in every task."""
        return np.array([base for _, base, _ in self.baselines.values()])

    def differences(self, scores: Floats) -> dict[str, tuple[float, float, float]]:
        """By task: tau less that of the better of parameters and FLOPs, with its paired interval."""
        found = {}
        for task, (_, base, drawn) in self.baselines.items():
            low, high = np.quantile(self.intervals(scores, task)[2] - drawn, (0.025, 0.975))
            found[task] = tau(scores, self.accuracies[task]) - base, float(low), float(high)
        return found


def tau(scores: Floats, accuracies: Floats) -> float:
    """Kendall's tau-b; 0 where all scores are equal."""
    return float(kendalltau(scores, accuracies).statistic) if np.ptp(scores) else 0.0


# ---- choosing --------------------------------------------------------------------------------------------------------


def formulas() -> Iterator[dict[str, float]]:
    """Every sum of the grid, those that are multiples of another left out."""
    seen = set()
    for weights in itertools.product(*GRID.values()):
        if any(weights):
            shape = tuple(weight / max(weights) for weight in weights)
            if shape not in seen:
                seen.add(shape)
                yield {name: weight for name, weight in zip(GRID, weights, strict=True) if weight}


def choose(spaces: Sequence[Space]) -> dict[str, float]:
    """The formula with the highest tau, the mean over tasks and then over spaces."""
    return max(formulas(), key=lambda formula: np.mean([np.mean(one.taus(one.score(formula))) for one in spaces]))


def choose_magnitudes(spaces: Sequence[Space], known: dict[str, Floats], close: float = CLOSE) -> dict[str, float]:
    """The sum of magnitudes with the smallest weights among those that are at most `close` below the best mean tau.

    Left out are those that on a task are more than `SHORT` below the better of parameters and FLOPs. `known` keeps the
    taus (formulas x tasks) of every space by its title.
    """
    tried = [dict(zip(MAGNITUDES, weights, strict=True)) for weights in itertools.product(*MAGNITUDES.values())]
    means, safe = [], np.ones(len(tried), dtype=bool)
    for space in spaces:
        if space.title not in known:
            known[space.title] = np.array([space.taus(space.sum_of(formula)) for formula in tried])
        safe &= (known[space.title] >= space.bases - SHORT).all(1)
        means.append(known[space.title].mean(1))
    mean = np.where(safe, np.mean(means, axis=0), -1.0)
    near = np.flatnonzero(mean >= mean.max() - close)
    least = min(near, key=lambda place: (sum(map(abs, tried[place].values())), -mean[place]))
    return {name: weight for name, weight in tried[least].items() if weight}


# ---- the page --------------------------------------------------------------------------------------------------------


def page(spaces: Sequence[Space], command: str) -> str:
    """The results as Markdown, with a place for what accuracies of AutoFormer depend on."""
    parts = [space.part(CHOSEN_ON) for space in spaces]
    whole = choose(parts)
    left_out = [(space, choose([one for one in parts if one.title != space.title])) for space in spaces]
    lines = [HEAD.format(date=datetime.now(UTC).date().isoformat(), command=command, drawings=DRAWINGS)]
    for space in spaces:
        lines += [*_table(space, whole), ""]
    tried = sum(1 for _ in formulas())
    lines += [CHOICE.format(tried=tried, part=CHOSEN_ON, chosen=written(whole))]
    lines += [*differences([(space, formula, space.score(formula)) for space, formula in left_out]), ""]
    known: dict[str, Floats] = {}
    tried = int(np.prod([len(weights) for weights in MAGNITUDES.values()]))
    number = choose_magnitudes(parts, known)
    lines += [NUMBER.format(tried=tried, short=SHORT, close=CLOSE, part=CHOSEN_ON, chosen=written(number))]
    others = [choose_magnitudes([one for one in parts if one.title != space.title], known) for space in spaces]
    rest = [(space, formula, space.sum_of(formula)) for space, formula in zip(spaces, others, strict=True)]
    lines += [*differences(rest), "", RULES, *_rules(spaces, parts, known), ""]
    all_in = [(space, number, space.sum_of(number)) for space in spaces]
    lines += [WHOLE.format(whole=verdict(all_in), rest=verdict(rest)), *differences(all_in, "space"), "", MEANS]
    scored: dict[str, list[tuple[Space, Floats]]] = {
        "label-free | params": [(space, space.counts["params"]) for space in spaces],
        "label-free | flops": [(space, space.counts["flops"]) for space in spaces],
        "chosen with labels of the first | `paths_agg`": [(space, space.score(PATHS)) for space in spaces],
        "chosen with labels of all | `graph_agg`": [(space, space.score(whole)) for space in spaces],
        "chosen with labels of the others | sum of log ranks": [(one, one.score(formula)) for one, formula in left_out],
        "chosen with labels of all | `graph_score`": [(space, space.sum_of(number)) for space in spaces],
        "chosen with labels of the others | sum of magnitudes": [(one, scores) for one, _, scores in rest],
    }
    lines += [
        f"| class | score | {' | '.join(space.title for space in spaces)} | mean |",
        "|---" * (len(spaces) + 3) + "|",
    ]
    for label, rows in scored.items():
        means = [float(np.mean(space.taus(scores))) for space, scores in rows]
        lines.append(f"| {label} | {' | '.join(f'{mean:.3f}' for mean in [*means, float(np.mean(means))])} |")
    return "\n".join(lines) + "\n"


def _rules(spaces: Sequence[Space], parts: Sequence[Space], known: dict[str, Floats]) -> Iterator[str]:
    """A table of what is chosen by how near to the best mean tau a sum of smaller weights must be."""
    yield "| at most below | space left out | formula | worst difference |\n|---|---|---|---|"
    for close in CLOSENESS:
        for space in spaces:
            formula = choose_magnitudes([one for one in parts if one.title != space.title], known, close)
            worst = float(np.min(space.taus(space.sum_of(formula)) - space.bases))
            yield f"| {close:g} | {space.title} | {written(formula)} | {worst:+.3f} |"


def differences(
    rows: Sequence[tuple[Space, Mapping[str, float], Floats]], first: str = "space left out", digits: int = 3
) -> Iterator[str]:
    """A table of what formulas do in a space, by default that which they were not chosen on."""
    yield f"| {first} | task | formula | tau | better of the two | difference |\n|---|---|---|---|---|---|"
    for space, formula, scores in rows:
        for task, (difference, low, high) in space.differences(scores).items():
            name, base, _ = space.baselines[task]
            yield (
                f"| {space.title} | {task} | {written(formula)} | {tau(scores, space.accuracies[task]):.{digits}f} "
                f"| {name} {base:.{digits}f} | {difference:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] |"
            )


def verdict(rows: Sequence[tuple[Space, Mapping[str, float], Floats]]) -> str:
    """On how many tasks formulas are above and below the better of parameters and FLOPs by more than the interval."""
    spans = [span for space, _, scores in rows for span in space.differences(scores).values()]
    above, below = sum(low > 0 for _, low, _ in spans), sum(high < 0 for _, _, high in spans)
    return (
        f"on {above} of {len(spans)} tasks above the better of the two by more than its interval, and on {below} below"
    )


def turning(rows: Sequence[Row]) -> Iterator[str]:
    """What accuracies of AutoFormer depend on: a table of standardised coefficients."""
    parts: dict[str, Sequence[float]] = {
        "width": [row.answers["hidden"] for row in rows],
        "depth": [row.answers["stages.0.count"] for row in rows],
        "heads": [float(np.mean([v for k, v in row.answers.items() if k.endswith("heads")])) for row in rows],
        "ratio": [float(np.mean([v for k, v in row.answers.items() if k.endswith("ratio")])) for row in rows],
    }
    regressors = np.array([(np.array(one) - np.mean(one)) / np.std(one) for one in parts.values()]).T
    yield f"| task | {' | '.join(parts)} | explained |\n|---|{'---|' * (len(parts) + 1)}"
    for task in rows[0].accuracies:
        ranks = rankdata([row.accuracies[task] for row in rows])
        ranks = (ranks - ranks.mean()) / ranks.std()
        weights = np.linalg.lstsq(regressors, ranks, rcond=None)[0]
        explained = 1 - np.var(ranks - regressors @ weights)
        yield f"| {task} | {' | '.join(f'{weight:+.2f}' for weight in weights)} | {100 * explained:.0f} % |"


def _table(space: Space, whole: Mapping[str, float]) -> Iterator[str]:
    tasks = list(space.accuracies)
    yield f"## {space.title}: {len(space.counts['params']):,} networks\n"
    yield f"| class | score | {' | '.join(tasks)} |"
    yield "|---|---|" + "---|" * len(tasks)
    on_cells = space.title == "NAS-Bench-201"
    rows = [
        ("chosen with labels" if on_cells and name in PICKED else "label-free", name, {name: 1.0}) for name in MEASURED
    ]
    rows += [("chosen with labels", "`paths_agg`", PATHS)]
    for kind, name, formula in [*rows, ("chosen with labels, on all four", written(whole), whole)]:
        scores = space.score(formula)
        cells = ["equal for all"] * len(tasks)
        if np.ptp(scores):
            cells = [
                f"{tau(scores, space.accuracies[task]):.3f} [{low:.3f}, {high:.3f}]"
                for task in tasks
                for low, high, _ in [space.intervals(scores, task)]
            ]
        yield f"| {kind} | {name} | {' | '.join(cells)} |"


def written(formula: Mapping[str, float]) -> str:
    """A formula as it is read."""
    parts = [f"{'' if abs(weight) == 1 else f'{abs(weight):g} '}{name}" for name, weight in formula.items()]
    signs = ["" if weight > 0 else "-" for weight in formula.values()]
    return " + ".join(f"{sign}{part}" for sign, part in zip(signs, parts, strict=True)).replace("+ -", "- ")


HEAD = """# Spaces with accuracies

Kendall's tau of counts on graphs with accuracies, in four spaces. Scores are of three classes: **label-free**, a number
that was written down without looking at accuracies; **chosen with labels**, a formula that was picked by looking at
some, and is label-free in use; **learned** from labels, of which there is none here. `shortcuts`, `path_depth` and
`pooled_paths` are counts that were picked on NAS-Bench-201, so there they are chosen with labels; `path_width` and
`path_count` were written down after the first counts had been seen on two of these spaces. Brackets are 95 %
intervals from {drawings} drawings of a bootstrap over networks. `pooled_paths` is meant to be low: its tau is
that of its negative.

Measured on {date} with

    {command}

No network is built as a module: a graph and all its counts take some milliseconds of one core. Accuracies are those of
NATS-Bench (200 and 90 epochs), of TransNAS-Bench-101 by way of NAS-Bench-Suite-Zero, and of Auto-Prox (200 networks,
trained with distillation); the size space is a random part of 4,000 of its 32,768 networks. The costs of NAS-Bench-201
are those for 32 x 32 and 10 classes on all three data sets.
"""

CHOICE = """## One formula for all

A formula is a sum of logarithms of ranks. {tried} were tried: all weights of a small grid (it stands in
benchmarks/rank_spaces.py). Chosen is the one with the highest tau, the mean over tasks and then over spaces, on at most
{part} networks of each space. On all four spaces that is

    {chosen}

This is `graph_agg`. A stricter rule, to be on none of the ten tasks below the better of parameters and FLOPs by the
paired interval, was tried first: no formula of the grid keeps it, nor do parameters or FLOPs alone. Parameters counted
twice or more bring the loss on flowers down to some hundredths, at .01 to .12 less tau in the convolutional spaces; but
a choice on three spaces does not find that.

The proof of a choice is the space that had no say: chosen on three, a formula has this tau on all networks of the
fourth. A difference whose interval holds 0 is no difference found.
"""


NUMBER = """## One number for a graph

By ranks, a term that hardly differs among the networks of a space counts as much as one that differs widely. In
AutoFormer-T, width varies by a quarter and depth by a sixth, and all counts of paths follow depth; but on flowers width
decides. Regressions of the ranks of accuracies on what varies there (standardised coefficients):

{{turning}}

So no order of these networks is best on all three tasks, and a term turns around because it stands for depth in one
space and for wiring in another. Sums of **magnitudes** have neither fault: logarithms of parameters and of (1 +
`path_width`), and the terms of `shortcuts` and `pooled_paths` per region, which are nearly equal in a space of one
kind of block and then drop out by themselves. {tried} were tried (`MAGNITUDES` in the script), on at most {part}
networks of each space. Left out are those that on a task are more than {short} below the better of parameters and
FLOPs; among those that are at most {close} below the best mean tau, the one with the smallest weights is chosen. On all
four spaces that is

    {chosen}

This is `graph_score`: a number of one network, which needs no others to be ranked with. The grid and the rule were
fixed after looking at these four spaces, so none of them is quite untouched. Chosen on three spaces, on the fourth:
"""

RULES = """How much hangs on the rule of smallest weights: with others, the lowest difference among the tasks of the
space left out.
"""

WHOLE = """\
`graph_score` itself, whose weights all four spaces had a say in, is
{whole}.
Chosen without the space, formulas are
{rest}.
That is the best that these four spaces allow to say, and wants the proof of a fifth.
"""

MEANS = """## In the mean

Kendall's tau, the mean over tasks, and over spaces. *Of the others*: chosen on all spaces but that of the column.
"""


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "benchmarks")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/rank_spaces"))
    parser.add_argument("--page", type=Path, default=Path("docs/results/spaces.md"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    spaces: list[Space] = []
    transformers: list[Row] = []
    for title, (name, read, limit) in SPACES.items():
        try:
            rows = list(read(given.data))
        except FileNotFoundError as problem:
            print(f"{title} is left out: {problem}")
            continue
        random.Random(0).shuffle(rows)
        rows = rows[:limit]
        transformers = rows if name == "autoformer" else transformers
        found = measured(rows, name, given.output / f"{name}.csv")
        columns = {one: np.array([found[row.key][one] for row in rows]) for one in (*MEASURED, *TERMS)}
        spaces.append(Space(title, columns, {t: np.array([r.accuracies[t] for r in rows]) for t in rows[0].accuracies}))
    given.page.parent.mkdir(parents=True, exist_ok=True)
    text = page(spaces, "python benchmarks/rank_spaces.py")
    if transformers:
        text = text.replace("{turning}", "\n".join(turning(transformers)))
    given.page.write_text(text, encoding="utf-8")
    print(f"wrote {given.page}")


if __name__ == "__main__":
    main()
