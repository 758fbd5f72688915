"""What learns from few labels: from features of networks to a number, with how sure it is.

The features are any numbers: scores, costs, counts on graphs (`features`). A ranking fits it on some of its networks
and reports on the others (`uninas rank --fit`); the strategy `surrogate` fits it on what has been scored so far.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uninas.errors import error, shown
from uninas.graph import Graph
from uninas.scores.paths import MEASURES, regions_of_graph
from uninas.space import COSTS

Floats = NDArray[np.float64]
KINDS = ("forest", "process")
COUNTED = ("params", "flops", "elementwise", "activations", "operations", "depth")
TREES = 100


def features(graph: Graph) -> list[float]:
    """Numbers of a graph that need no weights: logarithms of costs, and what its paths are."""
    found = regions_of_graph(graph)
    costs = [math.log1p(COSTS[name](graph)) for name in COUNTED]
    return [*costs, *(float(measure(found)[0]) for measure in MEASURES.values())]


class Learned:
    """A random forest (Breiman 2001), or a Gaussian process with a Matern kernel, of scikit-learn.

    Args:
        kind: `forest` or `process`.
        seed: of the forest.

    Raises UninasError where scikit-learn is not installed.
    """

    def __init__(self, kind: str = "forest", seed: int = 0):
        if kind not in KINDS:
            raise error("UNI060", f"expected {' or '.join(KINDS)}, but got {shown(kind)}")
        self.kind = kind
        self.model = _forest(seed) if kind == "forest" else _process()

    def fit(self, rows: Floats, labels: Floats) -> Learned:
        """Learn from rows of features (n, f), NaN where one is unknown, and their labels (n,)."""
        self.worst = np.array([np.min(column[~np.isnan(column)], initial=0.0) for column in rows.T])
        known = self._known(rows)
        self.middle, self.unit = known.mean(axis=0), known.std(axis=0) + 1e-12
        with warnings.catch_warnings():  # of a kernel whose best length is at an end of its range: it is used as it is
            warnings.simplefilter("ignore")
            self.model.fit(self._scaled(rows), labels)
        return self

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        """The mean, and the standard deviation, of what is expected of each row."""
        scaled = self._scaled(rows)
        if self.kind == "process":
            mean, deviation = self.model.predict(scaled, return_std=True)
            return mean, deviation
        votes = np.array([tree.predict(scaled) for tree in self.model.estimators_])
        return votes.mean(axis=0), votes.std(axis=0)

    def _known(self, rows: Floats) -> Floats:
        return np.where(np.isnan(rows), self.worst, rows)

    def _scaled(self, rows: Floats) -> Floats:
        return np.asarray((self._known(rows) - self.middle) / self.unit)


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """By how much each is expected to exceed the best: (m - b) Phi(z) + s phi(z), z = (m - b) / s (Mockus 1975)."""
    gain, sure = mean - best, np.maximum(deviation, 1e-12)
    z = gain / sure
    below = np.array([0.5 * (1 + math.erf(one / math.sqrt(2))) for one in z])
    return np.asarray(gain * below + sure * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))


def held_out(
    rows: Floats, labels: Floats, counts: Sequence[int], drawings: int, kind: str, generator: np.random.Generator
) -> dict[int, tuple[Floats, list[NDArray[np.intp]]]]:
    """For each number of labels: predictions (drawings, n), NaN for networks learned from, and the others' places."""
    found = {}
    for count in counts:
        predicted = np.full((drawings, len(labels)), np.nan)
        rests = []
        for drawing in range(drawings):
            order = generator.permutation(len(labels))
            known, rest = order[:count], order[count:]
            model = Learned(kind, int(generator.integers(2**31))).fit(rows[known], labels[known])
            predicted[drawing, rest] = model.predict(rows[rest])[0]
            rests.append(rest)
        found[count] = predicted, rests
    return found


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)


def _process() -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    bounds = (1e-2, 1e3)
    kernel = ConstantKernel(1.0, bounds) * Matern(1.0, bounds, nu=2.5) + WhiteKernel(0.1, (1e-6, 1e1))
    return GaussianProcessRegressor(kernel, normalize_y=True)
