"""Scoring a candidate, in this process or in any worker.

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
from uninas.language.alone import architecture
from uninas.language.elaborate import build
from uninas.language.library import load_text
from uninas.runs.process import freeze_gc, own_device
from uninas.runs.workers import Loss, Ready
from uninas.scores.input_sources import NOISES, NORMAL
from uninas.scores.objectives import TRAINED, Recipe
from uninas.search.candidate import Candidate
from uninas.space import COSTS

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

    others = [name for names in recipe.rungs for name in names if not name.startswith(TRAINED)]
    check_options(others, recipe.options)
    functions: list[ScoreFunction] = []
    directions: dict[str, str] = {}
    for names in recipe.rungs:
        if any(name.startswith(TRAINED) for name in names):
            functions.append(trained_score(names, recipe))
            directions[names[0]] = "higher"
            continue
        scorer = Scorer(names, recipe.batch_size, images=recipe.images, options=recipe.options, init=recipe.init,
                        fold=recipe.fold, device=recipe.device, threads=recipe.threads)  # fmt: skip
        functions.append(scorer)
        directions |= scorer.directions
    return functions, directions


def trained_score(names: Sequence[str], recipe: Recipe) -> ScoreFunction:
    """Scores by a short training (train:RECIPE) on images of a file, beside which costs may be asked for.

    What counts is the part of held-out training images that is classified right, in percent. Raises UNI071.
    """
    from uninas.runs.scorer import on_threads
    from uninas.training.recipe import Recipe as Training
    from uninas.training.score import TrainedScore

    first, *rest = names
    data = recipe.images.get(first, NORMAL)
    if not first.startswith(TRAINED) or any(name not in COSTS for name in rest):
        raise error("UNI071", f"expected {shown(next(name for name in names if name.startswith(TRAINED)))} to be the "
                    "score, and beside it costs alone", None, "--proxy train:brief --objective params")  # fmt: skip
    if data in NOISES:
        raise error("UNI071", f"expected images to train on for {first}", None, f"--input {first}=cifar.npz")
    score = TrainedScore(data, Training.load(first.removeprefix(TRAINED), "classification"), device=recipe.device)

    def trained(graph: Graph, seed: int) -> dict[str, float]:
        with on_threads(recipe.threads):
            found = score(graph, seed)
        return {"score": found.pop("top1"), **found, **{name: float(COSTS[name](graph)) for name in rest}}

    return trained


def cost_score(*metrics: str) -> ScoreFunction:
    """Scores by costs of the graph (params, flops, ...), without building a module."""

    def score(graph: Graph, seed: int) -> dict[str, float]:
        values = [float(COSTS[metric](graph)) for metric in metrics]
        return {**dict(zip(metrics[1:], values[1:], strict=True)), "score": values[0]}

    return score


def warm_up(functions: Iterable[ScoreFunction]) -> None:
    """Score something tiny in a worker, so that what torch loads and sets up for a first score is no candidate's time.

    Whatever goes wrong will go wrong with candidates, too, and is told there. What is loaded stays (`freeze_gc`).
    """
    graph = build(load_text(_TINY), "Tiny")
    for score in functions:
        if getattr(score, "__name__", "") != "trained":  # which takes as long as it takes
            with suppress(Exception):
                score(graph, 0)
    freeze_gc()


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
