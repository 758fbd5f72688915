"""Worker processes: each is fresh, does one job after the other, and may die or hang without harm.

On Linux they are forked from a server of Python's multiprocessing that has loaded torch and this package, once for all
workers, and has done nothing else; elsewhere each is spawned, and loads them itself.

A worker that is killed or crashes is replaced and its job given out once more, as it may have been an accident; the
second time the job is lost. A worker that takes too long is killed and its job is lost. It makes no difference whether
a worker dies before its first job, while it waits, or at work. With several GPUs (`--device cuda`), worker n has the
one of that number, in turn.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from uninas.errors import UninasError, error
from uninas.runs.process import bars_of_one_process, freeze_gc, manage_memory

if TYPE_CHECKING:  # Windows has no server that forks
    from multiprocessing.context import ForkServerContext, SpawnContext

ATTEMPTS = 2  # that a job may end a worker before it is lost
STARTS = 3  # that workers may die in a row before they have done anything
SPARE = 2  # jobs kept ready for whoever is free first
MOST_WORKERS = 1024
_FORKS = sys.platform == "linux"

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Ready(Generic[J, R]):
    """The state of a worker that has loaded everything it needs."""

    work: Callable[[J], R]
    greeting: Any = None
    """What it says when it is ready; any values."""
    warm_up: Callable[[], None] = freeze_gc
    """What it does before, within its limit of memory, so that what a first job costs is no job's time."""


@dataclass(frozen=True)
class Loss:
    """Why a job has no result: `reason` is 'crash' or 'time', `failure` the same as a sentence."""

    reason: str
    failure: str
    worker: str
    started: float
    """In seconds since 1970."""
    seconds: float


@dataclass
class _Job(Generic[J]):
    content: J
    crashes: int = 0


@dataclass
class _Worker(Generic[J]):
    process: BaseProcess
    connection: Connection
    index: int
    job: _Job[J] | None = None
    ready: bool = False
    began: float = 0.0
    started: float = 0.0

    @property
    def name(self) -> str:
        return f"worker {self.index}"


class Workers(Generic[J, R]):
    """A pool of fresh processes. Limits are for one job (seconds) and for one worker (bytes).

    `begin(index)` is called in worker `index` when it starts, and gives what is done with a job and a greeting; what it
    raises as a UninasError is raised here. `lost(job, loss)` is the result of a job that has none. Both begin and jobs
    are pickled.
    """

    def __init__(
        self,
        begin: Callable[[int], Ready[J, R]],
        lost: Callable[[J, Loss], R],
        count: int,
        *,
        time_limit: float | None = None,
        memory_limit: float | None = None,
    ):
        if not 1 <= count <= MOST_WORKERS:
            raise error("UNI071", f"expected from 1 to {MOST_WORKERS} workers, but got {count}")
        self.begin, self.lost = pickle.dumps(begin), lost
        self.time_limit, self.memory_limit = time_limit, memory_limit
        self.greeting: Any = None
        """What a worker said last when it was ready."""
        self._queue: deque[_Job[J]] = deque()
        self._false_starts = 0
        self._workers: list[_Worker[J]] = []
        try:
            for index in range(count):
                self._workers.append(self._spawned(index))
            while not any(worker.ready for worker in self._workers):
                self._listen()
        except BaseException:
            self.close()
            raise

    @property
    def room(self) -> int:
        """Number of further jobs that idle workers could take now."""
        return len(self._workers) + SPARE - self._busy - len(self._queue)

    @property
    def processes(self) -> list[int]:
        """Process identifiers of the workers."""
        return [worker.process.pid or 0 for worker in self._workers]

    def submit(self, job: J) -> None:
        """Take a job."""
        self._queue.append(_Job(job))
        self._feed()

    def wait(self) -> list[R]:
        """Results that have come, at least one, in any order; blocks until then."""
        found: list[R] = []
        while not found:
            found = self._listen()
            self._feed()
        return found

    def results(self, jobs: Iterable[J]) -> Iterator[R]:
        """The results of all jobs, in the order in which they come; ends the workers, also when it is left early."""
        waiting = iter(jobs)
        try:
            while True:
                for job in waiting:
                    self.submit(job)
                    if self.room <= 0:
                        break
                if not self._busy and not self._queue:
                    return
                yield from self.wait()
        finally:
            self.close()

    def close(self) -> None:
        """Give up what is being done, and end the workers."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
            worker.process.close()
        self._workers = []
        self._queue.clear()

    # ---- how it is done ------------------------------------------------------------------------------------------

    @property
    def _busy(self) -> int:
        return sum(worker.job is not None for worker in self._workers)

    def _spawned(self, index: int) -> _Worker[J]:
        context: ForkServerContext | SpawnContext = multiprocessing.get_context("spawn")
        if _FORKS:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["uninas.runs.scorer"])
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, self.begin, index, self.memory_limit, dict(os.environ)), name=f"uninas-{index}",
            daemon=True,
        )  # fmt: skip
        process.start()
        theirs.close()
        return _Worker(process, ours, index)

    def _feed(self) -> None:
        """Give jobs to whoever is free."""
        for worker in self._workers:
            if self._queue and worker.ready and worker.job is None:
                worker.job = self._queue.popleft()
                worker.began, worker.started = time.monotonic(), time.time()
                with suppress(OSError):  # it has died; that is noticed when it is listened to
                    worker.connection.send(worker.job.content)

    def _listen(self) -> list[R]:
        """Wait until a worker says something, dies or takes too long."""
        doors = [door for worker in self._workers for door in (worker.connection, worker.process.sentinel)]
        open_ = set(wait(doors, self._patience()))
        found: list[R] = []
        for place, worker in enumerate(self._workers):
            if worker.connection in open_ or worker.process.sentinel in open_:
                found += self._heard(place, worker)
            elif self._late(worker):
                found += self._timed_out(place, worker)
        return found

    def _heard(self, place: int, worker: _Worker[J]) -> list[R]:
        try:
            if not worker.connection.poll():
                raise EOFError
            said: Any = worker.connection.recv()
        except (EOFError, OSError):
            return self._died(place, worker)
        if isinstance(said, UninasError):
            raise said
        if not worker.ready:
            worker.ready, self.greeting, self._false_starts = True, said, 0
            return []
        worker.job = None
        return [said]

    def _died(self, place: int, worker: _Worker[J]) -> list[R]:
        how = self._replaced(place, worker)
        if worker.job is None:
            self._false_starts += not worker.ready
            if self._false_starts >= STARTS * len(self._workers):
                raise error(
                    "UNI071",
                    f"the workers cannot start: the last {how}",
                    None,
                    "score in one process to see why: -j 0, or -j 1 for rank",
                )
            return []
        worker.job.crashes += 1
        if worker.job.crashes < ATTEMPTS:
            self._queue.appendleft(worker.job)
            return []
        return [self._lost(worker, "crash", f"the worker {how}")]

    def _timed_out(self, place: int, worker: _Worker[J]) -> list[R]:
        self._replaced(place, worker)
        return [self._lost(worker, "time", f"it took longer than {self.time_limit:g} s")]

    def _lost(self, worker: _Worker[J], reason: str, why: str) -> R:
        assert worker.job is not None
        seconds = time.monotonic() - worker.began
        return self.lost(worker.job.content, Loss(reason, why, worker.name, worker.started, seconds))

    def _replaced(self, place: int, worker: _Worker[J]) -> str:
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
        ends = [worker.began + self.time_limit for worker in self._workers if worker.job is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _late(self, worker: _Worker[J]) -> bool:
        limit = self.time_limit
        return limit is not None and worker.job is not None and time.monotonic() >= worker.began + limit


# ---- the other side --------------------------------------------------------------------------------------------------


def serve(
    connection: Connection, begin: bytes, index: int, memory_limit: float | None, environment: dict[str, str]
) -> None:
    """What a worker process does: say that it is ready, then do what comes until the door closes.

    `begin` comes packed, as to unpack it may load torch: before that, the end of the main process must be noticed.
    """
    os.environ.clear()  # what the server that forked this process has is that of its own beginning
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asked
    end_with_parent()
    try:
        ready: Ready[Any, Any] = pickle.loads(begin)(index)  # noqa: S301  # from the process that made us
    except UninasError as problem:
        connection.send(problem)
        return
    bars_of_one_process()
    manage_memory(memory_limit)
    ready.warm_up()
    with suppress(EOFError, OSError):
        connection.send(ready.greeting)
        while True:
            connection.send(ready.work(connection.recv()))


def end_with_parent() -> None:
    """End this worker when its main process dies, whatever the worker is doing.

    The server that forks workers ends with the main process, and Linux ends them with the server. Elsewhere, and should
    the kill have come before, a thread does it.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if _FORKS:
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_PR_SET_PDEATHSIG = 1  # from sys/prctl.h
