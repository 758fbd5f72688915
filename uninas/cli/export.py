"""`uninas export`: a network for other programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from uninas.cli.options import output_option
from uninas.errors import error
from uninas.graph import Graph

FOLDERS = ("hf",)
FILES = ("safetensors",)


@click.command()
@click.argument("net")
@click.option(
    "--to", "form", required=True, help="uninas-json, py, onnx, dot, mermaid, safetensors, hf, or that of a plug-in."
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights: .safetensors, or the folder of a training.")
@click.option("--img-size", type=click.IntRange(1), help="Height and width of the images, instead of the network's.")
@click.option("--dynamic", is_flag=True, help="For onnx: height and width are free, too, where the network allows it.")
@output_option
def export(net: str, form: str, weights: Path | None, img_size: int | None, dynamic: bool, output: Path | None) -> None:
    """Write NET, or a candidate of a run (RUN, RUN:12), for other programs.

    uninas-json is the model JSON of the published UniNAS toolkit, py a plain PyTorch module, onnx a model with a free
    batch size, dot a Graphviz text, mermaid a diagram for READMEs, safetensors a file of weights that says which
    network they are for, and hf a folder that timm.create_model("local-dir:...") and repositories of models take.
    """
    from uninas.cli.main import write

    if form in (*FOLDERS, *FILES) and output is None:
        raise click.UsageError(f"say where: -o {'FOLDER' if form in FOLDERS else 'FILE'}")
    if weights is not None and form not in ("onnx", *FOLDERS, *FILES):
        raise error("UNI060", f"expected no weights for {form}", None, "onnx, safetensors and hf have them")
    graph, found = _graph(net, img_size)
    if form == "hf" and output:
        _write_folder(graph, output, weights, found)
    elif form == "safetensors" and output:
        from uninas.backend.hub import to_safetensors
        from uninas.runs.process import written

        written(output, partial(to_safetensors, graph, weights=weights))
        click.echo(f"wrote {output}")
    elif form == "onnx" and (weights is not None or dynamic):
        from uninas.backend.export import to_onnx
        from uninas.backend.hub import with_weights_of

        write(to_onnx(graph, model=with_weights_of(graph, weights), any_size=dynamic), output)
    else:
        write(exporter(form)(graph), output)


def _write_folder(graph: Graph, folder: Path, weights: Path | None, found: dict[str, str]) -> None:
    from uninas.backend.hub import DIAGRAM, to_folder
    from uninas.render import render

    to_folder(graph, folder, weights=weights, found=found)
    render(graph, folder / DIAGRAM)
    click.echo(f"wrote {folder}: timm.create_model('local-dir:{folder}', pretrained=True)")


def _graph(net: str, img_size: int | None) -> tuple[Graph, dict[str, str]]:
    """A network, or a candidate of a run with how it was found."""
    from uninas import load
    from uninas.search.starts import is_run, parted

    if not is_run(net):
        return load(net, img_size=img_size), {}
    from uninas.graph.resolve import at_size
    from uninas.search.opened import open_run

    folder, part = parted(net)
    if part.startswith("top"):
        raise error("UNI071", f"expected one candidate, but got {net}", None, "RUN stands for the best, RUN:12 for one")
    with open_run(folder) as run:
        candidate = run.store[int(part)] if part else run.best
        graph, settings = run.graph(candidate.number), run.settings
        objectives = run.store.objectives
    found: dict[str, Any] = {
        "found by": f"`uninas search {settings.get('space')} --strategy {settings.get('strategy')} "
        f"--proxy {settings.get('proxy')} --seed {settings.get('seed')}`, candidate {candidate.number}",
        **{name: f"{candidate.score if at == 0 else candidate.components.get(name)}"
           for at, (name, _) in enumerate(objectives)},
    }  # fmt: skip
    return (graph if img_size is None else at_size(graph, (img_size, img_size))), found


def exporter(form: str) -> Callable[[Graph], str | bytes]:
    """The function that writes a graph in a format. Raises UNI010 for a format that nobody writes."""
    from uninas.interop.formats import EXPORTERS

    found = EXPORTERS.find(form, *FOLDERS, *FILES)
    if callable(found):
        return found
    function: Callable[[Graph], str | bytes] = getattr(import_module(found[0]), found[1])
    return function
