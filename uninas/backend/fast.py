"""What the passes of `optimize` put in place of layers: the same functions, laid out as kernels want them.

Maps keep their shape B x C x H x W; in memory the channels run fastest, so that positions times channels is a matrix,
heads are a view of it, and the positions of a window are copied in rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn, unflatten
from torch.nn import functional as F

from uninas.backend import layers


def channels_last(x: Tensor) -> Tensor:
    """The same map, with its channels fastest in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def head_attention(
    x: Tensor, bias: Tensor | None, mask: Tensor | None, heads: int, order: tuple[int, int, int], row_wise: bool,
    shape: tuple[int, ...], scale: float | None = None,
) -> Tensor:  # fmt: skip
    """Attention of all heads in one kernel, without a copy of queries, keys and values.

    Args:
        x: B x 3 d n x H x W: for each of n heads, queries, keys and values of d channels, in the `order` given.
        bias: n x 1 x P x P, which is added to the scores of each head; P is H W, or W where every row is a sequence.
        mask: H x P x P, which is added to the scores of each row.
        heads: n.
        row_wise: each row of x is a sequence; otherwise there is one of H W positions.
        shape: channels, height and width of what one head gives.
        scale: factor of the scores; by default d^(-1/2).

    Returns B x n d x H x W.
    """
    tokens = x.permute(0, 2, 3, 1).contiguous()
    batch, rows = x.shape[0], x.shape[2]
    tokens = tokens.flatten(0, 1) if row_wise else tokens.flatten(1, 2)
    parts = unflatten(tokens, -1, (heads, 3, -1)).transpose(1, 2)
    q, k, v = (parts.select(-2, place) for place in order)
    added = None if bias is None else bias.transpose(0, 1)
    if mask is not None:
        added = mask.unsqueeze(1) if added is None else mask.unsqueeze(1) + added
        added = added.repeat(batch, 1, 1, 1)
    elif added is not None and len(added) == rows > 1:  # bias and mask as one
        added = added.repeat(batch, 1, 1, 1)
    summed = F.scaled_dot_product_attention(q, k, v, added, scale=scale).transpose(1, 2).flatten(2)
    return summed.reshape(batch, *shape[1:], heads * shape[0]).permute(0, 3, 1, 2)


def window_partition(x: Tensor, size: int) -> Tensor:
    """`layers.window_partition`, which leaves channels fastest."""
    b, c, h, w = x.shape
    cut = x.permute(0, 2, 3, 1).reshape(b, h // size, size, w // size, size, c)
    return cut.transpose(2, 3).reshape(b, h * w // size**2, size**2, c).permute(0, 3, 1, 2)


def window_merge(x: Tensor, size: int, height: int, width: int) -> Tensor:
    """`layers.window_merge`, which leaves channels fastest."""
    b, c = x.shape[:2]
    cut = x.permute(0, 2, 3, 1).reshape(b, height // size, width // size, size, size, c)
    return cut.transpose(2, 3).reshape(b, height, width, c).permute(0, 3, 1, 2)


class PixelUnshuffle(nn.PixelUnshuffle):
    """Pixels into channels, which stay fastest."""

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x C r^2 x H / r x W / r."""
        b, c, h, w = x.shape
        r = self.downscale_factor
        cut = x.permute(0, 2, 3, 1).reshape(b, h // r, r, w // r, r, c)
        return cut.permute(0, 1, 3, 5, 2, 4).reshape(b, h // r, w // r, c * r * r).permute(0, 3, 1, 2)


class PointConv2d(nn.Conv2d):
    """A convolution of 1 x 1 as a matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x out x H x W."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class InPlaceGELU(nn.GELU):
    """GELU that writes over its input."""

    def forward(self, x: Tensor) -> Tensor:
        """x, changed."""
        changed: Tensor = torch.ops.aten.gelu_.default(x, approximate=self.approximate)
        return changed


class WindowTable(layers.OffsetTable):
    """A table of offsets that is read by windows instead of looked up number by number.

    Row (i, j) of the map, as a picture of all keys (k, l), is the window of the table that begins at (i, j), turned
    around: offset (i - k) + h - 1 is i + (h - 1 - k). So one copy makes the map.
    """

    def forward(self) -> Tensor:
        """The map P x P, or n x 1 x P x P."""
        grid = self.offsets()
        for axis in (-2, -1) if self.mirrored else ():
            grid = torch.cat((grid.flip(axis).narrow(axis, 0, grid.shape[axis] - 1), grid), axis)
        windows = grid.unfold(-2, self.height, 1).unfold(-2, self.width, 1)
        bias = windows.flip(-2, -1).flatten(-4, -3).flatten(-2)
        return bias.unsqueeze(-3) if self.parts else bias


class Constant(nn.Module):
    """A tensor that was computed once."""

    value: Tensor

    def __init__(self, value: Tensor):
        super().__init__()
        self.register_buffer("value", value)

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value

    def extra_repr(self) -> str:
        """Its shape."""
        return " x ".join(map(str, self.value.shape))
