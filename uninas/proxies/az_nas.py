"""AZ-NAS: expressivity, progressivity, trainability, complexity (Lee & Ham, CVPR 2024).

Let f_0 be the features that enter the first block and f_l those that leave block l = 1..L (see `blocks`), each read as
vectors of C_l channels, one for every sample and position (see `channels` for which axis that is).

    expressivity   = sum_(l>=0)  s_l,   the entropy of the eigenvalues of the covariance of f_l, divided by their sum;
    progressivity  = min_(l>0)  s_l - s_(l-1);
    trainability   = mean_(l>0)  2 - t_l - 1 / (t_l + 1e-6),   t_l the largest singular value of E[g_(l-1) g_l^T],
                     g_l random signs and g_(l-1) the gradient of g_l . f_l by f_(l-1);
    complexity     = floating-point operations.

Trainability is highest, 0, where every block passes gradients on with their size unchanged. AZ-NAS ranks candidates by
each of the four and adds the logarithms of the ranks: see `uninas.scores.aggregate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.counts import flops
from uninas.proxies.observe.activations import prepare
from uninas.proxies.observe.blocks import block_features
from uninas.proxies.observe.channels import channel_axis
from uninas.proxies.observe.gradients import pulled_back
from uninas.proxies.types import Inputs, Measured, ProxyError

NO_GRADIENT = 2 - 1 / 1e-6
"""The trainability of a block that passes no gradient on."""


def vectors(x: Tensor, axis: int) -> Tensor:
    """Features as N x positions... x C, given the axis of their channels."""
    return x.movedim(axis, -1)


def spectral_entropy(x: Tensor) -> float:
    """The entropy of the normalised eigenvalues of the covariance of features; 0 for constant ones, at most ln C."""
    rows = vectors(x.detach(), channel_axis(x)).flatten(0, -2)
    rows = rows - rows.mean(0)
    eigenvalues = torch.linalg.eigvalsh(_product(rows, rows)).clamp(min=0)
    total = eigenvalues.sum()
    return max(0.0, float(torch.special.entr(eigenvalues / total).sum())) if total > 0 else 0.0


def transport(before: Tensor, after: Tensor, generator: torch.Generator) -> float:
    """The trainability of one block from its input and output, which autograd's graph must connect.

    Where the block changes the resolution, positions of the finer side are gathered into channels of the coarser one,
    after padding with zeros if it does not divide. A block that computes nothing, so that its gradients come back as
    they went in, counts like one without gradient (published code gives both the worst rank).
    """
    if not (before.requires_grad and after.requires_grad):
        return NO_GRADIENT
    signs = random_signs(after, generator)
    (gradient,) = pulled_back(after, [before], signs)
    if gradient.shape == signs.shape and torch.equal(gradient, signs):
        return NO_GRADIENT
    g_in, g_out = vectors(gradient, channel_axis(before)), vectors(signs, channel_axis(after))
    if g_in.ndim != g_out.ndim:  # maps become tokens
        g_in, g_out = g_in.flatten(1, -2), g_out.flatten(1, -2)
    sizes = [min(pair) for pair in zip(g_in.shape[1:-1], g_out.shape[1:-1], strict=True)]
    g_in, g_out = gathered(g_in, sizes).flatten(0, -2), gathered(g_out, sizes).flatten(0, -2)
    t = largest_singular_value(_product(g_in, g_out))
    return 2 - t - 1 / (t + 1e-6)


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers +1 and -1 in the shape and layout of another tensor, eight from every number drawn."""
    count = like.numel()
    drawn = torch.randint(256, (ceil(count / 8),), generator=generator, device=generator.device, dtype=torch.uint8)
    places = torch.arange(8, dtype=torch.uint8, device=like.device)
    bits = drawn.to(like.device)[:, None].bitwise_right_shift(places).bitwise_and(1)
    return torch.empty_like(like).copy_(bits.flatten()[:count].view(like.shape)).mul_(2).sub_(1)


def largest_singular_value(matrix: Tensor) -> float:
    """As the root of the largest eigenvalue of its smaller Gram matrix: as exact, and many times as fast as all."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return float(torch.linalg.eigvalsh(wide @ wide.T)[-1].clamp(min=0).sqrt())


def gathered(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """N x H x W x C at a coarser resolution h x w: N x h x w x (H/h W/w C), padded with zeros where it must be."""
    strides = [ceil(fine / coarse) for fine, coarse in zip(x.shape[1:-1], sizes, strict=True)]
    if all(stride == 1 for stride in strides):
        return x
    missing = [size * stride - fine for size, stride, fine in zip(sizes, strides, x.shape[1:-1], strict=True)]
    x = nn.functional.pad(x, [0, 0, *(n for more in reversed(missing) for n in (0, more))])
    x = x.reshape(len(x), *(n for pair in zip(sizes, strides, strict=True) for n in pair), -1)
    axes = range(1, x.ndim - 1)
    return x.permute(0, *axes[::2], *axes[1::2], -1).flatten(1 + len(sizes))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """E[a^T b] over the rows, in float64. ProxyError if it is not finite."""
    wide = torch.promote_types(a.dtype, torch.float32)
    product = (a.to(wide).T @ b.to(wide)).double() / len(a)
    if not product.isfinite().all():
        raise ProxyError("the network's features or their gradients are not finite", "check its initialisation")
    return product


def _entropies(module: nn.Module, inputs: Inputs) -> list[float]:
    prepared = prepare(module, inputs)
    with torch.no_grad():
        return [spectral_entropy(x) for x in block_features(module, prepared)]


@proxy("expressivity")
def expressivity(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """How evenly the features of all blocks spread over their channels (AZ-NAS, Lee & Ham 2024).

    One forward pass, with batch norms using the statistics of the batch. Components: `block_0`, the entropy of what
    enters the first block, then of what leaves each block. Raises ProxyError for a network without blocks.
    """
    entropies = _entropies(module, inputs)
    return sum(entropies), {f"block_{i}": s for i, s in enumerate(entropies)}


@proxy("progressivity")
def progressivity(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """The smallest step by which the spread of features grows from block to block (AZ-NAS, Lee & Ham 2024).

    One forward pass, with batch norms using the statistics of the batch. Components: `expressivity`. Raises ProxyError
    for a network without blocks.
    """
    entropies = _entropies(module, inputs)
    return min(after - before for before, after in pairwise(entropies)), {"expressivity": sum(entropies)}


@proxy("trainability")
def trainability(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """How close every block comes to passing gradients on with their size unchanged (AZ-NAS, Lee & Ham 2024).

    One forward and one backward pass, with batch norms using the statistics of the batch. Components: `block_1`, ...
    for each block; one without gradient has about -1e6. Raises ProxyError for a network without blocks.
    """
    prepared = prepare(module, inputs)
    leaves = tuple(part.detach().clone().requires_grad_(part.is_floating_point()) for part in prepared)
    if any(leaf.requires_grad for leaf in leaves):
        module.requires_grad_(False)  # spares the gradients by weights
    maps = block_features(module, leaves)
    found = [transport(before, after, generator) for before, after in reversed(list(pairwise(maps)))][::-1]
    return sum(found) / len(found), {f"block_{i}": t for i, t in enumerate(found, 1)}


@proxy("complexity")
def complexity(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """Floating-point operations (2 x MACs) of one sample, AZ-NAS's name for the proxy `flops`."""
    return flops(module, inputs, generator)
