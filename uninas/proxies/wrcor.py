"""WRCor: how differently samples are answered on the way forward and back, deep layers most (Jing et al., 2025).

For activation i of layer l let C^A be the correlations between what N samples bring to it (N x N, over all units), and
C^G those between the gradients of the loss there. With layers counted from 0,

    K = sum over l, i of  2^l (|C^A_li| + |C^G_li|)      (arXiv 2507.08841, equation 11),
    score = log det K.

The published code takes the blocks of a network as its layers, and the end as one more; so do we. It leaves out a
matrix with a sample whose values are all the same, which has no correlations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import activated, prepare
from uninas.proxies.observe.blocks import BlockCount
from uninas.proxies.observe.gradients import Labels, derivatives, leaves_of, loss
from uninas.proxies.observe.layers import ALL, window
from uninas.proxies.types import Inputs, Measured, ProxyError


class _Responses(TorchFunctionMode):
    """In `found`, of every activation in order: its layer, and the correlations of what goes in and what comes back."""

    def __init__(self, count: BlockCount, samples: int):
        super().__init__()
        self.count, self.samples = count, samples
        self.found: list[tuple[int, list[Tensor]]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        value, kwargs = activated(func, args, kwargs), kwargs or {}
        if value is None or not value.ndim or len(value) % self.samples:  # such as what makes a table from offsets
            return func(*args, **kwargs)
        matrices = [correlations(value, self.samples)]
        self.found.append((self.count.ended, matrices))
        own = value.clone()  # what else reads this value has gradients of its own
        if own.requires_grad:
            own.register_hook(lambda back: matrices.append(correlations(back, self.samples)))  # type: ignore[no-untyped-call]
        out = func(own, *args[1:], **{name: each for name, each in kwargs.items() if name != "input"})
        return value.copy_(own) if out is own else out  # an activation may write into its input


def correlations(values: Tensor, samples: int) -> Tensor:
    """The magnitudes of Pearson's correlations between samples (N x N, float64); NaN for one of equal values.

    Windows or heads of a sample that stand one after another on the first axis are taken together.
    """
    rows = values.detach().reshape(samples, -1).double()
    return torch.corrcoef(rows).abs().reshape(samples, samples)


@proxy("wrcor")
def wrcor(
    module: nn.Module,
    inputs: Inputs,
    generator: torch.Generator,
    *,
    labels: Labels = None,
    layers: Sequence[float] = ALL,
) -> Measured:
    """Log-determinant of weighted correlations between samples, of values and gradients (WRCor, Jing et al. 2025).

    Activations are those of `naswot`, layers the blocks of `expressivity`: one that stands behind l blocks counts 2^l
    times. `layers` is a window of depth, of activations. Batch norms use the statistics of the batch; loss and `labels`
    are those of `snip`. Scores grow with the batch, so compare them for batches of one size. Components:
    `activations`, their number, and `layers`, how many blocks end before the last of them. Raises ProxyError without
    activations, and where samples are so alike that K is singular.
    """
    prepared = prepare(module, inputs)
    leaves, wanted = leaves_of(prepared)
    with BlockCount(module) as count:
        with _Responses(count, len(inputs[0])) as responses:
            entropy = loss(count.run, leaves, generator, labels)
        derivatives(entropy, [*wanted, *(one for one in module.parameters() if one.requires_grad)])
    if not responses.found:
        raise ProxyError("the network has no activation", "those counted are ReLU, its leaky and smooth relatives")
    kept = window(responses.found, layers)
    last, samples = kept[-1][0], len(inputs[0])
    total = torch.zeros(samples, samples, dtype=torch.float64, device=inputs[0].device)
    for layer, matrices in kept:
        for matrix in matrices:
            if not bool(matrix.isnan().any()):
                total += 2.0 ** (layer - last) * matrix
    sign, value = torch.linalg.slogdet(total.cpu())
    if not value.isfinite() or sign <= 0:
        raise ProxyError(
            f"the answers of {samples} samples in {len(kept)} activations are not independent",
            "use fewer samples, and none twice",
        )
    return float(value) + samples * last * math.log(2), {"activations": float(len(kept)), "layers": float(last)}
