"""Scores of the trained members by their settings, and what is left of them where damage is accounted for.

    python benchmarks/trained_scores.py [--table docs/results/micro_table.csv] [-o runs/trained_scores.csv]
        [--page docs/results/trained_scores.md]
    python benchmarks/trained_scores.py --run runs/experiment4/choices --table docs/results/choices_table.csv
        --beyond size -o runs/choices_scores.csv [--page docs/results/choices_scores.md]

A walk does damage: moves pile up, a pooling comes to stand on every path, a softmax in the stream, a part that does
nothing. A score that merely counts these ranks walks, and says nothing of networks that are whole. So beside tau stands
that of the residuals: of the ranks of accuracies and of scores what a linear regression on the start (which differ) and
on the counts of damage does not explain. Members of a space of choices are whole; there `--beyond size` takes out what
parameters and FLOPs explain. `--run` makes the table of the trained candidates of a search.

Scores are kept, so the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from uninas import dumps, load, open_run, proxies
from uninas.errors import UninasError
from uninas.graph import Graph
from uninas.graph.simplify import redundant
from uninas.ops.op import Op
from uninas.runs.scorer import Scorer
from uninas.scores.aggregate import AGGREGATES
from uninas.scores.paths import MEASURES, regions_of_graph

Floats = NDArray[np.float64]
Setting = tuple[str, Mapping[str, object], Mapping[str, object]]

VKDNW: Mapping[str, object] = {"max_tensors": 64}
SETTINGS: dict[str, Setting] = {
    "vkdnw": ("vkdnw", VKDNW, {}),
    "vkdnw, 8 images": ("vkdnw", VKDNW, {"batch_size": 8}),
    "vkdnw, 128 tensors": ("vkdnw", {}, {}),
    "vkdnw, spread": ("vkdnw", {**VKDNW, "select": "spread"}, {}),
    "vkdnw, random": ("vkdnw", {**VKDNW, "select": "random"}, {}),
    "vkdnw, matrices only": ("vkdnw", {**VKDNW, "min_ndim": 2}, {}),
    "vkdnw, not folded": ("vkdnw", VKDNW, {"fold": False}),
    "vkdnw, kaiming fan-in": ("vkdnw", VKDNW, {"init": "kaiming_normal_fan_in"}),
    "vkdnw, sampled": ("vkdnw_sampled", VKDNW, {}),
    **{
        name: (name, {}, {})
        for name in ("expressivity", "trainability", "progressivity", "naswot", "swap", "near", "meco", "dextr",
                     "l_swag", "dss", "synflow", "zico", "snip", "jacov", "grad_norm", "graph_score")
    },
    "synflow, later half": ("synflow", {"layers": [0.5, 1.0]}, {}),
    "snip, later half": ("snip", {"layers": [0.5, 1.0]}, {}),
    "near, later half": ("near", {"layers": [0.5, 1.0]}, {}),
    "meco, later half": ("meco", {"layers": [0.5, 1.0]}, {}),
}  # fmt: skip
"""A proxy, its options, and how it is measured; else 32 images, heads folded, weights by the network's own scheme."""
GIVEN = ("params", "flops")
DAMAGE = ("moves", "redundant", "pooled_paths", "stray_softmax")
SUMS = ("broad_agg",)
"""Aggregates of scores above: sums of logarithms of ranks among these members."""
DRAWINGS = 1000


def stray_softmaxes(graph: Graph) -> int:
    """How many softmaxes lead to something else than the product of attention."""
    found = 0
    for _, inner, node in graph.walk():
        if isinstance(node.op, Op) and node.op.name == "softmax":
            users = [other for other in inner.nodes if any(wire.node == node.name for wire in other.inputs)]
            found += not any(isinstance(user.op, Op) and user.op.family == "attention" for user in users)
    return found


def members(run: Path) -> list[dict[str, str]]:
    """The trained candidates of a search as rows of a table of trained members."""
    with open_run(run) as opened:
        found = [(one, opened.graph(one.number)) for one in opened.candidates() if one.score is not None]
    return [
        {"index": str(one.number), "key": one.key, "first": "1", "start": "choices", "moves": "0",
         "redundant": str(redundant(graph)), "c10": repr(one.score), "params": str(one.params),
         "flops": str(one.flops), "architecture": dumps(graph, "member")}
        for one, graph in found
    ]  # fmt: skip


def measured(row: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """The scores of one member that are not known yet, with processor seconds; empty where there is none."""
    graph = load(row["architecture"])
    found = {"key": row["key"], "stray_softmax": str(stray_softmaxes(graph)), **known}
    found["pooled_paths"] = str(MEASURES["pooled_paths"](regions_of_graph(graph))[0])
    for label, (proxy, options, how) in SETTINGS.items():
        if label in known:
            continue
        settings = {"batch_size": 32, "fold": True, **how}
        began = time.process_time()
        try:
            scorer = Scorer([proxy], options=options, **settings)  # type: ignore[arg-type]
            found[label] = repr(scorer(graph, 0)["score"])
        except UninasError:
            found[label] = ""
        found[f"{label}, s"] = f"{time.process_time() - began:.2f}"
    return found


def residual(values: Floats, regressors: Floats) -> Floats:
    """What a linear regression does not explain."""
    return values - regressors @ np.linalg.lstsq(regressors, values, rcond=None)[0]


def interval(one: Floats, other: Floats) -> str:
    """Kendall's tau with its 95 % interval (bootstrap)."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(one), size=len(one)) for _ in range(DRAWINGS)]
    low, high = np.nanquantile([kendalltau(one[d], other[d]).statistic for d in draws], (0.025, 0.975))
    return f"{kendalltau(one, other).statistic:+.2f} [{low:+.2f}, {high:+.2f}]"


def line(label: str, scores: Floats, accuracies: Floats, damage: Floats, seconds: str) -> tuple[float, str]:
    """A row of the table, and what it is sorted by."""
    known = np.isfinite(scores)
    one, other, regressors = scores[known], accuracies[known], damage[known]
    if len(one) < 10 or not np.ptp(one):
        return -9.0, f"| {label} | | | {int((~known).sum())} | {seconds} |"
    parts = residual(rankdata(one), regressors), residual(rankdata(other), regressors)
    left = np.ptp(parts[0]) > 1e-6  # it is not itself what is taken out
    cells = [label, interval(one, other), interval(*parts) if left else "", str(int((~known).sum())), seconds]
    return float(kendalltau(*parts if left else (one, other)).statistic), f"| {' | '.join(cells)} |"


def page(
    rows: Sequence[Mapping[str, str]], scores: Mapping[str, Mapping[str, str]], command: str, beyond: str = "damage"
) -> str:
    """The table as Markdown."""
    rows = [{**row, **scores[row["key"]]} for row in rows if row["first"] == "1" and row["key"] in scores]
    accuracies = np.array([float(row["c10"]) for row in rows])
    starts = sorted({row["start"] for row in rows})
    columns = [np.array([float(row["start"] == start) for row in rows]) for start in starts]
    names = DAMAGE if beyond == "damage" else GIVEN
    columns += [rankdata([float(row[name]) for row in rows]) for name in names]
    taken = np.array(columns).T
    lower = {name for name in proxies.proxies() if proxies.get(name).direction == "lower"}
    values = {label: np.array([float(row[label]) if row[label] else np.nan for row in rows])
              for label in (*SETTINGS, *GIVEN)}  # fmt: skip
    values |= {label: AGGREGATES[label].values(values) for label in SUMS}
    lines = []
    for label, column in values.items():
        spent = [float(row[f"{label}, s"]) for row in rows] if label in SETTINGS else []
        sign = -1.0 if label in lower else 1.0
        lines.append(line(label, sign * column, accuracies, taken, f"{np.median(spent):.1f}" if spent else ""))
    for name, column in zip(names, taken.T[len(starts) :], strict=True):
        if np.ptp(column) and name not in values:
            lines.append((-8.0, f"| {name} (damage) | {interval(column, accuracies)} | | 0 | |"))
    explained = 1 - np.var(residual(rankdata(accuracies), taken)) / np.var(rankdata(accuracies))
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    opening = OPENINGS[beyond].format(count=len(rows), explained=100 * explained)
    head = opening + HEAD.format(date=date, command=command, beyond=beyond)
    return head + "\n".join(text for _, text in sorted(lines, reverse=True)) + "\n"


OPENINGS = {
    "damage": """# Scores of trained members, by their settings

{count} members of random walks from four starts ([Trained members](micro_table.md)), each scored alone before
training. *Tau* is Kendall's, with accuracy; *beyond damage* is that of the residuals of ranks, after a
regression on the start and on what walks do to networks: the number of moves, parts that do nothing, paths
through a pooling, softmaxes in the stream. That regression alone explains {explained:.0f} % of the variance of
the ranks of accuracies.
""",
    "size": """# Scores in a space of choices

{count} members of `benchmarks/micro_choices.uni` that [the fourth experiment](experiment4.md) trained for a minute
each, on 12,000 images, measured on 4,000 others; each scored alone before training. The first of them were drawn
evenly, the later ones by a model that had learnt from those before, so good ones are more than their share. *Tau* is
Kendall's, with accuracy; *beyond size* is that of the residuals of ranks, after a regression on parameters and FLOPs,
which alone explains {explained:.0f} % of the variance of the ranks of accuracies.
""",
}
HEAD = """
Brackets are 95 % intervals (bootstrap over members; the regression is not drawn anew).
All scores are label-free. Unless the row says something else: 32 images of noise, 64 tensors for VKDNW, heads
folded, weights by the network's own scheme, one seed. Seconds are processor time of one score, with building
the network.

Measured on {date} with

    {command}

| score | tau | beyond {beyond} | no score | median s |
|---|---|---|---|---|
"""


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """A table; cells that a row does not have stay empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", type=Path, default=Path("docs/results/micro_table.csv"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/trained_scores.csv"))
    parser.add_argument("--run", type=Path, help="a search by short trainings, of which the table is made first")
    parser.add_argument("--beyond", choices=list(OPENINGS), default="damage")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.run:
        write_rows(options.table, members(options.run))
    with options.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    scores: dict[str, dict[str, str]] = {}
    if options.output.is_file():
        with options.output.open(encoding="utf-8", newline="") as file:
            scores = {row["key"]: row for row in csv.DictReader(file)}
    for row in rows:
        known = scores.get(row["key"], {})
        if row["first"] == "1" and not known.keys() >= SETTINGS.keys():
            scores[row["key"]] = measured(row, known)
            write_rows(options.output, list(scores.values()))
            print(len(scores), flush=True)
    text = page(rows, scores, shlex.join(["python", *sys.argv]), options.beyond)
    print(text)
    if options.page:
        options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
