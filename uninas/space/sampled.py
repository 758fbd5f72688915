"""A space of choices in numbers: its choices, how many members it has, and how the costs of members are distributed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from uninas.errors import NoLegalEdit, UninasError
from uninas.graph import Graph
from uninas.space.space import Space

SAMPLES, BINS = 100, 10
SHARES = {"least": 0.0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "most": 1.0}


def described(space: Space, sample: Callable[[random.Random], Graph], samples: int = SAMPLES) -> dict[str, Any]:
    """The space as plain values. `sample` draws a member that keeps the budget; `members` is None where unknown.

    Costs are those of `samples` members drawn with seed 0: FLOPs are 2 x MACs, for one sample.
    """
    try:
        members: int | None = space.count()
    except UninasError:  # to count it would take too long
        members = None
    rng, graphs = random.Random(0), []
    for _ in range(samples):
        try:
            graphs.append(sample(rng))
        except NoLegalEdit:
            break
    costs = {"params": [graph.cost.params for graph in graphs], "flops": [graph.cost.flops for graph in graphs]}
    return {
        "name": space.name,
        "doc": space.doc,
        "members": members,
        "nested": space.nested,
        "choices": [{"path": choice.path, "options": list(choice.options)} for choice in space.choices],
        "budget": [repr(limit) for limit in space.budget.limits],
        "samples": len(graphs),
        "costs": {name: _distribution(sorted(values)) for name, values in costs.items() if values},
    }


def _distribution(values: list[int]) -> dict[str, Any]:
    """Quantiles of sorted values, and a histogram of equal bins between the least and the most."""
    quantiles = {name: values[round(share * (len(values) - 1))] for name, share in SHARES.items()}
    low, width = values[0], max(1, values[-1] - values[0]) / BINS
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int((value - low) / width))] += 1
    return {**quantiles, "histogram": counts}
