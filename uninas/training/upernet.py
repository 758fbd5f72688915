"""UperNet: a pyramid of pooled contexts on the deepest map, a top-down path, and all levels fused (Xiao et al. 2018).

Written from the paper (section 3.1) and held equal to a peer's outputs and counts in a test.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOLS = (1, 2, 3, 6)
"""Sides of the pooled maps of the pyramid (Zhao et al. 2017, PSPNet)."""


class ConvNormRelu(nn.Sequential):
    """A convolution without bias that keeps the size, batch norm, relu."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )


def like(x: Tensor, other: Tensor) -> Tensor:
    """A map resized bilinearly to the height and width of another."""
    return F.interpolate(x, other.shape[-2:], mode="bilinear", align_corners=False)


class Pyramid(nn.Module):
    """Contexts: the deepest map beside its averages over 1, 4, 9 and 36 regions."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), ConvNormRelu(inputs, outputs, 1)) for side in POOLS
        )
        self.bottleneck = ConvNormRelu(inputs + len(POOLS) * outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.bottleneck(torch.cat([x, *(like(branch(x), x) for branch in self.branches)], 1))
        return joined


class UperHead(nn.Module):
    """Logits of classes at the size of the first map, from maps whose sides halve.

    Args:
        channels: of the maps, the largest map first.
        classes: how many.
        width: channels inside.
        dropout: probability that a channel of the fused map is dropped in training.
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int = 512, dropout: float = 0.1):
        super().__init__()
        self.pyramid = Pyramid(channels[-1], width)
        self.laterals = nn.ModuleList(ConvNormRelu(each, width, 1) for each in channels[:-1])
        self.smooth = nn.ModuleList(ConvNormRelu(width, width, 3) for _ in channels[:-1])
        self.fuse = ConvNormRelu(len(channels) * width, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        levels = [*(lateral(x) for lateral, x in zip(self.laterals, maps[:-1], strict=True)), self.pyramid(maps[-1])]
        for number in range(len(levels) - 1, 0, -1):
            levels[number - 1] = levels[number - 1] + like(levels[number], levels[number - 1])
        smoothed = [*(smooth(x) for smooth, x in zip(self.smooth, levels[:-1], strict=True)), levels[-1]]
        fused = self.fuse(torch.cat([like(x, smoothed[0]) for x in smoothed], 1))
        logits: Tensor = self.classifier(self.dropout(fused))
        return logits


class AuxiliaryHead(nn.Module):
    """Logits from a single map, which lends the backbone a shorter way to the loss (Zhao et al. 2017)."""

    def __init__(self, channels: int, classes: int, width: int = 256, dropout: float = 0.1):
        super().__init__()
        self.conv = ConvNormRelu(channels, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.conv(x)))
        return logits
