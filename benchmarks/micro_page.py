"""The page about the table of trained networks: `make bench-page`, after `make bench-table` and `make bench-scores`.

python benchmarks/micro_page.py docs/results/micro_table.csv runs/micro_ranks docs/results/micro_table.md

Reads the rows and what `uninas rank` made of them; writes how noisy an accuracy is, and how well every score and cost
ranks the networks.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, variance

from scipy.stats import kendalltau

from uninas.proxies import listing

COSTS = ("moves", "elementwise", "activations", "operations", "depth", "degree", "redundant")


def noise(rows: Sequence[dict[str, str]]) -> tuple[float, int] | None:
    """The standard deviation of an accuracy over seeds, pooled over networks, and of how many networks."""
    groups: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        groups[row["member"]].append(float(row["c10"]))
    several = [values for values in groups.values() if len(values) > 1]
    return (sqrt(mean(map(variance, several))), len(several)) if several else None


def within(first: Sequence[dict[str, str]], scores: dict[str, dict[str, str]], proxy: str) -> str:
    """Tau over pairs of networks whose walks began at the same start, which differ less than starts do."""
    agreed = pairs = 0
    sign = -1 if any(each["name"] == proxy and each["direction"] == "lower" for each in listing()) else 1
    known = [(row["start"], float(row["c10"]), scores.get(row["index"], {}).get(proxy)) for row in first]
    for number, (start, accuracy, score) in enumerate(known):
        for other, better, value in known[:number]:
            if start == other and score and value and accuracy != better:
                pairs += 1
                product = sign * (accuracy - better) * (float(score) - float(value))
                agreed += (product > 0) - (product < 0)
    return f"{agreed / pairs:+.2f}" if pairs else ""


def lines(rows: Sequence[dict[str, str]], ranks: Path) -> list[str]:
    """The page."""
    first = [row for row in rows if row["first"] == "1"]
    accuracies = [float(row["c10"]) for row in first]
    starts = {row["start"]: float(row["c10"]) for row in first if row["moves"] == "0"}
    spread = noise(rows)
    moved = [row for row in first if row["moves"] != "0"]
    beaten = sum(float(row["c10"]) > starts.get(row["start"], 100.0) for row in moved)
    known = f"The standard deviation over seeds is {spread[0]:.2f} points ({spread[1]} networks)." if spread else (
        "No network has been trained with several seeds yet, so the noise is not known."
    )  # fmt: skip
    with (ranks / "scores.csv").open(newline="", encoding="utf-8") as file:
        scores = {row["index"]: row for row in csv.DictReader(file)}
    found = [
        "# Trained members of the UniNAS space", "",
        f"{len(first)} networks of `micro_table.csv`, {len(rows)} trainings. Members of random walks of 5 to 60 moves",
        "from four starts of 1.6 to 1.7 M parameters (32 px), each trained alike: one epoch of 12,000 CIFAR-10 images",
        "by the recipe `brief`, measured on 4,000 held-out training images. Accuracies reach from "
        f"{min(accuracies):.1f} to {max(accuracies):.1f} %.",
        "The starts: " + ", ".join(f"{name} {value:.1f}" for name, value in starts.items())
        + f". {beaten} of {len(moved)} members are above the start of their walk.",
        "", known, "",
        "Kendall's tau between a score of the untrained network and its accuracy, with a 95 % interval (bootstrap).",
        f"{len(scores)} of the networks have been scored. Much of it may come from the four starts, which differ;",
        "so tau over pairs from one start stands beside it.",
        "",
        "| score | tau | interval | within a start | failed |", "|---|---|---|---|---|",
    ]  # fmt: skip
    metrics = json.loads((ranks / "metrics.json").read_text(encoding="utf-8"))["results"]
    for each in sorted(metrics, key=lambda one: -(one["metrics"].get("kendall", {}).get("mean") or -9)):
        tau = each["metrics"].get("kendall")
        if tau and tau["mean"] is not None:
            interval = tau.get("interval") or {"low": float("nan"), "high": float("nan")}
            sides = f"{interval['low']:+.2f} .. {interval['high']:+.2f}"
            inside = within(first, scores, each["proxy"])
            found.append(f"| {each['proxy']} | {tau['mean']:+.2f} | {sides} | {inside} | {each['failures']} |")
    found += ["", "The same for what a row says:", "", "| column | tau |", "|---|---|"]
    for name in COSTS:
        tau = kendalltau([float(row[name]) for row in first], accuracies).statistic
        if tau == tau:  # a column that never changes has none
            found.append(f"| {name} | {tau:+.2f} |")
    found += ["", "One epoch is short: what learns fast is favoured, and transformers are not.", "The test images of "
              "CIFAR-10 were not looked at.", ""]  # fmt: skip
    return found


def main() -> None:
    """Read, write."""
    table, ranks, page = map(Path, sys.argv[1:])
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    page.write_text("\n".join(lines(rows, ranks)), encoding="utf-8")


if __name__ == "__main__":
    main()
