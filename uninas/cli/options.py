"""Options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from uninas.scores.images import read

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write, instead of stdout."
)


def named(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE, the value in JSON or a word: scalars=2 -> {'scalars': 2}, vkdnw.scalars=2 -> {'vkdnw.scalars': 2}"""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"expected NAME=VALUE, but got {text!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


input_option = click.option(
    "--input",
    "images",
    multiple=True,
    callback=lambda context, parameter, given: read(given),
    metavar="[PROXY=]SOURCE",
    help="normal (noise), pink (noise like pictures), a folder of pictures, .npy or .npz; of all proxies or one.  "
    "[default: as an aggregate wants it, else normal]",
)


def count(text: str) -> float:
    """A number that may end in k, M or G: 30M -> 30 000 000."""
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:])
    try:
        number = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise click.BadParameter(f"expected a number like 30M, but got {text!r}")
    return number
