"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import click

from uninas import plugins
from uninas.errors import UninasError, error, shown
from uninas.scores.images import read
from uninas.scores.options import REASONS
from uninas.scores.options import read as read_options

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "markdown", "latex", "json"]),
    default="text",
    show_default=True,
    help="How the table is written.",
)

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write, instead of stdout."
)


def options_of_proxies(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """[PROXY.]NAME=VALUE, wherever proxies have options."""
    try:
        return read_options(given)
    except UninasError as problem:
        raise click.BadParameter(problem.diagnostics[0].message) from None


def reasons(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    """memory,time -> ('memory', 'time')"""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for one in found:
        if one not in REASONS:
            raise click.BadParameter(f"expected some of {', '.join(REASONS)}, but got {one!r}")
    return found


def merged(kind: Any, options: Mapping[str, Any], given: Mapping[str, Any], stored: Mapping[str, Any]) -> Any:
    """A dataclass of settings from what was stored, else from the options; what was given counts most.

    What was stored is checked, as anybody can change a file. Raises UNI070.
    """
    types = get_type_hints(kind)
    values = {
        field.name: given.get(field.name, stored.get(field.name, options.get(field.name)))
        for field in dataclasses.fields(kind)
        if field.name in {**stored, **options}
    }
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in values.items():
        if not _fits(value, types[name]):
            raise error("UNI070", f"the run has an odd {name}: {shown(value)}", None, f"expected {types[name]}")
    return kind(**values)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as far as the types of settings go."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, parts[0]) for one in value)
    if origin is not None:  # a mapping
        return isinstance(value, dict) and all(_fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items())
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


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


def plugin_option() -> click.Option:
    """--plugin MODULE, which every command has; the plug-ins are loaded before other options are looked at."""

    def load(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> None:
        if given:
            plugins.use(given)

    return click.Option(
        ["--plugin"], multiple=True, is_eager=True, expose_value=False, callback=load, metavar="MODULE",
        help="Import a module that brings operations, proxies, strategies, ...; may be repeated.",
    )  # fmt: skip


def modules_of(measures: Iterable[str]) -> dict[str, str]:
    """The measures that are MODULE:FUNCTION, each with its module; those registered under such a name are none."""
    from uninas.proxies.base import PROXIES
    from uninas.scores.objectives import TRAINED

    foreign = [name for name in measures if ":" in name and name not in PROXIES and not name.startswith(TRAINED)]
    return {name: name.partition(":")[0] for name in foreign}


def check_functions(measures: Iterable[str]) -> None:
    """Code is named by the user, not by a folder, which may be a stranger's. Raises UNI140 for any other."""
    for name, module in modules_of(name for name in measures if ":" in name).items():
        if not plugins.allowed(module):
            raise error("UNI140", f"the folder scores by the function {shown(name)}, which you have not named", None,
                        f"if you know what that is: --plugin {shown(module)}")  # fmt: skip
