"""Classification: a network as it is, with its last linear layer at the number of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uninas.backend.emit import compile
from uninas.backend.weights import plain, stacked_again
from uninas.errors import error
from uninas.graph.graph import Graph
from uninas.graph.variants import with_classes, with_drop_path
from uninas.training.distributed import World
from uninas.training.images import ImageSet, Shifts, as_input
from uninas.training.metrics import TopK
from uninas.training.recipe import Recipe
from uninas.training.seeds import generator
from uninas.training.task import Chosen, Task

TEST_BATCH = 250


class Classification(Task):
    """Images in memory, each with a class; measured by the part of them that is classified right."""

    name, measure = "classification", "top1"

    def __init__(self, recipe: Recipe, images: ImageSet, *, fold: bool = True, device: torch.device | str = "cpu"):
        for field in ("augment", "crop_scale"):
            if getattr(recipe, field):
                raise error("UNI130", f"{field} of a recipe is for image files, but these images are held in memory",
                            None, f"leave it out: --set {field}=null, or name a folder")  # fmt: skip
        self.recipe, self.fold = recipe, fold
        self.classes, self.fingerprint = images.classes, images.fingerprint
        self.images = ImageSet(images.train.to(device), images.test.to(device), images.classes)
        self.size = (0, 0)

    def network(self, graph: Graph) -> Graph:
        self.size = graph.inputs[0][1], graph.inputs[0][2]
        graph = with_classes(graph, len(self.classes))
        return with_drop_path(graph, self.recipe.drop_path) if self.recipe.drop_path else graph

    def module(self, graph: Graph, seed: int) -> nn.Module:
        return compile(graph, generator=generator(seed, "weights"), fold=self.fold)

    def weights(self, module: nn.Module) -> dict[str, Tensor]:
        return plain(module)

    def load(self, module: nn.Module, weights: dict[str, Tensor]) -> None:
        module.load_state_dict(stacked_again(module, weights))

    def __len__(self) -> int:
        return len(self.images.train)

    def batches(self, parts: Sequence[Chosen], epoch: int, seed: int, world: World) -> Iterator[Any]:
        recipe, data = self.recipe, self.images.train
        shifts = Shifts.draw(len(data), recipe.pad, recipe.flip, generator(seed, "shifts", epoch))
        for number, part in enumerate(parts):
            chosen = torch.tensor(part)
            there = chosen.to(world.device)
            images = shifts.of(data.images[there], chosen, recipe.pad)
            x, y = as_input(images, self.size), data.labels[there]
            yield self.mixed(x, y, generator(seed, "mixup", epoch, number, *part[:1]))

    def mixed(self, x: Tensor, y: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images and distributions over the classes; with mixup, of pairs of images (Zhang et al. 2018)."""
        target = F.one_hot(y, len(self.classes)).float()
        if self.recipe.mixup:
            share = _beta(self.recipe.mixup, source)
            x, target = (share * each + (1 - share) * each.flip(0) for each in (x, target))
        return x, target

    def loss(self, module: nn.Module, batch: Any) -> Tensor:
        x, target = batch
        return F.cross_entropy(module(x).float(), target, label_smoothing=self.recipe.smoothing)

    def evaluate(self, module: nn.Module, world: World) -> dict[str, float]:
        data, metric = self.images.test, TopK()
        for start in range(world.rank * TEST_BATCH, len(data), world.size * TEST_BATCH):
            part = data[start : start + TEST_BATCH]
            metric.add(module(as_input(part.images, self.size)), part.labels)
        metric.counts = sum(world.gathered(metric.counts), torch.zeros_like(metric.counts))
        return metric.result()


def _beta(alpha: float, source: torch.Generator) -> float:
    """A number between 0 and 1 with the distribution Beta(alpha, alpha)."""
    seed = int(torch.randint(0, 2**62, (), generator=source))
    import numpy as np

    return float(np.random.default_rng(seed).beta(alpha, alpha))
