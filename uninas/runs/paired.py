"""Two things compared over the seeds that both were tried with."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean, stdev

LEVEL = 0.95  # of intervals


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> tuple[float, float] | None:
    """Mean of first less second over the seeds that both have, and half the width of its 95 % interval.

    The interval is Student's; None where fewer than two seeds are shared. A difference whose interval contains zero
    has not been found.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 2:
        return None
    from scipy.special import stdtrit  # Student's quantiles, without scipy.stats, which takes long to load

    differences = [first[seed] - second[seed] for seed in shared]
    half = stdtrit(len(shared) - 1, (1 + LEVEL) / 2) * stdev(differences) / len(shared) ** 0.5
    return mean(differences), float(half)
