"""The configuration of a run as a YAML file: the options of `uninas search` by name.

    space: spaces/uninas.uni
    start: coatnet
    strategy: evolution
    tune: {population: 64}
    proxy: vkdnw
    objectives: [params, latency]
    params_max: 30M
    iterations: 1000

What stands on the command line counts more than what stands in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from uninas.errors import did_you_mean, error, shown
from uninas.runs.plain_yaml import read_yaml
from uninas.runs.process import write_text

_SPOKEN = {"further": "objectives", "images": "input", "tuning": "tune", "asynchronous": "async"}
_OTHER = {"option": "options", "objective": "further", "objectives": "further", "input": "images", "tune": "tuning",
          "async": "asynchronous"}  # fmt: skip


def read_config(path: Path, known: Mapping[str, bool]) -> dict[str, Any]:
    """The options in a file, ready for click: mappings become NAME=VALUE.

    `known` are the names of options, and whether there may be several values. Raises UNI001 and UNI071.
    """
    options: dict[str, Any] = {}
    for key, value in read_yaml(path, "UNI071", "space: UniNAS").items():
        name = str(key).replace("-", "_")
        name = _OTHER.get(name, name)
        if name not in known:
            raise error("UNI071", f"there is no option {shown(key)}, as in {shown(path, 200)}", None,
                        did_you_mean(name, known))  # fmt: skip
        if value is not None:  # as if it did not stand there
            options[name] = _for_click(str(key), value, known[name])
    return options


def _for_click(key: str, value: Any, several: bool) -> Any:
    """An option as on the command line, where every value is a word."""
    if not several and isinstance(value, Mapping | list | set):
        raise error("UNI071", f"expected one value for {shown(key)}, but got {shown(value)}")
    if isinstance(value, Mapping):
        return [f"{name}={inner if isinstance(inner, str) else json.dumps(inner)}" for name, inner in value.items()]
    if several:
        listed = value if isinstance(value, list) else [value]
        if not all(isinstance(inner, str | int | float) for inner in listed):
            raise error("UNI071", f"expected words or numbers in {shown(key)}, but got {shown(value)}")
        return [str(inner) for inner in listed]
    return value if isinstance(value, bool) else str(value)


def write_config(path: Path, values: Mapping[str, Any], head: str) -> None:
    """Options as a file that `read_config` reads again; those that are None are left out."""
    plain = {_SPOKEN.get(name, name): _plain(value) for name, value in values.items() if value is not None}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    write_text(path, f"# {head}\n{text}")


def _plain(value: Any) -> Any:
    """Values that YAML knows: no tuples, no paths, no mappings of our own."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | float | str | bool) else str(value)
