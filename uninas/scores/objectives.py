"""What a search wants: measures by name, and which direction is better.

    >>> Objective.read("params:lower")
    Objective(name='params', direction='lower')

A measure is a proxy, a cost of the graph (params, flops, activations, ...), or `latency`, the measured seconds of one
forward pass. As the score a cost counts like a proxy, more being better; as a further objective less is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uninas.errors import did_you_mean, error, shown
from uninas.initial import OWN
from uninas.scores.aggregate import AGGREGATES
from uninas.space import COSTS

LATENCY = "latency"
TRAINED = "train:"
"""What begins the name of a short training as a score, by its recipe: train:brief."""
DIRECTIONS = ("higher", "lower")
MAX_OBJECTIVES = 16
PROTOCOL = 2  # of the random numbers of scores, see runs.scorer; before it was written down it was 1


@dataclass(frozen=True)
class Objective:
    """A measure, and whether 'higher' or 'lower' is better; '' is as whoever measures it says."""

    name: str
    direction: str = ""

    @staticmethod
    def read(text: str, costs: str = "higher") -> Objective:
        """vkdnw, or params:lower; a function of the user is MODULE:FUNCTION, or MODULE:FUNCTION:lower.

        `costs` is the direction of a cost that names none.
        """
        name, _, direction = text.rpartition(":") if ":" in text else (text, "", "")
        trained = text.startswith(TRAINED)
        if (
            direction not in ("", *DIRECTIONS)
            and (trained or direction.isidentifier())
            and name not in (*COSTS, LATENCY)
        ):
            name, direction = text, ""
        if direction not in ("", *DIRECTIONS):
            hint = did_you_mean(direction, DIRECTIONS) or "write NAME, NAME:higher or NAME:lower"
            raise error("UNI071", f"unknown direction {shown(direction)} of the objective {shown(name)}", None, hint)
        default = costs if name in COSTS else "lower" if name == LATENCY else ""
        return Objective(name, direction or default)


def ladder(score: str, further: Iterable[str] = (), cheap: Iterable[str] = ()) -> tuple[tuple[Objective, ...], ...]:
    """Objectives by rung: one for each cheap measure, then the score with all further objectives."""
    last = (*scores(score), *(Objective.read(text, costs="lower") for text in further))
    names = [objective.name for objective in last]
    if len(set(names)) < len(names) or len(names) > MAX_OBJECTIVES:
        raise error("UNI071", f"expected at most {MAX_OBJECTIVES} different objectives, but got {', '.join(names)}")
    return (*((Objective.read(text),) for text in cheap), last)


def scores(text: str) -> tuple[Objective, ...]:
    """One objective, or those of an aggregate (az_nas, vkdnw_agg), which ranks candidates by all of them together."""
    aggregate = AGGREGATES.get(text)
    if aggregate is None:
        return (Objective.read(text),)
    return tuple(Objective(name, direction) for name, direction in aggregate.components.items())


def weights(score: str, names: Iterable[str]) -> list[float]:
    """How much the rank under each objective counts where the score is an aggregate; 1 for all others."""
    return AGGREGATES[score].counts(names) if score in AGGREGATES else [1.0 for _ in names]


@dataclass(frozen=True)
class Recipe:
    """How candidates are scored, in plain values: all that a worker is told, besides a text and a seed."""

    rungs: tuple[tuple[str, ...], ...]
    """Names of what is measured at each rung; the first is the score."""
    batch_size: int = 8
    images: Mapping[str, str] = field(default_factory=dict)
    """Where those of a proxy come from (`proxies.inputs`), by its name; noise for those without an entry."""
    fold: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the proxies, as `scores.options` names them."""
    init: str = OWN
    """The scheme of initial weights; own for what each network names."""
    device: str = "cpu"
    threads: int = 1
    """Of torch, in every worker. It may change the last digits of a score, so it is part of what decides a run."""

    @property
    def needs_torch(self) -> bool:
        """Whether a module has to be built."""
        return any(name not in COSTS for names in self.rungs for name in names)


def merits(numbers: Mapping[str, float], rung: tuple[Objective, ...]) -> tuple[float, ...] | None:
    """The objectives of a rung ('score' is the first), turned so that more is better; None if one is not finite."""
    names = ("score", *(objective.name for objective in rung[1:]))
    missing = [name for name in names if name not in numbers]
    if missing:
        raise error("UNI071", f"expected a number for the objective {missing[0]}", None, "tell {'score': 1.0, ...}")
    values = tuple(numbers[name] for name in names)
    if not all(map(math.isfinite, values)):
        return None
    return tuple(
        -value if objective.direction == "lower" else value for value, objective in zip(values, rung, strict=True)
    )
