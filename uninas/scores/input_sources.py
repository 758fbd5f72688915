"""Which images each proxy sees: as the user says, as an aggregate wants it, or else standard normal noise.

>>> read(["pink", "jacov=photos/"])
{'': 'pink', 'jacov': 'photos/'}
>>> sources(["jacov", "naswot"], {"": "pink", "jacov": "photos/"})
{'jacov': 'photos/', 'naswot': 'pink'}

A source is a word that `proxies.inputs` understands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

from uninas.errors import did_you_mean, error

NORMAL = "normal"
NOISES = (NORMAL, "pink")
"""Sources that need no file: the names of `proxies.inputs.NOISES`, known without loading torch."""


def read(texts: Iterable[str]) -> dict[str, str]:
    """SOURCE, for all proxies, or PROXY=SOURCE, by the name of the proxy or under ''; the last one counts."""
    found = {}
    for text in texts:
        proxy, source = re.fullmatch(r"(?:(train:[^=]*|\w*)=)?(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
        if source.startswith('"'):  # as a configuration's file has it
            with suppress(ValueError):
                source = str(json.loads(source))
        found[proxy or ""] = source
    return found


def sources(asked: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """The source of every proxy behind the names that are asked for.

    Raises UNI010 for one that is given for another proxy, UNI071 where two aggregates want different ones.
    """
    from uninas.scores.aggregate import AGGREGATES, parts_of  # here, because it loads numpy, which --help does not need

    wanted: dict[str, list[str]] = {}
    for name in asked:
        images = AGGREGATES[name].images if name in AGGREGATES else {}
        for part in parts_of(name):
            wanted.setdefault(part, []).append(images.get(part, NORMAL))
    for name in given.keys() - wanted.keys() - {""}:
        raise error("UNI010", f"there is an input for {name}, which is not asked for", None, did_you_mean(name, wanted))
    found = {}
    for part, wishes in wanted.items():
        source = given.get(part, given.get(""))
        if source is None and len(set(wishes)) > 1:
            raise error("UNI071", f"some of what is asked for wants {' and some '.join(sorted(set(wishes)))} images "
                        f"for {part}", None, f"say which: --input {part}={wishes[0]}; or ask in two runs")  # fmt: skip
        found[part] = wishes[0] if source is None else source
    return found


def from_files(found: Mapping[str, str]) -> list[str]:
    """The sources that are files or folders."""
    return sorted(set(found.values()).difference(NOISES))
