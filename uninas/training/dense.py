"""What detection and segmentation share: a backbone at the size of the task, and fresh heads from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from uninas.backend.backbone import Backbone
from uninas.graph import Graph
from uninas.training.distributed import World
from uninas.training.recipe import Recipe
from uninas.training.seeds import generator, seed_of
from uninas.training.task import Task

M = TypeVar("M", bound=nn.Module)


class DenseTask(Task):
    """A task whose model holds a `Backbone` under the name `backbone`."""

    def __init__(self, recipe: Recipe, place: World, workers: int = 0):
        self.recipe, self.place, self.workers = recipe, place, workers

    def network(self, graph: Graph) -> Graph:
        Backbone(graph).check_strides()
        return graph

    def backbone(self, graph: Graph, seed: int) -> Backbone:
        """The network with a normed output for each of its last four stages."""
        recipe = self.recipe
        return Backbone(
            graph, drop_path=recipe.drop_path, recompute=recipe.recompute == "stages",
            fuse=self.place.device.type == "cuda", generator=generator(seed, "weights"),
        )  # fmt: skip


def seeded(make: Callable[[], M], seed: int) -> M:
    """A module whose layers draw their own weights, from a seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed_of(seed, "heads"))
        return make()
