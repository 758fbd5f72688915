"""A strategy for scores that are dear: it learns them from graphs, and asks for those that promise most."""

from __future__ import annotations

import random
from typing import ClassVar

import numpy as np

from uninas.errors import NoLegalEdit
from uninas.scores.learned import Learned, expected_improvement, features
from uninas.search.archive import Archive
from uninas.search.candidate import Candidate
from uninas.search.strategy import Option, Strategy


class Surrogate(Strategy):
    """Takes, of several moves from the best, the one from which a random forest expects most improvement.

    The forest learns scores from costs and paths of graphs (`scores.learned`), anew after every `every` scores, from
    all that were told. The first `population` candidates are random. As BANANAS (White et al. 2021), with a forest in
    place of its ensemble of networks.
    """

    options: ClassVar = {
        "population": Option(16, 4, 10**6), "parents": Option(8, 1, 10**6), "draws": Option(24, 1, 10**4),
        "every": Option(4, 1, 10**6),
    }  # fmt: skip
    population: int
    parents: int
    draws: int
    every: int

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        super().__init__(archive, rungs, **options)
        self._rows: dict[int, list[float]] = {}
        self._told: list[tuple[float, int]] = []
        self._model: tuple[int, Learned] | None = None

    def ask(self, rng: random.Random) -> Candidate:
        if len(self._told) < self.population:
            return super().ask(rng)
        drawn: list[Candidate] = []
        for _ in range(self.draws):
            try:
                drawn.append(self.born(self.parent(rng), random.Random(rng.getrandbits(64))))
            except NoLegalEdit:
                continue
        if not drawn:
            return super().ask(rng)
        model = self._learned()
        mean, deviation = model.predict(np.array([features(one.graph) for one in drawn]))
        promised = expected_improvement(mean, deviation, max(merit for merit, _ in self._told))
        return drawn[int(promised.argmax())]

    def parent(self, rng: random.Random) -> int | None:
        if len(self._told) < self.population:
            return None
        return -rng.choice(sorted(self._told, reverse=True)[: self.parents])[1]

    def begun(self, number: int, candidate: Candidate) -> None:
        self._rows[number] = features(candidate.graph or self.archive.graph(number))

    def tell(self, outcome: Candidate) -> None:
        if outcome.merit is not None:
            self._told.append((outcome.merit, -outcome.number))

    def _learned(self) -> Learned:
        """The model of what was told up to the last multiple of `every`, so that a resumed run has the same."""
        count = max(self.population, len(self._told) // self.every * self.every)
        if self._model is None or self._model[0] != count:
            known = self._told[:count]
            rows = np.array([self._rows[-number] for _, number in known])
            self._model = count, Learned("forest").fit(rows, np.array([merit for merit, _ in known]))
        return self._model[1]
