"""On a GPU: the experiment at 64 px in twelve minutes, a step of CoAtNet at 1280 x 800, and how fast networks are.

    python benchmarks/gpu_training.py --data cifar.npz --minutes 12 -o gpu.json
    python benchmarks/gpu_training.py --data tiny.npz --device cpu --minutes 0.5 --toy -o toy.json

Every network is probed for some seconds; the number of epochs is set for all of them from the sum; then all are
trained, seeds in the outer loop, so that a cut leaves whole seeds. Images lie on the device as bytes. Results are
written after every training.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from uninas import load
from uninas.runs.process import write_text
from uninas.training.benchmark import benchmark
from uninas.training.classification import Classification
from uninas.training.distributed import World
from uninas.training.images import ImageSet, read_images
from uninas.training.loop import Diverged, Step, Trainer
from uninas.training.recipe import Recipe

NETWORKS = ("resnet", "efficientnet", "transformer", "coatnet", "vkdnw_coatnet_64")
TOY = ("micro_resnet", "micro_coatnet")
SEEDS = (0, 1, 2)
SHARE = 0.7  # of the time that trainings may take; the rest is for the other parts
PROBE = 5  # updates that are timed, after as many that are not


class Enough(Exception):
    """Ends a probe."""


def trainer(name: str, size: int, images: ImageSet, recipe: Recipe, place: World, seed: int) -> Trainer:
    """A network at a size with a seed, ready to be trained."""
    task = Classification(recipe, images, device=place.device)
    network = task.network(load(name, img_size=size))
    precision = "bf16" if place.device.type == "cuda" else "fp32"
    return Trainer(task, task.module(network, seed), recipe, world=place, seed=seed, parts=1, precision=precision)


def probed(some: Trainer) -> float:
    """Images a second, after some updates that do not count."""
    times: list[float] = []

    def watch(event: Any) -> None:
        if isinstance(event, Step):
            times.append(time.perf_counter())
            if len(times) > 2 * PROBE:
                raise Enough

    with suppress(Enough, Diverged):
        some.run(watch)
    done = min(PROBE, len(times) - 1)
    return done * some.group / (times[-1] - times[-1 - done])


def detection_step(place: World, size: tuple[int, int]) -> dict[str, float]:
    """Seconds and memory of a step of Mask R-CNN on CoAtNet, four images of that size, with objects drawn at random."""
    from uninas.backend.backbone import Backbone, resized
    from uninas.training.detection import Detector

    graph = resized(load("coatnet"), size)
    module = Detector(Backbone(graph, fuse=True), 80).to(place.device).train()
    source = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=source).to(place.device) for _ in range(4)]
    boxes = torch.tensor([[40.0, 40, 200, 180], [10, 60, 90, 160]])
    masks = torch.zeros(2, *size, dtype=torch.uint8)
    masks[:, 60:150, 50:80] = 1
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}
    targets = [{name: value.to(place.device) for name, value in target.items()} for _ in images]
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        with torch.autocast(place.device.type, torch.bfloat16, enabled=place.device.type == "cuda"):
            losses = module(images, targets)
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()
        if place.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated() / 2**30 if place.device.type == "cuda" else float("nan")
    return {"seconds": seconds, "gib": memory, "height": size[0], "width": size[1]}


def main() -> None:
    """Probe, train, step, time; everything into one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--toy", action="store_true", help="two micro networks at 32 px, to try the script on a CPU")
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu.json"))
    given = parser.parse_args()
    began = time.perf_counter()
    place = World(device=torch.device(given.device))
    names, size = (TOY, 32) if given.toy else (NETWORKS, 64)
    seeds = SEEDS[:1] if given.toy else SEEDS
    images = read_images(given.data)
    recipe = Recipe.load("micro", "classification").but(batch=min(512, len(images.train) // 4), lr=3e-3, epochs=100)
    found: dict[str, Any] = {"networks": names, "size": size, "torch": str(torch.__version__), "trainings": []}

    def keep() -> None:
        found["seconds"] = time.perf_counter() - began
        write_text(given.output, json.dumps(found, indent=1, default=list))

    speeds = {name: probed(trainer(name, size, images, recipe, place, 0)) for name in names}
    a_epoch = sum(len(images.train) / speed for speed in speeds.values())
    left = given.minutes * 60 * SHARE - (time.perf_counter() - began)
    epochs = max(1, int(left / (a_epoch * len(seeds))))
    found |= {"images_per_second": speeds, "epochs": epochs}
    keep()
    for seed in seeds:
        for name in names:
            some = trainer(name, size, images, recipe.but(epochs=epochs), place, seed)
            try:
                some.run()
                row: dict[str, Any] = dict(some.rows[-1])
            except Diverged as problem:
                row = {"diverged": problem.update}
            found["trainings"].append({"network": name, "seed": seed, **row})
            print(found["trainings"][-1], flush=True)
            keep()
            del some
    found["detection_step"] = detection_step(place, (64, 96) if given.toy else (800, 1280))
    keep()
    modes = ("plain", "fold") if given.toy else ("plain", "fold", "fuse", "compile")
    for task, side in (("segmentation", None), ("classification", (size, size))):
        if given.toy and task == "segmentation":
            continue
        rows = benchmark(names[:4], task=task, batch=[1, "best"], modes=modes, device=given.device, size=side,
                         dtype="bf16" if given.device == "cuda" else "fp32", seconds=0.1 if given.toy else 1.0,
                         warm=0.1 if given.toy else 1.0)  # fmt: skip
        found.setdefault("speed", []).extend(row.as_dict() for row in rows)
        keep()
    print(f"wrote {given.output} after {found['seconds']:.0f} s")


if __name__ == "__main__":
    main()
