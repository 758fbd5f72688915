"""Pareto fronts: which rows of numbers, more being better in every column, no other row beats.

A row beats another if it is at least as good in all columns and better in one.

>>> beats([2, 1], [1, 1]), beats([1, 1], [1, 1]), beats([2, 0], [1, 1])
(True, False, False)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_BLOCK = 4096


def beats(merits: Sequence[float], others: Sequence[float]) -> bool:
    """Whether one row beats another."""
    return list(merits) != list(others) and all(one >= other for one, other in zip(merits, others, strict=True))


def front(rows: np.ndarray[Any, Any]) -> list[int]:
    """The rows that no other beats, by falling first column.

    Rows are looked at from the best in the first column on, so that only rows before one, or equal to it there, can
    beat it, and comparing with the front so far is enough. Blocks are first compared with the front before them, which
    leaves few.
    """
    import numpy as np  # here, because it takes longer to load than all that a single comparison needs

    found: list[int] = []
    best = np.empty((0, rows.shape[1]))
    order = np.lexsort([-column for column in rows.T[::-1]])
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        for row in best:
            block = block[~_beaten(rows[block], row)]
        for index in block:
            if not _beaten(rows[index], best).any():
                found.append(int(index))
                best = np.vstack([best, rows[index]])
    return found


def _beaten(rows: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whether others beat rows, row by row; either side may be one row."""
    import numpy as np

    verdict: np.ndarray[Any, Any] = np.all(others >= rows, axis=-1) & np.any(others > rows, axis=-1)
    return verdict


def fronts(rows: np.ndarray[Any, Any]) -> list[list[int]]:
    """Rows by front: first those that no other beats, then those that no other of the rest beats, and so on."""
    import numpy as np

    left = np.arange(len(rows))
    found = []
    while len(left):
        best = np.sort(front(rows[left])).astype(int)
        found.append(left[best].tolist())
        left = np.delete(left, best)
    return found


def crowding(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each row of a front, how far its two neighbours are apart, summed over columns scaled to 1; ends: inf."""
    import numpy as np

    distance = np.zeros(len(rows))
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if extent > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distance


def pareto_order(rows: np.ndarray[Any, Any]) -> list[int]:
    """Rows from best to worst: by front, then by crowding distance, then by number."""
    import numpy as np

    order: list[int] = []
    for one in fronts(rows):
        far = crowding(rows[one])
        order += [one[index] for index in np.argsort(-far, kind="stable")]
    return order
