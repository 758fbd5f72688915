"""The best of a growing history by the sum of the logarithms of ranks, without ranking all of it again each time.

Every newcomer changes ranks, those of all that it beats. But a candidate that k others beat in every objective is never
among the best k, whoever comes later: only those that fewer beat are remembered, the contenders. Their ranks follow
the newcomers one by one, and a newcomer's own rank is found in the sorted values of all. So a candidate costs log N
comparisons and some work for each contender, of which there are about k (ln N)^(m-1) / (m-1)! among N candidates with m
objectives that know nothing of each other.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uninas.scores.aggregate import log_ranks

Floats = NDArray[np.float64]


class Ranking:
    """Candidates by their merits; `best` are the first `count` of them by `log_rank_sum`, the earlier among equals."""

    def __init__(self, count: int, weights: Sequence[float]):
        self.count = count
        self.size = 0
        """How many candidates were added."""
        self._weights = [weight for weight in weights if weight]
        self._used = [place for place, weight in enumerate(weights) if weight]
        columns = len(self._used)
        self._sorted: list[list[float]] = [[] for _ in range(columns)]
        self._merits: Floats = np.empty((columns, 0))
        self._ranks: Floats = np.empty((columns, 0))
        self._numbers = np.empty(0, dtype=np.int64)
        self._places = np.empty(0, dtype=np.int64)
        self._beaten = np.empty(0, dtype=np.int64)
        self._best: list[int] | None = None

    def add(self, number: int, merits: Sequence[float], place: int | None = None) -> None:
        """A candidate, and what it has of every objective; more is better, what is not finite is worst of all.

        Among equals that with the lower `place` comes first; without it they come in the order in which they were
        added.
        """
        place = self.size if place is None else place
        self.size += 1
        self._best = None
        row = [merits[column] if math.isfinite(merits[column]) else -math.inf for column in self._used]
        new = np.array(row)[:, None]
        self._ranks += (self._merits > new) + 0.5 * (self._merits == new)
        rank = [(bisect_left(known, one) + bisect_right(known, one)) / 2 + 1 for known, one in self._columns(row)]
        for known, one in self._columns(row):
            insort(known, one)
        at_least, at_most = (self._merits >= new).all(0), (self._merits <= new).all(0)
        earlier = self._places < place
        if int((at_least & (~at_most | earlier)).sum()) >= self.count:
            return
        self._beaten += at_most & (~at_least | ~earlier)
        kept = self._beaten < self.count
        self._merits = np.hstack([self._merits[:, kept], new])
        self._ranks = np.hstack([self._ranks[:, kept], np.array(rank)[:, None]])
        self._numbers = np.append(self._numbers[kept], number)
        self._places = np.append(self._places[kept], place)
        self._beaten = np.append(self._beaten[kept], int((at_least & (~at_most | earlier)).sum()))

    def _columns(self, row: list[float]) -> list[tuple[list[float], float]]:
        return list(zip(self._sorted, row, strict=True))

    @property
    def best(self) -> list[int]:
        """The numbers of the best, the best first."""
        if self._best is None:
            order = np.lexsort((self._places, -log_ranks(self._ranks, self._weights)))
            self._best = self._numbers[order[: self.count]].tolist()
        return self._best

    @property
    def contenders(self) -> int:
        """How many candidates are remembered."""
        return len(self._numbers)
