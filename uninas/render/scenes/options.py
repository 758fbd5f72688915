"""What a picture shows and how: every choice a caller has, checked once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from uninas.errors import did_you_mean, error, shown

LEVELS = ("network", "stage", "block", "full")
DIRECTIONS = ("TB", "LR")
THEMES = ("light", "dark")
SHOWN = ("name", "attributes", "shape", "params", "flops", "share")
USUAL = ("attributes", "shape")
COSTS = ("params", "flops")


@dataclass(frozen=True)
class Options:
    """The options of a drawing.

    Args:
        level: `network` (sections as boxes), `stage` (the blocks of each section), `block` (every distinct block once)
            or `full` (everything inside everything). A graph that is no network has no sections: `network` and `stage`
            draw its own nodes.
        direction: `TB` (top to bottom) or `LR` (left to right).
        theme: `light` or `dark`.
        title: what stands above; by default the graph's name, '' for nothing.
        caption: what stands below.
        show: what a node says of itself: any of `name`, `attributes`, `shape`, `params`, `flops` and `share`, which
            colours nodes by their share of all FLOPs. Empty: attributes and shapes, in stages costs too, and in the
            boxes of sections everything but names.
        depth: how many levels of blocks are opened, instead of what the level says.
        expand: names of blocks or paths of nodes that are opened, however deep they lie.
        width: of the picture, in millimetres; None for its natural size. Text is never enlarged beyond 9 points.

    Raises UninasError UNI015 for a value that is not among those named here.
    """

    level: str = "network"
    direction: str = "TB"
    theme: str = "light"
    title: str | None = None
    caption: str = ""
    show: Sequence[str] = ()
    depth: int | None = None
    expand: Sequence[str] = ()
    width: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "show", (self.show,) if isinstance(self.show, str) else tuple(self.show))
        object.__setattr__(self, "expand", (self.expand,) if isinstance(self.expand, str) else tuple(self.expand))
        one_of("level", self.level, LEVELS)
        one_of("direction", self.direction, DIRECTIONS)
        one_of("theme", self.theme, THEMES)
        for part in self.show:
            one_of("what a node shows", part, SHOWN)
        if self.width is not None and not _is_width(self.width):
            raise error("UNI015", f"expected a width of 10 to 5000 mm, but got {shown(self.width)}")
        if self.depth is not None and not 0 <= self.depth <= 100:
            raise error("UNI015", f"expected a depth of 0 to 100, but got {shown(self.depth)}")

    def shows(self, part: str, usual: tuple[str, ...]) -> bool:
        """Whether nodes show this, `usual` being what they show when nothing was asked for."""
        return part in (self.show or (*usual, *COSTS * (self.level == "stage")))

    @property
    def opened(self) -> float:
        """Number of levels of blocks that are opened; sections are the first."""
        if self.depth is not None:
            return self.depth
        return {"network": 0, "stage": 1, "block": 0, "full": math.inf}[self.level]


def one_of(what: str, value: object, known: tuple[str, ...]) -> None:
    """Raise UNI015 unless a value is among the known ones."""
    if value not in known:
        raise error("UNI015", f"expected {what} to be {' or '.join(known)}, but got {shown(value)!r}", None,
                    did_you_mean(str(value), known))  # fmt: skip


def _is_width(value: object) -> bool:
    """Whether a value is a number of millimetres that a page can have."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 10 <= value <= 5000
    )
