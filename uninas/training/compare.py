"""Trainings side by side: what came out with every seed, means and deviations, and whether a difference was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from uninas.training.run import TrainingRun


def compared(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """A row for every network and recipe, over all its seeds: costs, figures as mean and standard deviation."""
    groups: dict[tuple[str, str, str], list[TrainingRun]] = {}
    for folder in folders:
        run = TrainingRun.open(folder)
        settings = run.settings
        recipe = str(sorted(settings["recipe"].items()))
        groups.setdefault((settings["network"]["key"], settings["task"], recipe), []).append(run)
    rows = []
    for (_, task, _), runs in groups.items():
        finished = [run for run in runs if run.outcome == "finished"]
        row: dict[str, Any] = {
            "network": runs[0].settings["network"]["name"],
            "task": task,
            "seeds": len(finished),
            "outcomes": ", ".join(f"{n} {word}" for word in sorted({r.outcome for r in runs})
                                  if (n := sum(r.outcome == word for r in runs))),
            "params": runs[0].result.get("params"),
            "flops": runs[0].result.get("flops"),
        }  # fmt: skip
        for name in dict.fromkeys(name for run in finished for name in run.figures):
            values = [run.figures[name] for run in finished]
            row[name] = mean(values)
            if len(values) > 1:
                row[f"{name} sd"] = stdev(values)
        speeds = [float(run.result["images_per_second"]) for run in finished if "images_per_second" in run.result]
        if speeds:
            row["images/s"] = mean(speeds)
        rows.append(row)
    return rows


def paired(first: dict[int, float], second: dict[int, float]) -> tuple[float, float] | None:
    """Mean difference of two networks over the seeds that both have, and half the width of its 95 % interval.

    The interval is Student's; None where fewer than two seeds are shared. A difference whose interval contains zero
    has not been found.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 2:
        return None
    from scipy.stats import t

    differences = [first[seed] - second[seed] for seed in shared]
    half = t.ppf(0.975, len(shared) - 1) * stdev(differences) / math.sqrt(len(shared))
    return mean(differences), float(half)
