"""What a task is to the loop: a network with a loss, batches of numbered images, and a measure of what it learnt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from uninas.backend.weights import plain, stacked_again, take
from uninas.graph.graph import Graph
from uninas.training.distributed import World
from uninas.training.recipe import Recipe

Chosen = Sequence[int]
"""Numbers of training images."""


class Task(ABC):
    """Data and measures of one kind of training. The loop knows nothing else of it."""

    name: ClassVar[str]
    measure: ClassVar[str]
    """The figure that stands for the rest; higher is better."""

    recipe: Recipe
    classes: tuple[str, ...]
    fingerprint: str
    """Of the data."""

    @abstractmethod
    def network(self, graph: Graph) -> Graph:
        """What of a network is trained: at the recipe's size, with the number of classes or the outputs it takes."""

    @abstractmethod
    def module(self, graph: Graph, seed: int) -> nn.Module:
        """The whole model with fresh weights, the network that `network` gave as a part of it."""

    def weights(self, module: nn.Module) -> dict[str, Tensor]:
        """All weights and buffers of the model by the names of the text."""
        return plain(module)

    def load(self, module: nn.Module, weights: dict[str, Tensor]) -> None:
        """The way back from `weights`, strict. Raises UNI055 for those of another model."""
        take(module, stacked_again(module, weights))

    @abstractmethod
    def __len__(self) -> int:
        """Number of training images."""

    def ordered(self, order: Tensor, group: int) -> Tensor:
        """The images of an epoch in the order in which they are cut into groups: as drawn, unless some must meet."""
        return order

    @abstractmethod
    def batches(self, parts: Sequence[Chosen], epoch: int, seed: int, world: World) -> Iterator[Any]:
        """A batch on the device of this process for each of these parts of an epoch, in their order.

        What is random in an image depends on the seed, the epoch and its number alone.
        """

    @abstractmethod
    def loss(self, module: nn.Module, batch: Any) -> Tensor:
        """The mean loss of the images of a batch."""

    @abstractmethod
    def evaluate(self, module: nn.Module, world: World) -> dict[str, float]:
        """Figures on the test images; every image counts once, however many processes there are."""
