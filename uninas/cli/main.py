"""The command line: options, one call, one print. Mistakes are printed with their place, never as a traceback.

Imports that a command alone needs stand inside it, so that each starts as fast as it can; only `score`,
`search` and the exports to PyTorch and ONNX load torch.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from uninas.cli.options import (
    format_option,
    json_option,
    output_option,
    plugin_option,
    scoring,
    seed_option,
    threads_option,
    whole,
)
from uninas.errors import UninasError, error, missing, shown
from uninas.runs.process import keep_memory
from uninas.version import __version__

LAZY = {
    "mutate": "uninas.cli.walk",
    "sample": "uninas.cli.walk",
    "moves": "uninas.cli.walk",
    "apply": "uninas.cli.walk:apply_",
    "diff": "uninas.cli.draw",
    "rank": "uninas.cli.rank",
    "render": "uninas.cli.draw",
    "resume": "uninas.cli.search",
    "search": "uninas.cli.search",
    "train": "uninas.cli.train",
    "evaluate": "uninas.cli.train",
    "benchmark": "uninas.cli.train",
    "status": "uninas.cli.runs",
    "sweep": "uninas.cli.sweep",
    "timm": "uninas.cli.timm",
    "top": "uninas.cli.runs",
    "compare": "uninas.cli.runs",
    "completion": "uninas.cli.completion",
    "enqueue": "uninas.cli.joined",
    "export": "uninas.cli.export",
    "fork": "uninas.cli.joined",
    "merge": "uninas.cli.joined",
    "grammar": "uninas.cli.grammar",
    "lsp": "uninas.cli.lsp",
    "mcp": "uninas.cli.mcp",
    "check": "uninas.cli.texts",
    "fmt": "uninas.cli.texts",
    "print": "uninas.cli.texts:print_",
    "report": "uninas.cli.report",
    "view": "uninas.cli.report",
}
"""Commands that are defined elsewhere, under the same name, and loaded when they are used."""


class Commands(click.Group):
    """A group that loads some commands late and prints what a user got wrong as a diagnostic."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *LAZY])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in LAZY:
            module, _, name = LAZY[cmd_name].partition(":")
            command = getattr(import_module(module), name or cmd_name)
        if command and not any(parameter.name == "plugin" for parameter in command.params):
            command.params.append(plugin_option())
        for parameter in command.params if command else ():
            if parameter.name == "net":
                parameter.callback = import_module("uninas.cli.texts").typed_network
        if command and "_UNINAS_COMPLETE" in os.environ:
            complete = import_module("uninas.cli.completion").complete
            for parameter in command.params:
                complete(parameter, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UninasError as problem:
            click.echo(problem, err=True)
        except ModuleNotFoundError as problem:
            found = missing(problem)
            if found is None:
                raise
            click.echo(found, err=True)
        except UnicodeError as problem:  # bytes in an argument that are no text
            click.echo(error("UNI060", f"an argument is no text: {problem}"), err=True)
        except OSError as problem:
            if problem.errno == errno.EPIPE:  # whoever read has gone; click ends quietly then
                raise
            if problem.filename is not None:  # a name that is too long, a folder that may not be written
                place = shown(problem.filename, 100)
                click.echo(error("UNI001", f"cannot use {place}: {problem.strerror or problem}"), err=True)
                return ctx.exit(1)
            click.echo(error("UNI100", f"cannot write: {problem}", None, "is the disk of the output full?"), err=True)
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # so that the rest is not tried again at the end
        return ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="uninas-toolkit", prog_name="uninas")
def cli() -> None:
    """Write, cost, draw, score and search neural architectures as short readable text.

    NET stands for the name of a shipped network (uninas blocks lists them), a .uni file, file.uni:NAME, or - for a
    text on standard input.
    """


def main() -> None:
    """The entry point `uninas`."""
    keep_memory()
    cli()


# ---- views of an architecture ----------------------------------------------------------------------------------------


@cli.command()
@click.argument("net")
@click.option("--depth", type=click.IntRange(1, 20), default=1, show_default=True, help="Levels of blocks to list.")
@click.option("--img-size", type=click.IntRange(1), help="Height and width of the images, instead of the network's.")
@click.option("--shapes", is_flag=True, help="Print the text, with the shape of what flows after every step.")
@click.option("--memory", is_flag=True, help="Say what rows write, keep for training, and need at one time, not costs.")
@format_option
@json_option
def summary(net: str, depth: int, img_size: int | None, shapes: bool, memory: bool, form: str, as_json: bool) -> None:
    """Print shapes and costs of NET, section by section; of a space, its choices, its size and what members cost.

    Costs are for one sample; FLOPs are 2 x multiply-accumulates.
    """
    from uninas import load
    from uninas.cli.tables import json_text, space_text, summary_rows, summary_text, terminal_width, written
    from uninas.graph.summary import summarize

    as_json = as_json or form == "json"
    if shapes:
        from uninas.language.library import find
        from uninas.lsp.text import with_shapes

        click.echo(with_shapes(find(net)[0].file.source))
        return
    if (about := _space(net)) is not None:
        click.echo(json_text(about) if as_json else space_text(about, terminal_width()))
        return
    found = summarize(load(net, img_size=img_size), depth)
    if form in ("text", "json"):
        click.echo(json_text(found.as_dict()) if as_json else summary_text(found, terminal_width(), memory=memory))
    else:
        click.echo(written(form, *summary_rows(found)))


@cli.command()
@click.argument("net")
@click.option("--proxy", default="vkdnw", show_default=True, help="One proxy or several: vkdnw,naswot. See proxies.")
@seed_option
@scoring(batch_size=8, init="own")
@click.option("--img-size", type=click.IntRange(1), help="Height and width of the images, instead of the network's.")
@click.option("--classes", type=click.IntRange(1), help="Number of classes, instead of the network's.")
@click.option("--fold", is_flag=True, help="Equal heads as one batch: faster, but fewer weight tensors.")
@threads_option
@click.option(
    "--repeats",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Mean over so many seeds, from --seed on.",
)
@format_option
@json_option
def score(net: str, proxy: str, form: str, as_json: bool, **options: Any) -> None:
    """Score NET without training it.

    Where one of several proxies fails, the others are still printed, and the exit status is 1.
    """
    from uninas.cli.tables import json_text, score_rows, score_text, written
    from uninas.runs.scorer import scored

    names = list(dict.fromkeys(name.strip() for name in proxy.split(",") if name.strip()))
    if not names:
        raise click.UsageError("name a proxy: --proxy vkdnw")
    found = scored(net, names, **options)
    if form in ("text", "json"):
        click.echo(json_text(found) if as_json or form == "json" else score_text(found))
    else:
        click.echo(written(form, *score_rows(found)))
    if found["failures"]:
        sys.exit(1)


# ---- what there is ---------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("name", required=False)
@json_option
def ops(name: str | None, as_json: bool) -> None:
    """List all operations, or explain the one called NAME."""
    from uninas.cli.tables import columns, json_text, operation_text, terminal_width
    from uninas.ops.reference import entry, listing

    if as_json:
        click.echo(json_text(entry(name) if name else [entry(each["name"]) for each in listing()]))
    elif name:
        click.echo(operation_text(entry(name), terminal_width()))
    else:
        click.echo(columns(["operation", "family", ""], [list(each.values()) for each in listing()], terminal_width()))


@cli.command()
@json_option
def blocks(as_json: bool) -> None:
    """List the shipped networks, spaces and blocks."""
    from uninas.cli.tables import definitions_text, json_text, terminal_width

    found = shipped_definitions()
    click.echo(json_text(found) if as_json else definitions_text(found, terminal_width()))


@cli.command()
@click.argument("name", required=False)
@json_option
def proxies(name: str | None, as_json: bool) -> None:
    """List what networks are scored and ranked by, or explain the one called NAME."""
    from uninas.cli.tables import json_text, proxies_text, proxy_text, terminal_width
    from uninas.proxies import entry, listing

    if as_json:
        click.echo(json_text(entry(name) if name else listing()))
    else:
        click.echo(proxy_text(entry(name), terminal_width()) if name else proxies_text(listing(), terminal_width()))


@cli.command()
@json_option
def plugins(as_json: bool) -> None:
    """List the plug-ins in use, and what each of them brings."""
    from uninas.cli.tables import columns, json_text, terminal_width
    from uninas.plugins import brought, loaded

    found = [{"plugin": name, "version": version, "brings": brought(name)} for name, version in loaded().items()]
    if as_json:
        click.echo(json_text(found))
    elif not found:
        click.echo("no plug-ins: install a package that has some, or name a module: --plugin my_package")
    else:
        rows = [
            [str(one["plugin"]), str(one["version"]) or "-",
             "; ".join(f"{kind} {', '.join(names)}" for kind, names in one["brings"].items()) or "nothing"]  # type: ignore[attr-defined]
            for one in found
        ]  # fmt: skip
        click.echo(columns(["plug-in", "version", "brings"], rows, terminal_width()))


# ---- other formats ---------------------------------------------------------------------------------------------------


@cli.command(name="import")
@click.argument("source")
@click.option("--input", "shape", help="Shape of one input, C x H x W, instead of the model's own: 3x224x224.")
@click.option("--weights", type=click.Path(path_type=Path), help="Safetensors file for the weights as they are now.")
@click.option("--partial", is_flag=True, help="Let parts that are drawn and counted stand for what has no operation.")
@output_option
def import_(source: str, shape: str | None, weights: Path | None, partial: bool, output: Path | None) -> None:
    """Turn a network from elsewhere into text.

    SOURCE is timm:NAME, torchvision:NAME, MODULE:CALLABLE (which is called), a file model.onnx, the file of
    `uninas export --to py`, or a model JSON of the published UniNAS. Beside -o NET.uni, NET.names.json says under which
    name the original keeps each weight.
    """
    from uninas.backend.sources import read
    from uninas.backend.trace import names_json, saved

    sizes = _sizes(shape) if shape else None
    found = read(source, sizes, run=True, partial=partial)
    if weights is not None:
        saved(found.imported, found.module, weights)
    write(found.text, output)
    if found.imported and output is not None:
        write(names_json(found.imported), output.with_suffix(".names.json"))


def _sizes(text: str) -> tuple[int, ...]:
    """3x224x224 -> (3, 224, 224)"""
    parts = text.replace(" ", "").split("x")
    sizes = tuple(size for part in parts if (size := whole(part)))
    if len(sizes) != len(parts) or len(parts) > 3:
        raise click.BadParameter(f"expected C x H x W, but got {text!r}", param_hint="--input")
    return sizes


def _space(source: str) -> dict[str, Any] | None:
    """A search space with open choices as plain values; None for what is none."""
    from uninas.language.elaborate import space
    from uninas.language.library import find
    from uninas.mutate.choices import ChoiceWalk
    from uninas.space.sampled import described

    module, name = find(source)
    if module.definitions[name].kind != "space":
        return None
    found = space(module, name)
    return described(found, ChoiceWalk(found, found.budget).sample) if found.choices or found.nested else None


# ---- what the commands call ------------------------------------------------------------------------------------------


def counted(kinds: Iterable[str]) -> str:
    """'3 blocks, 1 network'"""
    found = list(kinds)
    numbers = [(kind, found.count(kind)) for kind in dict.fromkeys(found)]
    return ", ".join(f"{number} {kind}{'s' * (number != 1)}" for kind, number in numbers) or "nothing defined"


def shipped_definitions() -> list[dict[str, str]]:
    """Name, kind, module and first sentence of everything in the built-in library."""
    from uninas.language.library import load_file
    from uninas.language.resources import library_root
    from uninas.ops.reference import sentence

    root = library_root()
    order = {"networks": 0, ".": 1, "blocks": 2}
    files = sorted(root.rglob("*.uni"), key=lambda file: (order.get(file.parent.relative_to(root).as_posix(), 3), file))
    return [
        {
            "name": definition.name.text,
            "kind": definition.kind,
            "module": ".".join(file.relative_to(root).with_suffix("").parts),
            "doc": sentence(definition.doc),
        }
        for file in files
        for definition in load_file(file).definitions.values()
        if definition.kind != "block" or file.parent.name == "blocks"  # elsewhere blocks serve their own file
    ]


# ---- printing --------------------------------------------------------------------------------------------------------


def write(content: str | bytes, output: Path | None) -> None:
    """To a file, or to standard output."""
    if output is None:
        click.echo(content, nl=False)
    else:
        write_file(output, content.encode() if isinstance(content, str) else content)
        click.echo(f"wrote {output}")


def write_file(path: Path, content: bytes) -> None:
    """The content into a file. Raises UNI100 where it cannot be written."""
    try:
        path.write_bytes(content)
    except OSError as problem:
        raise error("UNI100", f"cannot write {path}: {problem.strerror or problem}") from None
