"""Worker processes: all jobs are done, whatever happens to a process. (They import this file: it must stay light.)"""

import multiprocessing
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from uninas.errors import UninasError, error
from uninas.runs.workers import Ready, Workers


def square(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def begin(index):
    return Ready(square, index)


def lost(number, loss):
    return -number


class Fickle:
    """Dies before it is ready, as when loading torch takes all memory, but only so many times."""

    def __init__(self, folder, times):
        self.folder, self.times = folder, times

    def __call__(self, index):
        for number in range(self.times):
            try:
                (self.folder / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            os._exit(1)
        return Ready(square)


def test_a_job_that_ends_its_worker_again_and_again_is_lost_alone():
    losses = []
    pool = Workers(begin, lambda job, loss: losses.append(loss) or -job, 2)
    assert sorted(pool.results(range(6))) == [-3, 0, 1, 4, 16, 25]
    assert [loss.reason for loss in losses] == ["crash"] and "SIGKILL" in losses[0].failure


def test_more_processes_than_jobs():
    assert sorted(Workers(begin, lost, 4).results([1, 2])) == [1, 4]
    assert list(Workers(begin, lost, 2).results([])) == []


def test_stopping_early_leaves_no_process_behind():
    results = Workers(begin, lost, 2).results(iter(range(4, 100_000)))
    assert next(results) in (16, 25)
    results.close()
    assert not multiprocessing.active_children()


def test_a_worker_may_die_before_it_has_read_a_job(tmp_path):
    assert sorted(Workers(Fickle(tmp_path, 3), lost, 2).results([1, 2, 4])) == [1, 4, 16]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_worker_may_die_while_it_waits():
    pool = Workers(begin, lost, 1)
    for number in (1, 2):
        before = pool.processes
        os.kill(before[0], signal.SIGKILL)
        pool.submit(number)
        assert pool.wait() == [number * number] and pool.processes != before
    pool.close()


def leave(index):
    os._exit(7)


def test_workers_that_cannot_start_end_the_run():
    with pytest.raises(UninasError, match="the workers cannot start: the last ended with status 7"):
        Workers(leave, lost, 1)


def tell(index):
    return Ready(square, ("torch" in sys.modules, "uninas.runs.scorer" in sys.modules))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each worker loads what it needs")
def test_a_worker_has_what_others_have_loaded():
    pool = Workers(tell, lost, 1)
    assert pool.greeting == (True, True)
    pool.close()


def variable(index):
    return Ready(square, os.environ.get("UNINAS_OF_A_TEST"))


def test_a_worker_has_the_environment_of_its_time(monkeypatch):
    for value in ("one", "two"):
        monkeypatch.setenv("UNINAS_OF_A_TEST", value)
        pool = Workers(variable, lost, 1)
        assert pool.greeting == value
        pool.close()


def refuse(index):
    raise error("UNI071", "expected something else")


def test_a_mistake_is_told_by_the_first_worker():
    with pytest.raises(UninasError, match="expected something else"):
        Workers(refuse, lost, 2)


PARENT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from test_workers import Ready, Workers, lost

def busy(job):
    while True:
        pass

def begin(index):
    return Ready(busy)

if __name__ == "__main__":
    pool = Workers(begin, lost, 2)
    pool.submit(1)
    pool.submit(2)
    print(*pool.processes, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread sees to it, not at once")
def test_workers_end_with_a_main_process_that_is_killed_whatever_they_do(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script, Path(__file__).parent], stdout=subprocess.PIPE, text=True) as parent:
        # The pipe ends when the last process that has it is gone: the workers have inherited it.
        numbers = parent.stdout.read().split()
    assert len(numbers) == 2 and all(map(_ended, numbers))


def _ended(number):
    """Whether a process is over, or on its last steps: one that is killed closes its files some moments before."""
    try:
        process = os.pidfd_open(int(number))
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 30)[0])
    finally:
        os.close(process)
