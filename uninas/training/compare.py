"""Trainings side by side: what came out with every seed, means and deviations, and whether a difference was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from uninas.runs.paired import paired
from uninas.training.run import TrainingRun

MEASURES = {"classification": "top1", "detection": "ap_box", "segmentation": "miou"}
"""The figure of a task by which networks are told apart; higher is better."""

Groups = dict[tuple[str, str, str], list[TrainingRun]]


def grouped(folders: Sequence[Path]) -> Groups:
    """Trainings of the same network by the same recipe, which differ in their seeds, by key, task and recipe."""
    groups: Groups = {}
    for folder in folders:
        run = TrainingRun.open(folder)
        settings = run.settings
        recipe = str(sorted(settings["recipe"].items()))
        groups.setdefault((settings["network"]["key"], settings["task"], recipe), []).append(run)
    return groups


def compared(groups: Groups) -> list[dict[str, Any]]:
    """A row for every network and recipe, over all its seeds: costs, figures as mean and standard deviation."""
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


def differences(groups: Groups) -> list[dict[str, Any]]:
    """The best network of each task and recipe against every other one, over the seeds that both were trained with.

    The interval holds for one comparison: among many, one in twenty is found where there is none.
    """
    rows = []
    for (task, _), rivals in _rivals(groups).items():
        best, *others = sorted(rivals, key=lambda one: -mean(one[1].values()))
        for name, figures in others:
            found = paired(best[1], figures)
            if found is None:
                continue
            middle, half = found
            rows.append({
                "network": best[0], "against": name, "task": task, "figure": MEASURES[task],
                "seeds": len(best[1].keys() & figures.keys()), "difference": middle, "low": middle - half,
                "high": middle + half, "verdict": "better" if middle > half else "no difference found",
            })  # fmt: skip
    return rows


def _rivals(groups: Groups) -> dict[tuple[str, str], list[tuple[str, dict[int, float]]]]:
    """By task and recipe, the networks with their main figure by the seed."""
    found: dict[tuple[str, str], list[tuple[str, dict[int, float]]]] = {}
    for (_, task, recipe), runs in groups.items():
        figures = {int(run.settings["seed"]): run.figures[MEASURES[task]] for run in runs
                   if run.outcome == "finished" and MEASURES[task] in run.figures}  # fmt: skip
        if figures:
            found.setdefault((task, recipe), []).append((str(runs[0].settings["network"]["name"]), figures))
    return found
