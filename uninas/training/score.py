"""A short training as a score: how many held-out images a network classifies right after it.

The test images stay untouched: what is fitted and what is measured are both drawn from the images for training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from uninas.graph import Graph
from uninas.graph.simplify import simplified
from uninas.training.classification import Classification
from uninas.training.distributed import World
from uninas.training.images import ImageSet, read_images
from uninas.training.loop import Trainer
from uninas.training.recipe import Recipe

FIT, VALIDATION = 12_000, 4_000
"""Images that are fitted and measured on, where there are so many."""


@cache
def _read(path: str) -> ImageSet:
    return read_images(path)


@dataclass
class TrainedScore:
    """Trains graphs by a recipe and measures them on held-out training images. Equal seeds, equal figures."""

    data: str
    recipe: Recipe = field(default_factory=lambda: Recipe.load("brief", "classification"))
    fit: int = FIT
    validation: int = VALIDATION
    device: str = "cpu"

    def __call__(self, graph: Graph, seed: int) -> dict[str, float]:
        """top1 and top5 in percent on held-out images, and the loss of the last epoch. Raises Diverged."""
        whole = _read(str(Path(self.data).absolute()))
        share = min(1.0, len(whole.train) / (self.fit + self.validation))
        images = whole.held_out(int(self.fit * share), int(self.validation * share))
        place = World(device=torch.device(self.device))
        task = Classification(self.recipe, images, device=place.device)
        network = task.network(simplified(graph))
        trainer = Trainer(task, task.module(network, seed), self.recipe, world=place, seed=seed, parts=1)
        trainer.run()
        last = trainer.rows[-1]
        return {name: last[name] for name in ("top1", "top5", "loss")}
