"""`uninas timm`: somebody's script for timm, run with our networks among its models."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import click

from uninas.errors import did_you_mean, error, shown

NETWORK = re.compile(r"(?P<option>--?[\w-]+=)?(?P<file>[^=]+\.uni(:\w+)?)")
"""An argument that may be the file of a network, alone or behind the option it belongs to."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def timm(script: Path, arguments: tuple[str, ...]) -> None:
    """Run a SCRIPT written for timm, such as its own train.py, with our networks among timm's models.

    Shipped networks are called uninas_NAME there, as in --model uninas_resnet18. An argument that is a .uni file, or
    file.uni:NAME, becomes the name of its network: --model mine.uni. Everything after SCRIPT is the script's own.
    Several processes: torchrun --nproc-per-node 2 -m uninas timm train.py ARGUMENTS.
    """
    if not script.is_file():
        near = did_you_mean(script.name, [path.name for path in script.parent.glob("*.py")])
        raise error("UNI001", f"there is no script {shown(script, 200)}", None, near)
    if script.suffix == ".uni":
        way_out = f"uninas timm train.py --model {shown(script.name, 200)}"
        raise error("UNI001", f"expected a script, but got the network {shown(script, 200)}", None, way_out)
    from uninas.backend.timm_models import register_timm, timm_name

    found = {word: match for word in arguments if (match := NETWORK.fullmatch(word))}
    register_timm(*(match["file"] for match in found.values()))
    words = {word: f"{match['option'] or ''}{timm_name(match['file'])}" for word, match in found.items()}
    sys.argv = [str(script), *(words.get(word, word) for word in arguments)]
    sys.path[0] = str(script.resolve().parent)  # as Python does, so that the script finds its neighbours
    runpy.run_path(str(script), run_name="__main__")
