"""How good an architecture is: built through torch.fx, scored by a proxy at initialisation. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from uninas import proxies
from uninas.create import with_classes
from uninas.emit import compile
from uninas.errors import did_you_mean, error
from uninas.graph import Graph

__all__ = ["ProxyScore", "with_classes"]


class ProxyScore:
    """Scores graphs: fresh weights and a batch of standard normal images, both drawn from the candidate's seed.

    With `fold`, equal heads run as one batch, which is faster; their weights then are one tensor to the proxy.
    """

    def __init__(
        self,
        proxy: str,
        batch_size: int,
        *,
        fold: bool = False,
        options: Mapping[str, Any] = MappingProxyType({}),
        device: str = "cpu",
    ):
        self.proxy = proxies.get(proxy)
        self.batch_size, self.fold, self.options = batch_size, fold, dict(options)
        for option in self.options.keys() - self.proxy.options.keys():
            known = self.proxy.options
            hint = did_you_mean(option, known) or f"it has {', '.join(known) or 'none'}"
            raise error("UNI010", f"the proxy {proxy} has no option {option}", None, hint)
        try:
            self.device = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as problem:
            raise error("UNI060", f"cannot use the device {device}: {problem}") from None

    @property
    def lower_is_better(self) -> bool:
        """The direction of the proxy."""
        return self.proxy.direction == "lower"

    def __call__(self, graph: Graph, seed: int) -> Mapping[str, float]:
        """The score under 'score', and its components by name."""
        generator = torch.Generator().manual_seed(seed)
        module = compile(graph, generator=generator, fold=self.fold).to(self.device)
        batch = tuple(torch.randn(self.batch_size, *shape, generator=generator) for shape in graph.inputs)
        try:
            inputs = tuple(part.to(self.device) for part in batch)
            found = proxies.score(self.proxy.name, module, inputs, generator=generator, **self.options)
        finally:
            del module
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return {**found.components, "score": found.value}
