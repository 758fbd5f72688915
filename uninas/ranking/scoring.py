"""One network, scored by every proxy with every seed.

A score depends on the network, the data set, the proxy and its options, and the seed, on nothing else: neither on
which other proxies are asked, nor on the order of rows, nor on the number of processes. As in the published
measurements of VKDNW, all networks meet the same images, and the same stream of random weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from uninas import proxies
from uninas.backend import layers
from uninas.backend.emit import compile
from uninas.backend.model import Model
from uninas.errors import did_you_mean, error, in_a_line, out_of_memory, shown
from uninas.graph import Graph
from uninas.ops.op import Shape
from uninas.ranking.members import Dataset, builder
from uninas.runs.process import own_device
from uninas.scores.images import NORMAL


@dataclass(frozen=True)
class Job:
    """A network of the table on a data set, and the scores that are still missing: (seed, proxy) each."""

    line: int
    text: str
    dataset: str
    wanted: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Scored:
    """One score, or the reason why there is none. Higher is better exactly where the proxy says so."""

    seed: int
    proxy: str
    value: float | None
    components: Mapping[str, float]
    failure: str | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """All that a job asked for. Costs are None for a network that could not be built."""

    job: Job
    params: int | None
    macs: int | None
    scores: Sequence[Scored]

    @property
    def failures(self) -> int:
        """How many scores there are not."""
        return sum(score.failure is not None for score in self.scores)


@dataclass(frozen=True)
class Scorer:
    """Does jobs; plain data, so that it can be sent to other processes."""

    space: str
    folder: Path
    datasets: tuple[Dataset, ...]
    batch_size: int
    init: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of each proxy, by its name."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Where the images of a proxy come from (`proxies.inputs`), by its name; noise for those without an entry."""
    device: str = "cpu"

    def check(self, names: Sequence[str]) -> Mapping[str, str]:
        """The directions of these proxies. Raises what is wrong with the settings, before any work."""
        directions = {name: proxies.get(name).direction for name in names}
        for name, options in self.options.items():
            if name not in directions:
                raise error("UNI010", f"there is an option for {name}, which is not asked for", None,
                            did_you_mean(name, directions))  # fmt: skip
            proxies.check_options([name], options)
        proxies.initialise(torch.nn.Identity(), self.init, torch.Generator())
        proxies.usable_device(self.device)
        builder(self.space, self.folder)  # the space must be there
        return directions

    def on(self, worker: int) -> Scorer:
        """The same, for the worker of this number."""
        return replace(self, device=own_device(self.device, worker))

    def __call__(self, job: Job) -> Outcome:
        """The outcome of a job; whatever goes wrong with the network is part of it."""
        dataset = next(one for one in self.datasets if one.name == job.dataset)
        began = time.perf_counter()
        with _one_thread(), proxies.same_structure():
            try:
                graph = builder(self.space, self.folder)(job.text, dataset)
                model = compile(graph).eval()
            except Exception as problem:
                return failed(job, _reason(problem), time.perf_counter() - began)
            scores = list(self._scores(job, dataset, graph, model))
        return Outcome(job, graph.cost.params, graph.cost.macs, scores)

    def _scores(self, job: Job, dataset: Dataset, graph: Graph, model: Model) -> Iterator[Scored]:
        for seed, wanted in groupby(sorted(job.wanted), key=itemgetter(0)):
            self._initialise(model, graph.init, seed)
            for _, proxy in wanted:
                yield self._score(proxy, seed, model, dataset, graph)

    def _score(self, proxy: str, seed: int, model: Model, dataset: Dataset, graph: Graph) -> Scored:
        began = time.perf_counter()
        try:
            images = self._images(proxy, seed, dataset, graph)
            batch = images.to(self.device, copy=True)  # a module may write into its input
            found = proxies.score(proxy, model, batch, _generator(seed, proxy), **self.options.get(proxy, {}))
        except Exception as problem:  # a network may fail in any way whatever; the others go on
            return Scored(seed, proxy, None, {}, _reason(problem), time.perf_counter() - began)
        components = {name: float(number) for name, number in found.components.items() if math.isfinite(number)}
        return Scored(seed, proxy, found.value, components, None, found.seconds)

    def _initialise(self, model: Model, own: str, seed: int) -> None:
        """The weights of a seed, on the device; drawn on the CPU, so that they are the same on every one."""
        model.to("cpu")
        # Also what the scheme leaves alone, such as offset tables. The scheme's own stream begins at its beginning.
        layers.initialise(model, own, _generator(seed, "own weights"))
        proxies.initialise(model, self.init, _generator(seed, "weights"))
        model.to(self.device, non_blocking=True)

    def _images(self, proxy: str, seed: int, dataset: Dataset, graph: Graph) -> proxies.Batch:
        """The images of a proxy, the same for all networks with the same inputs."""
        source = self.images.get(proxy, NORMAL)
        return _drawn(source, graph.inputs, self.batch_size, seed, f"images of {dataset.name}")


@lru_cache(maxsize=16)
def _drawn(source: str, shapes: tuple[Shape, ...], count: int, seed: int, purpose: str) -> proxies.Batch:
    return proxies.source(source, shapes, count)(_generator(seed, purpose))


def failed(job: Job, reason: str, seconds: float = 0.0) -> Outcome:
    """The outcome of a job that gave nothing."""
    scores = [Scored(seed, proxy, None, {}, reason, seconds / len(job.wanted)) for seed, proxy in job.wanted]
    return Outcome(job, None, None, scores)


DIED = "the process that scored it died, perhaps for want of memory"


def died(job: Job) -> Outcome:
    """The outcome of a job whose process is gone."""
    return failed(job, DIED)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums round differently on more threads, and processes are the better use of processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _generator(seed: int, purpose: str) -> torch.Generator:
    digest = sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def _reason(problem: Exception) -> str:
    return "out of memory" if out_of_memory(problem) else shown(in_a_line(problem), 300)
