"""How good a network is: built through torch.fx, measured by name at initialisation. Imports torch.

**One protocol of randomness**, wherever a network is scored (`uninas score`, `search`, `rank`, workers, Ray, Python).
A seed has a stream of random numbers for each purpose (`proxies.stream`), and each begins at its beginning:

| purpose | what it draws |
|---|---|
| own weights | the weights by the scheme that the network names |
| weights | then, unless `init` is own, those by the scheme `init`, which leaves alone what it does not know |
| images | the batch of images, or of noise, and its labels |
| the proxy's name | what the proxy itself draws |

All are drawn on the CPU. The network is in evaluation mode, and torch computes on `threads` threads, as sums round
differently on more. So a score depends on the graph, the proxy and its options, the seed, the size and source of the
batch, `init`, `fold`, `device` and `threads`, and on nothing else: not on what else is measured, nor in which order.
Several seeds are s, s + 1, s + 2, ...
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from statistics import median
from types import MappingProxyType
from typing import Any

import torch

from uninas import proxies
from uninas.backend import layers
from uninas.backend.emit import compile
from uninas.backend.model import Model
from uninas.errors import did_you_mean, error, shown
from uninas.graph import Graph
from uninas.graph.variants import with_classes
from uninas.language.elaborate import sized
from uninas.language.library import find
from uninas.scores.aggregate import AGGREGATES
from uninas.scores.input_sources import NORMAL, sources
from uninas.scores.objectives import LATENCY
from uninas.scores.paths import GRAPH_SCORE, MEASURES, Region, graph_score, regions_of_graph
from uninas.space import COSTS

KEPT = 16  # batches kept ready: rankings meet the same ones again and again


class Scorer:
    """Measures graphs by `names`: proxies, costs, or 'latency'.

    `images` says where those of a proxy come from (`proxies.source`), by its name; noise for those without an entry.
    `options` are named NAME, for all proxies that have it, or PROXY.NAME; those of other proxies do not matter (but see
    `check_options`). With `fold`, equal heads run as one batch, which is faster; their weights then are one tensor to
    the proxy. Raises what is wrong with all these.
    """

    def __init__(
        self,
        names: Iterable[str],
        batch_size: int = 8,
        *,
        images: Mapping[str, str] = MappingProxyType({}),
        options: Mapping[str, Any] = MappingProxyType({}),
        init: str = proxies.OWN,
        fold: bool = False,
        device: str = "cpu",
        threads: int = 1,
    ):
        self.names = tuple(names)
        self.batch_size, self.images, self.init, self.fold, self.threads = batch_size, dict(images), init, fold, threads
        measured = _measured(self.names)
        self.options = {name: proxies.options_of(name, options) for name in measured}
        self.directions = {name: proxies.get(name).direction for name in measured}
        """Which is better, 'higher' or 'lower', as the proxies declare it."""
        proxies.initialise(torch.nn.Identity(), init, torch.Generator())
        self.device = proxies.usable_device(device)
        self._batches: OrderedDict[Any, proxies.Batch] = OrderedDict()

    @contextmanager
    def network(self, graph: Graph, seed: int) -> Iterator[Network]:
        """The graph as a network with the weights of a seed, to be scored inside; afterwards it is empty."""
        with on_threads(self.threads), proxies.same_structure():
            network = Network(self, graph, seed)
            try:
                yield network
            finally:
                network.__dict__.pop("model", None)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    def __call__(self, graph: Graph, seed: int) -> dict[str, float]:
        """The first measure under 'score', the further ones by name, and what else was found on the way."""
        found: dict[str, float] = {}
        with self.network(graph, seed) as network:
            for position, name in enumerate(self.names):
                score = network.score(name, seed)
                prefix = f"{name}." if position else ""
                found |= {f"{prefix}{part}": number for part, number in score.components.items()}
                found[name if position else "score"] = score.value
        return found

    def batch(self, name: str, graph: Graph, seed: int) -> proxies.Batch:
        """The images that a measure sees: the same for all networks with the same inputs."""
        source = self.images.get(name, NORMAL)
        key = source, graph.inputs, seed
        if key not in self._batches:
            drawn = proxies.source(source, graph.inputs, self.batch_size)(proxies.stream(seed, "images"))
            self._batches[key] = drawn
            if len(self._batches) > KEPT:
                self._batches.popitem(last=False)
        return self._batches[key].to(self.device, copy=True)  # a module may write into its input


class Network:
    """A network that is being scored."""

    def __init__(self, scorer: Scorer, graph: Graph, seed: int):
        self.scorer, self.graph = scorer, graph
        self._first = seed
        self._seed: int | None = None

    @cached_property
    def model(self) -> Model:
        """The module, which is built when a measure needs it: costs and counts of paths do not."""
        return compile(self.graph, fold=self.scorer.fold, generator=proxies.stream(self._first, "own weights")).eval()

    def score(self, name: str, seed: int) -> proxies.Score:
        """The score by one of the names of the scorer. Raises whatever goes wrong."""
        if name in COSTS:
            return proxies.Score(name, float(COSTS[name](self.graph)), "higher", {}, 0.0)
        if name in (*MEASURES, GRAPH_SCORE) and (found := self._regions) is not None:
            began = time.perf_counter()
            by_name = name in MEASURES
            value, components = MEASURES[name](found) if by_name else graph_score(found, self.graph.cost.params)
            seconds = time.perf_counter() - began
            return proxies.Score(name, float(value), self.scorer.directions[name], components, seconds)
        self._initialise(seed)
        batch = self.scorer.batch(name, self.graph, seed)
        if name == LATENCY:
            value = latency(self.model, batch)
            return proxies.Score(name, value, "lower", {}, value)
        return proxies.score(name, self.model, batch, proxies.stream(seed, name), **self.scorer.options[name])

    @cached_property
    def _regions(self) -> list[Region] | None:
        """The regions of the graph, without a module; None where it has several outputs."""
        return regions_of_graph(self.graph) if len(self.graph.outputs) == 1 else None

    def _initialise(self, seed: int) -> None:
        """The weights of a seed, on the device."""
        if self._seed == seed:
            return
        if "model" not in self.__dict__ and seed == self._first:
            self._finish(seed)  # it is made with these weights
            return
        self._seed = None  # half of them may be another's, should it fail
        layers.initialise(self.model.to("cpu"), self.graph.init, proxies.stream(seed, "own weights"))
        self._finish(seed)

    def _finish(self, seed: int) -> None:
        proxies.initialise(self.model, self.scorer.init, proxies.stream(seed, "weights"))
        self.model.to(self.scorer.device, non_blocking=True)
        self._seed = seed


def score(graph: Graph, name: str, seed: int = 0, *, repeats: int = 1, **settings: Any) -> proxies.Score:
    """The score of a graph by a proxy or a cost, the mean over `repeats` seeds; `settings` are those of `Scorer`.

    It is the number that `uninas score`, `uninas search` and `uninas rank` give with the same settings.
    """
    scorer = Scorer([name], **settings)
    with scorer.network(graph, seed) as network:
        return proxies.mean_of([network.score(name, seed + number) for number in range(repeats)])


def scored(
    net: str | Graph,
    names: Sequence[str],
    *,
    seed: int = 0,
    repeats: int = 1,
    images: Mapping[str, str] = MappingProxyType({}),
    img_size: int | None = None,
    classes: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Scores of a network by proxies and costs, with what it costs, as plain values (`uninas score`).

    `images` are named as in `scores.input_sources`; `settings` are those of `Scorer`. Raises ProxyError for a
    proxy alone that fails; of several, those that fail are listed with the reason.
    """
    graph = net if isinstance(net, Graph) else sized(*find(net), img_size)
    graph = graph if classes is None else with_classes(graph, classes)
    where = sources(names, images)
    check_options(names, settings.get("options", {}))
    scorer = Scorer(names, images=where, **settings)
    scores, failures = [], []
    with scorer.network(graph, seed) as network:
        for name in names:
            try:
                found = proxies.mean_of([network.score(name, seed + number) for number in range(repeats)])
            except proxies.ProxyError as problem:
                if len(names) == 1:
                    raise
                failures.append({"proxy": name, "failure": problem.diagnostics[0].message})
                continue
            scores.append(
                {"proxy": name, "value": found.value, "spread": found.spread, "direction": found.direction,
                 "components": dict(found.components), "seconds": found.seconds}
            )  # fmt: skip
    return {
        "network": graph.name, "scores": scores, "failures": failures, "params": graph.cost.params,
        "macs": graph.cost.macs, "flops": graph.cost.flops, "seed": seed, "repeats": repeats,
        "batch_size": scorer.batch_size, "fold": scorer.fold, "device": str(scorer.device),
        "init": graph.init if scorer.init == proxies.OWN else scorer.init,
        "images": ", ".join(dict.fromkeys(where.values())), "input": list(graph.inputs[0]),
    }  # fmt: skip


def check_options(names: Iterable[str], options: Mapping[str, Any]) -> None:
    """Raises what is wrong with the options of all that is measured: each must belong to a proxy, and fit it."""
    measured = _measured(names)
    if options and not measured:
        raise error("UNI010", f"a cost has no option {shown(next(iter(options)))}")
    proxies.check_options(measured, options)


def _measured(names: Iterable[str]) -> list[str]:
    """The names that are proxies. Raises ProxyError for a name that is neither a proxy nor a cost."""
    found = [name for name in dict.fromkeys(names) if name not in COSTS and name != LATENCY]
    known = (*proxies.proxies(), *AGGREGATES)
    for name in found:
        if name not in known and ":" in name:
            proxies.get(name)  # a function of the user, or the reason why it is none
        elif name not in known:
            hint = did_you_mean(name, (*known, *COSTS, LATENCY))
            costs, others = f"costs are {', '.join(COSTS)} and {LATENCY}", "uninas proxies lists all proxies"
            raise proxies.ProxyError(f"there is no proxy '{shown(name)}', and no such cost", hint, costs, others)
    return found


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch compute on so many threads inside; afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
