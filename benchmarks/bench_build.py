"""From text to module, side by side in one run: ratios to timm, and the start-up of the command line.

python benchmarks/bench_build.py
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import timm

import uninas
from uninas.language.elaborate import build
from uninas.language.library import load_text


def medians(rounds: int, *tasks: Callable[[], object]) -> list[float]:
    """Median seconds of each task; the tasks take turns, so that all see the same machine."""
    seconds: list[list[float]] = [[] for _ in tasks]
    for _ in range(rounds + 1):
        for taken, task in zip(seconds, tasks, strict=True):
            start = time.perf_counter()
            task()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]


def main() -> None:
    """Measure and print."""
    graph = uninas.load("coatnet_0_rw_224")
    text = uninas.dumps(graph, "net")
    read, ours, folded, theirs = medians(
        9,
        lambda: build(load_text(text), "net").cost,
        lambda: uninas.compile(graph),
        lambda: uninas.compile(graph, fold=True),
        lambda: timm.create_model("coatnet_0_rw_224", pretrained=False),
    )
    print(f"coatnet_0_rw_224: parse, type and cost the text  {1000 * read:6.1f} ms")
    print(f"  build with timm                                {1000 * theirs:6.1f} ms")
    print(f"  compile the graph                              {1000 * ours:6.1f} ms   {ours / theirs:.2f} x timm")
    print(f"  compile it with equal heads folded             {1000 * folded:6.1f} ms   {folded / theirs:.2f} x timm")
    path = "spaces/networks/coatnet.uni"
    check, bare = medians(
        9,
        lambda: subprocess.run([sys.executable, "-m", "uninas", "check", path], check=True, capture_output=True),
        lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
    )
    print(f"uninas check {path}: {check:.2f} s, of which Python's own start {bare:.2f} s")


if __name__ == "__main__":
    main()
