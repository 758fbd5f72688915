"""Runs set side by side: groups that differ in nothing but the seed, their means, and their differences by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from pathlib import Path
from typing import Any

import numpy as np

from uninas.errors import error
from uninas.runs.paired import paired
from uninas.search.store import Store

ASKED = ("space", "start", "starts", "strategy", "tuning", "proxy", "further", "cheap", "options", "params_min",
         "params_max", "flops_min", "flops_max", "fits", "img_size", "classes", "batch_size", "images", "init", "even",
         "ahead", "asynchronous")  # fmt: skip
"""Settings by which groups are told apart."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed. `curves` has the best score after each candidate, by seed."""

    name: str
    curves: Mapping[int, Sequence[float]]
    lower: bool
    score: str

    @property
    def length(self) -> int:
        """How many candidates every run has."""
        return min(map(len, self.curves.values()))

    def best(self, length: int | None = None) -> np.ndarray[Any, Any]:
        """The best score of each run after so many candidates, in the order of seeds."""
        at = self.length if length is None else length
        return np.array([self.curves[seed][at - 1] for seed in sorted(self.curves)])


def groups(folders: Sequence[Path]) -> list[Group]:
    """The runs in these folders by their settings; a group is named by what tells it from the others.

    Raises UNI070 where runs have no scores, or two of them have the same settings and seed.
    """
    settings: list[dict[str, Any]] = []
    curves: list[list[float]] = []
    aims: list[tuple[str, str]] = []
    for folder in folders:
        with Store(folder, read_only=True) as store:
            settings.append(store.settings)
            aims.append((store.objectives or [("score", "higher")])[0])
            curves.append(curve(store))
            if not curves[-1]:
                raise error("UNI070", f"no candidate in {folder} has a score")
    names = [name for name in ASKED if len({repr(one.get(name)) for one in settings}) > 1]
    found: dict[tuple[str, ...], Group] = {}
    for one, line, (score, direction), folder in zip(settings, curves, aims, folders, strict=True):
        key = tuple(repr(one.get(name)) for name in names)
        said = ", ".join(_said(name, one.get(name)) for name in names) or str(one.get("strategy"))
        group = found.setdefault(key, Group(said, {}, direction == "lower", score))
        seed = one.get("seed")
        if not isinstance(seed, int) or seed in group.curves:
            raise error("UNI070", f"{folder} is there twice: {said}, seed {seed}", None, "name each run once")
        assert isinstance(group.curves, dict)
        group.curves[seed] = line
    return list(found.values())


def curve(store: Store) -> list[float]:
    """The best score so far after each candidate that has one at the last rung."""
    lower = [direction for _, direction in store.objectives[:1]] == ["lower"]
    scores = [one.score for one in store.select("rung = ? ORDER BY number", store.last_rung) if one.score is not None]
    return list(accumulate(scores, min if lower else max))


def means(found: Sequence[Group]) -> list[dict[str, Any]]:
    """A row for each group: seeds, mean and standard error of the best score after as many candidates as all have."""
    length = min(group.length for group in found)
    rows = []
    for group in found:
        best = group.best(length)
        error_ = float(best.std(ddof=1) / len(best) ** 0.5) if len(best) > 1 else None
        rows.append({"group": group.name, "seeds": len(best), "candidates": length - 1, "score": group.score,
                     "mean": float(best.mean()), "standard_error": error_, "best": _best(group, best)})  # fmt: skip
    return rows


def differences(found: Sequence[Group]) -> list[dict[str, Any]]:
    """Pairs of groups that score alike, over the seeds that they share: mean of the differences with its interval.

    The interval is Student's, of 95 percent; it needs two seeds at least.
    """
    rows = []
    for one, other in combinations(found, 2):
        length = min(group.length for group in (one, other))
        before, after = ({s: line[length - 1] for s, line in group.curves.items()} for group in (one, other))
        difference = paired(after, before)
        if one.score != other.score or difference is None:
            continue
        mean, half = difference
        seeds = before.keys() & after.keys()
        better = sum(after[s] < before[s] if one.lower else after[s] > before[s] for s in seeds)
        rows.append({"of": other.name, "less": one.name, "seeds": len(seeds), "mean": mean, "low": mean - half,
                     "high": mean + half, "better_in": better / len(seeds)})  # fmt: skip
    return rows


def table_of_curves(found: Sequence[Group]) -> list[tuple[str, int, float, float | None]]:
    """Rows for a file: group, number of the candidate, mean of the best so far, its standard error."""
    rows = []
    for group in found:
        lines = np.array([list(line[: group.length]) for line in group.curves.values()])
        errors = lines.std(axis=0, ddof=1) / len(lines) ** 0.5 if len(lines) > 1 else [None] * group.length
        for number, (mean, deviation) in enumerate(zip(lines.mean(axis=0), errors, strict=True)):
            rows.append((group.name, number, float(mean), None if deviation is None else float(deviation)))
    return rows


def _best(group: Group, best: np.ndarray[Any, Any]) -> float:
    return float(best.min() if group.lower else best.max())


def _said(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{name} " + (" ".join(f"{key}={one}" for key, one in value.items()) or "default")
    if isinstance(value, list):
        return f"{name} {'+'.join(map(str, value)) or 'none'}"
    return str(value) if name in ("strategy", "proxy") else f"{name} {value}"
