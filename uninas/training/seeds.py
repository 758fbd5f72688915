"""Numbers that depend on what they are for, and on nothing that happened before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch


def seed_of(*parts: int | str) -> int:
    """A seed of 63 bits for a purpose: seed_of(0, "order", 3) is always the same, and unlike all others."""
    digest = blake2b("\n".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws from torch's own generator on the CPU come from this seed inside; afterwards it is as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield


def generator(*parts: int | str) -> torch.Generator:
    """A generator on the CPU for a purpose."""
    return torch.Generator().manual_seed(seed_of(*parts))
