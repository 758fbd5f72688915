"""Scores of the trained members by their settings, and what is left of them where damage is accounted for.

    python benchmarks/trained_scores.py [--table docs/results/micro_table.csv] [-o runs/trained_scores.csv]
        [--page docs/results/trained_scores.md]

A walk does damage: moves pile up, a pooling comes to stand on every path, a softmax in the stream, a part that does
nothing. A score that merely counts these ranks walks, and says nothing of networks that are whole. So beside tau stands
that of the residuals: of the ranks of accuracies and of scores what a linear regression on the start (which differ) and
on the counts of damage does not explain.

Scores are kept, so the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from uninas import load, proxies
from uninas.errors import UninasError
from uninas.graph import Graph
from uninas.ops.op import Op
from uninas.runs.scorer import Scorer
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
                     "l_swag", "dss", "synflow", "zico", "snip", "jacov", "grad_norm")
    },
    "synflow, later half": ("synflow", {"layers": [0.5, 1.0]}, {}),
    "snip, later half": ("snip", {"layers": [0.5, 1.0]}, {}),
    "near, later half": ("near", {"layers": [0.5, 1.0]}, {}),
    "meco, later half": ("meco", {"layers": [0.5, 1.0]}, {}),
}  # fmt: skip
"""A proxy, its options, and how it is measured; else 32 images, heads folded, weights by the network's own scheme."""
GIVEN = ("params", "flops")
DAMAGE = ("moves", "redundant", "pooled_paths", "stray_softmax")
DRAWINGS = 1000


def stray_softmaxes(graph: Graph) -> int:
    """How many softmaxes lead to something else than the product of attention."""
    found = 0
    for _, inner, node in graph.walk():
        if isinstance(node.op, Op) and node.op.name == "softmax":
            users = [other for other in inner.nodes if any(wire.node == node.name for wire in other.inputs)]
            found += not any(isinstance(user.op, Op) and user.op.family == "attention" for user in users)
    return found


def measured(row: Mapping[str, str]) -> dict[str, str]:
    """The scores of one member, with processor seconds; empty where there is none."""
    graph = load(row["architecture"])
    found = {"key": row["key"], "stray_softmax": str(stray_softmaxes(graph))}
    found["pooled_paths"] = str(MEASURES["pooled_paths"](regions_of_graph(graph))[0])
    for label, (proxy, options, how) in SETTINGS.items():
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
    cells = [label, interval(one, other), interval(*parts), str(int((~known).sum())), seconds]
    return float(kendalltau(*parts).statistic), f"| {' | '.join(cells)} |"


def page(rows: Sequence[Mapping[str, str]], scores: Mapping[str, Mapping[str, str]], command: str) -> str:
    """The table as Markdown."""
    rows = [row for row in rows if row["first"] == "1" and row["key"] in scores]
    accuracies = np.array([float(row["c10"]) for row in rows])
    starts = sorted({row["start"] for row in rows})
    columns = [np.array([float(row["start"] == start) for row in rows]) for start in starts]
    for name in DAMAGE:
        columns.append(rankdata([float({**row, **scores[row["key"]]}[name]) for row in rows]))
    damage = np.array(columns).T
    lower = {name for name in proxies.proxies() if proxies.get(name).direction == "lower"}
    lines = []
    for label in (*SETTINGS, *GIVEN):
        texts = [{**row, **scores[row["key"]]}[label] for row in rows]
        sign = -1.0 if label in lower else 1.0
        values = np.array([sign * float(text) if text else np.nan for text in texts])
        spent = [float(scores[row["key"]][f"{label}, s"]) for row in rows] if label in SETTINGS else []
        lines.append(line(label, values, accuracies, damage, f"{np.median(spent):.1f}" if spent else ""))
    for name, column in zip(DAMAGE, damage.T[len(starts) :], strict=True):
        if np.ptp(column):
            lines.append((-8.0, f"| {name} (damage) | {interval(column, accuracies)} | | 0 | |"))
    explained = 1 - np.var(residual(rankdata(accuracies), damage)) / np.var(rankdata(accuracies))
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    head = HEAD.format(count=len(rows), date=date, command=command, explained=100 * explained)
    return head + "\n".join(text for _, text in sorted(lines, reverse=True)) + "\n"


HEAD = """# Scores of trained members, by their settings

{count} members of random walks from four starts ([Trained members](micro_table.md)), each scored alone before
training. *Tau* is Kendall's, with accuracy; *beyond damage* is that of the residuals of ranks, after a
regression on the start and on what walks do to networks: the number of moves, parts that do nothing, paths
through a pooling, softmaxes in the stream. That regression alone explains {explained:.0f} % of the variance of
the ranks of accuracies. Brackets are 95 % intervals (bootstrap over members; the regression is not drawn anew).
All scores are label-free. Unless the row says something else: 32 images of noise, 64 tensors for VKDNW, heads
folded, weights by the network's own scheme, one seed. Seconds are processor time of one score, with building
the network.

Measured on {date} with

    {command}

| score | tau | beyond damage | no score | median s |
|---|---|---|---|---|
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", type=Path, default=Path("docs/results/micro_table.csv"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/trained_scores.csv"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with options.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    scores: dict[str, dict[str, str]] = {}
    if options.output.is_file():
        with options.output.open(encoding="utf-8", newline="") as file:
            scores = {row["key"]: row for row in csv.DictReader(file)}
    for row in rows:
        if row["first"] == "1" and row["key"] not in scores:
            scores[row["key"]] = found = measured(row)
            with options.output.open("a", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(found), lineterminator="\n")
                if not file.tell():
                    writer.writeheader()
                writer.writerow(found)
            print(len(scores), flush=True)
    text = page(rows, scores, f"python benchmarks/trained_scores.py --page {options.page or 'FILE'}")
    print(text)
    if options.page:
        options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
