"""TE-NAS: the neural tangent kernel and the number of linear regions (Chen et al., ICLR 2021).

With f_n the sum of the logits of sample n and J (N x P) the gradients of f_1..f_N by all P trainable weights, the
kernel is T = J J^T (N x N), and

    ntk            = largest / smallest eigenvalue of T      (lower is better: all directions are learned equally fast);
    linear_regions = how many different activation codes the samples have (see `naswot`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import packed, prepare, run, stored_statistics, watch_switches
from uninas.proxies.observe.gradients import pulled_back
from uninas.proxies.types import Inputs, Measured, ProxyError


def tangent_kernel(module: nn.Module, inputs: Inputs, memory: int = 2**30) -> Tensor:
    """T (N x N, float64) of the module as it is; its samples must not see one another.

    One forward and backward pass for each sample, which together cost what a pass of the whole batch costs. `memory`
    bounds the bytes of the gradients held at once: more weights than that take several rounds of passes.
    """
    samples = [tuple(part[n : n + 1] for part in inputs) for n in range(len(inputs[0]))]
    kernel = inputs[0].new_zeros(len(samples), len(samples), dtype=torch.float64)
    for weights in _portions([p for p in module.parameters() if p.requires_grad], memory // len(samples)):
        rows = torch.stack([_gradient(module, sample, weights) for sample in samples])
        for start in range(0, rows.shape[1], 2**18):
            part = rows[:, start : start + 2**18].double()
            kernel += part @ part.T
    return kernel.cpu()


def _portions(weights: Sequence[nn.Parameter], size: int) -> Iterator[list[nn.Parameter]]:
    """Consecutive weights of together at most `size` bytes, but at least one."""
    portion: list[nn.Parameter] = []
    filled = 0
    for weight in weights:
        if portion and filled + weight.nbytes > size:
            yield portion
            portion, filled = [], 0
        portion.append(weight)
        filled += weight.nbytes
    if portion:
        yield portion


def _gradient(module: nn.Module, sample: Inputs, weights: Sequence[nn.Parameter]) -> Tensor:
    output = run(module, sample).sum()
    if not output.requires_grad:
        raise ProxyError("the network's output does not depend on its weights")
    found = pulled_back(output, weights)
    return torch.cat([part.flatten() for part in found])


@proxy("ntk", direction="lower")
def ntk(module: nn.Module, inputs: Inputs, generator: torch.Generator, *, memory: int = 2**30) -> Measured:
    """Condition number of the neural tangent kernel (TE-NAS, Chen et al. 2021).

    Batch norms normalise by the statistics of the batch, which are held constant: samples become independent, and the
    kernel costs two passes of the batch where the published code, which differentiates through the statistics, runs the
    whole batch backwards once for each sample. `memory` bounds the gradients held at once, in bytes.

    Grows with the batch, so compare it for batches of one size. Components: `largest` and `smallest` eigenvalue. Raises
    ProxyError where the kernel is singular, as with a sample that is there twice.
    """
    if memory < 1:
        raise ProxyError(f"expected memory of at least 1 byte, but got {memory}")
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ProxyError("the module has no trainable parameters to take derivatives by")
    prepared = prepare(module, inputs)
    module.eval()
    with stored_statistics(module), torch.no_grad():
        run(module, prepared)
    kernel = tangent_kernel(module, prepared, memory)
    if not kernel.isfinite().all():
        raise ProxyError("the module's gradients are not finite", "check its initialisation and the batch")
    eigenvalues = torch.linalg.eigvalsh(kernel)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if smallest <= largest * len(eigenvalues) * torch.finfo(torch.float32).eps ** 2:
        raise ProxyError(
            f"the tangent kernel of {len(eigenvalues)} samples is singular",
            "use fewer samples, and none twice",
        )
    return largest / smallest, {"largest": largest, "smallest": smallest}


@proxy("linear_regions")
def linear_regions(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, samples: int = 0, size: int = 0
) -> Measured:
    """Number of different activation codes among the samples (TE-NAS, Chen et al. 2021).

    Samples of usual size nearly always have different codes, and the score is their number. The paper looks at many
    tiny ones: `samples` draws so many standard normal inputs, in the batch's shape but with the last two axes of length
    `size` (0: as they are). It takes 3 000 of size 3, and a copy of the network with one channel, as wider ones tell
    all samples apart. Without `samples` the batch itself is counted.

    Units are those of `naswot`; batch norms use the statistics of the samples. Components: `units`. Raises ProxyError
    for a network without such units and where it cannot take inputs of that size.
    """
    if samples < 0 or size < 0:
        raise ProxyError(f"expected samples and size of at least 0, but got {samples} and {size}")
    if samples:
        inputs = tuple(_drawn(part, samples, size, generator) for part in inputs)
    code = np.zeros(len(inputs[0]), dtype=np.int64)  # equal for samples that are alike in all units so far

    def split(on: Tensor) -> None:
        nonlocal code
        _, here = np.unique(packed(on), return_inverse=True)
        _, code = np.unique(code * len(here) + here, return_inverse=True)

    units = watch_switches(module, prepare(module, inputs), split)
    return float(code.max() + 1), {"units": float(units)}


def _drawn(part: Tensor, samples: int, size: int, generator: torch.Generator) -> Tensor:
    shape = [samples, *part.shape[1:]]
    if size:
        shape[-2:] = [size, size]
    if not part.is_floating_point() or len(shape) < 4:
        raise ProxyError(f"expected images to draw others like them, but got {part.dtype} of shape {tuple(part.shape)}")
    return torch.randn(shape, generator=generator, device=generator.device).to(part)
