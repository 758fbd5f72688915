"""The score that APD found: ranks of normed features times spread of weights (NeurIPS 2025, openreview 3naHyE5klE).

With M_l what norm l puts out, a row for each sample and position and a column for each channel, and W_l the weights of
layer l,

    score = (sum over norms of |M_l|_F^2 / |M_l|_2^2)  (sum over layers of |W_l|_1 / |W_l|_2),

where the first quotient is the stable rank: the squares of all singular values by that of the largest. Norms of W are
those of its entries. A language model proposed it, with labels of NAS benchmarks in view; we know the formula from a
quotation, in which norms are batch norms and layers convolutions. Here all kinds of norms count, and linear layers, so
that transformers have a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare, run
from uninas.proxies.observe.channels import ChannelAxes, channel_axis
from uninas.proxies.observe.gradients import added, weights_of
from uninas.proxies.types import Inputs, Measured, ProxyError

NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})


class _Normed(ChannelAxes):
    """Stable ranks of what every norm puts out, in `found`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = super().__torch_function__(func, types, args, kwargs)
        if getattr(func, "__name__", "") in NORMS:
            self.found.append(stable_rank(out.detach().movedim(channel_axis(out), -1).flatten(0, -2)))
        return out


def stable_rank(matrix: Tensor) -> float:
    """The squares of all singular values by that of the largest; 0 for a matrix of zeros. ProxyError if not finite."""
    wide = matrix.double()
    products = wide.T @ wide if len(wide) >= wide.shape[1] else wide @ wide.T
    if not bool(products.isfinite().all()):
        raise ProxyError("the network's features are not finite", "check its initialisation")
    largest = torch.linalg.eigvalsh(products)[-1]
    return float(products.trace() / largest) if largest > 0 else 0.0


@proxy("apd")
def apd(module: nn.Module, inputs: Inputs, generator: torch.Generator, *, min_ndim: int = 2) -> Measured:
    """Stable ranks of normed features times spread of weights (found by APD, NeurIPS 2025).

    One forward pass, with batch norms using the statistics of the batch. Norms are batch, layer, group, instance and
    RMS norms; weights are those of `snip` (`min_ndim`). Components: `ranks` and `spreads`, the two sums. Raises
    ProxyError for a network without norms or weights.
    """
    weights = [one.detach() for one in weights_of(module, min_ndim)]
    prepared, normed = prepare(module, inputs), _Normed()
    with torch.no_grad(), normed:
        run(module, prepared)
    if not normed.found:
        raise ProxyError("the network has no norm", "those counted are batch, layer, group, instance and RMS norms")
    norms = [one.double().norm() for one in weights]
    spreads = added(one.double().abs().sum() / norm for one, norm in zip(weights, norms, strict=True) if norm > 0)
    return sum(normed.found) * spreads, {"ranks": sum(normed.found), "spreads": spreads}
