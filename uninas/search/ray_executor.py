"""Scoring on a Ray cluster. Tasks and results are the same as for local workers: text and numbers.

A remote worker is told the recipe once and keeps nothing but the code to follow it. When a worker or a whole node dies,
Ray gives its tasks to others; what a candidate does to its worker again and again is that candidate's failure. The
database stays here, with one writer.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from uninas.errors import UninasError, error, shown
from uninas.runs.process import manage_memory
from uninas.scores.objectives import Recipe
from uninas.search.candidate import Candidate
from uninas.search.tasks import ScoreFunction, evaluated, score_functions, warm_up

RETRIES = 3  # times that Ray gives out a task whose worker or node died
SPARE = 2
POLL = 1.0  # seconds between looks at the clock, where there is a time limit


class RayExecutor:
    """At most `jobs` tasks at a time; by default as many as the cluster has GPUs (for --device cuda), or cores.

    A limit of time counts from when a task is given to the cluster, and only as many are given as there are places. So
    it must leave time for a worker to start.
    """

    def __init__(
        self,
        recipe: Recipe,
        jobs: int | None = None,
        *,
        address: str = "",
        time_limit: float | None = None,
        memory_limit: float | None = None,
    ):
        try:
            ray: Any = import_module("ray")
        except ImportError:
            raise error("UNI071", "expected the package ray", None, "pip install 'uninas-toolkit[ray]'") from None
        self.ray = ray
        self.recipe, self.time_limit, self.memory_limit = recipe, time_limit, memory_limit
        self._mine = not ray.is_initialized()
        try:
            if self._mine:
                ray.init(address=address or None, log_to_driver=False, include_dashboard=False)
            gpus = int(recipe.device.startswith("cuda"))
            memory = {"memory": memory_limit} if memory_limit else {}
            self._score = ray.remote(num_cpus=recipe.threads, num_gpus=gpus, max_retries=RETRIES, **memory)(_score)
            greet = ray.remote(num_cpus=recipe.threads, num_gpus=gpus, max_retries=RETRIES)(_directions)
            self.directions: Mapping[str, str] = self._asked(greet.remote(recipe))
        except UninasError:
            self.close()
            raise
        except Exception as problem:  # Ray raises all kinds, and plain Exception where a node does not start
            self.close()
            raise error("UNI071", f"cannot use the Ray cluster: {shown(problem, 300)}", None, "see --address") from None
        total = ray.cluster_resources()
        self.jobs = jobs or max(1, int(total.get("GPU" if gpus else "CPU", 1)))
        self._flying: dict[Any, tuple[Candidate, float, float]] = {}

    @property
    def room(self) -> int:
        return self.jobs + (0 if self.time_limit else SPARE) - len(self._flying)

    def submit(self, task: Candidate) -> None:
        reference = self._score.remote(self.recipe, task.to_send(), self.memory_limit)
        self._flying[reference] = task, time.monotonic(), time.time()

    def wait(self) -> list[Candidate]:
        found: list[Candidate] = []
        patience = min(POLL, self.time_limit) if self.time_limit else None
        while not found:
            ready, _ = self.ray.wait(list(self._flying), timeout=patience)
            found = [self._result(reference) for reference in ready] or self._late()
        return found

    def close(self) -> None:
        for reference in getattr(self, "_flying", {}):
            self.ray.cancel(reference, force=True)
        self._flying = {}
        if self._mine:
            self.ray.shutdown()

    def _asked(self, reference: Any) -> Any:
        """The answer, or the mistake that was raised there."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as problem:
            raise problem.cause from None

    def _result(self, reference: Any) -> Candidate:
        task, began, started = self._flying.pop(reference)
        try:
            result: Candidate = self.ray.get(reference)
            return result
        except self.ray.exceptions.RayError as problem:
            reason = "memory" if isinstance(problem, self.ray.exceptions.OutOfMemoryError) else "crash"
            why = f"{type(problem).__name__}: {str(problem).strip().splitlines()[0]}"[:500]
            return task.failed(reason, why, "ray", started, time.monotonic() - began)

    def _late(self) -> list[Candidate]:
        """Tasks that took too long."""
        found = []
        for reference, (task, began, started) in list(self._flying.items()):
            seconds = time.monotonic() - began
            if self.time_limit is not None and seconds > self.time_limit:
                self.ray.cancel(reference, force=True)
                del self._flying[reference]
                why = f"it took longer than {self.time_limit:g} s"
                found.append(task.failed("time", why, "ray", started, seconds))
        return found


# ---- the other side --------------------------------------------------------------------------------------------------


def _directions(recipe: Recipe) -> dict[str, str]:
    return score_functions(recipe)[1]


def _score(recipe: Recipe, task: Candidate, memory_limit: float | None) -> Candidate:
    functions = _FUNCTIONS.get(repr(recipe))
    if functions is None:
        manage_memory(memory_limit)  # Ray takes the limit for a promise, by which it chooses nodes
        functions = _FUNCTIONS[repr(recipe)] = score_functions(recipe)[0]
        warm_up(functions)
    where = f"{socket.gethostname()}:{os.getpid()}"
    return evaluated(task, functions[task.rung], where, recipe.rungs[task.rung][1:])


_FUNCTIONS: dict[str, list[ScoreFunction]] = {}
"""What a recipe means, so that a worker that is used again need not look for it again."""
