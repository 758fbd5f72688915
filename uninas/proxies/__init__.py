"""Scores of untrained networks: from any `nn.Module` and an input batch to numbers, with a direction.

>>> import torch
>>> from torch import nn
>>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
>>> score("trainable_layers", module, torch.zeros(2, 3, 2, 2)).value
2.0
"""

from uninas.proxies import az_nas, counts, jacov, naswot, te_nas, vkdnw, zen  # noqa: F401  (importing registers them)
from uninas.proxies.base import Proxy, ProxyError, Score, get, proxies, proxy, score, untouched
from uninas.proxies.jacobian import Jacobian, Weight, logit_jacobian

__all__ = [
    "Jacobian",
    "Proxy",
    "ProxyError",
    "Score",
    "Weight",
    "get",
    "logit_jacobian",
    "proxies",
    "proxy",
    "score",
    "untouched",
]
