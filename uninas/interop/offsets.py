"""Constants that are known by what they hold: biases by offset, and masks of shifted windows."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from uninas.interop.trace import Static

MAX_POSITIONS = 4096


def offset_table(
    static: Static, parameter: tuple[int, ...] | None, *, mirrored: bool = False
) -> tuple[tuple[int, int], Any] | None:
    """The grid and the table (heads x offsets) of a map that only depends on the offset between its two positions.

    `parameter` is the shape of what it is computed from, which must be as large as the table; None: take any.
    """
    probe = static.probe if parameter is not None and static.probe else static.read
    values = np.asarray(probe())
    positions = values.shape[-1]
    if positions > MAX_POSITIONS:
        return None
    values = values.reshape(-1, positions, positions)
    for height in sorted(divisors(positions), key=lambda side: abs(side - positions / side)):
        width = positions // height
        count = positions if mirrored else (2 * height - 1) * (2 * width - 1)
        if parameter is not None and prod(parameter) != len(values) * count:
            continue
        y, x = np.divmod(np.arange(positions), width)
        down, right = y[:, None] - y, x[:, None] - x
        index = (down + height - 1) * (2 * width - 1) + right + width - 1
        if mirrored:
            index = abs(down) * width + abs(right)
        table = np.zeros((len(values), count), values.dtype)
        table[:, index.ravel()] = values.reshape(len(values), -1)
        if np.array_equal(table[:, index.ravel()], values.reshape(len(values), -1)):
            return (height, width), table
    return None


def divisors(number: int) -> list[int]:
    """All divisors."""
    return [n for n in range(1, number + 1) if number % n == 0]


def shifted_windows(static: Static) -> tuple[int, int, int, int] | None:
    """Height, width, window and shift of the mask of shifted windows that a constant is, if it is one."""
    values = np.asarray(static.read())
    positions = values.shape[-1]
    window = round(positions**0.5)
    values = values.reshape(-1, positions, positions)
    if window**2 != positions or not np.isin(values, (0.0, -100.0)).all():
        return None
    for rows in divisors(len(values)):
        height, width = rows * window, len(values) // rows * window
        for shift in range(1, window):
            if np.array_equal(values != 0, _regions(height, width, window, shift)):
                return height, width, window, shift
    return None


def _regions(height: int, width: int, window: int, shift: int) -> Any:
    """Which positions of each window come from different parts of the image."""

    def parts(length: int) -> Any:
        place = np.arange(length)
        return (place >= length - window).astype(int) + (place >= length - shift)

    region = 3 * parts(height)[:, None] + parts(width)
    cut = region.reshape(height // window, window, width // window, window).swapaxes(1, 2).reshape(-1, window**2)
    return cut[:, :, None] != cut[:, None, :]
