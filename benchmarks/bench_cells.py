"""What a score of a cell of NAS-Bench-201 costs, beside another checkout, and where its time goes.

    python benchmarks/bench_cells.py [OTHER] [--proxy vkdnw_single] [--batch 64] [--turns 5]

OTHER is a folder with another state of this repository (`git worktree add OTHER COMMIT`). Each checkout runs in a
process of its own, with this Python, on one thread; they score the same cells in turn, so that a machine that becomes
slower does so for both. Times are processor time, the median of all turns, with building the module.

The floor is what the products of the exact score would take at the speed of one large matrix product, measured in the
same turns: a forward pass, and one back for each class but one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

CELLS = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
    "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_1x1~2|",
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_3x3~0|none~1|skip_connect~2|",
)
SIDE, CLASSES = 1024, 10


def serve(proxy: str, batch: int) -> None:
    """Answer every line of standard input with seconds of each cell, of a matrix product, and FLOPs of the cells."""
    import torch

    from uninas.ranking.nasbench201 import graph_of
    from uninas.runs.scorer import Scorer

    torch.set_num_threads(1)
    scorer, square = Scorer([proxy], batch), torch.randn(SIDE, SIDE)
    scorer(graph_of(CELLS[0]), 0)
    for _ in sys.stdin:
        found = []
        for cell in CELLS:
            graph, began = graph_of(cell), time.process_time()
            scorer(graph, 0)
            found.append(time.process_time() - began)
        began = time.process_time()
        square @ square
        product = time.process_time() - began
        print(*found, product, *(graph_of(cell).cost.flops for cell in CELLS), flush=True)


def started(checkout: Path, proxy: str, batch: int) -> subprocess.Popen[str]:
    """The process of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--serve", "--proxy", proxy, "--batch", str(batch)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--proxy", default="vkdnw_single")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.proxy, given.batch)
        return
    folders = {"this": Path(__file__).resolve().parents[1], **({"other": given.other.resolve()} if given.other else {})}
    running = {name: started(folder, given.proxy, given.batch) for name, folder in folders.items()}
    answers: dict[str, list[list[float]]] = {name: [] for name in running}
    for _ in range(given.turns):
        for name, process in running.items():
            assert process.stdin and process.stdout
            process.stdin.write("again\n")
            process.stdin.flush()
            answers[name].append([float(word) for word in process.stdout.readline().split()])
    for process in running.values():
        process.communicate()
    middle = {name: [median(column) for column in zip(*found, strict=True)] for name, found in answers.items()}
    count = len(CELLS)
    print(f"{given.proxy}, batch {given.batch}, milliseconds of one core, floor of {CLASSES} classes\n")
    print(f"| cell | {' | '.join(middle)} | ratio | floor |")
    print("|---" * (len(middle) + 3) + "|")
    for place, cell in enumerate(CELLS):
        times = [found[place] for found in middle.values()]
        floor = middle["this"][count] * CLASSES * given.batch * middle["this"][count + 1 + place] / (2 * SIDE**3)
        ratio = f"{times[-1] / times[0]:.2f}" if given.other else ""
        numbers = " | ".join(f"{1e3 * one:.0f}" for one in times)
        print(f"| `{cell[1:-1].replace('|', ' ')}` | {numbers} | {ratio} | {1e3 * floor:.0f} |")


if __name__ == "__main__":
    main()
