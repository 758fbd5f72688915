"""Semantic segmentation: UperNet on a backbone; pictures, and masks of classes beside them.

A folder has `images/train`, `images/val` and `semantic/train`, `semantic/val` with a PNG for each picture, of the same
name but for the ending; or, as in ADE20K, `images/training`, `images/validation` and `annotations/...`, whose 0 stands
for no class and whose classes begin at 1. 255 is no class. A file `classes.json` may list the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uninas.errors import error, shown
from uninas.graph import Graph
from uninas.proxies.inputs import listed
from uninas.runs.process import read_json
from uninas.training.dense import DenseTask
from uninas.training.distributed import World
from uninas.training.files import Report, mask_of, parts_of, picture
from uninas.training.images import as_input
from uninas.training.metrics import Overlap
from uninas.training.recipe import Recipe
from uninas.training.seeds import seed_of, seeded
from uninas.training.task import Chosen
from uninas.training.upernet import AuxiliaryHead, UperHead

NONE = 255
WIDTH = 512
"""Channels of the head."""
SPLITS = {"train": ("train", "training"), "val": ("val", "validation", "test")}
MASKS = ("semantic", "annotations", "masks")
LOOKED_AT = 1000  # masks of which every pixel is looked at before the training
TRIES = 10  # crops that are drawn for one in which no class is too large
MULTIPLE = 32  # of the sides of what is segmented whole

Pair = tuple[Path, Path]


class MaskFolder:
    """Pictures with masks. Raises one UninasError for all that is wrong with them."""

    def __init__(self, root: Path, recipe: Recipe):
        self.root, self.recipe = root, recipe
        kind = next((name for name in MASKS if (root / name).is_dir()), None)
        if kind is None or not (root / "images").is_dir():
            raise error("UNI130", f"expected folders images and {' or '.join(MASKS)} in {shown(root)}")
        self.shifted = kind == "annotations"  # ADE20K counts classes from 1 on
        report = Report(str(root))
        self.train, self.test = (self._pairs(kind, SPLITS[split], report) for split in ("train", "val"))
        report.check()
        self.classes = self._classes(report)
        report.check()

    def _pairs(self, kind: str, names: Sequence[str], report: Report) -> list[Pair]:
        from PIL import Image

        folder = next((self.root / "images" / name for name in names if (self.root / "images" / name).is_dir()), None)
        if folder is None:
            raise error("UNI130", f"expected a folder images/{' or images/'.join(names)} in {shown(self.root)}")
        pairs = []
        for file in listed(folder):
            mask = self.root / kind / folder.name / file.relative_to(folder).with_suffix(".png")
            if not mask.is_file():
                report.add("pictures without a mask", file)
                continue
            try:
                with Image.open(file) as one, Image.open(mask) as other:
                    if one.size != other.size:
                        report.add("masks of another size than their picture", mask)
            except (OSError, ValueError, SyntaxError):
                report.add("pictures or masks that cannot be read", file)
            pairs.append((file, mask))
        if not pairs:
            report.add("folders without pictures", folder)
        return pairs

    def _classes(self, report: Report) -> tuple[str, ...]:
        """Their names, after all masks, or some out of very many, have been looked at."""
        listed_names = next((self.root / name for name in ("classes.json", "semantic_classes.json")
                             if (self.root / name).is_file()), None)  # fmt: skip
        pairs = [*self.train, *self.test]
        highest = -1
        found: dict[int, Path] = {}
        for _, mask in pairs[:: -(-len(pairs) // LOOKED_AT)]:
            labels = self.labels(mask)
            known = labels[labels != NONE]
            if len(known):
                top = int(known.max())
                highest = max(highest, top)
                found.setdefault(top, mask)
        if listed_names is None:
            return tuple(map(str, range(highest + 1)))
        names = read_json(listed_names, "UNI130")
        names = list(names.values()) if isinstance(names, dict) else names
        if not isinstance(names, list):
            raise error("UNI130", f"expected a list of names of classes in {shown(listed_names)}")
        classes = tuple(str(each.get("name", each)) if isinstance(each, dict) else str(each) for each in names)
        for top, mask in found.items():
            if top >= len(classes):
                report.add(f"masks with classes beyond the {len(classes)} of {listed_names.name}", f"{mask} ({top})")
        return classes

    def labels(self, mask: Path) -> Tensor:
        """The classes of a mask, H x W of bytes; 255 is none."""
        found = mask_of(mask)
        return torch.where(found == 0, NONE, found - 1) if self.shifted else found

    @property
    def fingerprint(self) -> str:
        sizes = [(str(file.relative_to(self.root)), file.stat().st_size)
                 for pair in (*self.train, *self.test) for file in pair]  # fmt: skip
        return sha256(repr(sizes).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, number: int, train: bool) -> tuple[Tensor, Tensor]:
        """A picture (bytes, 3 x H x W) and its classes (H x W), at a random size, cropped, mirrored and discoloured."""
        file, mask = self.train[number]
        image, labels = picture(file), self.labels(mask)
        recipe = self.recipe
        height, width = _size(recipe)
        low, high = recipe.scale
        factor = float(torch.empty(()).uniform_(low, high)) * height / min(image.shape[1:])
        image, labels = _scaled(image, labels, factor)
        image, labels = _padded(image, labels, height, width)
        image, labels = _cropped(image, labels, height, width, recipe.class_share)
        if torch.rand(()) < recipe.flip:
            image, labels = image.flip(-1), labels.flip(-1)
        return (_discoloured(image) if recipe.photometric else image), labels


def _size(recipe: Recipe) -> tuple[int, int]:
    return recipe.height or 512, recipe.width or 512


def _scaled(image: Tensor, labels: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    size = tuple(max(1, round(side * factor)) for side in image.shape[1:])
    x = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    y = F.interpolate(labels[None, None].float(), size, mode="nearest")[0, 0]
    return x.round().clamp(0, 255).to(torch.uint8), y.to(torch.uint8)


def _padded(image: Tensor, labels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    right, below = max(0, width - image.shape[2]), max(0, height - image.shape[1])
    return F.pad(image, (0, right, 0, below), value=116), F.pad(labels, (0, right, 0, below), value=NONE)


def _cropped(image: Tensor, labels: Tensor, height: int, width: int, share: float) -> tuple[Tensor, Tensor]:
    """A crop at a random place, drawn again while a single class takes more than its share of it."""
    top = left = 0
    for _ in range(TRIES):
        top = int(torch.randint(0, image.shape[1] - height + 1, ()))
        left = int(torch.randint(0, image.shape[2] - width + 1, ()))
        if share >= 1:
            break
        part = labels[top : top + height, left : left + width]
        counts = torch.bincount(part[part != NONE].long())
        if len(counts) and counts.max() < share * counts.sum():
            break
    place = (slice(top, top + height), slice(left, left + width))
    return image[:, *place], labels[place]


def _discoloured(image: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue changed at random, each with even odds (Liu et al. 2016, SSD)."""
    from torchvision.transforms import v2

    change = v2.RandomPhotometricDistort(brightness=(0.875, 1.125), contrast=(0.5, 1.5), saturation=(0.5, 1.5),
                                         hue=(-0.05, 0.05), p=0.5)  # fmt: skip
    changed: Tensor = change(image)
    return changed


class Segmenter(nn.Module):
    """A backbone with UperNet's head, and in training a second head on the third of the four maps."""

    def __init__(self, backbone: nn.Module, channels: Sequence[int], classes: int, auxiliary: bool, width: int):
        super().__init__()
        self.backbone = backbone
        self.head = UperHead(channels, classes, width)
        self.auxiliary = AuxiliaryHead(channels[-2], classes, width // 2) if auxiliary else None

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits at a quarter of the size; in training also those of the second head."""
        maps = self.backbone(x)
        found = [self.head(maps)]
        if self.training and self.auxiliary is not None:
            found.append(self.auxiliary(maps[-2]))
        return found


class Segmentation(DenseTask):
    """Masks of classes; measured by the mean overlap of what is found with what is there."""

    name, measure = "segmentation", "miou"

    def __init__(self, recipe: Recipe, root: Path, place: World, workers: int = 0):
        super().__init__(recipe, place, workers)
        self.folder = MaskFolder(root, recipe)
        self.classes, self.fingerprint = self.folder.classes, self.folder.fingerprint

    def module(self, graph: Graph, seed: int) -> nn.Module:
        backbone = self.backbone(graph, seed)
        width, auxiliary = self.recipe.head_width or WIDTH, self.recipe.auxiliary > 0
        with seeded(seed_of(seed, "heads")):
            return Segmenter(backbone, backbone.channels, len(self.classes), auxiliary, width)

    def __len__(self) -> int:
        return len(self.folder)

    def batches(self, parts: Sequence[Chosen], epoch: int, seed: int, world: World) -> Iterator[Any]:
        for part in parts_of(self.folder, parts, (seed, "samples", epoch), self.workers):
            images = torch.stack([image for image, _ in part]).to(world.device)
            labels = torch.stack([label for _, label in part]).to(world.device)
            yield as_input(images, _size(self.recipe)), labels

    def loss(self, module: nn.Module, batch: Any) -> Tensor:
        x, labels = batch
        weights = (1.0, self.recipe.auxiliary)
        total = torch.zeros((), device=x.device)
        known = (labels != NONE).sum().clamp(min=1)
        for logits, weight in zip(module(x), weights, strict=False):
            whole = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
            total = total + weight * F.cross_entropy(whole, labels.long(), ignore_index=NONE, reduction="sum") / known
        return total

    def evaluate(self, module: nn.Module, world: World) -> dict[str, float]:
        metric = Overlap(len(self.classes), NONE)
        for file, mask in self.folder.test[world.rank :: world.size]:
            labels = self.folder.labels(mask)
            metric.add(self.predict(module, picture(file).to(world.device)).cpu(), labels)
        return metric.together(world)

    def predict(self, module: nn.Module, image: Tensor) -> Tensor:
        """The class of every pixel of a picture of any size."""
        height, width = _size(self.recipe)
        original = image.shape[1:]
        factor = height / min(original)
        scaled, _ = _scaled(image, torch.zeros(original, dtype=torch.uint8, device=image.device), factor)
        size = scaled.shape[1:]
        logits = (
            self._slid(module, scaled, height, width) if self.recipe.test == "slide" else self._whole(module, scaled)
        )
        logits = logits[..., : size[0], : size[1]]
        return F.interpolate(logits, original, mode="bilinear", align_corners=False)[0].argmax(0)

    def _whole(self, module: nn.Module, image: Tensor) -> Tensor:
        """Logits of a picture at once, at its size padded to what the strides need."""
        below, right = (-side % MULTIPLE for side in image.shape[1:])
        x = F.pad(image, (0, right, 0, below), value=116)[None]
        logits: Tensor = module(as_input(x, (x.shape[-2], x.shape[-1])))[0].float()
        return F.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=False)

    def _slid(self, module: nn.Module, image: Tensor, height: int, width: int) -> Tensor:
        """Logits averaged over windows of the training's size that overlap by a third."""
        empty = torch.zeros(image.shape[1:], dtype=torch.uint8, device=image.device)
        image, _ = _padded(image, empty, height, width)
        rows, columns = (_starts(side, window) for side, window in zip(image.shape[1:], (height, width), strict=True))
        total = torch.zeros(1, len(self.classes), *image.shape[1:], device=image.device)
        times = torch.zeros(image.shape[1:], device=image.device)
        for top in rows:
            for left in columns:
                place = (slice(top, top + height), slice(left, left + width))
                total[:, :, *place] += self._whole(module, image[:, *place])[..., :height, :width]
                times[place] += 1
        return total / times


def _starts(side: int, window: int) -> list[int]:
    """Where windows begin, the last one at the end."""
    return [*range(0, side - window, max(1, window * 2 // 3)), side - window]
