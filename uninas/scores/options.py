"""Options of proxies, as a user writes them: NAME=VALUE for all proxies that have one, PROXY.NAME=VALUE for one alone.

>>> read(["scalars=2", "vkdnw.dtype=float64", "labels=random"])
{'scalars': 2, 'vkdnw.dtype': 'float64', 'labels': 'random'}
>>> of("vkdnw", {"scalars": 2, "vkdnw.scalars": 3, "zen.noise": 0.1})
{'scalars': 3}

A value is one of JSON, or a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from uninas.errors import error, shown

REASONS = ("memory", "time", "crash", "error", "nan")
"""Why there may be no score, in a word; what `--retry` takes."""


def read(texts: Iterable[str]) -> dict[str, Any]:
    """The values by name; the last one counts. Raises UNI071 for what is none, or is an object of JSON."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, word = text.partition("=")
        try:
            value = json.loads(word, parse_constant=_no_number)
        except (ValueError, RecursionError):
            value = word
        if not equals or not all(name.split(".")) or isinstance(value, dict):
            raise error("UNI071", f"expected NAME=VALUE or PROXY.NAME=VALUE, but got {shown(text)}")
        found[name] = value
    return found


def of(proxy: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that a proxy may have, by their own names."""
    common = {name: value for name, value in options.items() if "." not in name}
    own = {name.partition(".")[2]: value for name, value in options.items() if name.partition(".")[0] == proxy}
    return {**common, **{name: value for name, value in own.items() if name}}


def _no_number(word: str) -> float:
    raise ValueError(word)
