"""Worker processes: each is spawned, scores one task after the other, and may die or hang without harm.

A worker that is killed or crashes is replaced and its task given out once more, as it may have been an accident; the
second time the candidate has failed. A worker that takes too long is killed and its candidate has failed. With several
GPUs (`--device cuda`), worker n has the one of that number, in turn.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from uninas.errors import UninasError, error
from uninas.runs.process import manage_memory, own_device
from uninas.scores.objectives import Recipe
from uninas.search.tasks import Result, Task, evaluated, failed, score_functions, warm_up

ATTEMPTS = 2  # that a candidate may end a worker before it has failed
STARTS = 3  # that workers may die in a row before they have scored anything
SPARE = 2  # tasks kept ready for whoever is free first
MOST_JOBS = 1024


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    index: int
    task: Task | None = None
    ready: bool = False
    began: float = 0.0
    started: float = 0.0

    @property
    def name(self) -> str:
        return f"worker {self.index}"


class Workers:
    """A pool of spawned processes. Limits of time and memory are for one candidate and one worker."""

    def __init__(
        self, recipe: Recipe, jobs: int, *, time_limit: float | None = None, memory_limit: float | None = None
    ):
        if not 1 <= jobs <= MOST_JOBS:
            raise error("UNI071", f"expected from 1 to {MOST_JOBS} workers, but got {jobs}")
        self.recipe, self.time_limit, self.memory_limit = recipe, time_limit, memory_limit
        self.directions: Mapping[str, str] = {}
        self._queue: deque[Task] = deque()
        self._crashes: Counter[int] = Counter()
        self._false_starts = 0
        self._workers: list[_Worker] = []
        try:
            for index in range(jobs):
                self._workers.append(self._spawned(index))
            while not any(worker.ready for worker in self._workers):
                self._listen()
        except BaseException:
            self.close()
            raise

    @property
    def room(self) -> int:
        busy = sum(worker.task is not None for worker in self._workers)
        return len(self._workers) + SPARE - busy - len(self._queue)

    @property
    def processes(self) -> list[int]:
        """Process identifiers of the workers."""
        return [worker.process.pid or 0 for worker in self._workers]

    def submit(self, task: Task) -> None:
        self._queue.append(task.lean())
        self._feed()

    def wait(self) -> list[Result]:
        found: list[Result] = []
        while not found:
            found = self._listen()
            self._feed()
        return found

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
            worker.process.close()
        self._workers = []
        self._queue.clear()

    # ---- how it is done ------------------------------------------------------------------------------------------

    def _spawned(self, index: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, self.recipe, index, self.memory_limit), name=f"uninas-{index}", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, index)

    def _feed(self) -> None:
        """Give tasks to whoever is free."""
        for worker in self._workers:
            if self._queue and worker.ready and worker.task is None:
                worker.task = self._queue.popleft()
                worker.began, worker.started = time.monotonic(), time.time()
                with suppress(OSError):  # it has died; that is noticed when it is listened to
                    worker.connection.send(worker.task)

    def _listen(self) -> list[Result]:
        """Wait until a worker says something, dies or takes too long."""
        doors = [door for worker in self._workers for door in (worker.connection, worker.process.sentinel)]
        open_ = set(wait(doors, self._patience()))
        found: list[Result] = []
        for place, worker in enumerate(self._workers):
            if worker.connection in open_ or worker.process.sentinel in open_:
                found += self._heard(place, worker)
            elif self._late(worker):
                found += self._timed_out(place, worker)
        return found

    def _heard(self, place: int, worker: _Worker) -> list[Result]:
        try:
            if not worker.connection.poll():
                raise EOFError
            said: Any = worker.connection.recv()
        except (EOFError, OSError):
            return self._died(place, worker)
        if isinstance(said, UninasError):
            raise said
        if not worker.ready:
            worker.ready, self.directions, self._false_starts = True, said, 0
            return []
        worker.task = None
        return [said]

    def _died(self, place: int, worker: _Worker) -> list[Result]:
        how = self._replaced(place, worker)
        if worker.task is None:
            self._false_starts += not worker.ready
            if self._false_starts >= STARTS * len(self._workers):
                raise error("UNI071", f"the workers cannot start: the last {how}", None, "try without: -j 0")
            return []
        task = worker.task
        self._crashes[task.number] += 1
        if self._crashes[task.number] < ATTEMPTS:
            self._queue.appendleft(task)
            return []
        seconds = time.monotonic() - worker.began
        return [failed(task, "crash", f"the worker {how}", worker.name, worker.started, seconds)]

    def _timed_out(self, place: int, worker: _Worker) -> list[Result]:
        self._replaced(place, worker)
        assert worker.task is not None
        seconds = time.monotonic() - worker.began
        why = f"it took longer than {self.time_limit:g} s"
        return [failed(worker.task, "time", why, worker.name, worker.started, seconds)]

    def _replaced(self, place: int, worker: _Worker) -> str:
        """End a worker and begin another one in its place; says how it ended."""
        worker.process.join(0.5)  # one that has closed its door is about to end
        worker.process.kill()
        worker.process.join()
        code = worker.process.exitcode or 0
        worker.connection.close()
        worker.process.close()
        self._workers[place] = self._spawned(worker.index)
        if code != -signal.SIGKILL:
            return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return "was killed (SIGKILL), perhaps by the system for want of memory"

    def _patience(self) -> float | None:
        if self.time_limit is None:
            return None
        ends = [worker.began + self.time_limit for worker in self._workers if worker.task is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _late(self, worker: _Worker) -> bool:
        limit = self.time_limit
        return limit is not None and worker.task is not None and time.monotonic() >= worker.began + limit


# ---- the other side --------------------------------------------------------------------------------------------------


def serve(connection: Connection, recipe: Recipe, index: int, memory_limit: float | None) -> None:
    """What a worker process does: say which direction measures have, then score what comes until the door closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asked
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        own = dataclasses.replace(recipe, device=own_device(recipe.device, index))
        functions, directions = score_functions(own)
    except UninasError as problem:
        connection.send(problem)
        return
    manage_memory(memory_limit)
    warm_up(functions)
    connection.send(directions)
    with suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            required: Sequence[str] = recipe.rungs[task.rung][1:]
            connection.send(evaluated(task, functions[task.rung], f"worker {index}", required))


def _end_with_parent() -> None:
    """Whoever kills the run does not have to look for its workers, whatever these are busy with."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
