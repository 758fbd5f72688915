"""What proxies of gradients share: the classification loss of a batch, and its derivatives by the weights.

The loss is the mean cross-entropy of the module's logits (N, K). Its labels are those given, or those that came with
the images (see `inputs`), or else one drawn uniformly from the K classes for each sample: before training, gradients
hardly depend on which they are.

Weights are the trainable parameters of at least `min_ndim` axes, each once however often it is used. The default 2 is
the convention of the literature: filters and matrices count, biases and the scales of norms do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uninas.errors import out_of_memory
from uninas.proxies.observe.activations import run
from uninas.proxies.types import Inputs, ProxyError

Labels = Sequence[int] | Tensor | None

_WAY_OUT = "the option labels=random draws some"


def weights_of(module: nn.Module, min_ndim: int = 2) -> list[nn.Parameter]:
    """The weights that count. ProxyError if there is none."""
    found = [parameter for parameter in module.parameters() if parameter.requires_grad and parameter.ndim >= min_ndim]
    if not found:
        kind = f" of at least {min_ndim} axes" if min_ndim > 0 else ""
        raise ProxyError(f"the module has no trainable parameters{kind}")
    return found


def loss(module: Callable[..., Any], inputs: Inputs, generator: torch.Generator, labels: Labels = None) -> Tensor:
    """The mean cross-entropy of the batch. ProxyError unless the output is finite logits (N, K) with K > 1."""
    logits = logits_of(module, inputs)
    return F.cross_entropy(logits, targets(logits, generator, labels))


def logits_of(module: Callable[..., Any], inputs: Inputs) -> Tensor:
    """The output of `module(*inputs)`. ProxyError unless it is finite logits (N, K) with K > 1."""
    return as_logits(run(module, inputs))


def as_logits(logits: Tensor) -> Tensor:
    """An output as it is. ProxyError unless it is finite logits (N, K) with K > 1."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ProxyError(f"expected logits (N, K) of at least 2 classes, but got shape {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise ProxyError(f"expected logits of real numbers, but got {logits.dtype}")
    if not logits.isfinite().all():
        raise ProxyError("the module's logits are not finite", "check its initialisation and the batch")
    return logits


def targets(logits: Tensor, generator: torch.Generator, labels: Labels = None) -> Tensor:
    """Integer labels (N,) for logits (N, K): those given, or drawn. ProxyError if the given ones do not fit."""
    samples, classes = logits.shape
    if labels is None:
        return torch.randint(classes, (samples,), generator=generator, device=generator.device).to(logits.device)
    given = integers(labels, samples)
    if not 0 <= int(given.min()) <= int(given.max()) < classes:
        raise ProxyError(
            f"expected labels from 0 to {classes - 1}, but got {int(given.min())} to {int(given.max())}",
            _WAY_OUT,
        )
    return given.to(logits.device)


def integers(labels: Sequence[int] | Tensor, samples: int) -> Tensor:
    """Labels as a tensor (N,). ProxyError unless they are one integer for each sample."""
    try:
        given = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise ProxyError(f"expected {samples} integers as labels, but got {type(labels).__name__}", _WAY_OUT) from None
    if given.shape != (samples,) or given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise ProxyError(
            f"expected {samples} integers as labels, but got {given.dtype} of shape {tuple(given.shape)}", _WAY_OUT
        )
    return given.long()


def leaves_of(inputs: Inputs) -> tuple[Inputs, list[Tensor]]:
    """The inputs to differentiate by, all as a module takes them and those that are floating-point.

    ProxyError if none is.
    """
    leaves = tuple(part.detach().clone().requires_grad_(part.is_floating_point()) for part in inputs)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not wanted:
        raise ProxyError("expected an input of floating-point numbers, to differentiate by, but got integers")
    return leaves, wanted


def added(parts: Iterable[Tensor]) -> float:
    """The sum of scalars, in float64. A GPU is waited for once, not once for each."""
    wide = [part.double() for part in parts]
    return float(torch.stack(wide).sum()) if wide else 0.0


def derivatives(value: Tensor, by: Sequence[Tensor], *, differentiable: bool = False) -> tuple[Tensor, ...]:
    """The derivatives of a scalar, zero where it does not depend. ProxyError if torch cannot, or all are missing."""
    found = _grad(value, by, None, differentiable)
    if all(part is None for part in found):
        raise ProxyError("the module's output depends on none of the tensors to differentiate by")
    return tuple(torch.zeros_like(at) if part is None else part for part, at in zip(found, by, strict=True))


def pulled_back(value: Tensor, by: Sequence[Tensor], cotangent: Tensor | None = None) -> tuple[Tensor, ...]:
    """The derivatives of the sum of a tensor times a `cotangent`, zero where nothing depends. ProxyError like above."""
    found = _grad(value, by, cotangent, False)
    return tuple(torch.zeros_like(at) if part is None else part for part, at in zip(found, by, strict=True))


def _grad(value: Tensor, by: Sequence[Tensor], cotangent: Tensor | None, again: bool) -> Sequence[Tensor | None]:
    try:
        found: Sequence[Tensor | None] = torch.autograd.grad(
            value, by, cotangent, create_graph=again, allow_unused=True
        )
    except (RuntimeError, ValueError) as error:  # ValueError: there is nothing to differentiate by
        if out_of_memory(error):
            raise
        raise ProxyError(f"the module cannot be differentiated: {error}") from error
    return found
