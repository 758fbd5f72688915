"""What a worker of a ranking does: build a network of the table for a data set, and score it by proxies.

How a score is drawn is the protocol of `runs.scorer`, so it does not depend on which other proxies are asked, nor on
the order of rows, nor on the number of processes. As in the published measurements of VKDNW, all networks meet the same
images, and the same stream of random weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uninas import proxies
from uninas.errors import in_a_line, out_of_memory, shown
from uninas.ranking.members import Dataset, builder
from uninas.runs.process import own_device
from uninas.runs.scorer import Network, Scorer, check_options
from uninas.runs.workers import Loss, Ready
from uninas.scores.objectives import Recipe


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
    reason: str | None = None
    """The failure in a word: error, memory, time, crash."""


@dataclass(frozen=True)
class Outcome:
    """All that a job asked for. Costs are None for a network that could not be built."""

    job: Job
    params: int | None
    macs: int | None
    scores: Sequence[Scored]

    @property
    def failures(self) -> int:
        """Number of failed scores."""
        return sum(score.failure is not None for score in self.scores)


@dataclass(frozen=True)
class Work:
    """How jobs are done, as plain data that can be sent to other processes."""

    space: str
    folder: Path
    datasets: tuple[Dataset, ...]
    recipe: Recipe

    def check(self) -> Mapping[str, str]:
        """The directions of the proxies. Raises what is wrong with the settings, before any work."""
        names = self.recipe.rungs[0]
        check_options(names, self.recipe.options)
        for name in self.recipe.images.keys() | {name.partition(".")[0] for name in self.recipe.options if "." in name}:
            proxies.check_options([name], {})
        builder(self.space, self.folder)  # the space must be there
        scorer = self.scorer(0)
        return {name: scorer.directions.get(name, "higher") for name in names}

    def scorer(self, index: int) -> Scorer:
        """The scorer of worker number `index`."""
        r = replace(self.recipe, device=own_device(self.recipe.device, index))
        return Scorer(r.rungs[0], r.batch_size, images=r.images, options=r.options, init=r.init, fold=r.fold,
                      device=r.device, threads=r.threads)  # fmt: skip

    def __call__(self, index: int) -> Ready[Job, Outcome]:
        """The function with which worker number `index` does a job."""
        scorer = self.scorer(index)
        return Ready(lambda job: self.outcome(scorer, job))

    def outcome(self, scorer: Scorer, job: Job) -> Outcome:
        """The outcome of a job; whatever goes wrong with the network is part of it."""
        dataset = next(one for one in self.datasets if one.name == job.dataset)
        began = time.perf_counter()
        wanted = sorted(job.wanted)
        try:
            graph = builder(self.space, self.folder)(job.text, dataset)
            with scorer.network(graph, wanted[0][0]) as network:
                scores = list(_scores(network, wanted))
        except Exception as problem:  # a network may fail in any way whatever; the others go on
            return failed(job, *_reason(problem), time.perf_counter() - began)
        return Outcome(job, graph.cost.params, graph.cost.macs, scores)


def _scores(network: Network, wanted: Sequence[tuple[int, str]]) -> Iterator[Scored]:
    for seed, proxy in wanted:
        began = time.perf_counter()
        try:
            found = network.score(proxy, seed)
        except Exception as problem:
            reason, why = _reason(problem)
            yield Scored(seed, proxy, None, {}, why, time.perf_counter() - began, reason)
            continue
        components = {name: float(number) for name, number in found.components.items() if math.isfinite(number)}
        yield Scored(seed, proxy, found.value, components, None, found.seconds)


def failed(job: Job, reason: str, failure: str, seconds: float = 0.0) -> Outcome:
    """The outcome of a job that gave nothing."""
    each = seconds / len(job.wanted)
    return Outcome(job, None, None, [Scored(s, proxy, None, {}, failure, each, reason) for s, proxy in job.wanted])


def lost(job: Job, loss: Loss) -> Outcome:
    """The outcome of a job whose process is gone."""
    return failed(job, loss.reason, loss.failure, loss.seconds)


def _reason(problem: Exception) -> tuple[str, str]:
    return ("memory", "out of memory") if out_of_memory(problem) else ("error", shown(in_a_line(problem), 300))
