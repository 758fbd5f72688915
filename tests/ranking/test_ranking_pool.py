"""Worker processes: all jobs are done, whatever happens to a process. (They import this file: it must stay light.)"""

import multiprocessing
import os
import signal

from uninas.ranking.pool import done


def square(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def lost(number):
    return -number


def test_a_process_that_dies_costs_one_job():
    assert sorted(done([square] * 2, range(6), lost)) == [-3, 0, 1, 4, 16, 25]


def test_more_processes_than_jobs():
    assert sorted(done([square] * 4, [1, 2], lost)) == [1, 4]
    assert list(done([square] * 2, [], lost)) == []


def test_stopping_early_leaves_no_process_behind():
    results = done([square] * 2, iter(range(4, 100_000)), lost)
    assert next(results) in (16, 25)
    results.close()
    assert not multiprocessing.active_children()
