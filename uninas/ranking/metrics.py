"""How well scores rank networks: Kendall's tau, Spearman's rho, nDCG, and the best network found.

    >>> found = measured(np.array([3.0, 1.0, 2.0]), np.array([90.0, 70.0, 80.0]))
    >>> found["kendall"].item(), found["spearman"].item(), found["ndcg"].item(), found["best"].item()
    (1.0, 1.0, 1.0, 90.0)

Higher scores are meant to be better. Only the order of scores counts, and ties are treated without favour: tau is
tau-b, ranks are averaged, and nDCG and the best network are their means over all orders of the tied.

All of it takes a weight per row, how often the row is drawn, and many such weightings at once: that is what a
bootstrap asks, and what neither SciPy nor scikit-learn offers. With equal weights the results are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

METRICS = ("kendall", "spearman", "ndcg", "best", "regret")
CUT = 1000
"""Places that count in nDCG."""

_ENTRIES = 4_000_000  # of a weight matrix handled at once: 32 MB in float64


def measured(
    scores: Floats, accuracies: Floats, weights: Floats | None = None, cut: int = CUT, percent: bool = True
) -> dict[str, Floats]:
    """Every metric, for every weighting.

    Args:
        scores: (n,), higher meant to be better; -inf ranks last.
        accuracies: (n,), in percent.
        weights: (b, n), how often each row is drawn; integers of 0 or more. By default one weighting of ones.
        cut: the places that count in nDCG.
        percent: whether accuracies are in percent. What is not has no gains, and so no nDCG: it is NaN.

    Returns (b,) for every name of METRICS. `best` is the accuracy of the network with the highest score, `regret`
    what the most accurate network has more. A correlation is NaN where all scores, or all accuracies, are equal.
    """
    w = np.ones((1, len(scores))) if weights is None else weights
    by_score, by_accuracy = _Ties(-scores), _Ties(-accuracies)
    tied, equal = by_score.sums(w), by_accuracy.sums(w)
    best = _first(by_score.sums(w * accuracies), tied)
    gains = np.exp2(accuracies if percent else np.zeros_like(accuracies)) - 1
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing can be ranked
        return {
            "kendall": _concordance(scores, accuracies, w) / np.sqrt(_untied(tied) * _untied(equal)),
            "spearman": _correlation(by_score.ranks(tied), by_accuracy.ranks(equal), w),
            "ndcg": _dcg(by_score, tied, gains, w, cut) / _dcg(by_accuracy, equal, gains, w, cut),
            "best": best,
            "regret": _first(by_accuracy.sums(w * accuracies), equal) - best,
        }


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's correlation of any two rows of numbers (n,); NaN where one of them is constant."""
    once = np.ones((1, len(a)))
    x, y = (ties.ranks(ties.sums(once)) for ties in (_Ties(a), _Ties(b)))
    with np.errstate(invalid="ignore"):
        return float(_correlation(x, y, once)[0])


@dataclass(frozen=True)
class Interval:
    """The ends of a confidence interval."""

    low: float
    high: float


def bootstrap(
    scores: Floats,
    accuracies: Floats,
    samples: int,
    generator: np.random.Generator,
    level: float = 0.95,
    percent: bool = True,
) -> dict[str, Interval]:
    """Percentile intervals of the metrics, from `samples` drawings of n networks with replacement.

    `scores` is (seeds, n). The interval is that of the mean over the seeds, which all see the same drawing.
    """
    n = len(accuracies)
    step = max(1, _ENTRIES // n)
    drawn: dict[str, list[Floats]] = {name: [] for name in METRICS}
    for start in range(0, samples, step):
        count = min(step, samples - start)
        weights = generator.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)
        per_seed = [measured(one, accuracies, weights, percent=percent) for one in scores]
        for name in METRICS:
            drawn[name].append(np.mean([found[name] for found in per_seed], axis=0))
    return {name: _interval(np.concatenate(parts), level) for name, parts in drawn.items()}


def _interval(drawn: Floats, level: float) -> Interval:
    """The middle `level` of the drawn values, leaving out where there is none."""
    known = drawn[~np.isnan(drawn)]
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2)) if len(known) else (np.nan, np.nan)
    return Interval(float(low), float(high))


class _Ties:
    """Rows in ascending order of their values, equal ones together in g groups."""

    def __init__(self, values: Floats):
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        first = np.ones(len(values), dtype=bool)
        first[1:] = ordered[1:] != ordered[:-1]
        self.starts = np.flatnonzero(first)
        self.group = np.empty(len(values), dtype=np.intp)
        self.group[self.order] = np.cumsum(first) - 1

    def sums(self, weights: Floats) -> Floats:
        """(b, n) -> (b, g)"""
        ordered = weights[:, self.order]
        return ordered if len(self.starts) == len(self.order) else np.add.reduceat(ordered, self.starts, axis=1)

    def ranks(self, sizes: Floats) -> Floats:
        """The average rank of every row, from 1, where group j is drawn `sizes[:, j]` times: (b, g) -> (b, n)."""
        averages = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
        return np.asarray(averages[:, self.group])


def _concordance(x: Floats, y: Floats, weights: Floats) -> Floats:
    """sum_ij w_i w_j sign(x_i - x_j) sign(y_i - y_j). Exact: single precision holds integers up to 2^24."""
    total = np.zeros(len(weights))
    drawn = weights.astype(np.float32)
    step = max(1, _ENTRIES // len(x))
    places = [np.unique(values, return_inverse=True)[1].astype(np.int32) for values in (x, y)]  # -inf - -inf is NaN
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        signs = [np.sign(place[rows, None] - place).astype(np.int8) for place in places]
        total += np.einsum("bi,bi->b", weights[:, rows], drawn @ (signs[0] * signs[1]).T.astype(np.float32))
    return total


def _untied(sizes: Floats) -> Floats:
    """Ordered pairs of drawn rows with different values: (b, g) -> (b,)."""
    return np.asarray(np.sum(sizes, axis=1) ** 2 - np.sum(sizes**2, axis=1))


def _correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's correlation, (b, n) each -> (b,)."""
    count = weights.sum(axis=1, keepdims=True)
    dx, dy = (values - (weights * values).sum(axis=1, keepdims=True) / count for values in (x, y))
    covariance, vx, vy = ((weights * a * b).sum(axis=1) for a, b in ((dx, dy), (dx, dx), (dy, dy)))
    return np.asarray(covariance / np.sqrt(vx * vy))


def _dcg(by: _Ties, sizes: Floats, gains: Floats, weights: Floats, cut: int) -> Floats:
    """sum_places gain / log2(place + 1) over the first `cut` places, the gains of the tied averaged."""
    longest = int(sizes.sum(axis=1).max())
    discounts = np.zeros(longest + 1)
    places = np.arange(1, min(cut, longest) + 1)
    discounts[places] = 1 / np.log2(places + 1)
    upto = np.cumsum(discounts)
    ends = np.cumsum(sizes, axis=1).astype(np.intp)
    shares = upto[ends] - upto[ends - sizes.astype(np.intp)]
    return np.asarray((by.sums(weights * gains) / np.maximum(sizes, 1) * shares).sum(axis=1))


def _first(totals: Floats, sizes: Floats) -> Floats:
    """The mean in the first group that is drawn at all."""
    first = np.argmax(sizes > 0, axis=1)[:, None]
    chosen: Any = np.take_along_axis(totals, first, 1) / np.take_along_axis(sizes, first, 1)
    return np.asarray(chosen[:, 0])
