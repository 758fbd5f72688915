"""Confidence and importance of the heads of attention before training (Serianni & Kalita, ACL 2023).

With A_h(x) the map of head h for sample x after its softmax, O_h(x) its output, and L the loss of a sample,

    head_confidence = sum over h of  E_x mean over queries of max over keys of A_h(x)     (Voita et al., ACL 2019),
    head_importance = sum over h of  E_x |O_h(x)^T dL(x)/dO_h(x)|                     (Michel et al., NeurIPS 2019).

A head that looks at one place is confident; one whose output the loss feels is important, as what stands there is the
derivative by a factor before the head. Windows of attention count as heads of their own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uninas.proxies.attention import Lowered, lowered
from uninas.proxies.base import proxy
from uninas.proxies.engine.aten_graph import advance
from uninas.proxies.observe.gradients import Labels, added, as_logits, derivatives, targets
from uninas.proxies.types import Inputs, Measured, ProxyError


def _attending(module: nn.Module, inputs: Inputs) -> Lowered:
    found = lowered(module, inputs)
    if not found.heads:
        raise ProxyError("the network has no attention", "a head is a softmax times what depends on the input")
    return found


@proxy("head_confidence")
def head_confidence(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> Measured:
    """Sum over heads of the mean greatest weight in a row of the attention map (Serianni & Kalita 2023).

    One forward pass in evaluation mode. Heads are found in the operations of the network, written one by one or in one
    tensor. Components: `heads`, their number. Raises ProxyError for a network without attention, or that cannot be
    recorded.
    """
    found = _attending(module, inputs)
    with torch.no_grad():
        env = found.start(module, inputs)
        advance(found.program, env, range(found.program.stop), keep=True)
    confidence, heads = [], 0
    for head in found.heads:
        axis = int(head.map.args[1]) % env[head.map].ndim  # type: ignore[arg-type]
        best = env[head.map].amax(axis)
        count = max(1, best.numel() // (best.shape[-1] * len(inputs[0])))
        confidence.append(best.mean(dtype=torch.float64) * count)
        heads += count
    return added(confidence), {"heads": float(heads)}


@proxy("head_importance")
def head_importance(
    module: nn.Module, inputs: Inputs, generator: torch.Generator, *, labels: Labels = None
) -> Measured:
    """Sum over heads of how much the loss feels a factor before the head's output (Serianni & Kalita 2023).

    One forward and one backward pass in evaluation mode; loss and `labels` are those of `snip`. Heads are those of
    `head_confidence`. Components: `heads`, their number. Raises ProxyError for a network without attention, or that
    cannot be recorded.
    """
    found = _attending(module, inputs)
    samples = len(inputs[0])
    env = found.start(module, tuple(part.detach().requires_grad_(part.is_floating_point()) for part in inputs))
    advance(found.program, env, range(found.program.stop), keep=True)
    logits = as_logits(env[found.program.output])
    entropy = F.cross_entropy(logits, targets(logits, generator, labels), reduction="sum")
    outputs = [env[head.product] for head in found.heads]
    parts = [_by_head(o.detach() * g, samples) for o, g in zip(outputs, derivatives(entropy, outputs), strict=True)]
    return added(part.abs().mean(0).sum() for part in parts), {"heads": float(sum(part.shape[1] for part in parts))}


def _by_head(products: Tensor, samples: int) -> Tensor:
    """Sums over all but samples and heads: (N, heads), where the first axis holds both, as batched products have it."""
    heads = len(products) // samples if len(products) % samples == 0 else 1
    return products.reshape(samples, max(1, heads), -1).sum(-1, dtype=torch.float64)
