"""The torch side of the operations: what their `emit` returns.

Three kinds of things live here, in this order: functions of tensors, which become `call_function` nodes; modules with
weights or state, which become `call_module` nodes; and what the compiler does with them, `initialise` and `stacked`.
Tensors are B x C x H x W or B x C. Every function is free of in-place writes and of control flow that depends on data,
so that it goes through torch.export, torch.compile, vmap and jvp.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, amax, clamp, mean, narrow, nn, permute, roll, split, subtract, transpose, unflatten
from torch.nn import (
    ELU,
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Flatten,
    GroupNorm,
    Hardsigmoid,
    Hardswish,
    Identity,
    LeakyReLU,
    MaxPool2d,
    Mish,
    Module,
    Parameter,
    PixelShuffle,
    PixelUnshuffle,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    Upsample,
)
from torch.nn import functional as F
from torch.nn.functional import normalize, pad

from uninas.errors import did_you_mean, error, shown
from uninas.initial import Fans, fill
from uninas.initial import names as names_of_schemes
from uninas.initial import scheme as named_scheme

# Every name that an operation or the compiler may use; the first rows are torch's own.
__all__ = [  # noqa: RUF022
    "ELU", "GELU", "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Dropout", "Flatten", "GroupNorm",
    "Hardsigmoid", "Hardswish", "Identity", "LeakyReLU", "MaxPool2d", "Mish", "PixelShuffle", "PixelUnshuffle", "ReLU",
    "ReLU6", "SiLU", "Sigmoid", "Softmax", "Tanh", "Upsample", "amax", "narrow", "pad", "roll", "split", "subtract",
    "transpose",
    "PReLU", "Softplus", "clamp", "mean", "normalize", "permute",
    "OwnConv2d", "avg_pool", "blur", "fold", "group_norm", "max_pool",
    "Embedding", "unfold", "causal_mask", "coordinates", "lookup", "rotary", "sine_embed",
    "HeadsBias", "LearnedTensor", "RMSNorm", "divide", "heads", "length", "root", "scale", "unheads",
    "Call", "ClassToken", "Conv2d", "ConvTranspose2d", "DropPath", "FlatLinear", "LayerNorm", "LayerScale", "Linear",
    "OffsetTable", "PosEmbed", "RelPosBias", "WindowMask", "add", "attention", "band", "call", "channel_shuffle",
    "concat", "concat_tokens", "copies", "crop", "matmul1", "matmul2", "maximum", "multiply", "reshape", "window_merge",
    "window_partition", "zero",
    "initialise", "stack_parts", "stacked", "unstack_parts",
]  # fmt: skip

# ---- functions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A function of tensors with further arguments fixed. The compiler writes them into the fx node."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *tensors: Tensor) -> Any:
        return self.function(*tensors, *self.arguments, **dict(self.keywords))


def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Call:
    """`function(tensors..., *arguments, **keywords)`; functools.partial is no legal fx target."""
    return Call(function, arguments, tuple(keywords.items()))


def add(first: Tensor, *others: Tensor) -> Tensor:
    """Sum of all tensors."""
    for other in others:
        first = first + other
    return first


def multiply(first: Tensor, *others: Tensor) -> Tensor:
    """Element-wise product of all tensors."""
    for other in others:
        first = first * other
    return first


def maximum(first: Tensor, *others: Tensor) -> Tensor:
    """Element-wise maximum of all tensors."""
    for other in others:
        first = torch.maximum(first, other)
    return first


def concat(*x: Tensor) -> Tensor:
    """All tensors one after another along their channels."""
    return torch.cat(x, 1)


def concat_tokens(*x: Tensor) -> Tensor:
    """All tensors one after another along their last axis."""
    return torch.cat(x, -1)


def copies(x: Tensor, n: int) -> tuple[Tensor, ...]:
    """The same tensor n times."""
    return (x,) * n


def reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Another shape behind the batch axis."""
    return x.reshape(x.shape[0], *shape)


def heads(x: Tensor, n: int) -> Tensor:
    """B x C x H x W -> B x C / n x (n H) x W."""
    return unflatten(x, 1, (n, -1)).transpose(1, 2).flatten(2, 3)


def unheads(x: Tensor, n: int) -> Tensor:
    """The inverse of `heads`."""
    return unflatten(x, 2, (n, -1)).transpose(1, 2).flatten(1, 2)


def scale(x: Tensor, factor: float, offset: float) -> Tensor:
    """factor * x + offset."""
    return x * factor + offset


def root(x: Tensor, inverse: bool, eps: float) -> Tensor:
    """The square root of max(x, eps), or one divided by it."""
    inside = x.clamp(min=eps)
    return inside.rsqrt() if inverse else inside.sqrt()


def divide(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """x / y, where y counts as eps, with its sign, below that."""
    return x / torch.where(y.abs() < eps, torch.where(y < 0, -eps, eps), y)


def length(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Euclidean length along some axes, which stay with size 1."""
    found: Tensor = torch.linalg.vector_norm(x, dim=axes, keepdim=True)
    return found


def crop(x: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """The rectangle of that size whose first row and column are `top` and `left`."""
    return x[:, :, top : top + height, left : left + width]


def zero(x: Tensor, stride: int = 1, channels: int = 0) -> Tensor:
    """Zeros that still depend on x, with every `stride`-th row and column of it, and `channels` if that is not 0."""
    zeros = (x[:, :, ::stride, ::stride] if stride > 1 else x) * 0
    return zeros[:, :1].expand(-1, channels, *zeros.shape[2:]) if channels else zeros


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels g, n of `groups` groups in the order n, g."""
    return unflatten(x, 1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def window_partition(x: Tensor, size: int) -> Tensor:
    """B x C x H x W -> B x C x windows x size^2."""
    b, c, h, w = x.shape
    cut = x.reshape(b, c, h // size, size, w // size, size)
    return cut.transpose(3, 4).reshape(b, c, h * w // size**2, size**2)


def window_merge(x: Tensor, size: int, height: int, width: int) -> Tensor:
    """B x C x windows x size^2 -> B x C x height x width."""
    b, c = x.shape[:2]
    cut = x.reshape(b, c, height // size, width // size, size, size)
    return cut.transpose(3, 4).reshape(b, c, height, width)


def band(x: Tensor, width: int) -> Tensor:
    """Zero where abs(row - column) > width over the last two axes."""
    return torch.tril(torch.triu(x, -width), width)


def unfold(x: Tensor, kernel: int, stride: int, padding: int, shape: tuple[int, ...]) -> Tensor:
    """What lies under a kernel, at every place of it: B x (C k^2) x H' x W'."""
    return reshape(F.unfold(x, kernel, padding=padding, stride=stride), shape)


def fold(x: Tensor, size: tuple[int, int], kernel: int, stride: int, padding: int) -> Tensor:
    """The inverse of `unfold`, where windows that overlap add up."""
    found: Tensor = F.fold(x.flatten(2), size, kernel, padding=padding, stride=stride)
    return found


def surrounded(x: Tensor, sides: tuple[tuple[int, int], tuple[int, int]], value: float = 0.0) -> Tensor:
    """x with (top, left) and (bottom, right) more rows and columns."""
    (top, left), (bottom, right) = sides
    return pad(x, (left, right, top, bottom), value=value) if top or left or bottom or right else x


def max_pool(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], sides: Any) -> Tensor:
    """Largest value of each window, where opposite sides may have different padding."""
    return F.max_pool2d(surrounded(x, sides, -3e38), kernel, stride)


def avg_pool(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], sides: Any, count_padding: bool) -> Tensor:
    """Mean of each window, where opposite sides may have different padding."""
    found = F.avg_pool2d(surrounded(x, sides), kernel, stride)
    if count_padding:
        return found
    return found / F.avg_pool2d(surrounded(torch.ones_like(x[:1, :1]), sides), kernel, stride)


def blur(x: Tensor, kernel: int, stride: int, sides: Any) -> Tensor:
    """Every channel convolved with the binomial coefficients, in both directions; they add up to 1."""
    row = torch.tensor([math.comb(kernel - 1, n) / 2 ** (kernel - 1) for n in range(kernel)], device=x.device)
    weight = (row[:, None] * row).to(x.dtype).expand(x.shape[1], 1, kernel, kernel)
    return F.conv2d(surrounded(x, sides), weight, None, stride, groups=x.shape[1])


def causal_mask(x: Tensor) -> Tensor:
    """-1e9 more where the column of the last two axes is larger than the row, counted from the lower right corner."""
    rows, columns = x.shape[-2:]
    return x + torch.full((rows, columns), -1e9, dtype=x.dtype, device=x.device).triu(1 + columns - rows)


def lookup(x: Tensor, table: Tensor) -> Tensor:
    """Columns of B x C x 1 x n by their numbers, B x N."""
    flat = x.flatten(1)
    chosen = whole_numbers(flat, table.shape[-1])[:, None, None].expand(-1, table.shape[1], 1, -1)
    found = torch.gather(table, 3, chosen)
    return found + flat[:, None, None] * 0 if flat.is_floating_point() else found


def whole_numbers(x: Tensor, n: int) -> Tensor:
    """Indices; what is no integer is rounded, and held between 0 and n - 1."""
    return x.detach().round().clamp(0, n - 1).long() if x.is_floating_point() else x.long()


def _waves(count: int, length: int, base: float, like: Tensor) -> Tensor:
    """Angles of `count` waves at every position, count x length."""
    steps = torch.arange(count, dtype=torch.float32, device=like.device) / count
    places = torch.arange(length, dtype=torch.float32, device=like.device)
    return base ** (-steps)[:, None] * places


def _sines(channels: int, length: int, base: float, like: Tensor) -> Tensor:
    """Sines and cosines in turn, channels x length."""
    waves = _waves(channels // 2, length, base, like)
    return torch.stack([waves.sin(), waves.cos()], 1).flatten(0, 1).to(like.dtype)


def sine_embed(x: Tensor, base: float) -> Tensor:
    """x and sines and cosines of its positions; of a map, half the channels tell the row."""
    channels, height, width = x.shape[1:]
    if height == 1:
        return x + _sines(channels, width, base, x)[:, None]
    rows = _sines(channels // 2, height, base, x)[:, :, None].expand(-1, -1, width)
    columns = _sines(channels // 2, width, base, x)[:, None].expand(-1, height, -1)
    return x + torch.cat([rows, columns])


def rotary(x: Tensor, base: float) -> Tensor:
    """The two halves of the channels turned against each other, by angles that grow along the last axis."""
    angles = _waves(x.shape[1] // 2, x.shape[-1], base, x)[:, None]
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    one, two = x.chunk(2, 1)
    return torch.cat([one * cosine - two * sine, one * sine + two * cosine], 1)


def coordinates(x: Tensor) -> Tensor:
    """x with two channels more, the row and the column of every position, from -1 to 1."""
    height, width = x.shape[2:]
    rows = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)[:, None].expand(height, width)
    columns = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device).expand(height, width)
    return torch.cat([x, torch.stack([rows, columns]).expand(x.shape[0], 2, height, width)], 1)


def _sequences(x: Tensor, row_wise: bool) -> Tensor:
    """B x C x H x W -> B x H x C x W, each row a sequence, or B x 1 x C x HW."""
    return x.transpose(1, 2) if row_wise else x.flatten(2).unsqueeze(1)


def matmul1(x: Tensor, y: Tensor, row_wise: bool = False, scale: float = 0.0) -> Tensor:
    """Scores of all pairs of positions: out[b, r, p, q] = scale sum_c x[b, c, r, p] y[b, c, r, q]; 0: C^(-1/2)."""
    factor: float = scale or x.shape[1] ** -0.5
    return (_sequences(x, row_wise) * factor).transpose(-2, -1) @ _sequences(y, row_wise)


def matmul2(a: Tensor, y: Tensor, row_wise: bool, shape: tuple[int, ...]) -> Tensor:
    """Weighted sums: out[b, c, r, p] = sum_q a[b, r, p, q] y[b, c, r, q], each sample laid out as `shape`."""
    summed = _sequences(y, row_wise) @ a.transpose(-2, -1)
    return reshape(summed.transpose(1, 2), shape)


def attention(
    x: Tensor,
    y: Tensor,
    v: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    row_wise: bool,
    shape: tuple[int, ...],
    scale: float | None = None,
) -> Tensor:
    """matmul2(softmax(matmul1(x, y) + bias + mask), v) in one kernel of torch, with a scale of scores, or C^(-1/2).

    A bias P x Q belongs to every sample. One of n x 1 x P x Q belongs to a batch in which n parts alternate. A mask has
    a map for each row.
    """
    q, k, v = (_sequences(part, row_wise).transpose(-2, -1) for part in (x, y, v))
    if mask is not None:
        bias = mask if bias is None else bias + mask
    if bias is None or bias.ndim < 4:
        added = bias if bias is None or bias.ndim == 2 else bias[None]  # fused kernels take two axes or four
        summed = F.scaled_dot_product_attention(q, k, v, added, scale=scale)
    elif row_wise:
        q, k, v = (unflatten(part, 0, (-1, len(bias))) for part in (q, k, v))  # five axes: torch's plain kernel
        summed = F.scaled_dot_product_attention(q, k, v, bias, scale=scale).flatten(0, 1)
    else:  # fused kernels want four axes: here the parts are heads, in place of the one sequence
        q, k, v = (unflatten(part.squeeze(1), 0, (-1, len(bias))) for part in (q, k, v))
        fused = F.scaled_dot_product_attention(q, k, v, bias.transpose(0, 1), scale=scale)
        summed = fused.flatten(0, 1).unsqueeze(1)
    return reshape(summed.permute(0, 3, 1, 2), shape)


# ---- modules -------------------------------------------------------------------------------------------------------


class _RawConv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        pass


class _RawConvTranspose2d(nn.ConvTranspose2d):
    def reset_parameters(self) -> None:
        pass


class _RawLinear(nn.Linear):
    def reset_parameters(self) -> None:
        pass


def Conv2d(*args: Any) -> nn.Conv2d:
    """A `torch.nn.Conv2d` whose weights hold no values yet: `initialise` fills them, and only once."""
    layer: nn.Conv2d = _RawConv2d(*args)
    layer.__class__ = nn.Conv2d
    return layer


def ConvTranspose2d(*args: Any) -> nn.ConvTranspose2d:
    """A `torch.nn.ConvTranspose2d` whose weights hold no values yet."""
    layer: nn.ConvTranspose2d = _RawConvTranspose2d(*args)
    layer.__class__ = nn.ConvTranspose2d
    return layer


def Linear(*args: Any) -> nn.Linear:
    """A `torch.nn.Linear` whose weights hold no values yet."""
    layer: nn.Linear = _RawLinear(*args)
    layer.__class__ = nn.Linear
    return layer


class OwnConv2d(_RawConv2d):
    """A convolution that torch has no layer for: other padding at opposite sides, or standardised kernels."""

    def __init__(self, *args: Any, sides: tuple[tuple[int, int], tuple[int, int]], eps: float | None):
        super().__init__(*args)
        self.sides, self.eps = sides, eps

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        if self.eps is not None:
            weight = F.layer_norm(weight, weight.shape[1:], eps=self.eps)
        if self.sides[0] == self.sides[1]:
            found: Tensor = self._conv_forward(x, weight, self.bias)
            return found
        return F.conv2d(surrounded(x, self.sides), weight, self.bias, self.stride, 0, self.dilation, self.groups)


def group_norm(groups: int, channels: int, eps: float, affine: bool, bias: bool) -> GroupNorm:
    """A `torch.nn.GroupNorm`, perhaps with a scale alone."""
    return GroupNorm(groups, channels, eps, affine) if bias or not affine else ScaledGroupNorm(groups, channels, eps)


class ScaledGroupNorm(GroupNorm):
    """Group norm with a scale and no shift."""

    def __init__(self, groups: int, channels: int, eps: float):
        super().__init__(groups, channels, eps)
        self.register_parameter("bias", None)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)


class FlatLinear(_RawLinear):
    """Linear layer on B x C x 1 x 1."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


class LayerNorm(nn.LayerNorm):
    """Layer norm over the channels of B x C or B x C x H x W."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class RMSNorm(nn.RMSNorm):
    """Root mean square norm over the channels of B x C or B x C x H x W."""

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = super().forward(x.movedim(1, -1))
        return normed.movedim(-1, 1)


class DropPath(Module):
    """Zero for a random part of the samples during training; the others are scaled to keep the expectation."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.full((x.shape[0], *[1] * (x.ndim - 1)), 1 - self.p, dtype=x.dtype, device=x.device)
        return x * torch.bernoulli(keep) / max(1 - self.p, 1e-9)  # p = 1 drops everything; 0 / 0 is avoided

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Learned(Module):
    """A module with weights of its own kind. They hold no values until `reset` is called.

    After `stacked` has put n of them into one, `parts` is n and every weight has a leading axis of that size.
    """

    parts = 0

    @abstractmethod
    def reset(self, generator: Generator) -> None:
        """Draw the initial weights."""

    def apart(self, x: Tensor) -> Tensor:
        """B n x ... -> B x n x ..., so that a stacked weight broadcasts; x itself where nothing is stacked."""
        return unflatten(x, 0, (-1, self.parts)) if self.parts else x

    def together(self, x: Tensor) -> Tensor:
        """The inverse of `apart`."""
        return x.flatten(0, 1) if self.parts else x


class LayerScale(Learned):
    """One learned factor per channel."""

    def __init__(self, shape: tuple[int, ...], init: float):
        super().__init__()
        self.init = init
        self.weight = Parameter(torch.empty(shape[0], *[1] * (len(shape) - 1)))

    def reset(self, generator: Generator) -> None:
        self.weight.fill_(self.init)

    def forward(self, x: Tensor) -> Tensor:
        return self.together(self.apart(x) * self.weight)


class Embedding(Learned):
    """A learned vector for every number of B x N."""

    def __init__(self, n: int, width: int):
        super().__init__()
        self.weight = Parameter(torch.empty(n, width))

    def reset(self, generator: Generator) -> None:
        self.weight.normal_(std=0.02, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        found = F.embedding(whole_numbers(flat, len(self.weight)), self.weight).transpose(1, 2).unsqueeze(2)
        return found + flat[:, None, None] * 0 if flat.is_floating_point() else found


class PosEmbed(Learned):
    """Adds a learned tensor; one of another height and width is resized bicubically in use."""

    def __init__(self, shape: tuple[int, ...], table: tuple[int, ...] | None = None):
        super().__init__()
        self.size = shape[1:] if table not in (None, shape) else None
        self.weight = Parameter(torch.empty(table or shape))

    def reset(self, generator: Generator) -> None:
        self.weight.normal_(std=0.02, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.together(self.apart(x) + (self.weight if self.size is None else self.resized(self.size)))

    def resized(self, size: tuple[int, ...]) -> Tensor:
        """The weight at another height and width."""
        weight = self.weight if self.parts else self.weight[None]
        found = F.interpolate(weight, size, mode="bicubic", align_corners=False)
        return found if self.parts else found[0]


class LearnedTensor(Learned):
    """A learned tensor for every sample; or, not `trainable`, a fixed one, which begins as zeros."""

    weight: Tensor

    def __init__(self, shape: tuple[int, ...], trainable: bool = True):
        super().__init__()
        if trainable:
            self.weight = Parameter(torch.empty(shape))
        else:
            self.register_buffer("weight", torch.zeros(shape))

    def reset(self, generator: Generator) -> None:
        if self.weight.requires_grad:
            self.weight.normal_(std=0.02, generator=generator)
        else:
            self.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        # Times zero instead of a mere size, so that every input has a gradient.
        none = self.apart(x.flatten(1)[:, 0] * 0)
        return self.together(self.weight + none.reshape(*none.shape, 1, 1, 1))


class ClassToken(Learned):
    """Puts a learned token before the others."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = Parameter(torch.empty(channels, 1, 1))

    def reset(self, generator: Generator) -> None:
        self.weight.normal_(std=1e-6, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        x = self.apart(x)
        return self.together(torch.cat((self.weight.expand(*x.shape[:-1], 1), x), -1))


class OffsetTable(Learned):
    """One learned number per offset on a grid; called, it gives the P x P map of all pairs of positions.

    Stacked n times it gives n x 1 x P x P. Rows and columns are looked up one after the other, so the indices take
    h^2 + w^2 numbers instead of h^2 w^2. A table made for another grid is resized bilinearly in use.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, height: int, width: int, table_height: int = 0, table_width: int = 0, *, mirrored: bool = False):
        super().__init__()
        self.height, self.width, self.mirrored = height, width, mirrored
        self.made_for = (table_height or height, table_width or width)
        self.table = Parameter(torch.empty(math.prod(map(self.side, self.made_for))))
        for name, n in (("rows", height), ("columns", width)):
            place = torch.arange(n)
            offset = place[:, None] - place
            self.register_buffer(name, (offset.abs() if mirrored else offset + n - 1).flatten(), persistent=False)

    def side(self, length: int) -> int:
        """Number of offsets along a side."""
        return length if self.mirrored else 2 * length - 1

    def reset(self, generator: Generator) -> None:
        self.table.normal_(std=0.02, generator=generator)

    def forward(self) -> Tensor:
        h, w = self.height, self.width
        grid = self.offsets()
        pairs = grid.index_select(-2, self.rows).index_select(-1, self.columns)
        corners = unflatten(unflatten(pairs, -1, (w, w)), -3, (h, h))
        bias = corners.transpose(-3, -2).flatten(-4, -3).flatten(-2)
        return bias.unsqueeze(-3) if self.parts else bias

    def offsets(self) -> Tensor:
        """The table as rows and columns of offsets, at the size of this grid."""
        made = tuple(map(self.side, self.made_for))
        wanted = (self.side(self.height), self.side(self.width))
        grid = unflatten(self.table, -1, made)
        if made == wanted:
            return grid
        planes = grid.unsqueeze(-3) if grid.ndim == 3 else grid[None, None]
        resized = F.interpolate(planes, wanted, mode="bilinear", align_corners=False)
        return resized.squeeze(-3) if grid.ndim == 3 else resized[0, 0]

    def extra_repr(self) -> str:
        made = f", made for {self.made_for[0]} x {self.made_for[1]}"
        return f"height={self.height}, width={self.width}{made * (self.made_for != (self.height, self.width))}"


class RelPosBias(Learned):
    """Adds a learned bias by offset to a map. `bias` is a module so that fused attention can ask for the bias alone."""

    def __init__(self, height: int, width: int, table_height: int = 0, table_width: int = 0, *, mirrored: bool = False):
        super().__init__()
        self.bias = OffsetTable(height, width, table_height, table_width, mirrored=mirrored)

    def reset(self, generator: Generator) -> None:
        pass  # the table resets itself

    def forward(self, x: Tensor) -> Tensor:
        return self.together(self.apart(x) + self.bias())


class HeadsBias(Learned):
    """A bias by offset for each of several heads, which are the outermost part of a map's rows."""

    def __init__(
        self, heads: int, height: int, width: int, table_height: int = 0, table_width: int = 0, *,
        mirrored: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.heads = heads
        self.bias = OffsetTable(height, width, table_height, table_width, mirrored=mirrored)
        self.bias.table = Parameter(torch.empty(heads, len(self.bias.table)))

    def reset(self, generator: Generator) -> None:
        pass  # the table resets itself

    def forward(self, x: Tensor) -> Tensor:
        bias: Tensor = self.bias()
        return (unflatten(x, 1, (self.heads, -1)) + bias.unsqueeze(1)).flatten(1, 2)


class WindowMask(Module):
    """Adds -100 between positions of a window that the shift brought together from different parts of the image."""

    mask: Tensor

    def __init__(self, height: int, width: int, window: int, shift: int, heads: int = 1):
        super().__init__()
        self.heads = heads
        rows, columns = (self._regions(length, window, shift) for length in (height, width))
        region = window_partition((3 * rows[:, None] + columns)[None, None], window)[0, 0]
        self.register_buffer("mask", -100.0 * (region[:, :, None] != region[:, None, :]), persistent=False)

    @staticmethod
    def _regions(length: int, window: int, shift: int) -> Tensor:
        """0 before the last window; in it 1, and 2 for what came in from the other edge."""
        place = torch.arange(length)
        return (place >= length - window).long() + (place >= length - shift).long()

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.mask if self.heads == 1 else self.mask.repeat(self.heads, 1, 1))


# ---- initial weights -----------------------------------------------------------------------------------------------


@torch.no_grad()
def initialise(module: Module, scheme: str, generator: Generator) -> None:
    """Give every layer in `module` its initial weights.

    `scheme` is one of `uninas.initial`. Biases are zero except under `torch`. Whatever the scheme, normalisations begin
    as 1 and 0; offset tables and position embeddings as N(0, 0.02^2), a class token as N(0, 1e-12), layer scales with
    the value they were given. Layers of other kinds keep their values. The generator must be on
    the device of the weights. Raises UninasError for an unknown scheme.
    """
    if scheme not in (names := names_of_schemes()):
        raise error("UNI060", f"expected init to be {', '.join(names)}, but got {shown(scheme)}", None,
                    did_you_mean(str(scheme), names))  # fmt: skip
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw(layer, scheme, generator)
        elif isinstance(layer, Learned):
            layer.reset(generator)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm | nn.PReLU):
            layer.reset_parameters()


def _draw(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, scheme: str, generator: Generator) -> None:
    convolution = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    out, into, *kernel = layer.weight.shape[-4 if convolution else -2 :]  # a stacked layer has one axis more
    groups = layer.groups if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else 1
    if isinstance(layer, nn.ConvTranspose2d):  # its weight has the inputs first
        out, into = into * groups, out // groups
    fans = Fans(into * math.prod(kernel), out * math.prod(kernel) / groups)
    known = named_scheme(scheme)
    variance = (known.convolution if convolution else known.linear)(fans)
    fill(layer.weight, variance, known.uniform, generator)
    if layer.bias is not None:
        if known.biases:
            fill(layer.bias, variance, known.uniform, generator)
        else:
            layer.bias.zero_()


# ---- n equal layers as one -----------------------------------------------------------------------------------------
#
# The batch holds n parts of every sample: B n x ..., the part running fastest. Reading it as B x (n C) x H x W costs
# nothing, and there n convolutions are one grouped convolution and n batch norms one batch norm.


def stack_parts(*parts: Tensor) -> Tensor:
    """n tensors B x ... -> (B n) x ..., the part running fastest."""
    return torch.stack(parts, 1).flatten(0, 1)


def unstack_parts(x: Tensor, n: int) -> tuple[Tensor, ...]:
    """The inverse of `stack_parts`."""
    return unflatten(x, 0, (-1, n)).unbind(1)


def _wide(x: Tensor, n: int) -> Tensor:
    """(B n) x C x ... -> B x (n C) x ..."""
    return unflatten(x, 0, (-1, n)).flatten(1, 2)


def _narrow(x: Tensor, n: int) -> Tensor:
    """B x (n C) x ... -> (B n) x C x ..."""
    return unflatten(x, 1, (n, -1)).flatten(0, 1)


def _flat(weight: Tensor | None) -> Tensor | None:
    return None if weight is None else weight.flatten(0, 1)


class StackedConv2d(nn.Conv2d):
    """n convolutions as one grouped convolution."""

    parts: int

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """What `to` does, with the weight as the four axes of the one convolution that runs: layouts are for those."""
        n = self.parts

        def of_one(x: Tensor) -> Any:
            return unflatten(fn(x.flatten(0, 1)), 0, (n, -1)) if x.ndim == 5 else fn(x)

        return super()._apply(of_one, recurse)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        n = self.parts
        out = F.conv2d(_wide(x, n), self.weight.flatten(0, 1), _flat(self.bias), self.stride, self.padding,
                       self.dilation, n * self.groups)  # fmt: skip
        return _narrow(out, n)


class StackedLinear(nn.Linear):
    """n linear layers as one batched matrix product."""

    parts: int

    def forward(self, x: Tensor) -> Tensor:
        out = torch.einsum("bni,noi->bno", unflatten(x.flatten(1), 0, (-1, self.parts)), self.weight)
        bias: Tensor | None = self.bias
        return (out if bias is None else out + bias).flatten(0, 1)


class StackedBatchNorm(nn.BatchNorm2d):
    """n batch norms as one over n times the channels."""

    parts: int

    def forward(self, x: Tensor) -> Tensor:
        n = self.parts
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        if self.training:
            self.num_batches_tracked.add_(1)
        out = F.batch_norm(_wide(x, n), self.running_mean.view(-1), self.running_var.view(-1), _flat(self.weight),
                           _flat(self.bias), self.training, self.momentum or 0.0, self.eps)  # fmt: skip
        return _narrow(out, n)


class StackedGroupNorm(nn.GroupNorm):
    """n group norms as one over n times the groups."""

    parts: int

    def forward(self, x: Tensor) -> Tensor:
        n = self.parts
        out = F.group_norm(_wide(x, n), n * self.num_groups, _flat(self.weight), _flat(self.bias), self.eps)
        return _narrow(out, n)


class StackedLayerNorm(nn.LayerNorm):
    """n layer norms: the statistics need no weights, and scale and shift broadcast."""

    parts: int

    def forward(self, x: Tensor) -> Tensor:
        out = F.layer_norm(x.movedim(1, -1), self.normalized_shape, eps=self.eps).movedim(-1, 1)
        if not self.elementwise_affine:
            return out
        scale, shift = (unflatten(weight, 1, (-1, *[1] * (x.ndim - 2))) for weight in (self.weight, self.bias))
        return (unflatten(out, 0, (-1, self.parts)) * scale + shift).flatten(0, 1)


_STACKED: Mapping[type[Module], type[Module]] = {
    nn.Conv2d: StackedConv2d,
    nn.Linear: StackedLinear,
    FlatLinear: StackedLinear,
    BatchNorm1d: StackedBatchNorm,
    BatchNorm2d: StackedBatchNorm,
    GroupNorm: StackedGroupNorm,
    LayerNorm: StackedLayerNorm,
}


def stacked(one: Any, n: int) -> Any:
    """n layers like `one` as a single layer on a batch of n parts (see `stack_parts`).

    Takes what an operation's `emit` returned and consumes it. What has no weights treats samples one by one and is
    returned as it is. Otherwise every parameter and saved buffer gets a leading axis of size n, under its old name:
    stacking n state dicts gives the new one. Raises TypeError for a layer with weights of an unknown kind.
    """
    layer: Any
    for layer in list(one.modules()) if isinstance(one, Module) else ():
        saved = layer.state_dict().keys()
        if type(layer) in _STACKED:
            layer.__class__ = _STACKED[type(layer)]
        elif not isinstance(layer, Learned):
            if saved:
                raise TypeError(f"no way to stack {type(layer).__name__}: its operation must not be stackable")
            continue
        layer.parts = n
        for name, weight in layer._parameters.items():
            if weight is not None:
                layer._parameters[name] = Parameter(weight.new_empty(n, *weight.shape))
        for name, buffer in layer._buffers.items():
            if buffer is not None and name in saved:
                layer._buffers[name] = buffer.expand(n, *buffer.shape).clone()
    return one
