"""VKDNW: the entropy of the Fisher information's eigenvalues at initialisation (Tybl & Neumann, CVPR 2025)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from uninas.proxies.base import Inputs, Measured, ProxyError, proxy
from uninas.proxies.jacobian import Weight, logit_jacobian


@proxy("params")
def params(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """Number of trainable scalars."""
    return float(sum(p.numel() for p in module.parameters() if p.requires_grad)), {}


def fisher_spectrum(logits: Tensor, jacobian: Tensor) -> Tensor:
    """Eigenvalues of F = 1/N sum_n J_n^T (diag p_n - p_n p_n^T) J_n, ascending, in float64.

    `logits` is N x K and `jacobian` N x K x P; p_n is the softmax of the logits. With the rows of J_n centred by p_n
    and weighted by sqrt(p_n), F is a Gram matrix, so its eigenvalues are squared singular values and never negative.
    """
    p = logits.double().softmax(1)[:, :, None]
    centred = jacobian.double() - (p * jacobian.double()).sum(1, keepdim=True)
    rows = (p.sqrt() * centred).flatten(0, 1) / math.sqrt(len(logits))
    values = torch.linalg.svdvals(rows).square()
    missing = rows.shape[1] - len(values)
    return torch.cat([values, values.new_zeros(missing)]).flip(0)


@proxy("vkdnw")
def vkdnw(module: nn.Module, inputs: Inputs, generator: torch.Generator, *, max_tensors: int = 128) -> Measured:
    """Entropy of the 0.1, ..., 0.9 quantiles of the Fisher eigenvalues, normalised to sum 1; at most ln 9.

    Takes the first scalar of each of the first `max_tensors` trainable tensors of two or more dimensions (weights of
    convolutions and linear layers), in evaluation mode.
    """
    names = [name for name, p in module.named_parameters() if p.requires_grad and p.ndim > 1][:max_tensors]
    if not names:
        raise ProxyError("expected a module with trainable weight tensors, but it has none")
    module.eval()
    found = logit_jacobian(module, inputs, [Weight(name) for name in names])
    spectrum = fisher_spectrum(found.logits, found.values)
    deciles = torch.quantile(spectrum, torch.arange(1, 10, dtype=torch.float64) / 10)
    if not deciles.sum() > 0:
        raise ProxyError("expected a Fisher information that is not zero, but no chosen weight moves the logits")
    shares = deciles / deciles.sum()
    return float(-torch.special.xlogy(shares, shares).sum()), {
        "smallest": float(spectrum[0]),
        "largest": float(spectrum[-1]),
    }
