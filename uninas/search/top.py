"""Which candidates of a run are the best by score or by all objectives together; and Pareto fronts of any rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from uninas.scores.aggregate import log_rank_sum
from uninas.scores.objectives import weights
from uninas.search.store import Candidate, Store


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


def front(rows: np.ndarray[Any, Any]) -> list[int]:
    """The rows that no other beats (at least as good in all columns, better in one), by falling first column.

    Rows are looked at from the best in the first column on, so that only rows before one, or equal to it there, can
    beat it, and comparing with the front so far is enough. Blocks are first compared with the front before them, which
    leaves few.
    """
    found: list[int] = []
    best = np.empty((0, rows.shape[1]))
    order = np.lexsort([-column for column in rows.T[::-1]])
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        for row in best:
            block = block[~beaten(rows[block], row)]
        for index in block:
            if not beaten(rows[index], best).any():
                found.append(int(index))
                best = np.vstack([best, rows[index]])
    return found


_BLOCK = 4096


def beaten(rows: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whether others, at least as good in all columns, are better in one: row by row, either side may be one row."""
    verdict: np.ndarray[Any, Any] = np.all(others >= rows, axis=-1) & np.any(others > rows, axis=-1)
    return verdict
