"""Classification: a network as it is, with its last linear layer at the number of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from uninas.backend.emit import compile
from uninas.errors import error, shown
from uninas.graph.graph import Graph
from uninas.graph.variants import with_classes, with_drop_path
from uninas.proxies.inputs import DEVIATION, MEAN, digest
from uninas.training.distributed import World
from uninas.training.files import fetched, parts_of
from uninas.training.images import ImageSet, Shifts, as_input
from uninas.training.loop import missing
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
        no_recomputing(recipe)
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
        return metric.together(world)


def no_recomputing(recipe: Recipe) -> None:
    """Raise UninasError for a recipe that wants activations computed again, which backbones alone can."""
    if recipe.recompute != "none":
        raise error("UNI130", "recompute is for detection and segmentation", None,
                    "take fewer images a step instead: --per-step")  # fmt: skip


def _beta(alpha: float, source: torch.Generator) -> float:
    """A number between 0 and 1 with the distribution Beta(alpha, alpha)."""
    seed = int(torch.randint(0, 2**62, (), generator=source))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


class FileClassification(Classification):
    """Images read while the training goes on, by timm: folders of classes, and data sets of others.

    `data` is a folder with `train` and `val`, or a name as timm has them: `hfds/NAME` or `torch/NAME`. Training images
    are cropped, mirrored and augmented by timm's transforms, test images are resized and cropped in the middle.
    """

    def __init__(self, recipe: Recipe, data: str, *, workers: int = 0, fold: bool = True):
        try:
            from timm.data.dataset_factory import create_dataset
        except ImportError:
            raise missing("images from files") from None
        named = fetched(data)
        name, root = (data, None) if named else ("", data)
        try:
            made = [create_dataset(name, root, split=split, is_training=split == "train") for split in SPLITS]
        except (OSError, RuntimeError, AssertionError, ValueError, ImportError) as problem:
            raise error(
                "UNI130",
                f"cannot read images in {shown(data)}: {shown(problem, 120)}",
                None,
                "a folder has train and val, each with a folder for every class",
            ) from None
        no_recomputing(recipe)
        self.recipe, self.fold, self.workers = recipe, fold, workers
        self.read, self.tested = made
        names: dict[str, int] = getattr(getattr(self.read, "reader", self.read), "class_to_idx", {})
        if not names or isinstance(self.read, IterableDataset):
            lack = "can only be read in its own order" if names else "does not say its classes"
            raise error("UNI130", f"expected images of known classes, in any order, but {shown(data)} {lack}", None,
                        "name a folder, hfds/NAME or torch/NAME")  # fmt: skip
        self.classes = tuple(sorted(names, key=names.__getitem__))
        self.fingerprint = data if named else digest(data)[:16]
        self.size = (0, 0)
        self._made: dict[bool, Any] = {}

    def __len__(self) -> int:
        return len(self.read)

    def transform(self, train: bool) -> Any:
        """What timm does with a picture."""
        if train not in self._made:
            from timm.data.transforms_factory import create_transform

            recipe = self.recipe
            given: dict[str, Any] = {
                "input_size": (3, *self.size),
                "mean": MEAN,
                "std": DEVIATION,
                "interpolation": "bicubic",
                "is_training": train,
            }
            if train:
                given |= {"scale": recipe.crop_scale or (0.08, 1.0), "hflip": recipe.flip, "re_prob": 0.0}
                given |= {"auto_augment": recipe.augment or None, "color_jitter": None}
            else:
                given["crop_pct"] = recipe.crop_share
            self._made[train] = create_transform(**given)
        return self._made[train]

    def sample(self, number: int, train: bool) -> tuple[Tensor, int]:
        """A picture as the network sees it, and its class. Raises UninasError with its path when it cannot be read."""
        from PIL import Image

        source = self.read if train else self.tested
        files = getattr(getattr(source, "reader", None), "samples", None)
        name = files[number][0] if files else number
        try:
            if files:  # opened here, because timm skips what it cannot read
                with Image.open(str(name)) as held:
                    picture, label = held.convert("RGB"), files[number][1]
            else:
                picture, label = source[number]
                picture = picture.convert("RGB")
        except (OSError, SyntaxError, ValueError) as problem:
            raise error("UNI130", f"cannot read the picture {shown(name)}: {shown(problem, 80)}") from None
        found: Tensor = self.transform(train)(picture)
        return found, int(label)

    def batches(self, parts: Sequence[Chosen], epoch: int, seed: int, world: World) -> Iterator[Any]:
        for number, part in enumerate(parts_of(self, parts, (seed, "samples", epoch), self.workers)):
            x = torch.stack([image for image, _ in part]).to(world.device)
            y = torch.tensor([label for _, label in part], device=world.device)
            yield self.mixed(x, y, generator(seed, "mixup", epoch, number))

    def evaluate(self, module: nn.Module, world: World) -> dict[str, float]:
        metric = TopK()
        mine = list(range(world.rank, len(self.tested), world.size))
        for start in range(0, len(mine), TEST_BATCH):
            part = [self.sample(number, False) for number in mine[start : start + TEST_BATCH]]
            x = torch.stack([image for image, _ in part]).to(world.device)
            metric.add(module(x), torch.tensor([label for _, label in part], device=world.device))
        return metric.together(world)


SPLITS = ("train", "validation")
