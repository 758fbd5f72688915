"""`uninas search`: options, one call, one print."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from uninas.search.plan import Settings
    from uninas.search.progress import Watcher
    from uninas.search.run import Run

ITERATIONS = 50
INTERRUPTED = 130  # what a shell reports after Ctrl-C


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


def _options(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """max_tensors=32 -> {'max_tensors': 32}"""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
        if not equals or isinstance(found[name], dict):
            raise click.BadParameter(f"expected NAME=VALUE, but got {text!r}")
    return found


@click.command()
@click.argument("space", default="")
@click.option("--start", default="", help="Network to start from: a name or a path. Default: the space's own.")
@click.option("--proxy", default="vkdnw", show_default=True, help="What to score by: a proxy, or a cost like params.")
@click.option("--strategy", default="walk", show_default=True, help="walk, climb or evolution.")
@click.option("--iterations", type=click.IntRange(1), help=f"Candidates besides the start.  [default: {ITERATIONS}]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Equal seeds, equal candidates.")
@click.option("--params-min", type=count, help="Fewest parameters, instead of what the space says.")
@click.option("--params-max", type=count, help="Most parameters (30M).")
@click.option("--flops-min", type=count, help="Fewest FLOPs (2 x MACs) for one sample.")
@click.option("--flops-max", type=count, help="Most FLOPs (10G).")
@click.option("--img-size", type=click.IntRange(1), help="Height and width of the input, instead of the start's.")
@click.option("--classes", type=click.IntRange(1), help="Number of classes, instead of the start's.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images for the proxy.")
@click.option(
    "--fold", is_flag=True, help="Score equal attention heads as one batch: faster, but fewer weight tensors."
)
@click.option(
    "--option", "options", multiple=True, callback=_options, metavar="NAME=VALUE", help="Option of the proxy."
)
@click.option("--device", default="cpu", show_default=True, help="Where to score: cpu, cuda, ...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder, as it was begun.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per event.")
def search(output: Path, resume: bool, as_json: bool, iterations: int | None, **options: Any) -> None:
    """Search SPACE (a path or a name) for architectures, starting from a network, within budgets.

    Everything is kept in the folder given by -o. The same command run again goes on where it stopped.
    """
    from uninas.search.progress import watched

    settings, before = _settings(output, resume, options)
    goal = iterations or before or ITERATIONS
    with _terminable(), _open(output, settings, goal) as run:
        try:
            watcher = _watcher(as_json)
            with watched(watcher, run, goal):
                for candidate in run.candidates(goal):
                    watcher.candidate(run, candidate)
        except KeyboardInterrupt:
            _report(run, as_json)
            sys.exit(INTERRUPTED)
        _report(run, as_json)


def _settings(output: Path, resume: bool, options: dict[str, Any]) -> tuple[Settings, int | None]:
    """The settings asked for, or those that the run was begun with; and how many candidates were wanted then."""
    from uninas.errors import error
    from uninas.search.plan import Settings
    from uninas.search.store import FILE, Store

    stored: dict[str, Any] = {}
    if (output / FILE).is_file():
        store = Store(output)
        stored = store.settings
        store.close()
    if not resume:
        if not options["space"]:
            raise click.UsageError("name a space: uninas search spaces/uninas.uni -o runs/first")
        return Settings(**options), None
    if not stored:
        raise error("UNI070", f"there is no run in {output} to resume", None, "without --resume a new one is begun")
    context = click.get_current_context()
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    names = [field.name for field in dataclasses.fields(Settings) if field.name in stored]
    return Settings(**{name: given.get(name, stored[name]) for name in names}), stored.get("iterations")


@contextmanager
def _open(output: Path, settings: Settings, goal: int) -> Iterator[Run]:
    """The run in the folder, with the score function that the settings name."""
    from uninas.search.plan import make_plan
    from uninas.search.run import Run, cost_score
    from uninas.space import METRICS

    plan = make_plan(settings)
    if settings.proxy in METRICS:
        run = Run(output, plan, cost_score(settings.proxy))
    else:
        from uninas.search.scoring import ProxyScore  # here, because it loads torch

        score = ProxyScore(
            settings.proxy,
            settings.batch_size,
            fold=settings.fold,
            options=settings.options,
            device=settings.device,
        )
        run = Run(output, plan, score, lower_is_better=score.lower_is_better)
    with run:
        run.store.put({"iterations": goal})
        yield run


def _watcher(as_json: bool) -> Watcher:
    from uninas.search.progress import Bar, JsonEvents, Lines

    if as_json:
        return JsonEvents()
    return Bar() if sys.stdout.isatty() else Lines()


def _report(run: Run, as_json: bool) -> None:
    from uninas.search.progress import JsonEvents
    from uninas.search.report import write_report

    for path in write_report(run):
        if as_json:
            JsonEvents.say("file", path=str(path))
        else:
            click.echo(f"wrote {path}")


@contextmanager
def _terminable() -> Iterator[None]:
    """A polite kill stops a run as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
