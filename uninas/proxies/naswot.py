"""NASWOT: how differently a network's units respond to different samples (Mellor et al., ICML 2021).

Each activation splits the samples into those it passes on and those it stops. The code c_i of sample i has one bit for
every unit, and with N_A units and the Hamming distance d_H

    K_H[i, j] = N_A - d_H(c_i, c_j)      (N x N),
    score = log |det K_H|.

It is high where no two samples look alike to the units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare, watch_switches
from uninas.proxies.types import Inputs, Measured, ProxyError


@dataclass(frozen=True)
class Agreement:
    """For every two of N samples the number of units that are on in both or off in both (N x N), and of all units."""

    counts: Tensor
    units: int


def agreement(module: nn.Module, inputs: Inputs) -> Agreement:
    """The activation codes of a batch, compared pairwise. ProxyError if the network has no SWITCHES."""
    counts = inputs[0].new_zeros(len(inputs[0]), len(inputs[0]), dtype=torch.float64)

    def compare(on: Tensor) -> None:
        """With signs s = +1 or -1, two samples agree in (units + s_i . s_j) / 2 units."""
        for start in range(0, on.shape[1], 2**22):  # sums of fewer than 2^24 ones are exact in float32
            signs = on[:, start : start + 2**22].float().mul_(2).sub_(1)
            counts.add_((signs @ signs.T).double().add_(signs.shape[1]) / 2)

    units = watch_switches(module, inputs, compare)
    return Agreement(counts.cpu(), units)


@proxy("naswot")
def naswot(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """Log-determinant of the agreement of binary activation codes (Mellor et al. 2021).

    The units are the inputs of ReLU, as in the paper, and of its relatives: leaky ReLU, PReLU, ELU, ReLU6, GELU, SiLU,
    Mish, hard swish. A unit is on where its input is positive; what a smooth activation does nearby is ignored. Gates
    (sigmoid, tanh) do not count. Batch norms use the statistics of the batch, weights are those the module has.

    Scores grow with the batch, so compare them for batches of one size. Components: `units`, the bits of a code.
    Raises ProxyError without such activations, and where codes are so alike that K_H is singular.
    """
    seen = agreement(module, prepare(module, inputs))
    sign, value = torch.linalg.slogdet(seen.counts)
    if not value.isfinite() or sign <= 0:  # K_H is positive semi-definite
        raise ProxyError(
            f"the codes of {len(seen.counts)} samples over {seen.units} units are not independent",
            "use fewer samples, and none twice",
        )
    return float(value), {"units": float(seen.units)}
