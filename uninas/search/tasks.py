"""How a candidate is scored, wherever that is.

What goes there is text and numbers (`Candidate.to_send`); a worker keeps nothing from one to the next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from uninas.errors import error, in_a_line, out_of_memory, shown
from uninas.graph import Graph
from uninas.language.elaborate import build
from uninas.language.library import load_text
from uninas.runs.process import own_device, settle
from uninas.runs.workers import Loss, Ready
from uninas.scores.objectives import Recipe
from uninas.search.candidate import Candidate
from uninas.search.texts import architecture
from uninas.space import METRICS

ScoreFunction = Callable[[Graph, int], Mapping[str, float]]
"""Takes an architecture and a seed; gives 'score', further objectives by name, and perhaps more. What it raises is the
candidate's failure."""


def score_functions(recipe: Recipe) -> tuple[list[ScoreFunction], dict[str, str]]:
    """A score function for every rung, and the directions of their measures. Loads torch if it has to."""
    if not recipe.needs_torch:
        if recipe.options:
            option, name = next(iter(recipe.options)), recipe.rungs[-1][0]
            raise error("UNI010", f"{name} is a cost, and has no option {shown(option)}")
        return [cost_score(*names) for names in recipe.rungs], {}
    from uninas.runs.scorer import Scorer, check_options

    check_options([name for names in recipe.rungs for name in names], recipe.options)
    scores = [
        Scorer(names, recipe.batch_size, images=recipe.images, options=recipe.options, init=recipe.init,
               fold=recipe.fold, device=recipe.device, threads=recipe.threads)
        for names in recipe.rungs
    ]  # fmt: skip
    return list(scores), {name: direction for score in scores for name, direction in score.directions.items()}


def cost_score(*metrics: str) -> ScoreFunction:
    """Scores by costs of the graph (params, flops, ...), without building a module."""

    def score(graph: Graph, seed: int) -> dict[str, float]:
        values = [float(METRICS[metric](graph)) for metric in metrics]
        return {**dict(zip(metrics[1:], values[1:], strict=True)), "score": values[0]}

    return score


def warm_up(functions: Iterable[ScoreFunction]) -> None:
    """Score something tiny in a worker, so that what torch loads and sets up for a first score is no candidate's time.

    Whatever goes wrong will go wrong with candidates, too, and is told there. What is loaded by then stays (`settle`).
    """
    graph = build(load_text(_TINY), "Tiny")
    for score in functions:
        with suppress(Exception):
            score(graph, 0)
    settle()


_TINY = "network Tiny { input 3 x 32 x 32 stem conv(8, 3) -> batch_norm -> relu head global_avg_pool -> linear(10) }"


def evaluated(task: Candidate, score: ScoreFunction, worker: str, required: Sequence[str] = ()) -> Candidate:
    """Score a candidate, whatever happens. `required` are further objectives that must be finite, too."""
    started, began = time.time(), time.perf_counter()
    value, components, reason, failure = _measured(task, score, required)
    seconds = time.perf_counter() - began
    found = Candidate(score=value, components=components, reason=reason, failure=failure, worker=worker,
                      started=started, seconds=seconds)  # fmt: skip
    return Candidate(task.number, rung=task.rung, seed=task.seed).as_found(found)


def lost(task: Candidate, loss: Loss) -> Candidate:
    """A candidate whose worker died or took too long."""
    return task.failed(loss.reason, loss.failure, loss.worker, loss.started, loss.seconds)


@dataclass(frozen=True)
class Begin:
    """What a worker process begins with: it follows a recipe, on a device of its own."""

    recipe: Recipe

    def __call__(self, index: int) -> Ready[Candidate, Candidate]:
        """Load what the recipe needs; the greeting says which direction measures have."""
        functions, directions = score_functions(replace(self.recipe, device=own_device(self.recipe.device, index)))

        def work(task: Candidate) -> Candidate:
            return evaluated(task, functions[task.rung], f"worker {index}", self.recipe.rungs[task.rung][1:])

        return Ready(work, directions, lambda: warm_up(functions))


_Measured = tuple[float | None, Mapping[str, float], str | None, str | None]


def _measured(task: Candidate, score: ScoreFunction, required: Sequence[str]) -> _Measured:
    try:
        graph = task.graph or architecture(task.text)
        found: dict[str, Any] = dict(score(graph, task.seed))
        value = float(found.pop("score"))
        numbers = {name: float(number) for name, number in found.items()}
    except Exception as problem:  # a candidate may fail in any way whatever; the run goes on
        if isinstance(problem, MemoryError):  # which says nothing
            return None, {}, "memory", "out of memory"
        return None, {}, "memory" if out_of_memory(problem) else "error", shown(in_a_line(problem), 500)
    components = {name: number for name, number in numbers.items() if math.isfinite(number)}
    for name, number in {"score": value, **{name: numbers.get(name, math.nan) for name in required}}.items():
        if not math.isfinite(number):
            return None, components, "nan", f"the {'score' if name == 'score' else f'objective {name}'} is {number}"
    return value, components, None, None
