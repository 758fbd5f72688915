"""How fast one process asks and stores, and candidates per minute by number of workers: local ones, and Ray's.

    python benchmarks/bench_search.py [--candidates 40] [--no-ray]

Networks around ResNet-18 at 32 px, scored by VKDNW with two images: about a second each. Only the time from the first
score to the last counts, so that starting workers does not. Candidates are the same in all rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from uninas.search.executor import Execution, make_executor
from uninas.search.plan import Settings, make_plan
from uninas.search.run import Run


def rate(plan_of: Settings, execution: Execution, candidates: int) -> tuple[float, list[str]]:
    """Candidates per minute, and their keys."""
    plan = make_plan(plan_of)
    executor = make_executor(plan.recipe, execution)
    try:
        with tempfile.TemporaryDirectory() as folder, Run(Path(folder), plan, executor) as run:
            times = [time.perf_counter() for _ in run.candidates(candidates)]
            return 60 * candidates / (times[-1] - times[0]), [candidate.key for candidate in run.store]
    finally:
        executor.close()


def overhead(candidates: int = 300) -> float:
    """Seconds of processor time that a candidate costs besides its score: proposing, printing, storing, telling."""
    plan = make_plan(Settings("UniNAS", "params", start="coatnet", strategy="evolution"))
    executor = make_executor(plan.recipe, Execution(0))
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder), plan, executor) as run:
        began = time.process_time()
        done = sum(1 for _ in run.candidates(candidates))
        return (time.process_time() - began) / done


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--no-ray", action="store_true")
    options = parser.parse_args()
    settings = Settings("UniNAS", "vkdnw", start="resnet18", img_size=32, classes=10, batch_size=2)
    cost = overhead()
    print(f"besides its score, a candidate costs {1000 * cost:.1f} ms of CPU: at most {1 / cost:,.0f} per second")
    executors = ["local"] + ["ray"] * (find_spec("ray") is not None and not options.no_ray)
    keys = []
    for executor in executors:
        for jobs in (1, 2):
            found, these = rate(settings, Execution(jobs, executor), options.candidates)
            keys.append(these)
            print(f"{executor:<6} {jobs} worker{'s' * (jobs > 1)}: {found:7.1f} candidates per minute", flush=True)
    print("the same candidates in all rows:", all(these == keys[0] for these in keys))


if __name__ == "__main__":
    main()
