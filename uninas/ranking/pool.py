"""Worker processes that do jobs, one at a time each, and whose death costs no more than the job in hand."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from uninas.runs.process import keep_memory, settle

J = TypeVar("J")
R = TypeVar("R")


def done(workers: Sequence[Callable[[J], R]], jobs: Iterable[J], died: Callable[[J], R]) -> Iterator[R]:
    """The results of all jobs, in the order in which they are ready; `workers` are what each of them does with a job.

    One worker works in this process. More are spawned, not forked, as torch asks for; then jobs and results are sent
    between processes, and a process that dies (out of memory, say) is replaced, with `died(job)` as the result.
    """
    if len(workers) == 1:
        yield from map(workers[0], jobs)
        return
    waiting = iter(jobs)
    busy: dict[Connection, tuple[_Worker, J]] = {}

    def begin(worker: _Worker) -> None:
        """The next job for a worker; with none left, it goes."""
        for job in waiting:
            worker.line.send(job)
            busy[worker.line] = worker, job
            return
        worker.leave()

    try:
        for do in workers:
            begin(_Worker(do))
        while busy:
            for line in wait(list(busy)):
                assert isinstance(line, Connection)
                worker, job = busy.pop(line)
                try:
                    result = line.recv()
                except EOFError:
                    worker.stop()
                    worker, result = _Worker(worker.do), died(job)
                begin(worker)
                yield result
    finally:
        for worker, _ in busy.values():
            worker.stop()


class _Worker:
    """A process at the other end of a line."""

    def __init__(self, do: Callable[[J], R]):
        spawn = multiprocessing.get_context("spawn")
        self.do = do
        self.line, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_work, args=(do, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that reading from ours ends when the process does

    def leave(self) -> None:
        """Let the process end by itself, which it does when it is idle and nobody can send it jobs."""
        self.line.close()
        self.process.join()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.leave()


def _work(do: Callable[[J], R], line: Connection) -> None:
    """What a worker does until nobody sends it jobs any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; only the first decides
    keep_memory()
    with suppress(EOFError, BrokenPipeError):  # the process that sends the jobs is gone, or has no more
        line.send(do(line.recv()))
        settle()  # the first job has loaded what all need
        while True:
            line.send(do(line.recv()))
