"""Random numbers by a seed and a purpose, so that what is drawn for one purpose does not depend on another.

    >>> stream(0, "images").initial_seed() == stream(0, "weights").initial_seed()
    False

`runs.scorer` says which purposes there are.
"""

from __future__ import annotations

from hashlib import sha256

import torch


def stream(seed: int, purpose: str) -> torch.Generator:
    """A generator of the CPU, at the beginning of the numbers that a seed has for a purpose."""
    digest = sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
