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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from uninas.errors import did_you_mean, error, shown
from uninas.runs.process import written

MAX_BYTES = 1 << 20
_SPOKEN = {"further": "objectives", "images": "input", "tuning": "tune", "asynchronous": "async"}
_OTHER = {"option": "options", "objective": "further", "objectives": "further", "input": "images", "tune": "tuning",
          "async": "asynchronous"}  # fmt: skip
_LISTS = ("further", "cheap", "images")


def read_config(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """The options in a file, ready for click: mappings become NAME=VALUE. Raises UNI001 and UNI071."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error("UNI071", f"expected at most {MAX_BYTES:,} bytes in {path}")
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise error("UNI001", f"cannot read {path}: {problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise error("UNI071", f"{path} is not YAML: {shown(problem, 200)}") from None
    if not isinstance(found, Mapping):
        raise error("UNI071", f"expected options by name in {path}", None, "space: UniNAS")
    known = set(names)
    options: dict[str, Any] = {}
    for key, value in found.items():
        name = str(key).replace("-", "_")
        name = _OTHER.get(name, name)
        if name not in known:
            raise error("UNI071", f"there is no option {shown(key)}, as in {path}", None, did_you_mean(name, known))
        if value is not None:  # as if it did not stand there
            options[name] = _for_click([value] if name in _LISTS and isinstance(value, str) else value)
    return options


def _for_click(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [f"{name}={json.dumps(inner)}" for name, inner in value.items()]
    if isinstance(value, list):
        return [str(inner) for inner in value]
    return value if isinstance(value, bool) else str(value)


def write_config(path: Path, values: Mapping[str, Any], head: str) -> None:
    """Options as a file that `read_config` reads again; those that are None are left out."""
    plain = {_SPOKEN.get(name, name): _plain(value) for name, value in values.items() if value is not None}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    written(path, lambda beside: beside.write_text(f"# {head}\n{text}", encoding="utf-8"))


def _plain(value: Any) -> Any:
    """Values that YAML knows: no tuples, no paths, no mappings of our own."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | float | str | bool) else str(value)
