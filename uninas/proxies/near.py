"""NEAR: how many directions a network's values use before and after its activations (Husistein et al., ICLR 2025).

For an activation layer l let Z_l be the matrix of what goes into it, a row for each sample or position and a column for
each channel, and H_l that of what comes out. With s the singular values of a matrix, divided by their sum,

    erank = exp(-sum s ln s)      (effective rank, Roy & Vetterli 2007),
    score = sum over l of  erank(Z_l) + erank(H_l).

As in the paper, of a feature map only as many rows are taken as it has channels: neighbours, from a random one on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import activated, prepare, run
from uninas.proxies.observe.channels import ChannelAxes, channel_axis
from uninas.proxies.observe.layers import ALL, window
from uninas.proxies.types import Inputs, Measured, ProxyError


def effective_rank(matrix: Tensor) -> float:
    """The exponential of the entropy of the normalised singular values; 0 for a matrix of zeros."""
    values = torch.linalg.svdvals(matrix.double())
    total = values.sum()
    return float(torch.special.entr(values / total).sum().exp()) if total > 0 else 0.0


class _Ranks(ChannelAxes):
    """Ranks of what goes into every activation and comes out of it, in `found`."""

    def __init__(self, ours: bool, generator: torch.Generator):
        super().__init__()
        self.ours, self.generator = ours, generator
        self.found: list[float] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        value = activated(func, args, kwargs)
        if value is None or value.ndim < 2:
            return super().__torch_function__(func, types, args, kwargs)
        axis = 1 if self.ours or value.ndim == 2 else channel_axis(value)
        count = value.numel() // value.shape[axis]
        rows = min(count, value.shape[axis])
        start = int(torch.randint(count - rows + 1, (), generator=self.generator, device=self.generator.device))
        before = self._rank(value, axis, start, rows)  # now, as the call may write into it
        out = super().__torch_function__(func, types, args, kwargs)
        self.found.append(before + self._rank(out, axis, start, rows))
        return out

    @staticmethod
    def _rank(value: Tensor, axis: int, start: int, rows: int) -> float:
        found = value.detach().movedim(axis, -1).flatten(0, -2)[start : start + rows]
        if not bool(found.isfinite().all()):
            raise ProxyError("the network's features are not finite", "check its initialisation")
        return effective_rank(found)


@proxy("near")
def near(module: nn.Module, inputs: Inputs, generator: torch.Generator, *, layers: Sequence[float] = ALL) -> Measured:
    """Sum over activations of the effective ranks of what goes in and what comes out (NEAR, Husistein et al. 2025).

    One forward pass, with batch norms using the statistics of the batch. Activations are those of `naswot`; `layers` is
    a window of depth: [0.5, 1] are the later half of them. Components: `layers`, their number. Raises ProxyError for a
    network without activations.
    """
    prepared = prepare(module, inputs)
    ranks = _Ranks(isinstance(module, fx.GraphModule) and "uninas" in module.meta, generator)
    with torch.no_grad(), ranks:
        run(module, prepared)
    if not ranks.found:
        raise ProxyError("the network has no activation", "those counted are ReLU, its leaky and smooth relatives")
    kept = window(ranks.found, layers)
    return sum(kept), {"layers": float(len(kept))}
