"""A run: ask, score, store, tell, until there are enough candidates. It may stop at any moment and go on later.

Candidate n depends on the settings, the candidates before it and a generator seeded with (seed, n), never on the
clock. So a run that was killed and resumed ends as if nothing had happened.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from uninas.errors import UninasError, error, shown
from uninas.graph import Graph
from uninas.mutate import Proposal
from uninas.printer import dumps
from uninas.search.plan import Plan
from uninas.search.store import Candidate, Store
from uninas.search.strategy import STRATEGIES, Outcome, Pool
from uninas.space import METRICS

ScoreFunction = Callable[[Graph, int], Mapping[str, float]]
"""Takes an architecture and a seed; gives 'score' and perhaps components. What it raises is the candidate's failure."""


class Run:
    """A folder in which a search takes place. Opening one that is there continues it."""

    def __init__(self, folder: Path, plan: Plan, score: ScoreFunction, *, lower_is_better: bool = False):
        if plan.settings.strategy not in STRATEGIES:
            raise error("UNI010", f"there is no strategy {shown(plan.settings.strategy)}", None, _listed(STRATEGIES))
        self.folder, self.plan, self.score, self.lower_is_better = folder, plan, score, lower_is_better
        self.pool = Pool(plan)
        self.strategy = STRATEGIES[plan.settings.strategy](self.pool)
        self.best: Candidate | None = None
        self.rejected = self.failed = 0
        self.store = Store(folder)
        try:
            self._compare(self.store.settings)
            for candidate in self.store:
                self._learn(candidate, None)
        except BaseException:
            self.store.close()
            raise
        self.resumed = len(self.pool.keys)

    def __len__(self) -> int:
        return len(self.pool.keys)

    def candidates(self, iterations: int) -> Iterator[Candidate]:
        """Go on until there are `iterations` candidates besides the start; yields each when it is safely stored."""
        for number in range(len(self), iterations + 1):
            parent, proposal = (None, None) if number == 0 else self.strategy.ask(self._generator(number))
            graph = proposal.graph if proposal else self.plan.start
            candidate = self._scored(number, parent, proposal, graph)
            if number == 0 and candidate.failure:
                raise error(
                    "UNI070", f"the start cannot be scored: {candidate.failure}", None, "try it alone: uninas score"
                )
            self.store.add(candidate, dumps(graph, explicit=True))
            self._learn(candidate, graph)
            yield candidate

    def graph(self, candidate: Candidate) -> Graph:
        """The architecture of a candidate."""
        return self.pool.graph(candidate.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.store.close()

    def _scored(self, number: int, parent: int | None, proposal: Proposal | None, graph: Graph) -> Candidate:
        seed = self._generator(number, "score").getrandbits(63)
        started, began = time.time(), time.perf_counter()
        score, components, reason, failure = evaluated(self.score, graph, seed)
        return Candidate(
            number, parent, proposal.edit if proposal else None, graph.key, graph.cost.params, graph.cost.macs,
            graph.operations, score, components, failure, seed, time.perf_counter() - began,
            proposal.refused if proposal else {}, activations=graph.activations, peak=graph.peak, reason=reason,
            worker="main", started=started,
        )  # fmt: skip

    def _learn(self, candidate: Candidate, graph: Graph | None) -> None:
        """What the run knows after a candidate, whether it was scored now or read from the database."""
        if candidate.number != len(self):
            raise error("UNI070", f"candidate {len(self)} is missing from {self.store.path}")
        origin = None
        if candidate.number:
            if candidate.parent is None or candidate.edit is None or candidate.parent >= candidate.number:
                raise error("UNI070", f"candidate {candidate.number} has no parent in {self.store.path}")
            origin = candidate.parent, candidate.edit
        self.pool.add(candidate.key, origin, graph)
        merit = self._merit(candidate)
        self.strategy.tell(Outcome(candidate.number, merit))
        self.rejected += sum(candidate.refused.values())
        self.failed += candidate.failure is not None
        best = None if self.best is None else self._merit(self.best)
        if merit is not None and (best is None or merit > best):
            self.best = candidate

    def _merit(self, candidate: Candidate) -> float | None:
        """The score, turned so that more is better."""
        return -candidate.score if candidate.score is not None and self.lower_is_better else candidate.score

    def _generator(self, number: int, purpose: str = "move") -> random.Random:
        digest = sha256(f"{self.plan.settings.seed}/{number}/{purpose}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))

    def _compare(self, stored: Mapping[str, Any]) -> None:
        """A new run writes its settings; an old one must have been begun with the same ones."""
        now = self.plan.as_dict()
        if not stored:
            direction = "lower" if self.lower_is_better else "higher"
            self.store.put({**now, "objectives": [[(self.plan.settings.proxy, direction)]]})
            return
        changed = [name for name in now if stored.get(name) != now[name]]
        if changed:
            raise error(
                "UNI070",
                f"{self.folder} holds a run with other settings",
                None,
                *(f"{name} was {stored.get(name)}, now {now[name]}" for name in changed[:8]),
                "use another folder, or --resume with nothing else to go on as it was begun",
            )


def evaluated(
    score: ScoreFunction, graph: Graph, seed: int
) -> tuple[float | None, Mapping[str, float], str | None, str | None]:
    """Score, components, reason and failure: either the score or the last two are None."""
    try:
        found = dict(score(graph, seed))
        value = float(found.pop("score"))
    except UninasError as problem:
        return None, {}, "error", shown(problem.diagnostics[0].message, 500)
    except MemoryError:
        return None, {}, "memory", "out of memory"
    except Exception as problem:  # a candidate may fail in any way whatever; the run goes on
        return None, {}, "error", shown(f"{type(problem).__name__}: {problem}", 500)
    components = {name: float(number) for name, number in found.items() if math.isfinite(number)}
    if not math.isfinite(value):
        return None, components, "nan", f"the score is {value}"
    return value, components, None, None


def cost_score(metric: str) -> ScoreFunction:
    """Scores by a cost of the graph (params, flops, ...), without building a module: for dry runs."""
    measure = METRICS[metric]
    return lambda graph, seed: {"score": float(measure(graph))}


def _listed(names: Mapping[str, object]) -> str:
    return f"there are {', '.join(names)}"
