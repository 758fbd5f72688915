"""YAML of options and recipes, which may be a stranger's: plain values, and nothing that could unfold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from uninas.errors import error, shown
from uninas.runs.process import text_of

MAX_BYTES = 1 << 20


def read_yaml(path: Path, code: str, example: str) -> Mapping[str, Any]:
    """The values in a file by name. Raises UNI001 where it cannot be read, `code` where it has something else."""
    try:
        text = text_of(path, MAX_BYTES)
    except (OSError, ValueError) as problem:
        raise error("UNI001", f"cannot read {shown(path, 200)}: {shown(problem)}") from None
    found = yaml_value(text, code, str(path))
    if not isinstance(found, Mapping):
        raise error(code, f"expected options by name in {shown(path, 200)}", None, example)
    return found


def yaml_value(text: str, code: str, name: str) -> Any:
    """The value that a text stands for; `name` is that of the text in messages. Raises UninasError with `code`."""
    try:
        return yaml.load(text, _Plain)  # noqa: S506  # a safe loader, and less
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise error(code, f"{shown(name, 200)} is not YAML: {shown(problem, 200)}") from None


class _Plain(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML without what options never need: parts that stand for others (which could unfold without end), dates, and
    bytes, which are words here. Numbers may be written 1e-4, which are words in YAML 1.1.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("expected no alias (*name): write it out")
        return super().compose_node(parent, index)


for _tag in ("timestamp", "binary"):
    _Plain.add_constructor(f"tag:yaml.org,2002:{_tag}", yaml.SafeLoader.construct_yaml_str)
_Plain.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
