"""Who scores candidates: this process, worker processes, or a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from uninas.errors import error
from uninas.plugins import Registry
from uninas.runs.workers import Workers
from uninas.scores.objectives import Recipe
from uninas.search.candidate import Candidate
from uninas.search.tasks import Begin, ScoreFunction, evaluated, lost, score_functions


@dataclass(frozen=True)
class Execution:
    """How candidates are scored: what changes the time that a run takes, and nothing else."""

    jobs: int | None = None
    """Worker processes; 0 scores in this process; None: one worker where a module has to be built, else none."""
    executor: str = "local"
    address: str = ""
    """Of a Ray cluster; '' starts one on this machine."""
    time_limit: float | None = None
    """Seconds for one candidate."""
    memory_limit: float | None = None
    """Bytes for one worker process."""


class Executor(Protocol):
    """Scores tasks, several at once."""

    directions: Mapping[str, str]
    """'higher' or 'lower' for measures that know which is better."""

    @property
    def room(self) -> int:
        """Number of further tasks that idle workers could take now."""

    def submit(self, task: Candidate) -> None:
        """Take a task."""

    def wait(self) -> Sequence[Candidate]:
        """Results that have come, at least one, in any order; blocks until then."""

    def close(self) -> None:
        """Give up what is being done, and end."""


class Inline:
    """Scores in this process, one after the other, by one function for each rung."""

    def __init__(self, *functions: ScoreFunction, required: Sequence[Sequence[str]] = ()):
        self.functions, self.required = functions, required or [()] * len(functions)
        self.directions: Mapping[str, str] = {}
        self._queue: deque[Candidate] = deque()

    @property
    def room(self) -> int:
        return 1 - len(self._queue)

    def submit(self, task: Candidate) -> None:
        self._queue.append(task)

    def wait(self) -> list[Candidate]:
        task = self._queue.popleft()
        return [evaluated(task, self.functions[task.rung], "main", self.required[task.rung])]

    def close(self) -> None:
        self._queue.clear()


class Processes:
    """Scores in worker processes."""

    def __init__(
        self, recipe: Recipe, jobs: int, *, time_limit: float | None = None, memory_limit: float | None = None
    ):
        self.workers: Workers[Candidate, Candidate] = Workers(
            Begin(recipe), lost, jobs, time_limit=time_limit, memory_limit=memory_limit
        )
        self.directions: Mapping[str, str] = self.workers.greeting

    @property
    def room(self) -> int:
        return self.workers.room

    def submit(self, task: Candidate) -> None:
        self.workers.submit(task.to_send())

    def wait(self) -> list[Candidate]:
        return self.workers.wait()

    def close(self) -> None:
        self.workers.close()


def make_executor(recipe: Recipe, execution: Execution) -> Executor:
    """The executor asked for. Raises UNI010 for an unknown name, UNI071 where it cannot be had."""
    return EXECUTORS.find(execution.executor)(recipe, execution)


def _ray(recipe: Recipe, execution: Execution) -> Executor:
    from uninas.search.ray_executor import RayExecutor

    return RayExecutor(
        recipe, execution.jobs, address=execution.address, time_limit=execution.time_limit,
        memory_limit=execution.memory_limit,
    )  # fmt: skip


def _local(recipe: Recipe, execution: Execution) -> Executor:
    jobs = execution.jobs if execution.jobs is not None else int(recipe.needs_torch)
    if jobs:
        return Processes(recipe, jobs, time_limit=execution.time_limit, memory_limit=execution.memory_limit)
    if execution.time_limit or execution.memory_limit:
        raise error("UNI071", "expected a worker (-j 1) for a limit of time or memory", None, "-j 0 has none to end")
    functions, directions = score_functions(recipe)
    inline = Inline(*functions, required=[names[1:] for names in recipe.rungs])
    inline.directions = directions
    return inline


EXECUTORS: Registry[Callable[[Recipe, Execution], Executor]] = Registry("executor", {"local": _local, "ray": _ray})
"""Who scores, by the names that `--executor` takes."""
