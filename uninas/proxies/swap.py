"""SWAP: how many different things a network's units tell about the samples (Peng et al., ICLR 2024).

Where NASWOT compares samples by the units they switch on, SWAP compares units by the samples that switch them on. The
pattern of unit v is (1[v on for x_1], ..., 1[v on for x_N]), and

    score = the number of different patterns among all units      (without the regularisation by size).

Of N samples there are 2^N patterns. With many samples almost every unit has a pattern of its own, and the score is but
the number of units; with few it saturates. On cells of NAS-Bench-201, 16 samples rank best (docs/results/scores.md).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import packed, prepare, watch_switches
from uninas.proxies.types import Inputs, Measured, ProxyError


@proxy("swap")
def swap(module: nn.Module, inputs: Inputs, generator: torch.Generator, *, samples: int = 16) -> Measured:
    """Number of different sample-wise activation patterns (SWAP, Peng et al. 2024).

    One forward pass of the first `samples` samples, with batch norms using their statistics. Units are those of
    `naswot`. Scores grow with the number of samples. Components: `units`. Raises ProxyError for a network without such
    units.
    """
    if samples < 1:
        raise ProxyError(f"expected at least 1 sample, but got {samples}")
    found: list[NDArray[np.void]] = []

    def collect(on: Tensor) -> None:
        found.append(np.unique(packed(on.T)))

    few = tuple(part[:samples] for part in inputs)
    units = watch_switches(module, prepare(module, few), collect)
    return float(len(np.unique(np.concatenate(found)))), {"units": float(units)}
