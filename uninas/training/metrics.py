"""What trained networks are measured by: classes found right, and overlap of regions. Counts alone are kept.

Counts of several processes, or of several parts of the data, add up, so that no image is counted twice or averaged
wrongly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from uninas.training.distributed import World


class Counts(ABC):
    """Counts from which figures come, with those of other processes where there are some."""

    counts: Tensor

    @abstractmethod
    def result(self) -> dict[str, float]:
        """The figures by name."""

    def together(self, world: World) -> dict[str, float]:
        """The figures of what all processes have counted."""
        self.counts = sum(world.gathered(self.counts), torch.zeros_like(self.counts))
        return self.result()


class TopK(Counts):
    """How many labels are among the k most likely classes, in percent."""

    def __init__(self, ks: tuple[int, ...] = (1, 5)):
        self.ks = ks
        self.counts = torch.zeros(len(ks) + 1, dtype=torch.float64)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits B x classes, labels B."""
        most = min(max(self.ks), logits.shape[1])
        right = logits.topk(most, 1).indices == labels[:, None]
        found = [right[:, :k].any(1).sum().item() for k in self.ks]
        self.counts += torch.tensor([*found, len(labels)], dtype=torch.float64)

    def result(self) -> dict[str, float]:
        *right, total = self.counts.tolist()
        return {f"top{k}": 100 * count / max(total, 1) for k, count in zip(self.ks, right, strict=True)}


class Overlap(Counts):
    """Mean intersection over union of classes, and the part of right pixels, from one confusion matrix, in percent.

    Classes that neither stand in a label nor are predicted do not count in the mean.
    """

    def __init__(self, classes: int, ignore: int = 255):
        self.classes, self.ignore = classes, ignore
        self.counts = torch.zeros(classes, classes, dtype=torch.float64)

    def add(self, predicted: Tensor, labels: Tensor) -> None:
        """Count a batch of maps of classes, of equal shapes."""
        known = labels != self.ignore
        pairs = labels[known].long() * self.classes + predicted[known].long()
        self.counts += torch.bincount(pairs, minlength=self.classes**2).reshape(self.classes, -1).cpu().double()

    def result(self) -> dict[str, float]:
        right = self.counts.diag()
        union = self.counts.sum(0) + self.counts.sum(1) - right
        there = union > 0
        mean = (right[there] / union[there]).mean().item() if there.any() else 0.0
        return {"miou": 100 * mean, "pixels": 100 * (right.sum() / self.counts.sum().clamp(min=1)).item()}
