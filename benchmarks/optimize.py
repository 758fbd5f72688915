"""The networks beside those of timm: inference, or a training step, before and after `uninas.optimize`.

    python benchmarks/optimize.py [NETWORK ...] [--goal inference|training] [--seconds 2] [--without PASS ...]
    python benchmarks/optimize.py [NETWORK ...] --memory [--goal inference|training] [--batch 2]

One thread, a batch of 2, random images, weights of no training, on the processor by default. All modules of a network
are built and warmed up, then timed in turn, a moment each, so that a clock that drifts drifts for all; on a processor
it is the clock of this process, which other work beside it hardly moves. Ratios are medians divided by the median of
timm's module as it comes; below 1 is faster. The floor is the time that the products of a forward pass (its FLOPs; of
a training step three times as many) would take at the speed of one large matrix product, measured in the same turn:
what does the same arithmetic can hardly be below it.

With `--memory`, nothing is timed: of one pass, after a first one, every allocation of torch's is followed, and its peak
is the most that was held at once beside the module's own tensors: activations, gradients and what kernels ask for.
That does not depend on what else the machine does. On a processor only.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
from collections.abc import Callable
from statistics import median

import timm
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import uninas
from uninas.backend.optimize import GOALS, PASSES, optimize

PUBLISHED = (
    "convnext_tiny", "coatnet_0_rw_224", "densenet121", "efficientnet_b0", "ghostnet_100", "inception_v3",
    "mixer_s16_224", "mobilenetv2_100", "regnetx_032", "resnet18", "resnet50", "swin_tiny_patch4_window7_224",
    "vit_small_patch16_224",
)  # fmt: skip
OURS = ("transformer", "coatnet")
COLUMNS = ("timm", "timm, channels last", "plain", "folded", "optimized")
BLOCK = 0.2
SIDE = 1024


def modules_of(network: str, goal: str, passes: dict[str, bool]) -> dict[str, nn.Module]:
    """The modules to compare, by the names of their columns."""
    found: dict[str, nn.Module] = {}
    if network in PUBLISHED:
        found["timm"] = timm.create_model(network)
        found["timm, channels last"] = timm.create_model(network).to(memory_format=torch.channels_last)
    model = uninas.create_model(network)
    found["plain"] = model
    found["folded"] = uninas.create_model(network, fold=True)
    found["optimized"] = optimize(model, goal, passes=passes or None)
    return {name: module.train(goal == "training") for name, module in found.items()}


def product(device: str, dtype: torch.dtype) -> Callable[[], None]:
    """A large matrix product, for the speed of arithmetic alone."""
    one = torch.randn(SIDE, SIDE, device=device, dtype=dtype)

    def run() -> None:
        one @ one

    return run


def run_of(module: nn.Module, x: torch.Tensor, goal: str, dtype: torch.dtype) -> Callable[[], None]:
    """One pass of a batch: forward, and backward when training."""

    def infer() -> None:
        with torch.inference_mode(), torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            module(x)

    def step() -> None:
        module.zero_grad()
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            out = module(x)
        out.float().logsumexp(1).mean().backward()

    return step if goal == "training" else infer


def times_of(runs: dict[str, Callable[[], None]], seconds: float, device: str) -> dict[str, float]:
    """The median time of each in milliseconds, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    clock = time.perf_counter if device == "cuda" else time.process_time
    for run in runs.values():
        run()
        run()
    while min(sum(found) for found in times.values()) < seconds or min(map(len, times.values())) < 3:
        for name, run in runs.items():
            until = clock() + BLOCK
            while True:
                wait()
                began = clock()
                run()
                wait()
                times[name].append(clock() - began)
                if clock() > until:
                    break
    return {name: 1e3 * median(found) for name, found in times.items()}


def peak_of(module: nn.Module, run: Callable[[], None]) -> int:
    """The most bytes that one pass of a module holds at once, of what it allocates itself."""
    run()
    module.zero_grad()  # what is freed inside, but was allocated before, would be counted as less than nothing
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        run()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes))


def memory_row(modules: dict[str, nn.Module], x: torch.Tensor, goal: str) -> tuple[float, list[str]]:
    """The peak of the first of the modules in MB, and those of the others as parts of it."""
    peaks = {}
    for name, module in modules.items():
        peaks[name] = peak_of(module, run_of(module, x, goal, torch.float32))
        module.zero_grad()
    base = peaks.get("timm", peaks["plain"])
    return base / 1e6, [f"{peaks[name] / base:.2f}" if name in peaks else "" for name in COLUMNS[1:]]


def time_row(
    modules: dict[str, nn.Module], x: torch.Tensor, flops: int, options: argparse.Namespace
) -> tuple[float, list[str]]:
    """The time of the first of the modules in milliseconds, and those of the others and of the floor as parts of it."""
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    runs = {}
    for name, module in modules.items():
        if options.compile:
            module.compile()
        runs[name] = run_of(module, x, options.goal, dtype)
    runs["product"] = product(options.device, dtype)
    found = times_of(runs, options.seconds, options.device)
    passes = 3 if options.goal == "training" else 1
    floor = found["product"] * passes * len(x) * flops / (2 * SIDE**3)
    base = found.get("timm", found["plain"])
    cells = [f"{found[name] / base:.2f}" if name in found else "" for name in COLUMNS[1:]]
    return base, [*cells, f"{floor / base:.2f}"]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=[*PUBLISHED, *OURS])
    parser.add_argument("--goal", choices=GOALS, default="inference")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true", help="everything under torch.compile, too")
    parser.add_argument("--without", nargs="*", default=[], choices=list(PASSES))
    parser.add_argument("--memory", action="store_true", help="peaks of memory instead of times")
    options = parser.parse_args()
    torch.set_num_threads(1)
    precision = "bfloat16" if options.bf16 else "float32"
    print(f"{options.goal}, batch {options.batch}, {precision}, {options.device}, torch {torch.__version__}\n")
    unit, others = ("MB", COLUMNS[1:]) if options.memory else ("ms", (*COLUMNS[1:], "floor"))
    print(f"| network | timm, {unit} | " + " | ".join(f"{name}, x" for name in others) + " |")
    print("|---|---|" + "---|" * len(others))
    for network in options.networks:
        modules = modules_of(network, options.goal, dict.fromkeys(options.without, False))
        graph = uninas.load(network)
        x = torch.randn(options.batch, *graph.inputs[0], generator=torch.Generator().manual_seed(0)).to(options.device)
        for module in modules.values():
            module.to(options.device)
        if options.memory:
            base, cells = memory_row(modules, x, options.goal)
        else:
            base, cells = time_row(modules, x, graph.cost.flops, options)
        first = f"{base:.1f}" if "timm" in modules else f"({base:.1f} plain)"
        print(f"| {network} | {first} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
