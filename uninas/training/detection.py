"""Objects and their masks: torchvision's Mask R-CNN on a backbone with a feature pyramid (He et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uninas.backend.backbone import Backbone, Pyramid
from uninas.graph import Graph
from uninas.proxies.inputs import DEVIATION, MEAN
from uninas.training.coco import Photo, average_precision, encoded_mask, mask_array, read_objects
from uninas.training.dense import DenseTask
from uninas.training.distributed import World
from uninas.training.files import parts_of, picture
from uninas.training.loop import missing
from uninas.training.recipe import Recipe
from uninas.training.seeds import seed_of, seeded
from uninas.training.task import Chosen

WIDTH = 256
"""Channels of the pyramid and of the heads."""
SIDE = 7
"""Of the maps from which boxes are told."""
ANCHORS = ((32,), (64,), (128,), (256,), (512,))
RATIOS = (0.5, 1.0, 2.0)


class Detector(nn.Module):
    """Mask R-CNN; in training a dict of losses, otherwise what was found in each picture."""

    def __init__(self, backbone: Backbone, classes: int, width: int = WIDTH, samples: int = 512):
        super().__init__()
        try:
            from torchvision.models.detection import MaskRCNN
            from torchvision.models.detection import faster_rcnn as boxes
            from torchvision.models.detection import mask_rcnn as masks
            from torchvision.models.detection.anchor_utils import AnchorGenerator
            from torchvision.models.detection.transform import GeneralizedRCNNTransform
        except ImportError:
            raise missing("detection") from None
        anchors = AnchorGenerator(ANCHORS, (RATIOS,) * len(ANCHORS))
        self.rcnn = MaskRCNN(
            Pyramid(backbone, width), rpn_anchor_generator=anchors,
            box_head=boxes.TwoMLPHead(width * SIDE**2, 4 * width),
            box_predictor=boxes.FastRCNNPredictor(4 * width, classes + 1),
            mask_head=masks.MaskRCNNHeads(width, (width,) * 4, 1),
            mask_predictor=masks.MaskRCNNPredictor(width, width, classes + 1), box_batch_size_per_image=samples,
            rpn_pre_nms_top_n_train=4 * samples, rpn_post_nms_top_n_train=4 * samples,
            rpn_pre_nms_top_n_test=2 * samples, rpn_post_nms_top_n_test=2 * samples,
        )  # fmt: skip

        class Normalised(GeneralizedRCNNTransform):  # type: ignore[misc]
            """Pictures are on a canvas already, in training and in evaluation."""

            def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
                return image, target

        self.rcnn.transform = Normalised(1, 1, list(MEAN), list(DEVIATION))

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        return self.rcnn(images, targets)


class _Photos:
    """Training pictures with their objects."""

    def __init__(self, photos: Sequence[Photo], recipe: Recipe):
        self.photos, self.recipe = photos, recipe

    def sample(self, number: int, train: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """A picture (bytes) and its objects, perhaps mirrored. Sizes are made equal where pictures meet in a batch."""
        photo = self.photos[number]
        image = picture(photo.file)
        things = [thing for thing in photo.things if not thing.crowd]
        masks = [torch.from_numpy(mask_array(thing.mask, photo.height, photo.width)) for thing in things]
        boxes = torch.tensor([thing.box for thing in things]).reshape(-1, 4)
        stacked = torch.stack(masks) if masks else torch.zeros(0, photo.height, photo.width, dtype=torch.uint8)
        if torch.rand(()) < self.recipe.flip:
            image, stacked = image.flip(-1), stacked.flip(-1)
            boxes = torch.stack((photo.width - boxes[:, 2], boxes[:, 1], photo.width - boxes[:, 0], boxes[:, 3]), 1)
        labels = torch.tensor([thing.label + 1 for thing in things], dtype=torch.int64)
        return image, {"boxes": boxes, "labels": labels, "masks": stacked}


class Detection(DenseTask):
    """Boxes and masks of objects; measured by COCO's average precision."""

    name, measure = "detection", "ap_box"

    def __init__(self, recipe: Recipe, root: Path, place: World, workers: int = 0, skip_bad: bool = False):
        super().__init__(recipe, place, workers)
        self.train, self.test = (read_objects(root, split, skip_bad) for split in ("train", "val"))
        self.classes = self.train.classes
        self.fingerprint = self.train.fingerprint + self.test.fingerprint

    def module(self, graph: Graph, seed: int) -> nn.Module:
        backbone = self.backbone(graph, seed)
        with seeded(seed_of(seed, "heads")):
            return Detector(backbone, len(self.classes), self.recipe.head_width or WIDTH, self.recipe.samples)

    def __len__(self) -> int:
        return len(self.train.photos)

    def ordered(self, order: Tensor, group: int) -> Tensor:
        """Wide and tall pictures in groups of their own, as far as they go round; the rest is mixed."""
        tall = torch.tensor([photo.height > photo.width for photo in self.train.photos])[order]
        kinds = [order[~tall], order[tall]]
        whole = [kind[: len(kind) // group * group].reshape(-1, group) for kind in kinds]
        groups = torch.cat(whole)
        first = (
            torch.cat([torch.nonzero(torch.isin(order, each[:1]))[:1, 0] for each in groups]) if len(groups) else None
        )
        mixed = groups[first.argsort()] if first is not None else groups
        rest = torch.cat([kind[len(kind) // group * group :] for kind in kinds])
        return torch.cat((mixed.flatten(), rest))

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """The size at which a picture is computed: the recipe's, or for a tall picture that on end."""
        short, long = sorted((self.recipe.height or 800, self.recipe.width or 1280))
        return (long, short) if height > width else (short, long)

    def batches(self, parts: Sequence[Chosen], epoch: int, seed: int, world: World) -> Iterator[Any]:
        samples = _Photos(self.train.photos, self.recipe)
        for part in parts_of(samples, parts, (seed, "samples", epoch), self.workers):
            size = self.canvas(*part[0][0].shape[1:])
            images, targets = [], []
            for image, target in part:
                placed, factor = _on_canvas(image, size)
                images.append(placed.to(world.device))
                targets.append({name: value.to(world.device) for name, value in _moved(target, factor, size).items()})
            yield images, targets

    def loss(self, module: nn.Module, batch: Any) -> Tensor:
        images, targets = batch
        losses = module([image.float() / 255 for image in images], targets)
        return torch.stack([loss.float() for loss in losses.values()]).sum()

    def evaluate(self, module: nn.Module, world: World) -> dict[str, float]:
        mine: list[dict[str, Any]] = []
        for photo in self.test.photos[world.rank :: world.size]:
            mine += self.found(module, photo, world)
        everything = [each for some in world.gathered(mine) for each in some]
        return average_precision(self.test, everything)

    def found(self, module: nn.Module, photo: Photo, world: World) -> list[dict[str, Any]]:
        """What is found in a picture, as COCO writes results."""
        image = picture(photo.file).to(world.device)
        size = self.canvas(photo.height, photo.width)
        placed, factor = _on_canvas(image, size)
        (seen,) = module([placed.float() / 255])
        high, wide = (round(side * factor) for side in image.shape[1:])
        results = []
        for box, label, score, mask in zip(seen["boxes"], seen["labels"], seen["scores"], seen["masks"], strict=True):
            left, top, right, below = (box.float() / factor).tolist()
            right, below = min(right, photo.width), min(below, photo.height)
            part = F.interpolate(mask[None, :, :high, :wide].float(), (photo.height, photo.width), mode="bilinear")
            results.append({
                "image_id": photo.id,
                "category_id": self.train.ids[int(label) - 1],
                "bbox": [left, top, right - left, below - top],
                "score": float(score),
                "segmentation": encoded_mask((part[0, 0] > 0.5).cpu().numpy()),
            })  # fmt: skip
        return results


def _on_canvas(image: Tensor, size: tuple[int, int]) -> tuple[Tensor, float]:
    """A picture as large as fits into the canvas, at its top left, and by which factor it was resized."""
    factor = min(side / extent for side, extent in zip(size, image.shape[1:], strict=True))
    inner = [min(side, max(1, round(extent * factor))) for side, extent in zip(size, image.shape[1:], strict=True)]
    resized = F.interpolate(image[None].float(), inner, mode="bilinear", antialias=True)[0]
    whole = F.pad(resized, (0, size[1] - inner[1], 0, size[0] - inner[0]), value=116)
    return whole.round().clamp(0, 255).to(torch.uint8), factor


def _moved(target: dict[str, Tensor], factor: float, size: tuple[int, int]) -> dict[str, Tensor]:
    """Objects where their picture is on the canvas; those that become smaller than a pixel are left out."""
    masks = target["masks"]
    inner = [min(side, max(1, round(extent * factor))) for side, extent in zip(size, masks.shape[1:], strict=True)]
    if len(masks):
        masks = F.interpolate(masks[:, None].float(), inner, mode="nearest")[:, 0].to(torch.uint8)
    masks = F.pad(masks[:, : inner[0], : inner[1]], (0, size[1] - inner[1], 0, size[0] - inner[0])) if len(masks) else (
        torch.zeros(0, *size, dtype=torch.uint8)
    )  # fmt: skip
    boxes = target["boxes"] * factor
    kept = (boxes[:, 2:] - boxes[:, :2]).min(1).values >= 1 if len(boxes) else torch.zeros(0, dtype=torch.bool)
    return {"boxes": boxes[kept], "labels": target["labels"][kept], "masks": masks[kept]}
