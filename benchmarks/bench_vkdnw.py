"""Time and memory of VKDNW's Jacobian: ours against the published way (reverse mode), side by side.

    python benchmarks/bench_vkdnw.py             # all parts, some minutes on one core
    python benchmarks/bench_vkdnw.py reverse     # ours against vmap(jacrev) at 100 classes, 60 tensors, 64 px
    python benchmarks/bench_vkdnw.py forward     # forward passes per tensor at 1 000 classes, 128 tensors, 224 px
    python benchmarks/bench_vkdnw.py waists      # few classes: rows through waists against columns, and vmap(jacrev)

The published algorithm is written here from its definition: for every sample, `jacrev` of the logits by the chosen
scalars, vectorised over the samples. Each measurement runs in a process of its own, so that the growth of its peak
resident memory (ru_maxrss) is its own; what is reported is that growth over the loaded model, after a small model has
made torch load what it needs. Times are medians, in seconds of this one thread's processor time, so that other work on
the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.utils.flop_counter import FlopCounterMode

import uninas
from uninas.proxies.engine.jacobian import Weight, logit_jacobian
from uninas.proxies.initial import initialise
from uninas.proxies.vkdnw import SMOOTHING, chosen_weights, fisher_spectrum, spectrum_entropy
from uninas.ranking.nasbench201 import graph_of

CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


def reverse_mode(module: nn.Module, x: Tensor, weights: list[Weight]) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and their Jacobian (N, K, P) the published way."""
    fixed = {name: p.detach() for name, p in (*module.named_parameters(), *module.named_buffers())}
    scalars = {w.name: fixed[w.name].flatten()[w.index] for w in weights}

    def with_scalars(scalars: dict[str, Tensor]) -> dict[str, Tensor]:
        replaced = dict(fixed)
        for w in weights:
            flat = fixed[w.name].flatten()
            rest = flat[: w.index], scalars[w.name][None], flat[w.index + 1 :]
            replaced[w.name] = torch.cat(rest).view_as(fixed[w.name])
        return replaced

    def logits(scalars: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(module, with_scalars(scalars), (sample[None],))[0]

    columns = vmap(jacrev(logits), (None, 0))(scalars, x)
    with torch.no_grad():
        return module(x), torch.stack([columns[w.name] for w in weights], -1).detach()


def ours(module: nn.Module, x: Tensor, weights: list[Weight]) -> tuple[Tensor, Tensor]:
    """Logits and their Jacobian our way, whichever of the two is faster."""
    found = logit_jacobian(module, (x,), weights)
    return found.logits, found.values


def columns_only(module: nn.Module, x: Tensor, weights: list[Weight]) -> tuple[Tensor, Tensor]:
    """Logits and their Jacobian our way, one tangent per weight."""
    found = logit_jacobian(module, (x,), weights, way="columns")
    return found.logits, found.values


def one_forward(module: nn.Module, x: Tensor, weights: list[Weight]) -> tuple[Tensor, Tensor]:
    """The yardstick: a plain forward pass."""
    with torch.no_grad():
        logits = module(x)
    return logits, logits.new_zeros(*logits.shape, len(weights))


WAYS: dict[str, Callable[[nn.Module, Tensor, list[Weight]], tuple[Tensor, Tensor]]] = {
    "reverse": reverse_mode,
    "ours": ours,
    "columns": columns_only,
    "forward": one_forward,
}


def measure(
    way: str, model: str, pixels: int, classes: int, tensors: int, samples: int, repeats: int
) -> dict[str, float]:
    """Seconds, growth of the peak memory in MiB, FLOPs, and the VKDNW of one way, in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    if model == "cell":
        module = uninas.create_model(graph_of(CELL), num_classes=classes).eval()
    else:
        module = uninas.create_model(model, num_classes=classes, img_size=pixels).eval()
    initialise(module, "kaiming_normal_fan_in", generator)
    x = torch.randn(samples, 3, pixels, pixels, generator=generator)
    weights = chosen_weights(module, tensors)
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    WAYS[way](small, torch.randn(2, 3, 8, 8, generator=generator), chosen_weights(small, 4))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    with FlopCounterMode(display=False) as counter:
        WAYS[way](module, x, weights)  # what the first call loads is not counted
    for _ in range(repeats):
        start = time.process_time()
        logits, jacobian = WAYS[way](module, x, weights)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    entropy, _ = spectrum_entropy(fisher_spectrum(logits, jacobian, SMOOTHING))
    return {
        "seconds": statistics.median(seconds),
        "mib": peak / 1024,
        "gflop": counter.get_total_flops() / 1e9,
        "score": entropy,
        "weights": len(weights),
    }


def in_own_process(*arguments: object) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "measure", *map(str, arguments)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def against_reverse_mode() -> None:
    """Ours against the published way."""
    setting = ("resnet", 64, 100, 60)
    print("resnet of the UniNAS space, 64 px, batch 2, 100 classes, 60 tensors, float32, one thread")
    reverse, ours = in_own_process("reverse", *setting, 2, 3), in_own_process("ours", *setting, 2, 5)
    plain = in_own_process("forward", *setting, 120, 3)
    for name, row in (("reverse mode", reverse), ("ours", ours)):
        print(f"  {name:<12} {row['seconds']:8.3f} s   peak +{row['mib']:6.0f} MiB   VKDNW {row['score']:.6f}")
    print(f"  ratio        {reverse['seconds'] / ours['seconds']:8.1f} x        {reverse['mib'] / ours['mib']:9.1f} x")
    rate = plain["gflop"] / plain["seconds"]
    print(
        f"  reverse mode takes {reverse['gflop']:.0f} GFLOP, ours {ours['gflop']:.0f}. Pushing columns at the speed of"
        f" a plain forward pass of 120 images,\n  {rate:.0f} GFLOP/s, would be"
        f" {reverse['seconds'] / ours['gflop'] * rate:.1f} x as fast as reverse mode, and nothing is faster"
    )


def against_forward_passes() -> None:
    """What one tensor costs, in forward passes of the same batch."""
    print("224 px, batch 2, 1 000 classes, first 128 tensors, float32, one thread")
    for model in ("resnet18", "resnet", "coatnet"):
        setting = (model, 224, 1000, 128, 2)
        forward, ours = in_own_process("forward", *setting, 9), in_own_process("ours", *setting, 1)
        passes = ours["seconds"] / forward["seconds"] / ours["weights"]
        print(
            f"  {model:<17} {ours['weights']:4.0f} tensors {ours['seconds']:7.2f} s  forward {forward['seconds']:.3f} s"
            f"   {passes:.2f} forward passes per tensor   peak +{ours['mib']:.0f} MiB"
        )


def few_classes() -> None:
    """A cell of NAS-Bench-201 at ten classes: rows pulled through waists, columns pushed, and the published way."""
    print("a cell of NAS-Bench-201, 32 px, batch 64, 10 classes, 128 tensors, float32, one thread")
    found = {way: in_own_process(way, "cell", 32, 10, 128, 64, 1) for way in ("reverse", "columns", "ours")}
    for way, row in found.items():
        seconds, ratio = row["seconds"], found["reverse"]["seconds"] / row["seconds"]
        print(f"  {way:<8} {seconds:8.3f} s  {ratio:5.1f} x   peak +{row['mib']:6.0f} MiB   VKDNW {row['score']:.6f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("all", "reverse", "forward", "waists", "measure"), default="all")
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "measure":
        way, model, *numbers = options.arguments
        print(json.dumps(measure(way, model, *map(int, numbers))))
    if options.part in ("all", "reverse"):
        against_reverse_mode()
    if options.part in ("all", "forward"):
        against_forward_passes()
    if options.part in ("all", "waists"):
        few_classes()


if __name__ == "__main__":
    main()
