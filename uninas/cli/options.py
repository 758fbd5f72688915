"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import click

from uninas import plugins
from uninas.errors import UninasError, error, shown
from uninas.scores.input_sources import read
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


INTERRUPTED = 130  # what a shell reports after Ctrl-C


def words(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    """a,b -> ('a', 'b'), each once"""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def whole(text: str, least: int = 1, most: int = 2**20) -> int | None:
    """A whole number within bounds; None for any other text."""
    number = int(text) if text.isdecimal() and len(text) < 10 else -1
    return number if least <= number <= most else None


def options_of_proxies(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """[PROXY.]NAME=VALUE, wherever proxies have options."""
    try:
        return read_options(given)
    except UninasError as problem:
        raise click.BadParameter(problem.diagnostics[0].message) from None


def reasons(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    """memory,time -> ('memory', 'time')"""
    found = words(context, parameter, text)
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


# ---- what several commands ask for in the same words -----------------------------------------------------------------

Decorator = Callable[[Any], Any]


def together(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, in this order."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


input_option = click.option(
    "--input",
    "images",
    multiple=True,
    callback=lambda context, parameter, given: read(given),
    metavar="[PROXY=]SOURCE",
    help="normal (noise), pink (noise like pictures), a folder of pictures, .npy or .npz; of all proxies or one.  "
    "[default: as an aggregate wants it, else normal]",
)


seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Equal seeds, equal results."
)
device_option = click.option(
    "--device", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1; a search and a ranking "
    "use all GPUs by cuda.",
)  # fmt: skip
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Of torch, in each process."
)


tuning_option = click.option(
    "--strategy-option", "--tune", "tuning", multiple=True, callback=options_of_proxies, metavar="NAME=VALUE",
    help="Option of the strategy.",
)  # fmt: skip
budget = together(
    click.option("--params-min", type=count, help="Fewest parameters, instead of what the space or the run says."),
    click.option("--params-max", type=count, help="Most parameters (30M)."),
    click.option("--flops-min", type=count, help="Fewest FLOPs (2 x MACs) for one sample."),
    click.option("--flops-max", type=count, help="Most FLOPs (10G)."),
)


def scoring(batch_size: int, init: str) -> Decorator:
    """How networks are scored, wherever they are: images, initial weights, options of the proxies, the device."""
    return together(
        click.option(
            "--batch-size", type=click.IntRange(1, 2**20), default=batch_size, show_default=True,
            help="Images for the proxies.",
        ),
        input_option,
        click.option(
            "--option", "options", multiple=True, callback=options_of_proxies, metavar="[PROXY.]NAME=VALUE",
            help="Option of the proxies, or of one of them: vkdnw.scalars=2.",
        ),
        click.option(
            "--init", default=init, show_default=True,
            help="Initial weights: own (what the networks say), xavier_normal, ...",
        ),
        device_option,
    )  # fmt: skip


trust_option = click.option(
    "--trust", is_flag=True, help="Accept what the folder names outside of it: paths, data, an executor."
)


def limits(one: str) -> Decorator:
    """What `one`, a candidate or a network, may take, and what becomes of it where it takes more."""
    return together(
        click.option("--time-limit", type=click.FloatRange(0, min_open=True), help=f"Seconds for one {one}."),
        click.option("--memory-limit", type=count, help="Bytes for one process (4G)."),
        click.option(
            "--retry", default="", callback=reasons, metavar="REASONS",
            help="Score again those that failed for one of these reasons: memory,time.",
        ),
        trust_option,
        click.option("--any-version", is_flag=True, help="Go on with what another version of this software began."),
    )  # fmt: skip


watching = together(
    click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard into the folder, too."),
    click.option("--wandb", metavar="PROJECT", help="Log to a project of Weights & Biases, too."),
)
events_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per event.")


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
