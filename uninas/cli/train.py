"""`uninas train`, `evaluate` and `benchmark`: from a network to figures; and trainings in `resume` and `compare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uninas.cli.options import (
    INTERRUPTED,
    count,
    device_option,
    json_option,
    seed_option,
    trust_option,
    watching,
    whole,
    words,
)
from uninas.cli.tables import json_text, table, terminal_width, written
from uninas.runs.progress import loggers, say, watched, watcher_for

if TYPE_CHECKING:
    from uninas.training.run import Asked, TrainingRun

DIVERGED = 3
TASKS = click.Choice(["classification", "detection", "segmentation"])
EVERY = 10.0  # seconds between lines where there is no terminal


def _settings(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """lr=1e-4 -> {'lr': 0.0001}; the values are YAML's."""
    from uninas.runs.plain_yaml import yaml_value

    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, but got {text!r}")
        found[name] = yaml_value(value, "UNI130", text)
    return found


@click.command()
@click.argument("net")
@click.option("--task", type=TASKS, default="classification", show_default=True, help="What is learnt.")
@click.option("--data", required=True, help="Images and what is to be learnt of them: a folder, or an .npz file.")
@click.option("--recipe", default="micro", show_default=True, help="uninas, micro, brief, or a YAML file.")
@click.option(
    "--set", "changes", multiple=True, callback=_settings, metavar="NAME=VALUE", help="Of the recipe: lr=1e-4."
)
@seed_option
@click.option("--weights", default="", help="Begin from a training, or a .safetensors file, instead of fresh weights.")
@device_option
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of products.  [default: bf16 on GPUs]")
@click.option("--per-step", type=click.IntRange(1), help="Images of a forward pass; the rest of a batch accumulates.")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that read images.")
@click.option("--skip-bad", is_flag=True, help="Leave out boxes without an area, instead of refusing the data.")
@click.option("--memory-limit", type=count, help="Refuse a training that would need more bytes (40G).")
@watching
@json_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the training.")
def train(
    net: str, task: str, data: str, recipe: str, changes: dict[str, Any], seed: int, weights: str, device: str,
    precision: str | None, per_step: int | None, workers: int, skip_bad: bool, memory_limit: float | None, output: Path,
    **watching: Any,
) -> None:  # fmt: skip
    """Train NET, and keep everything in the folder given by -o.

    The same command run again goes on where it stopped. With torchrun, each process takes its part of every batch.
    """
    from uninas.training.recipe import Recipe
    from uninas.training.run import Asked

    chosen = Recipe.load(recipe, task)
    asked = Asked(
        net, task, data, chosen.but(**changes) if changes else chosen, seed=seed, device=device,
        precision=precision or "", per_step=per_step, weights=weights, workers=workers, skip_bad=skip_bad,
        memory_limit=memory_limit,
    )  # fmt: skip
    _train(asked, output, watching)


def resume_training(folder: Path, trust: bool, **watching: Any) -> None:
    """Go on with a training as it was begun, on the device where it was."""
    from uninas.training.run import asked_again

    _train(asked_again(folder, trust), folder, watching)


def _train(asked: Asked, folder: Path, watching: dict[str, Any]) -> None:
    from uninas.training import events
    from uninas.training.distributed import world
    from uninas.training.run import Session, keep_logged, logged_as

    run: TrainingRun | None = None
    with world(asked.device) as place:
        session = Session(asked, folder, place)
        stored = session.begin()
        if stored.outcome != "open":
            run = stored
            say("\n".join(events.said(run)))
        elif not place.first:
            session.run()
        else:
            logged = loggers(folder, watching["tensorboard"], watching["wandb"], logged_as(folder),
                             lambda session: keep_logged(folder, session))  # fmt: skip
            watcher = watcher_for(watching["as_json"], EVERY, logged)
            try:
                with watched(watcher, events.begun(session, session.done), lambda stopped: events.ended(run, stopped)):
                    run = session.run(events.Told(watcher))
            except KeyboardInterrupt:
                sys.exit(INTERRUPTED)
    if run is not None and run.outcome == "diverged":
        sys.exit(DIVERGED)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Other images with the same classes, instead of those of the training.")
@device_option
@trust_option
@json_option
def evaluate(run: Path, data: str | None, device: str, trust: bool, as_json: bool) -> None:
    """Measure a trained network, by the folder RUN of its training, on its test images."""
    from uninas.training.run import evaluate as figures_of

    found = figures_of(run, data=data, device=device, trust=trust)
    say(json_text(found) if as_json else table(["figure", "value"], [[k, f"{v:.4f}"] for k, v in found.items()], 80))


def compare_trainings(folders: Sequence[Path], as_json: bool, form: str | None) -> None:
    """Trainings side by side: seeds of the same training together as a row; then the best against every other."""
    from uninas.training.compare import compared, differences, grouped

    groups = grouped(folders)
    rows, found = compared(groups), differences(groups)
    if as_json:
        say(json_text({"trainings": rows, "differences": found}))
        return
    for some in (rows, found):
        heads = list(dict.fromkeys(name for row in some for name in row))
        cells = [[_cell(row.get(head)) for head in heads] for row in some]
        if some:
            say(written(form, heads, cells) if form else table(heads, cells, terminal_width()))
    if found and not form:
        say("low and high: 95 % interval of the differences over shared seeds (Student), for one comparison")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def training_status(folder: Path, as_json: bool) -> None:
    """How far a training is, and how it ended."""
    from uninas.training.run import TrainingRun

    run = TrainingRun.open(folder)
    epochs, last = run.settings["recipe"].get("epochs"), dict(run.metrics[-1]) if run.metrics else {}
    found = {
        "folder": str(folder), "network": run.settings["network"]["name"], "task": run.settings["task"],
        "seed": run.settings["seed"], "outcome": run.outcome, "epochs": len(run.metrics),
        "of": epochs if type(epochs) is int else None, "last_epoch": last, "figures": run.figures,
    }  # fmt: skip
    if as_json:
        say(json_text(found))
        return
    ended = {"open": f"not finished; to go on, if it does not run: uninas resume {folder}"}
    shown_last = "  ".join(f"{name} {value:.4g}" for name, value in last.items() if name != "epoch")
    say("\n".join(f"{name:<12} {value}" for name, value in [
        ("training", f"{folder}: {found['network']}, {found['task']}, seed {found['seed']}"),
        ("state", ended.get(run.outcome, run.outcome)),
        ("epochs", f"{found['epochs']} of {found['of']}"),
        ("last epoch", shown_last or "none yet"),
    ]))  # fmt: skip


@click.command()
@click.argument("nets", nargs=-1, required=True)
@click.option("--task", type=TASKS, default="classification", show_default=True, help="Decides the size and the heads.")
@click.option("--what", default="backbone", show_default=True, callback=words, help="backbone, model (with heads).")
@click.option("--batch", default="1", show_default=True, callback=words, help="Images of a pass: 1,32,best.")
@click.option(
    "--mode", "modes", default="fold", show_default=True, callback=words, help="plain,fold,fuse,optimize,compile."
)
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Of products.")
@click.option("--img-size", metavar="H[xW]", help="Height and width, instead of those of the task or the network.")
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=5.0, show_default=True, help="For each row, at least."
)
@device_option
@json_option
def benchmark(
    nets: Sequence[str], task: str, what: tuple[str, ...], batch: tuple[str, ...], modes: tuple[str, ...], dtype: str,
    img_size: str | None, seconds: float, device: str, as_json: bool,
) -> None:  # fmt: skip
    """Time NETS in inference, side by side and in turn: median, 5 and 95 %, images per second."""
    from uninas.training.benchmark import benchmark as measured

    counts: list[int | str] = []
    for word in batch:
        number = word if word == "best" else whole(word)
        if number is None:
            raise click.BadParameter(f"expected numbers or best, but got {word!r}", param_hint="--batch")
        counts.append(number)
    size = None
    if img_size:
        height, by, width = img_size.partition("x")
        sides = whole(height), whole(width if by else height)
        if not sides[0] or not sides[1]:
            raise click.BadParameter(f"expected 224 or 800x1280, but got {img_size!r}", param_hint="--img-size")
        size = sides[0], sides[1]
    rows = measured(nets, task=task, what=what, batch=counts, modes=modes, dtype=dtype, device=device, size=size,
                    seconds=seconds, warm=min(2.0, seconds))  # fmt: skip
    if as_json:
        say(json_text([row.as_dict() for row in rows]))
        return
    heads = ["network", "what", "mode", "batch", "size", "ms", "5 %", "95 %", "images/s"]
    cells = [[row.network, row.what, row.mode, str(row.batch), f"{row.height}x{row.width}", f"{row.median:.2f}",
              f"{row.low:.2f}", f"{row.high:.2f}", f"{row.images_per_second:.1f}"] for row in rows]  # fmt: skip
    say(table(heads, cells, terminal_width()))
    say(f"{rows[0].device}, torch {rows[0].torch}, {dtype}")
