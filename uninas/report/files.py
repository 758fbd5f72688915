"""What remains of a run: the best architectures as text and pictures, a table, plots, and a page that shows them all.

| file | what it holds |
|---|---|
| `run.sqlite` | settings and candidates, and all that `uninas resume` needs |
| `config.yaml`, `resolved.yaml` | the options that were given, and all of them: `uninas search --config` takes both |
| `best.uni`, `best_2.uni`, `best_3.uni` | the best networks as text, and beside them as pictures (`.svg`) |
| `candidates.csv` | every candidate, one row each |
| `report.html` | the page of the run, which opens without a network |
| `progress.svg`, `pareto.svg`, `moves.svg`, `score_vs_params.svg`, `.png` | the plots of the page |

Files appear whole or not at all: each is written beside its place and then moved there.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from uninas.language.answered import answered
from uninas.language.printer import dumps
from uninas.mutate import ChoiceWalk
from uninas.render import render
from uninas.report import plots, write_page
from uninas.runs.process import csv_text, write_text, written
from uninas.search.candidate import Candidate
from uninas.search.run import Run
from uninas.search.store import origin
from uninas.search.texts import found_again
from uninas.search.top import top

SHOWN = 3  # of the best architectures as text and pictures


def write_report(run: Run) -> Iterator[Path]:
    """Write all files of the report into the folder of the run; without a score, only the table. Gives their paths.

    Raises what is wrong with pictures of architectures when everything else is written.
    """
    candidates = list(run.store)
    yield write_text(run.folder / "candidates.csv", table(candidates))
    best = [candidate for candidate, _ in top(run.store, SHOWN)]
    if not best:
        return
    yield write_text(run.folder / "best.uni", _best_text(run, best[0]))
    for place, candidate in enumerate(best[1:], 2):
        text = f"# Number {place} by score: {_summary(run, candidate)}\n{_text(run, candidate)}"
        yield write_text(run.folder / f"best_{place}.uni", text)
    yield from _plots(run, candidates, best[0])
    yield write_page(run.folder)
    for place, candidate in enumerate(best, 1):
        name = "best.svg" if place == 1 else f"best_{place}.svg"
        yield written(run.folder / name, partial(render, run.graph(candidate)))


def table(candidates: Sequence[Candidate]) -> str:
    """All candidates as comma-separated values, one row each."""
    before = ("number", "parent", "mate", "rung", "score", "params", "flops", "activations", "peak", "operations")
    after = ("rejected", "seconds", "seed", "worker", "reason", "failure", "edit", "key")
    named = {name for candidate in candidates for name in candidate.components}
    components = sorted(named.difference(before, after))  # a cost that is an objective stands there once
    rows = [
        [c.number, c.parent, c.mate, c.rung, c.score, c.params, c.flops, c.activations, c.peak, c.operations,
         *(c.components.get(name) for name in components), sum(c.refused.values()), f"{c.seconds:.3f}", c.seed,
         c.worker, c.reason, c.failure, c.edit, c.key]
        for c in candidates
    ]  # fmt: skip
    return csv_text([[*before, *components, *after], *rows])


def _plots(run: Run, candidates: Sequence[Candidate], best: Candidate) -> Iterator[Path]:
    last = len(run.search.rungs) - 1
    scored = [c for c in candidates if c.score is not None and c.rung == last]
    objectives = run.store.objectives
    limits = [limit for limit in run.plan.budget.limits if not limit.at]
    for name in ("score_vs_params.svg", "score_vs_params.png"):
        draw = partial(plots.score_against_params, scored=scored, best=best, objectives=objectives)
        yield written(run.folder / name, draw)
    yield written(
        run.folder / "progress.svg", partial(plots.progress, scored=scored, limits=limits, objectives=objectives)
    )
    yield written(run.folder / "pareto.svg", partial(plots.fronts, scored=scored, objectives=objectives))
    yield written(run.folder / "moves.svg", partial(plots.moves, candidates=candidates, objectives=objectives))


def _best_text(run: Run, best: Candidate) -> str:
    summary = (
        f"{len(run) - 1} candidates from {run.plan.start.name}; {run.rejected} moves rejected, {run.failed} candidates "
        f"failed. The best is {_summary(run, best)}"
    )
    return f"# {summary}\n{_text(run, best)}"


def _text(run: Run, candidate: Candidate) -> str:
    """A candidate as text; of a space of choices with all answers, and in the words of the space where that can be."""
    graph, plan = run.graph(candidate), run.plan
    if not isinstance(plan.walk, ChoiceWalk):
        return dumps(graph)
    member = plan.walk.member(graph)
    answers = [f"{choice.path} = {choice.options[member.answers[choice.path]]}" for choice in member.choices]
    glued = ", ".join(answer.replace(" ", "\0") for answer in answers)
    heads = [line.replace("\0", " ") for line in textwrap.wrap(glued, 116, break_long_words=False)]
    texts = plan.texts["space"]
    written = answered(*found_again(plan.settings.space, [list(pair) for pair in texts]), member.answers, graph)
    return "".join(f"# {line}\n" for line in heads) + (written or dumps(graph))


def _summary(run: Run, candidate: Candidate) -> str:
    score = f"{run.store.objectives[0][0]} {candidate.score:.6g}"
    return (
        f"number {candidate.number}: {score}, {candidate.params:,} parameters, {candidate.flops:,} FLOPs (2 x MACs); "
        f"{origin(candidate)}."
    )
