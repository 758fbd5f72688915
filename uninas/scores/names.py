"""The names of all measures, for those who complete a word: without torch, which a proxy needs.

>>> {"vkdnw", "az_nas", "params", "latency"} <= set(measures())
True
"""

from __future__ import annotations

from collections.abc import Iterator

from uninas.plugins import Registry, load
from uninas.scores.aggregate import AGGREGATES
from uninas.scores.objectives import LATENCY
from uninas.space import COSTS

SHIPPED = (
    "apd", "coherence", "complexity", "dextr", "dss", "epe_nas", "expressivity", "fisher", "flops", "grad_norm",
    "grad_sign", "grasp", "graph_score", "head_confidence", "head_importance", "jacov", "l2_norm", "l_swag",
    "linear_regions", "meco", "naswot", "near", "ntk", "params", "path_count", "path_depth", "path_width", "plain",
    "pooled_paths", "progressivity", "shortcuts", "snip", "swap", "synflow", "trainability", "trainable_layers",
    "vkdnw", "vkdnw_sampled", "vkdnw_single", "wrcor", "zen", "zico",
)  # fmt: skip
"""The proxies of this package. The test of completion holds it equal to what importing `uninas.proxies` registers."""


def measures() -> Iterator[str]:
    """Names of proxies, also those of plug-ins, of aggregates and of costs, each once."""
    load()  # a plug-in with a proxy imports the registry of proxies, and torch
    yield from dict.fromkeys((*SHIPPED, *Registry.kinds.get("proxy", ()), *AGGREGATES, *COSTS, LATENCY))
