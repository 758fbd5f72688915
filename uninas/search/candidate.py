"""A candidate, from its proposal to the database: one record that fills up on the way.

| state | who makes it | what is known by then |
|---|---|---|
| born | `archive` | the graph, where it came from (parent, edit, mate, rung), and draws refused before |
| asked | `asktell` | its number, and the seed to score it with |
| sent | `run` | its text, where it travels to a worker: number, rung, seed and text are all that goes |
| done | `tasks` | a score with its components, or why there is none; who found it, and when |
| stored | `store` | what the graph costs; the graph itself is left behind |
| told | `asktell` | merits: numbers where more is better, one for each objective, or None |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from uninas.graph import Graph
from uninas.mutate import Edit


@dataclass(frozen=True)
class Candidate:
    """One architecture of a search: where it came from, what it costs, and its score or why it has none.

    Fields up to `graph` are the columns of the database (see `store`).
    """

    number: int = -1
    parent: int | None = None
    edit: Edit | None = None
    key: str = ""
    params: int = 0
    macs: int = 0
    operations: int = 0
    score: float | None = None
    components: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    seed: int = 0
    seconds: float = 0.0
    refused: Mapping[str, int] = field(default_factory=dict)
    mate: int | None = None
    rung: int = 0
    activations: int = 0
    peak: int = 0
    reason: str | None = None
    worker: str = ""
    started: float = 0.0
    graph: Graph = field(default=None, compare=False, repr=False)  # type: ignore[assignment]
    """The architecture, from birth until it is stored; afterwards there is none."""
    text: str = field(default="", compare=False, repr=False)
    """The same, where it travels."""
    merits: tuple[float, ...] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        found = self.failure or "no score" if self.score is None else f"score {self.score:.6g}"
        edit = f"; {self.edit}" if self.edit else ""
        return f"<Candidate {self.number}: {found}, {self.params:,} parameters, {self.flops:,} FLOPs{edit}>"

    @property
    def flops(self) -> int:
        """2 x multiply-accumulates, for one sample."""
        return 2 * self.macs

    @property
    def promoted(self) -> bool:
        """The architecture of its parent, scored at a higher rung."""
        return self.rung > 0 and self.edit is None and self.parent is not None

    @property
    def merit(self) -> float | None:
        """The first objective, the score, turned so that more is better."""
        return self.merits[0] if self.merits else None

    @property
    def numbers(self) -> dict[str, float] | None:
        """The score under 'score', and everything else by name; None without a score."""
        return None if self.score is None else {**self.components, "score": self.score}

    # ---- from state to state -------------------------------------------------------------------------------------

    def to_send(self) -> Candidate:
        """Only what has to travel."""
        return Candidate(self.number, rung=self.rung, seed=self.seed, text=self.text)

    def failed(self, reason: str, failure: str, worker: str, started: float, seconds: float) -> Candidate:
        """Without a score, for a reason in a word and in a sentence."""
        return replace(self, reason=reason, failure=failure, worker=worker, started=started, seconds=seconds)

    def as_found(self, found: Candidate) -> Candidate:
        """With what came of scoring it, elsewhere perhaps."""
        return replace(
            self, score=found.score, components=found.components, failure=found.failure, reason=found.reason,
            worker=found.worker, started=found.started, seconds=found.seconds,
        )  # fmt: skip

    def to_store(self) -> Candidate:
        """With what its graph costs, and without it."""
        graph, costs, gone = self.graph, self.graph.cost, Candidate()
        return replace(
            self, key=graph.key, params=costs.params, macs=costs.macs, operations=graph.operations,
            activations=graph.activations, peak=graph.peak, graph=gone.graph, text="",
        )  # fmt: skip

    def told(self, merits: tuple[float, ...] | None, failure: str | None = None) -> Candidate:
        """The part of a candidate that a strategy remembers."""
        return Candidate(self.number, rung=self.rung, seed=self.seed, merits=merits, failure=failure)
