"""Plots of a run: score and budget by candidate, score against parameters, Pareto fronts, what became of moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from uninas.search.candidate import Candidate
from uninas.search.front import front
from uninas.space import Limit

Objectives = Sequence[tuple[str, str]]
MANY = 3000  # points from which on they are drawn as one picture inside an SVG


def score_against_params(path: Path, scored: Sequence[Candidate], best: Candidate, objectives: Objectives) -> None:
    """Score against parameters, coloured by when a candidate came; the start and the best are marked."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        params, scores = [c.params / 1e6 for c in scored], [c.score for c in scored]
        dots = axes.scatter(
            params, scores, c=[c.number for c in scored], cmap="viridis", s=18, rasterized=len(scored) > MANY
        )
        for name, one, marker in (("start", scored[0], "s"), ("best", best, "*")):
            axes.scatter(
                [one.params / 1e6], [one.score], marker=marker, s=140, facecolors="none", edgecolors="crimson",
                label=f"{name} ({one.score:.4g})",
            )  # fmt: skip
        axes.set(xlabel="parameters (millions)", ylabel=objectives[0][0])
        axes.legend()
        figure.colorbar(dots, label="candidate")

    _save(path, draw)


def progress(path: Path, scored: Sequence[Candidate], limits: Sequence[Limit], objectives: Objectives) -> None:
    """Score and best score so far, parameters and FLOPs, by candidate; limits of the budget are dashed."""

    def draw(figure: Any) -> None:
        panels = figure.subplots(3, sharex=True)
        numbers = [c.number for c in scored]
        scores = [c.score or 0.0 for c in scored]
        better = min if objectives[0][1] == "lower" else max
        panels[0].plot(numbers, list(accumulate(scores, better)), color="crimson", label="best so far")
        panels[0].legend()
        rows = (
            (objectives[0][0], scores, None, 1.0),
            ("parameters (millions)", [c.params / 1e6 for c in scored], "params", 1e6),
            ("GFLOPs (2 x MACs)", [c.flops / 1e9 for c in scored], "flops", 1e9),
        )
        for axes, (name, values, metric, unit) in zip(panels, rows, strict=True):
            axes.plot(numbers, values, ".", ms=3, alpha=0.6, rasterized=len(scored) > MANY)
            axes.set(ylabel=name)
            for limit in limits:
                for side in (limit.low, limit.high) if limit.metric == metric else ():
                    if side is not None:
                        axes.axhline(side / unit, color="grey", ls="--", lw=1)
        panels[-1].set(xlabel="candidate")

    _save(path, draw, height=7.0)


def fronts(path: Path, scored: Sequence[Candidate], objectives: Objectives) -> None:
    """The score against every further objective, or against parameters and FLOPs where there is none; with fronts."""
    further: list[tuple[str, str, Callable[[Candidate], float]]] = [
        (name, direction, lambda c, name=name: c.components[name])  # type: ignore[misc]
        for name, direction in objectives[1:4]
    ]
    further = further or [
        ("parameters", "lower", lambda c: c.params),
        ("FLOPs (2 x MACs)", "lower", lambda c: c.flops),
    ]

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(further), sharey=True, squeeze=False)[0]
        scores = np.array([c.score for c in scored], dtype=float)
        for axes, (name, direction, measure) in zip(panels, further, strict=True):
            values = np.array([measure(c) for c in scored], dtype=float)
            signs = [-1.0 if way == "lower" else 1.0 for way in (objectives[0][1], direction)]
            best = sorted(front(np.stack([scores, values], axis=1) * signs), key=lambda index: values[index])
            axes.plot(values, scores, ".", ms=4, alpha=0.4, color="grey", rasterized=len(scored) > MANY)
            axes.plot(values[best], scores[best], "o-", ms=5, color="crimson", label=f"Pareto front ({len(best)})")
            axes.set(xlabel=f"{name} ({direction} is better)")
            axes.legend()
        panels[0].set(ylabel=f"{objectives[0][0]} ({objectives[0][1]} is better)")

    _save(path, draw, width=4.5 * len(further) if len(further) > 1 else 7.0)


def moves(path: Path, candidates: Sequence[Candidate], objectives: Objectives) -> None:
    """How often each kind of move was accepted and made the score better, and why others were refused."""
    kinds: Counter[str] = Counter()
    improved: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    scores = {c.number: c.score for c in candidates}
    sign = -1.0 if objectives[0][1] == "lower" else 1.0
    for c in candidates:
        refused.update(c.refused)
        if c.edit is None:
            continue
        kinds[c.edit.kind] += 1
        before = scores.get(c.parent) if c.parent is not None else None
        improved[c.edit.kind] += c.score is not None and before is not None and sign * (c.score - before) > 0

    def accepted(axes: Any) -> None:
        names = [name for name, _ in kinds.most_common()]
        axes.barh(names, [kinds[name] for name in names], color="lightsteelblue", label="candidates")
        axes.barh(names, [improved[name] for name in names], color="steelblue", label="better than their parent")
        axes.set(title="moves accepted", xlabel="candidates")
        axes.legend()

    def rejected(axes: Any) -> None:
        reasons = [name for name, _ in refused.most_common()]
        axes.barh(reasons, [refused[name] for name in reasons], color="indianred")
        share = sum(kinds.values()) / max(1, sum(kinds.values()) + sum(refused.values()))
        axes.set(title=f"draws refused ({share:.0%} were accepted)", xlabel="draws")

    def draw(figure: Any) -> None:
        panels = [panel for panel, filled in ((accepted, kinds), (rejected, refused)) if filled] or [accepted]
        for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
            panel(axes)

    _save(path, draw, width=9.0)


def curves(path: Path, rows: Sequence[tuple[str, int, float, float | None]], score: str) -> None:
    """The best score so far by candidate, a line for each group of runs; bands are of one standard error."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for name in dict.fromkeys(row[0] for row in rows):
            mine = [row for row in rows if row[0] == name]
            numbers, mean = [row[1] for row in mine], np.array([row[2] for row in mine])
            spread = np.array([row[3] or 0.0 for row in mine])
            (line,) = axes.plot(numbers, mean, label=name)
            axes.fill_between(numbers, mean - spread, mean + spread, color=line.get_color(), alpha=0.2, lw=0)
        axes.set(xlabel="candidate", ylabel=f"best {score} so far")
        axes.legend()

    _save(path, draw)


def _save(path: Path, draw: Callable[[Any], None], width: float = 7.0, height: float = 4.5) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    with mpl.rc_context({"svg.hashsalt": "uninas", "svg.fonttype": "none"}):  # equal runs, equal files
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        for axes in figure.axes:
            axes.grid(alpha=0.3)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
