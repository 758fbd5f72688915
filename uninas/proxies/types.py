"""The types that every proxy shares: batches, scores and their error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn

from uninas.errors import Diagnostic, UninasError

Direction = Literal["higher", "lower"]

Inputs = tuple[Tensor, ...]

Measured = tuple[float, Mapping[str, float]]


class Batch(Inputs):
    """Inputs of a module and, where it is known, the class of each sample: `labels` (N,) are integers, or None."""

    labels: Tensor | None
    unlabelled: str
    """Why there are no labels, where something was meant to be some."""

    def __new__(cls, parts: Iterable[Tensor], labels: Tensor | None = None, unlabelled: str = "") -> Self:
        """These inputs, with these labels."""
        made = super().__new__(cls, parts)
        made.labels, made.unlabelled = labels, unlabelled
        return made

    def to(self, device: torch.device | str, copy: bool = False) -> Batch:
        """The same on a device; with `copy` also where it is there already. Labels stay, for whoever uses them."""
        return Batch((part.to(device, copy=copy) for part in self), self.labels, self.unlabelled)


Source = Callable[[torch.Generator], Inputs]
"""Draws a batch, on the device of the generator. A `Batch` brings labels, of which proxies of the loss make use."""

Initial = Callable[[nn.Module, torch.Generator], None]
"""Gives a module new weights."""


class ProxyError(UninasError):
    """A score cannot be computed; the message says why in one plain sentence."""

    def __init__(self, message: str, *notes: str):
        super().__init__(Diagnostic("UNI090", message, None, tuple(note for note in notes if note)))


@dataclass(frozen=True)
class Score:
    """A finite number for one module. `direction` says whether a better network scores higher or lower.

    Of several `repeats`, `value` and `components` are the means, `spread` is the standard deviation of the value (of
    the sample, with n - 1), and `seconds` the time of all; one score alone has no spread.
    """

    name: str
    value: float
    direction: Direction
    components: Mapping[str, float]
    seconds: float
    spread: float | None = None
    repeats: int = 1
