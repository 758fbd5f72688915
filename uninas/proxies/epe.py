"""EPE-NAS: how alike the network responds to samples of one class (Lopes et al., ICANN 2021).

With g_n the gradient of the sum of sample n's logits by its input, R_c the matrix of the correlation coefficients of
the g_n of class c, and k = 1e-5,

    s_c = sum_ij ln(|R_c[i, j]| + k),    score = sum_c |s_c|.

For more than 100 classes s_c is divided by the number of samples of its class, and the score is the mean over the
classes that occur of the sums of their differences, 1/C sum_cd |s_c - s_d|.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.observe.activations import prepare
from uninas.proxies.observe.gradients import Labels, derivatives, leaves_of, logits_of, targets
from uninas.proxies.types import Inputs, Measured, ProxyError

MANY = 100  # classes, from where on differences count


@proxy("epe_nas")
def epe_nas(module: nn.Module, inputs: Inputs, generator: torch.Generator, *, labels: Labels = None) -> Measured:
    """Correlation of the input gradients within each class, EPE-NAS (Lopes et al., ICANN 2021).

    One forward and one backward pass. Samples are of the class that `labels` say, by default those that came with the
    images, or else drawn uniformly from the generator; labels=random draws them in any case. Batch norms use the
    statistics of the batch; dropout is off. A module of several inputs is differentiated by all that are
    floating-point.

    Scores grow with the batch, so compare them for batches of one size. Components: `classes`, how many occur. Raises
    ProxyError unless the output is finite logits (N, K), K > 1, and where a gradient is zero or constant.
    """
    leaves, wanted = leaves_of(prepare(module, inputs))
    logits = logits_of(module, leaves)
    chosen = targets(logits, generator, labels)
    gradients = torch.cat([part.flatten(1) for part in derivatives(logits.sum(), wanted)], 1)
    return class_score(gradients, chosen, logits.shape[1] > MANY), {"classes": float(len(set(chosen.tolist())))}


def class_score(gradients: Tensor, labels: Tensor, many: bool, k: float = 1e-5) -> float:
    """The score of gradients (N x D) and labels (N,), in float64; `many` takes the form for more than 100 classes."""
    rows = gradients.double()
    rows = rows - rows.mean(1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if not (norms > 0).all():
        raise ProxyError("the network's output does not depend on its input, or by the same amount on every element")
    rows = rows / norms
    groups = [rows[labels == label] for label in sorted(set(labels.tolist()))]
    sums = torch.stack([((group @ group.T).abs() + k).log().sum() for group in groups])
    if not many:
        return float(sums.abs().sum())
    means = sums / torch.tensor([len(group) for group in groups], device=sums.device)
    return float((means[:, None] - means).abs().sum() / len(groups))
