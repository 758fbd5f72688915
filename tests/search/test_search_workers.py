"""Worker processes: they score what they are given, and may die, hang or run out of memory without harm."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from uninas.errors import UninasError
from uninas.language.printer import dumps
from uninas.runs.process import own_device
from uninas.scores.objectives import Recipe
from uninas.search import tasks
from uninas.search.candidate import Candidate
from uninas.search.executor import Execution, Inline, Processes, make_executor
from uninas.search.run import Run
from uninas.search.store import Store
from uninas.search.tasks import warm_up

COSTS = Recipe((("params", "flops"),))

# A worker that misbehaves as the seed of its task says. It stands in a module of its own, because it is spawned.
ODD = """
import os, signal, sys, time
from pathlib import Path
from uninas.search import tasks
from uninas.search.candidate import Candidate
from uninas.search.executor import Processes

def score(graph, seed):
    if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 2:
        time.sleep(1000)
    if seed == 3:
        raise MemoryError
    if seed == 4:
        bytearray(1 << 36)
    if seed == 5 and not Path(sys.argv[0]).with_suffix(".crashed").exists():
        Path(sys.argv[0]).with_suffix(".crashed").touch()
        os._exit(7)
    if seed == 6:
        return {"score": float("nan")}
    return {"score": graph.cost.params, "seed": seed}

tasks.cost_score = lambda *names: score  # here, and in every worker, which imports this file too

if __name__ == "__main__":
    import dataclasses, json
    from uninas.scores.objectives import Recipe
    from uninas.search.plan import Settings, make_plan
    from uninas.language.printer import dumps
    plan = make_plan(Settings(space=sys.argv[1], proxy="params"))
    pool = Processes(Recipe((("params",),)), 2, time_limit=float(sys.argv[2]), memory_limit=1 << 33)
    for number in range(1, 9):
        pool.submit(Candidate(number, text=dumps(plan.start, explicit=True), seed=number))
    found = []
    while len(found) < 8:
        found += pool.wait()
    pool.close()
    print(json.dumps([dataclasses.asdict(result) for result in found]))
"""


def task(graph, number, seed=0, rung=0):
    return Candidate(number, text=dumps(graph, explicit=True), seed=seed, rung=rung)


def gathered(executor, count):
    found = []
    while len(found) < count:
        found += executor.wait()
    return sorted(found, key=lambda result: result.number)


def test_workers_score_like_this_process(make):
    start = make().start
    inline = make_executor(COSTS, Execution(jobs=0))
    pool = make_executor(COSTS, Execution(jobs=2))
    try:
        for executor in (inline, pool):
            results = []
            for number in range(6):
                executor.submit(task(start, number, rung=0))
                if executor is inline:
                    results += inline.wait()
            results = results or gathered(pool, 6)
            assert [(r.number, r.score, r.components) for r in results] == [
                (n, start.cost.params, {"flops": start.cost.flops}) for n in range(6)
            ]
        assert {result.worker for result in results} <= {"worker 0", "worker 1"}
    finally:
        pool.close()


def test_crashes_hangs_and_exhausted_memory_are_failures_of_their_candidate_alone(space_file, tmp_path, root):
    file = tmp_path / "odd.py"
    file.write_text(ODD)
    done = subprocess.run(
        [sys.executable, str(file), str(space_file), "3"],
        env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {result["number"]: result for result in json.loads(done.stdout)}
    assert {number: result["reason"] for number, result in found.items()} == {
        1: "crash", 2: "time", 3: "memory", 4: "memory", 5: None, 6: "nan", 7: None, 8: None,
    }  # fmt: skip
    assert "was killed (SIGKILL)" in found[1]["failure"]
    assert found[2]["failure"] == "it took longer than 3 s" and found[2]["seconds"] >= 3
    assert found[5]["score"] == found[7]["score"], "what crashed once by accident is tried again"


def test_nothing_of_the_system_is_left_behind_by_workers(tmp_path, root):
    """tqdm's lock for all processes, which torch.fx brings about, was a semaphore that nobody freed."""
    done = subprocess.run(
        [sys.executable, "-m", "uninas", "search", "nasbench201", "--proxy", "expressivity", "--iterations", "1",
         "--batch-size", "2", "-o", str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "leaked" not in done.stderr, done.stderr


def test_a_worker_that_is_killed_while_it_waits_is_replaced(make):
    start = make().start
    pool = Processes(COSTS, 1)
    try:
        for number in range(2):
            before = pool.workers.processes
            os.kill(before[0], signal.SIGKILL)
            pool.submit(task(start, number))
            assert gathered(pool, 1)[0].score == start.cost.params
            assert pool.workers.processes != before
    finally:
        pool.close()


def test_what_a_first_score_costs_is_nobodys_time(monkeypatch):
    """Before it says that it is ready, a worker has scored something by every function, come of it what may."""
    told = []

    def score(graph, seed):
        told.append(graph.name)
        raise RuntimeError

    warm_up([score, score])
    assert told == ["Tiny", "Tiny"]


def test_a_mistake_in_the_recipe_is_told_by_the_first_worker():
    with pytest.raises(UninasError, match="did you mean 'vkdnw'"):
        Processes(Recipe((("vkdwn",),)), 1)


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        (Execution(executor="cloud"), "there are local, ray"),
        (Execution(jobs=0, time_limit=1.0), "expected a worker"),
        (Execution(jobs=5000), "expected from 1 to 1024 workers"),
    ],
)
def test_executors_that_cannot_be_had(execution, message):
    with pytest.raises(UninasError, match=r"UNI0(10|71)") as raised:
        make_executor(COSTS, execution)
    assert message in str(raised.value)


def test_the_number_of_workers_changes_nothing_but_the_time(tmp_path, make):
    def found(name, executor):
        plan = make(strategy="evolution", proxy="params", tuning={"population": 4})
        try:
            with Run(tmp_path / name, plan, executor) as run:
                list(run.candidates(30))
                return rows(run.folder), run.best.number
        finally:
            executor.close()

    whole = found("inline", Inline(tasks.cost_score("params")))
    assert found("one", Processes(COSTS, 1)) == found("two", Processes(COSTS, 2)) == whole


def rows(folder):
    with Store(folder, read_only=True) as store:
        return [(c.number, c.parent, c.edit, c.key, c.score, c.seed) for c in store]


SEARCH = """
import sys
from uninas.cli.search import search
if __name__ == "__main__":
    search.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_killing_a_run_with_workers_loses_only_what_is_in_flight(space_file, tmp_path, root, make):
    """SIGKILL for the main process in the middle of a run, twice; then it goes on to the end."""
    script, folder = tmp_path / "search.py", tmp_path / "run"
    script.write_text(SEARCH)
    arguments = [space_file, "--proxy", "params", "--strategy", "climb", "--seed", 1, "--iterations", 60, "--json"]
    command = [sys.executable, str(script), *map(str, arguments), "-j", "2", "-o", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with Run(tmp_path / "whole", make(strategy="climb", proxy="params"), Inline(tasks.cost_score("params"))) as run:
        list(run.candidates(60))
    seen = 0
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        events = [json.loads(process.stdout.readline()) for _ in range(12)]
        process.kill()
        events += [json.loads(line) for line in process.stdout.read().splitlines() if line.endswith("}")]
        process.wait()
        process.stdout.close()
        seen += sum(event["event"] == "candidate" for event in events)
        assert len(rows(folder)) >= seen, "what was reported is stored"
    assert len(rows(folder)) < 61
    assert subprocess.run(command, stdout=subprocess.PIPE, env=environment).returncode == 0
    assert rows(folder) == rows(tmp_path / "whole")


@pytest.mark.gpu
def test_workers_that_share_a_gpu_give_the_scores_of_a_cpu(space_file, tmp_path, root):
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    arguments = [space_file, "--proxy", "vkdnw", "--batch-size", 2, "--seed", 1, "--iterations", 6]
    for name, device, jobs in (("cpu", "cpu", 1), ("one", "cuda", 0), ("two", "cuda", 2)):
        command = [sys.executable, script, *arguments, "--device", device, "-j", jobs, "-o", tmp_path / name]
        path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        subprocess.run(list(map(str, command)), check=True, env={**os.environ, "PYTHONPATH": path})
    cpu, one, two = (rows(tmp_path / name) for name in ("cpu", "one", "two"))
    assert len(one) == 7 and one == two
    for ours, theirs in zip(one, cpu, strict=True):
        assert (*ours[:4], ours[5]) == (*theirs[:4], theirs[5])
        assert ours[4] == pytest.approx(theirs[4], rel=1e-3)


def test_workers_have_gpus_of_their_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [own_device("cuda", worker) for worker in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert own_device("cuda:1", 2) == "cuda:1" and own_device("cpu", 2) == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert own_device("cuda", 4) == "cuda"
