"""Scores of untrained networks: from any `nn.Module` and an input batch to numbers, with a direction.

>>> import torch
>>> from torch import nn
>>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
>>> score("trainable_layers", module, torch.zeros(2, 3, 2, 2)).value
2.0
"""

from uninas.initial import OWN, SCHEMES
from uninas.proxies import (  # noqa: F401  (importing them registers their proxies)
    apd,
    az_nas,
    coherence,
    counts,
    dextr,
    dss,
    epe,
    fisher,
    grad_sign,
    heads,
    jacov,
    l_swag,
    meco,
    naswot,
    near,
    paths,
    saliency,
    swap,
    synflow,
    te_nas,
    vkdnw,
    wrcor,
    zen,
    zico,
)
from uninas.proxies.base import Proxy, check_options, entry, get, listing, mean_of, options_of, proxies, proxy, score
from uninas.proxies.engine.jacobian import Jacobian, Weight, logit_jacobian
from uninas.proxies.guard import same_structure, untouched, usable_device
from uninas.proxies.initial import initialise
from uninas.proxies.inputs import digest, source
from uninas.proxies.streams import stream
from uninas.proxies.types import Batch, ProxyError, Score

__all__ = [
    "OWN",
    "SCHEMES",
    "Batch",
    "Jacobian",
    "Proxy",
    "ProxyError",
    "Score",
    "Weight",
    "check_options",
    "digest",
    "entry",
    "get",
    "initialise",
    "listing",
    "logit_jacobian",
    "mean_of",
    "options_of",
    "proxies",
    "proxy",
    "same_structure",
    "score",
    "source",
    "stream",
    "untouched",
    "usable_device",
]
