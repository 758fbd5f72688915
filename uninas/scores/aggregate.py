"""One ranking from several: the sum of the logarithms of the ranks under each proxy, as AZ-NAS and VKDNW do it.

>>> both = Aggregate("both", {"jacov": "higher", "ntk": "lower"})
>>> both.values({"jacov": [1.0, 5.0, 3.0], "ntk": [20.0, 10.0, 30.0]}).round(3).tolist()
[0.693, 2.197, 0.693]

The worst candidate has rank 1, so a candidate that one proxy finds bad is held back by it, and among good ones it
matters little which is how good (Lee & Ham, CVPR 2024).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uninas.plugins import Registry

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Aggregate:
    """A named set of proxies; `components` says for each which way is better. `source` is where it was published.

    The logarithm of a rank counts once, or as often as `weights` says. `images` says what a component is measured with
    if not standard normal noise, by a word of `proxies.inputs`.
    """

    name: str
    components: Mapping[str, Direction]
    source: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.components or not set(self.components.values()) <= {"higher", "lower"}:
            raise ValueError(f"expected components that are 'higher' or 'lower', but got {dict(self.components)}")
        if self.weights.keys() - self.components.keys() or not all(weight > 0 for weight in self.weights.values()):
            raise ValueError(f"expected weights above 0 of components, but got {dict(self.weights)}")
        object.__setattr__(self, "components", MappingProxyType(dict(self.components)))

    @property
    def summary(self) -> str:
        """A sentence that names the components."""
        parts = (f"{name} (the lower the better)" if way == "lower" else name for name, way in self.components.items())
        return f"Ranks networks by {', '.join(parts)}."

    @property
    def details(self) -> str:
        """The components, their weights and images, and the source, as a text."""
        parts = [self.summary, "The sum of the logarithms of the ranks, of which the worst is 1."]
        parts += [f"{name} counts {weight:g}." for name, weight in self.weights.items()]
        parts += [f"{name} is measured on {images}." for name, images in self.images.items()]
        return "\n".join([*parts, f"Source: {self.source}."] if self.source else parts)

    def values(self, rows: Mapping[str, Sequence[float] | NDArray[np.float64]]) -> NDArray[np.float64]:
        """The aggregated scores of M candidates, higher is better: sum over components of ln rank times its weight.

        `rows` has M scores for each component, and may have more. Ties share the mean of their ranks. A score that is
        not finite, of a candidate for which the proxy failed, ranks below all others whatever its direction.

        Raises ValueError where a component is missing or the numbers of scores differ.
        """
        missing = self.components.keys() - rows.keys()
        if missing:
            raise ValueError(f"aggregate '{self.name}' needs scores of {', '.join(sorted(missing))}")
        columns = {name: np.asarray(rows[name], dtype=np.float64) for name in self.components}
        if len({column.shape for column in columns.values()}) > 1 or any(c.ndim != 1 for c in columns.values()):
            shapes = ", ".join(f"{name} {column.shape}" for name, column in columns.items())
            raise ValueError(f"expected as many scores of each component, but got {shapes}")
        merits = [columns[name] * (-1 if direction == "lower" else 1) for name, direction in self.components.items()]
        return log_rank_sum(np.array(merits).T, self.counts(self.components))

    def counts(self, names: Iterable[str]) -> list[float]:
        """The weight of each of these names; 1 for those that are no components."""
        return [self.weights.get(name, 1.0) for name in names]


def log_rank_sum(merits: NDArray[np.float64], weights: Sequence[float] = ()) -> NDArray[np.float64]:
    """The sum over columns of ln(rank), weighted if wanted; rank 1 is the worst, equal values share their mean."""
    return log_ranks(np.array([ranked(column) for column in merits.T]), weights)


def log_ranks(ranks: NDArray[np.float64], weights: Sequence[float] = ()) -> NDArray[np.float64]:
    """The same of ranks that are known, a row for each objective.

    Added one by one, so that the sum of a candidate does not depend, in its last digit, on how many others there are.
    """
    total = np.zeros(ranks.shape[1:])
    for row, weight in zip(ranks, weights or [1.0] * len(ranks), strict=True):
        total += weight * np.log(np.ascontiguousarray(row))
    return total


def ranked(scores: NDArray[np.float64], direction: Direction = "higher") -> NDArray[np.float64]:
    """Ranks 1 (worst) to M (best); ties share the mean of theirs, and what is not finite is worst of all."""
    oriented = np.where(np.isfinite(scores), scores if direction == "higher" else -scores, -np.inf)
    _, places, counts = np.unique(oriented, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


AGGREGATES: Registry[Aggregate] = Registry(
    "aggregate",
    {
        aggregate.name: aggregate
        for aggregate in (
            Aggregate(
                "vkdnw_agg",
                dict.fromkeys(("vkdnw_single", "jacov", "expressivity", "trainability", "flops"), "higher"),
                "Tybl & Neumann, CVPR 2025, for NAS-Bench-201",
            ),
            Aggregate(
                "vkdnw_agg_mbv2",
                dict.fromkeys(
                    ("vkdnw_single", "expressivity", "progressivity", "trainability", "complexity"), "higher"
                ),
                "what the code of Tybl & Neumann measures in the MobileNetV2 space: VKDNW beside AZ-NAS, no Jacov",
            ),
            Aggregate(
                "az_nas",
                dict.fromkeys(("expressivity", "progressivity", "trainability", "complexity"), "higher"),
                "Lee & Ham, CVPR 2024",
            ),
            Aggregate(
                "uninas_agg",
                dict.fromkeys(("swap", "jacov", "expressivity", "trainability", "flops", "coherence"), "higher"),
                "this toolkit, see docs/results/scores.md",
                dict.fromkeys(("expressivity", "trainability", "coherence"), 0.5),
                dict.fromkeys(("swap", "jacov", "trainability"), "pink"),
            ),
            Aggregate(
                "paths_agg",
                {"flops": "higher", "path_depth": "higher", "pooled_paths": "lower", "shortcuts": "higher"},
                "this toolkit, see docs/results/scores.md",
            ),
            Aggregate(
                "graph_agg",
                {"params": "higher", "path_width": "higher", "shortcuts": "higher", "pooled_paths": "lower"},
                "this toolkit, chosen with the accuracies of four spaces, see docs/results/spaces.md",
            ),
            Aggregate(
                "broad_agg",
                dict.fromkeys(("params", "expressivity", "jacov"), "higher"),
                "this toolkit, chosen with the accuracies of five spaces, see docs/results/sums.md",
            ),
            Aggregate(
                "consensus_agg",
                dict.fromkeys(("params", "expressivity", "jacov", "near", "naswot", "synflow"), "higher"),
                "this toolkit, chosen with the accuracies of five spaces, equal weights, see docs/results/sums.md",
            ),
            Aggregate(
                "steady_agg",
                dict.fromkeys(("params", "near", "synflow"), "higher"),
                "this toolkit, chosen with the accuracies of seven spaces, see docs/results/sums.md",
            ),
        )
    },
)
"""The aggregates that have a name."""


def parts_of(name: str) -> tuple[str, ...]:
    """The proxies behind a name: an aggregate has several, one of these or written a+b+c."""
    if name in AGGREGATES:
        return tuple(AGGREGATES[name].components)
    return tuple(part.strip() for part in name.split("+"))
