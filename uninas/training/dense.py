"""What detection and segmentation share: a backbone at the size of the task, and fresh heads from a seed."""

from __future__ import annotations

from uninas.backend.backbone import Backbone
from uninas.graph import Graph
from uninas.training.distributed import World
from uninas.training.recipe import Recipe
from uninas.training.seeds import generator
from uninas.training.task import Task


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
