"""Which candidates of a run are the best, by score or by all objectives together."""

from __future__ import annotations

from typing import Any

import numpy as np

from uninas.scores.aggregate import log_rank_sum
from uninas.scores.objectives import weights
from uninas.search.candidate import Candidate
from uninas.search.store import Store


def top(store: Store, count: int) -> list[tuple[Candidate, float]]:
    """The best candidates of the last rung with what they are ordered by: the score, or the sum of log ranks."""
    if not store.ranked_together:
        return [(candidate, candidate.score or 0.0) for candidate in store.best(count=count)]
    numbers, rows = merit_rows(store)
    counts = weights(str(store.settings.get("proxy")), [name for name, _ in store.objectives])
    totals = log_rank_sum(rows, counts) if len(rows) else np.zeros(0)
    order = np.argsort(-totals, kind="stable")[:count]
    return [(store[numbers[index]], float(totals[index])) for index in order]


def merit_rows(store: Store) -> tuple[list[int], np.ndarray[Any, Any]]:
    """Numbers of the scored candidates of the last rung, and their objectives turned so that more is better."""
    objectives = store.objectives
    numbers, rows = [], []
    for number, values in store.values([name for name, _ in objectives[1:]]):
        signs = (-1.0 if direction == "lower" else 1.0 for _, direction in objectives)
        numbers.append(number)
        rows.append([sign * value for sign, value in zip(signs, values, strict=True)])
    return numbers, np.array(rows).reshape(len(rows), len(objectives))
