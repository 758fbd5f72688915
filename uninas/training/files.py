"""Samples read from files while a training goes on: by workers, in a fixed order, each with its own random numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uninas.errors import error, shown
from uninas.proxies.inputs import decoded
from uninas.training.seeds import seed_of

MOST_LISTED = 20
"""Problems that are listed one by one; of the others the number is said."""

READERS = ("hfds", "hfids", "wds", "tfds", "torch")
"""What a name of timm's for other people's data begins with."""


def fetched(data: str) -> bool:
    """Whether timm reads such data by name, perhaps from a network and by a program of theirs."""
    return data.split("/", 1)[0] in READERS


class Samples(Protocol):
    """What can be read by number; `random` draws come from torch's, numpy's and Python's own generators."""

    def sample(self, number: int, train: bool) -> Any:
        """One sample, changed at random for training."""


class _Numbered(Dataset[Any]):
    def __init__(self, samples: Samples, parts: Sequence[Sequence[int]], seed: tuple[int | str, ...]):
        self.samples, self.parts, self.seed = samples, parts, seed

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> list[Any]:
        return [self.drawn(number) for number in self.parts[index]]

    def drawn(self, number: int) -> Any:
        """A sample with random numbers of its own, whoever reads it, and whatever was read before.

        Transforms of timm and torchvision draw from global generators, so these are seeded here, and put back.
        """
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        seed = seed_of(*self.seed, number)
        random.seed(seed)  # noqa: TID251
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            return self.samples.sample(number, True)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            torch.set_rng_state(states[2])


def _as_it_is(batch: Any) -> Any:
    return batch


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def parts_of(
    samples: Samples, parts: Sequence[Sequence[int]], seed: tuple[int | str, ...], workers: int
) -> Iterator[list[Any]]:
    """The samples of each part, in order. What is random depends on the seed and the number of the sample alone."""
    loader: DataLoader[Any] = DataLoader(
        _Numbered(samples, parts, seed), batch_size=None, num_workers=workers, collate_fn=_as_it_is,
        worker_init_fn=_one_thread, prefetch_factor=2 if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )  # fmt: skip
    yield from loader


def picture(path: Path) -> Tensor:
    """A picture as bytes, 3 x H x W. Raises UninasError when it cannot be read."""
    return decoded(path, (3, 1, 1), path)


def mask_of(path: Path) -> Tensor:
    """A picture of one byte a pixel, as classes H x W; palettes are taken by their numbers. Raises UninasError."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "BMP", "PPM")) as held:
            if held.mode not in ("L", "P"):
                raise ValueError(f"expected one number a pixel, but its mode is {held.mode}")
            return torch.from_numpy(np.array(held))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise error("UNI130", f"cannot read the mask {shown(path)}: {shown(problem, 100)}") from None


class Report:
    """Collects what is wrong with data: each kind with its number and its first places."""

    def __init__(self, what: str):
        self.what = what
        self.kinds: dict[str, list[str]] = {}

    def add(self, kind: str, place: object) -> None:
        """Another one of a kind."""
        self.kinds.setdefault(kind, []).append(str(place))

    def check(self, notes: Callable[[], str] = lambda: "") -> None:
        """Raise one UninasError (UNI130) when anything was added."""
        if not self.kinds:
            return
        found = [
            f"{len(places):,} {kind}: {', '.join(shown(place) for place in places[:3])}{', ...' * (len(places) > 3)}"
            for kind, places in list(self.kinds.items())[:MOST_LISTED]
        ]
        raise error("UNI130", f"the data in {self.what} cannot be used", None, *found, notes())
