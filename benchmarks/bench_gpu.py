"""VKDNW on a GPU: seconds for large networks, and networks per second of NAS-Bench-201.

    python benchmarks/bench_gpu.py                     # all parts, some minutes
    python benchmarks/bench_gpu.py networks            # 224 px, batch 64, 1 000 classes, the first 128 tensors
    python benchmarks/bench_gpu.py cells -j 14         # VKDNW_single of cells of NAS-Bench-201, 14 processes on the GPU
    python benchmarks/bench_gpu.py candidates          # vkdnw_agg of members of the MobileNetV2 space
    python benchmarks/bench_gpu.py reverse             # ours against vmap(jacrev) at 100 classes, 60 tensors, 64 px

Times are of the clock: of networks the median and the range of three calls that follow a first one in the same process
(there, cuDNN plans), of candidates those of the only call, of cells those of as many processes as -j says. Without a
GPU it says so and measures nothing; `--device cpu` is for trying the script.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_vkdnw import ours, reverse_mode
from torch import nn

import uninas
from uninas import proxies
from uninas.language.elaborate import space
from uninas.language.library import find
from uninas.proxies.guard import float32_products
from uninas.proxies.initial import initialise
from uninas.proxies.vkdnw import chosen_weights
from uninas.ranking.members import dataset
from uninas.ranking.nasbench201 import official_order, string_of
from uninas.ranking.scoring import Job, Work, lost
from uninas.runs.workers import Workers
from uninas.scores.aggregate import parts_of
from uninas.scores.objectives import Recipe

ALL_CELLS = 15_625
HOW: dict[str, dict[str, Any]] = {"float32": {}, "TF32": {"tf32": True}}


def networks(options: argparse.Namespace) -> None:
    """VKDNW of shipped networks, and what a forward pass of the same batch costs."""
    print("VKDNW at 224 px, batch 64, 1 000 classes, first 128 tensors")
    for name, fold in (("coatnet", True), ("resnet50", False), ("vit_small_patch16_224", False), ("coatnet", False)):
        module = uninas.create_model(name, num_classes=1000, img_size=224, fold=fold)
        module = _ready(module, options.device)
        x = torch.randn(64, 3, 224, 224, generator=torch.Generator().manual_seed(1)).to(options.device)
        with torch.no_grad(), float32_products():
            module(x)
            forward = min(_seconds(lambda module=module, x=x: module(x)) for _ in range(3))
        millions = sum(p.numel() for p in module.parameters()) / 1e6
        print(
            f"  {name}{' --fold' if fold else ''}, {millions:.1f} M parameters, a forward pass {forward * 1e3:.1f} ms"
        )
        for label, how in HOW.items():
            first, *later = (_score(module, x, "vkdnw", **how) for _ in range(4))
            seconds, memory, value = sorted(later)[1]
            print(f"    {label:<9} {seconds:6.2f} s [{min(later)[0]:.2f}, {max(later)[0]:.2f}]"
                  f"   {seconds / forward / 128:.2f} passes per tensor   {memory:5.1f} GiB   VKDNW {value:.5f}"
                  f"   (the first call {first[0]:.2f} s)", flush=True)  # fmt: skip


def candidates(options: argparse.Namespace) -> None:
    """The components of vkdnw_agg, for members of the MobileNetV2 space."""
    print("vkdnw_agg (its components) of MobileNetV2 candidates at 224 px, batch 64, 1 000 classes")
    module, name = find("mobilenetv2")
    choices, rng = space(module, name), random.Random(1)
    for _ in range(3):
        graph, _ = choices.sample(rng)
        network = _ready(uninas.create_model(graph), options.device)
        x = torch.randn(64, 3, 224, 224, generator=torch.Generator().manual_seed(1)).to(options.device)
        parts = {part: _score(network, x, part)[0] for part in parts_of("vkdnw_agg")}
        each = ", ".join(f"{part} {seconds:.2f}" for part, seconds in parts.items())
        print(f"  {graph.cost.macs / 1e9:.2f} GMACs {sum(parts.values()):6.2f} s ({each})", flush=True)


def reverse(options: argparse.Namespace) -> None:
    """Ours against the published algorithm, as `bench_vkdnw.py reverse` has it on a CPU."""
    print("resnet of the UniNAS space, 64 px, batch 2, 100 classes, 60 tensors, float32")
    network = _ready(uninas.create_model("resnet", num_classes=100, img_size=64), options.device)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(options.device)
    weights = chosen_weights(network, 60)
    found = {}
    for name, way in (("reverse mode", reverse_mode), ("ours", ours)):
        with float32_products():
            _, jacobian = way(network, x, weights)  # what the first call loads is not counted
            before = _allocated(x)
            seconds = min(_seconds(lambda way=way: way(network, x, weights)) for _ in range(3))
        found[name] = seconds, _peak(x) - before, jacobian
        print(f"  {name:<12} {seconds:8.3f} s   peak +{found[name][1]:6.0f} MiB", flush=True)
    (slow, much, truth), (fast, little, said) = found.values()
    print(f"  ratio        {slow / fast:8.1f} x        {much / max(little, 1.0):9.1f} x   largest difference"
          f" {float((truth - said).abs().max() / truth.abs().max()):.1e} of the largest entry")  # fmt: skip


def cells(options: argparse.Namespace) -> None:
    """How many cells a minute, by processes that share the device."""
    every = list(range(ALL_CELLS))
    random.Random(0).shuffle(every)
    parts = parts_of(options.proxy)
    recipe = Recipe((parts,), 64, init="kaiming_normal_fan_in", device=options.device)
    work = Work("nasbench201", Path(), (dataset(options.dataset),), recipe)
    order = official_order()
    wanted = tuple((0, part) for part in parts)
    jobs = [Job(i, string_of(order[i]), options.dataset, wanted) for i in every[: options.limit]]
    failures: Counter[str] = Counter()
    began = ready = ended = time.perf_counter()
    count = counted = 0
    for outcome in Workers(work, lost, options.jobs).results(jobs):
        count, ended = count + 1, time.perf_counter()
        failures.update(score.failure for score in outcome.scores if score.failure)
        if count == 2 * options.jobs:  # all processes have started by then
            ready, counted = ended, count
        if count % 100 == 0:
            print(f"  {count} after {ended - began:.1f} s", flush=True)
    rate = (count - counted) / (ended - ready)
    print(f"{options.proxy} of NAS-Bench-201, {options.dataset}, batch 64, {options.jobs} processes: {count} cells in"
          f" {ended - began:.1f} s with the start, then {rate:.2f} a second;"
          f" all {ALL_CELLS} at that rate: {ALL_CELLS / rate / 60:.1f} minutes")  # fmt: skip
    for reason, times in failures.most_common():
        print(f"  {times} x no score: {reason}")


def _ready(module: nn.Module, device: str) -> nn.Module:
    initialise(module, "kaiming_normal_fan_in", torch.Generator().manual_seed(0))
    return module.eval().to(device)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _score(module: nn.Module, x: torch.Tensor, name: str, **options: Any) -> tuple[float, float, float]:
    """Seconds, the most GiB that tensors took on the GPU, and the score."""
    _allocated(x)
    began = time.perf_counter()
    value = proxies.score(name, module, x, torch.Generator().manual_seed(0), **options).value
    return time.perf_counter() - began, _peak(x) / 1024, value


def _allocated(x: torch.Tensor) -> float:
    """MiB that tensors take on the GPU of x; their peak is counted anew from here."""
    if not x.is_cuda:
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 2**20


def _peak(x: torch.Tensor) -> float:
    """The most MiB that they took since."""
    return torch.cuda.max_memory_allocated() / 2**20 if x.is_cuda else 0.0


PARTS = {"networks": networks, "cells": cells, "candidates": candidates, "reverse": reverse}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("all", *PARTS), default="all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--proxy", default="vkdnw_single", help="for cells")
    parser.add_argument("--dataset", default="c10", choices=("c10", "c100", "in16"), help="for cells")
    parser.add_argument("--limit", type=int, default=300, help="number of cells")
    parser.add_argument("-j", "--jobs", type=int, default=8, help="processes for cells")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here: nothing measured")
        return
    warnings.simplefilter("ignore")
    if options.device == "cuda":
        print(torch.cuda.get_device_name(), "with torch", torch.__version__)
    for name, part in PARTS.items():
        if options.part in ("all", name):
            part(options)


if __name__ == "__main__":
    main()
