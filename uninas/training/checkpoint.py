"""Checkpoints: files that are whole or absent, read without unpickling, and the one before kept.

`last.pt` holds all that a training needs to go on to the last bit.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from uninas.errors import error, shown
from uninas.runs.process import written

LAST, PREVIOUS = "last.pt", "previous.pt"
FORMAT = 1


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write `last.pt`; what was there becomes `previous.pt`. Raises UNI100 when the disk is full, and keeps both."""
    last = folder / LAST

    def write(path: Path) -> None:
        try:
            torch.save({"format": FORMAT, **state}, path)
        except RuntimeError as problem:  # how torch says that it cannot write
            raise OSError(str(problem)) from None
        if last.exists():
            last.replace(folder / PREVIOUS)

    written(last, write)


def load(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The newest checkpoint that can be read; None where there is none. Raises UNI070 when none of them can."""
    found = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    problems = []
    for path in found:
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as problem:
            problems.append(f"{path.name}: {shown(str(problem).partition(chr(10))[0], 120)}")
            continue
        if state.get("format") == FORMAT:
            return state
        problems.append(f"{path.name}: expected format {FORMAT}, but got {shown(state.get('format'))}")
    if problems:
        raise error("UNI070", f"no checkpoint in {folder} can be read", None, *problems)
    return None
