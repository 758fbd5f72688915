"""How good an architecture is: built through torch.fx, measured by proxies at initialisation. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Any

import torch

from uninas import proxies
from uninas.backend.emit import compile
from uninas.backend.model import Model
from uninas.errors import did_you_mean, error, shown
from uninas.graph import Graph
from uninas.graph.variants import with_classes
from uninas.scores.aggregate import AGGREGATES
from uninas.scores.images import NORMAL
from uninas.scores.objectives import LATENCY
from uninas.space import METRICS

__all__ = ["ModuleScore", "latency", "with_classes"]


class ModuleScore:
    """Measures graphs: fresh weights and a batch of images (`proxies.inputs`), both drawn from the candidate's seed.

    `names` are proxies, costs or 'latency'; the first is the score, whose `options` are given. With `fold`, equal heads
    run as one batch, which is faster; their weights then are one tensor to the proxy.
    """

    def __init__(
        self,
        names: Sequence[str],
        batch_size: int,
        *,
        images: Mapping[str, str] = MappingProxyType({}),
        fold: bool = False,
        options: Mapping[str, Any] = MappingProxyType({}),
        device: str = "cpu",
        threads: int = 1,
    ):
        self.names = tuple(names)
        self.batch_size, self.images, self.fold, self.options = batch_size, dict(images), fold, dict(options)
        _check_names(names)
        self.proxies = {name: proxies.get(name) for name in names if name not in METRICS and name != LATENCY}
        known = self.proxies[names[0]].options if names[0] in self.proxies else {}
        for option in self.options.keys() - known.keys():
            hint = did_you_mean(option, known) or f"it has {', '.join(known) or 'none'}"
            raise error("UNI010", f"the proxy {names[0]} has no option {option}", None, hint)
        self.device = proxies.usable_device(device)
        torch.set_num_threads(threads)

    @property
    def directions(self) -> dict[str, str]:
        """Which is better, 'higher' or 'lower', as the proxies declare it."""
        return {name: proxy.direction for name, proxy in self.proxies.items()}

    def __call__(self, graph: Graph, seed: int) -> Mapping[str, float]:
        """The score under 'score', the further measures by name, and what else was found on the way."""
        generator = torch.Generator().manual_seed(seed)
        module = compile(graph, generator=generator, fold=self.fold).to(self.device, non_blocking=True)
        try:
            with proxies.same_structure():
                return self._measured(graph, module, seed, generator)
        finally:
            del module
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _measured(self, graph: Graph, module: Model, seed: int, generator: torch.Generator) -> dict[str, float]:
        found: dict[str, float] = {}
        batches = self._batches(graph, generator)
        for position, name in enumerate(self.names):
            inputs = batches[self.images.get(name, NORMAL)]
            prefix = f"{name}." if position else ""
            if name in METRICS:
                value = float(METRICS[name](graph))
            elif name == LATENCY:
                value = latency(module, inputs)
            else:
                own = torch.Generator().manual_seed(seed) if position else generator
                score = proxies.score(name, module, inputs, generator=own, **({} if position else self.options))
                value = score.value
                found |= {f"{prefix}{part}": number for part, number in score.components.items()}
            found[name if position else "score"] = value
        return found

    def _batches(self, graph: Graph, generator: torch.Generator) -> dict[str, proxies.Batch]:
        """A batch from every source."""
        wanted = dict.fromkeys(self.images.get(name, NORMAL) for name in self.names)
        return {source: proxies.source(source, graph.inputs, self.batch_size)(generator).to(self.device)
                for source in wanted}  # fmt: skip


def _check_names(names: Sequence[str]) -> None:
    known = (*proxies.proxies(), *AGGREGATES, *METRICS, LATENCY)
    for name in names:
        if name not in known:
            costs, others = f"costs are {', '.join(METRICS)} and {LATENCY}", "uninas proxies lists all others"
            raise error("UNI090", f"no measure is called {shown(name)}", None, did_you_mean(name, known), costs, others)


def latency(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], repeats: int = 5) -> float:
    """The median time of one forward pass of the batch in evaluation mode, in seconds, after a first one to warm up.

    It depends on the machine and on what else that is doing, so a run with it as an objective cannot be repeated
    exactly.
    """
    training = module.training
    module.eval()
    seconds = []
    try:
        with torch.no_grad():
            for _ in range(repeats + 1):
                began = time.perf_counter()
                module(*inputs)
                if inputs[0].device.type == "cuda":
                    torch.cuda.synchronize(inputs[0].device)
                seconds.append(time.perf_counter() - began)
    finally:
        module.train(training)
    return median(seconds[1:])
