"""NASWOT: how differently a network's units respond to different samples (Mellor et al., ICML 2021).

Each activation splits the samples into those it passes on and those it stops. The code c_i of sample i has one bit for
every unit, and with N_A units and the Hamming distance d_H

    K_H[i, j] = N_A - d_H(c_i, c_j)      (N x N),
    score = log |det K_H|.

It is high where no two samples look alike to the units.
"""

from __future__ import annotations

import torch
from torch import nn

from uninas.proxies.activations import agreement, prepare
from uninas.proxies.base import Inputs, Measured, ProxyError, proxy


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
