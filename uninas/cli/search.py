"""`uninas search` and `uninas resume`: options, one call, one print."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uninas.cli.config import read_config, write_config
from uninas.cli.kinds import kind_of
from uninas.cli.options import (
    INTERRUPTED,
    budget,
    check_functions,
    events_option,
    limits,
    merged,
    modules_of,
    scoring,
    seed_option,
    threads_option,
    together,
    tuning_option,
    watching,
)
from uninas.runs.process import terminable
from uninas.version import __version__

if TYPE_CHECKING:
    from uninas.runs.progress import Watcher
    from uninas.search.executor import Execution
    from uninas.search.outside import Command
    from uninas.search.plan import Settings
    from uninas.search.run import Run

ITERATIONS = 50
BEGAN_IN = "began_in"  # the folder in which a run was begun
TOLD = "score"  # stands for a measure where scores are told, see Search.over
# Named here to start quickly.
STRATEGIES = "walk, random, climb, anneal, evolution, rank, nsga2, halving, surrogate, illuminate or outside"


def _configured(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """The options of a file take the place of the defaults."""
    if path is not None:
        known = {each.name: each.multiple for each in context.command.params if isinstance(each, click.Option)}
        known = {
            name: several for name, several in known.items() if name and name not in ("config", "resume", "command")
        }
        context.default_map = read_config(path, {"space": False, **known})
    return path


_SETTINGS = together(
    click.option(
        "--start",
        multiple=True,
        metavar="NETWORK|RUN[:NUMBER|:topN]",
        help="Network to start from, instead of the space's own; further ones are scored right after it. RUN is the "
        "folder of another run: its front, its candidate NUMBER, or its N best.",
    ),
    click.option(
        "--proxy", default="vkdnw", show_default=True, help="The score: a proxy, a cost like params, or latency."
    ),
    click.option(
        "--objective",
        "further",
        multiple=True,
        metavar="NAME[:higher|lower]",
        help="Another objective: a proxy, or a cost (less is better). May be given several times.",
    ),
    click.option("--cheap", multiple=True, metavar="NAME", help="For halving: a cheaper measure to sort out by first."),
    click.option("--strategy", default="climb", show_default=True, help=f"{STRATEGIES}."),
    tuning_option,
    click.option(
        "--sample-moves",
        "--even",
        "even",
        type=click.Choice(["", "rules", "moves"]),
        default="",
        metavar="rules|moves",
        help="Odds within a kind of moves: equal for all sites, or for all moves, so that a site with many has more.",
    ),
    seed_option,
    budget,
    click.option(
        "--fits",
        multiple=True,
        callback=lambda context, parameter, given: tuple(size for text in given for size in text.split(",") if size),
        metavar="SIZE[:FLOPS],...",
        help="Sizes at which every candidate must exist, too: 224,512x512,800x1280:600G (height x width).",
    ),
    click.option("--img-size", type=click.IntRange(1), help="Height and width of all inputs, instead of the start's."),
    click.option("--classes", type=click.IntRange(1), help="Number of classes, instead of the start's."),
    scoring(batch_size=8, init="own"),
    click.option("--fold", is_flag=True, help="Score equal heads as one batch: faster, but fewer weight tensors."),
    threads_option,
    click.option(
        "--in-flight",
        "--ahead",
        "ahead",
        type=click.IntRange(1),
        help="Candidates in flight at most, whatever -j; part of what decides the candidates.  [default: 64 for walk "
        "and random, else 8]",
    ),
    click.option(
        "--async", "asynchronous", is_flag=True, help="Nobody waits; candidates then depend on who is faster."
    ),
)

_EXECUTION = together(
    click.option(
        "--iterations", type=click.IntRange(1), help=f"Candidates besides the start.  [default: {ITERATIONS}]"
    ),
    click.option("-j", "--jobs", type=click.IntRange(0), help="Worker processes; 0 for none.  [default: 1]"),
    click.option("--executor", default="local", show_default=True, help="local, or ray."),
    click.option("--address", default="", help="Of a Ray cluster; default: one on this machine."),
    limits("candidate"),
    watching,
    events_option,
    click.option(
        "--command", default="", help="For outside: the program that is asked for candidates, as for a shell."
    ),
)


@click.command()
@click.argument("space", default="")
@click.option(
    "--config", type=click.Path(path_type=Path), is_eager=True, callback=_configured, help="Options from a YAML file."
)
@_SETTINGS
@_EXECUTION
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder, as it was begun.")
def search(output: Path, resume: bool, **options: Any) -> None:
    """Search SPACE (a path or a name) for architectures, starting from a network, within budgets.

    Everything is kept in the folder given by -o. The same command run again goes on where it stopped.
    """
    _search(output, resume, options)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_EXECUTION
def resume(folder: Path, **options: Any) -> None:
    """Go on with the run in FOLDER, a search or a training, as it was begun."""
    from uninas.cli.train import resume_training
    from uninas.errors import error

    kind = kind_of([folder])
    if kind == "ranking":
        raise error("UNI070", f"{folder} is a ranking, which goes on by another command", None,
                    f"uninas rank --resume --trust -o {folder}")  # fmt: skip
    if kind == "training":
        watched = {name: options[name] for name in ("tensorboard", "wandb", "as_json", "trust")}
        if other := _given(options).keys() - watched.keys():
            raise click.UsageError(f"a training goes on as it was begun, without --{min(other).replace('_', '-')}")
        resume_training(folder, **watched)
        return
    with _where_it_began(folder, options["trust"]) as there:
        _search(there, True, options)


def _search(output: Path, resume: bool, options: dict[str, Any]) -> None:
    from uninas.runs.progress import watched
    from uninas.search.events import begun, ended, scored

    asked = _resolved(output, resume, options)
    if options.get("retry"):
        _again(output, asked, options)
    with terminable(), _open(output, asked, options) as run:
        try:
            with watched(_watcher(run, options), begun(run, asked.goal), partial(ended, run)) as watcher:
                for candidate in run.candidates(asked.goal):
                    watcher.step(scored(run, asked.goal, candidate))
        except KeyboardInterrupt:
            run.executor.close()
            _report(run, options["as_json"])
            sys.exit(INTERRUPTED)
        _report(run, options["as_json"])


def _again(output: Path, asked: Asked, options: Mapping[str, Any]) -> None:
    """Score candidates again that have failed, before the search hears of them."""
    from uninas.runs.progress import say, say_event

    with terminable(), _open(output, asked, options) as run:
        for candidate in run.again(options["retry"]):
            if options["as_json"]:
                say_event("again", number=candidate.number, score=candidate.score, reason=candidate.reason)
            else:
                say(f"number {candidate.number} again: {candidate.failure or f'score {candidate.score:.4f}'}")


@contextmanager
def _where_it_began(folder: Path, trust: bool) -> Iterator[Path]:
    """Let relative paths mean what they did when the run was begun, if that place is still there; yields the run's."""
    began = _stored(folder).get(BEGAN_IN, "") if trust else ""
    if not isinstance(began, str) or not began or not Path(began).is_dir() or Path.cwd() == Path(began):
        yield folder
        return
    folder = folder.absolute()
    with chdir(began):
        yield folder


def _stored(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder; none where there is none."""
    from uninas.search.store import FILE, Store

    if not (folder / FILE).is_file():
        return {}
    with Store(folder, read_only=True) as store:
        return store.settings


@dataclass(frozen=True)
class Asked:
    """What is asked for, or what the run was begun with where nothing else is asked for."""

    settings: Settings
    execution: Execution
    goal: int
    """How many candidates."""
    texts: Mapping[str, Any]
    """Of the space, as the run has kept them."""


def _resolved(output: Path, resume: bool, options: Mapping[str, Any]) -> Asked:
    from uninas.errors import error
    from uninas.search.executor import Execution
    from uninas.search.plan import Settings

    stored = _stored(output)
    if resume and not stored:
        raise error("UNI070", f"there is no run in {output} to resume", None, "begin one: uninas search SPACE -o ...")
    if not resume and not options["space"]:
        raise click.UsageError("name a space: uninas search spaces/uninas.uni -o runs/first")
    options, given = _with_starts(options), _with_starts(_given(options))
    settings = merged(Settings, options, given, stored if resume else {})
    execution = merged(Execution, options, given, _execution(stored, options) if resume else {})
    goal = options["iterations"] or (resume and stored.get("iterations")) or ITERATIONS
    if not isinstance(goal, int) or goal < 1:
        raise error("UNI070", f"the run in {output} has no number of candidates", None, "name it: --iterations")
    texts = stored.get("texts") if resume and not given.keys() & {"space", "start"} else None
    if resume and settings.proxy == TOLD:
        hint = "go on there: Search.over(..., folder=...)"
        raise error("UNI070", f"a program in Python scores the candidates of {output}", None, hint)
    if resume and not options["trust"]:
        check_paths(settings, texts or {}, given)
        check_functions(_measures(settings, {"proxy", "further", "cheap"} - given.keys()))
    return Asked(settings, execution, goal, texts if isinstance(texts, dict) else {})


def _execution(stored: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """How a run was executed last time. Where it computes, and whom it calls there, is only taken from it on trust."""
    found = stored.get("execution")
    found = dict(found) if isinstance(found, dict) else {}
    if not options["trust"]:
        elsewhere = found.pop("executor", "local"), found.pop("address", "")
        if elsewhere != ("local", "") and not options["address"] and options["executor"] == "local":
            click.echo("it was executed elsewhere; here it goes on, on this machine (see --trust)", err=True)
    return found


def check_paths(settings: Settings, texts: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """What is read besides the folder of the run is named by the user, not by the run, which may be a stranger's."""
    from uninas.errors import error, shown
    from uninas.scores.input_sources import from_files
    from uninas.search.texts import is_path

    outside = [
        value
        for name, value in (("space", settings.space), ("start", settings.start))
        if name not in given and is_path(value) and not texts.get(name)
    ]
    if "start" not in given and not texts.get("starts"):
        outside += settings.starts
    if "images" not in given:
        outside += from_files(settings.images)
    if outside:
        raise error(
            "UNI070",
            f"the run reads {shown(outside[0], 200)}, which is not in its folder",
            None,
            "if you know what that is, accept it with --trust",
        )


def _measures(settings: Settings, names: Iterable[str] = ("proxy", "further", "cheap")) -> list[str]:
    """The names of what these settings measure, without directions."""
    from uninas.scores.objectives import Objective

    asked = {"proxy": (settings.proxy,), "further": settings.further, "cheap": settings.cheap}
    return [Objective.read(text).name for name in names for text in asked[name]]


def _with_starts(options: Mapping[str, Any]) -> dict[str, Any]:
    """The first start, and the further ones."""
    named = options.get("start", ())
    first = {"start": named[0] if named else "", "starts": tuple(named[1:])} if "start" in options else {}
    return {**options, **first}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that somebody gave, on the command line or in a file."""
    context = click.get_current_context()
    sources = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP)
    return {name: value for name, value in options.items() if context.get_parameter_source(name) in sources}


@contextmanager
def _open(output: Path, asked: Asked, options: Mapping[str, Any]) -> Iterator[Run]:
    """The run in the folder, with somebody to score."""
    from uninas import plugins
    from uninas.search.executor import make_executor
    from uninas.search.plan import make_plan
    from uninas.search.run import Run
    from uninas.search.strategies import strategy_named

    strategy_named(asked.settings.strategy)
    foreign = [name for name in _measures(asked.settings) if ":" in name]
    if foreign:
        plugins.use(modules_of(foreign).values())  # so that every worker has them, and the run remembers them
    plan = make_plan(asked.settings, asked.texts)
    with ExitStack() as ends:
        proposer = _proposer(output, asked.settings.strategy, options)
        if proposer:
            ends.callback(proposer.close)
        executor = make_executor(plan.recipe, asked.execution)
        ends.callback(executor.close)
        with Run(output, plan, executor, any_version=options["any_version"], proposer=proposer) as run:
            if options["command"]:
                run.store.put({"command": options["command"]})
            place = {BEGAN_IN: str(Path.cwd())} if BEGAN_IN not in run.store.settings else {}
            run.store.put({"iterations": asked.goal, "execution": dataclasses.asdict(asked.execution), **place})
            _write_configuration(run, asked, options)
            jobs = asked.execution.jobs or 0
            if jobs > run.search.ahead and not asked.settings.asynchronous:
                click.echo(f"only {run.search.ahead} of {jobs} workers have work: see --in-flight", err=True)
            yield run


def _proposer(output: Path, strategy: str, options: Mapping[str, Any]) -> Command | None:
    """Who is asked for candidates. A command that stands in the folder of a run is only started on the user's word."""
    from uninas.errors import error, shown
    from uninas.search.outside import Command

    given = options["command"]
    if strategy != "outside":
        if given:
            raise error(
                "UNI071", f"expected no command for {strategy}", None, "write: --strategy outside --command ..."
            )
        return None
    stored = _stored(output).get("command") if not given else None
    if isinstance(stored, str) and stored:
        if not options["trust"]:
            hint = f"it was begun with {shown(stored, 200)}: name it again with --command, or accept it with --trust"
            raise error("UNI071", "the run asks a program outside for candidates, which you have not named", None, hint)
        given = stored
    return Command(given) if given else None


def _write_configuration(run: Run, asked: Asked, options: Mapping[str, Any]) -> None:
    """config.yaml: what was given at first; resolved.yaml: what that came to, last time."""
    if not len(run) or not (run.folder / "config.yaml").exists():
        hidden = ("output", "config", "as_json", "retry", "trust", "command")
        given = {name: value for name, value in _given(options).items() if name not in hidden}
        write_config(run.folder / "config.yaml", given, "As given. Again: uninas search --config config.yaml -o FOLDER")
    resolved = {**run.plan.as_dict(), **dataclasses.asdict(asked.execution), "iterations": asked.goal,
                "ahead": run.search.ahead, "objectives": run.store.rungs, "version": __version__}  # fmt: skip
    del resolved["further"]
    write_config(run.folder / "resolved.yaml", resolved, "What config.yaml and the defaults came to.")


def _watcher(run: Run, options: Mapping[str, Any]) -> Watcher:
    from uninas.runs.progress import loggers, watcher_for

    further = loggers(run.folder, options["tensorboard"], options["wandb"], run.store.settings.get("wandb"),
                      lambda session: run.store.put({"wandb": session}))  # fmt: skip
    return watcher_for(options["as_json"], further=further)


def _report(run: Run, as_json: bool) -> None:
    from uninas.report.files import write_report
    from uninas.runs.progress import say, say_event

    for path in write_report(run):
        if as_json:
            say_event("file", path=str(path))
        else:
            say(f"wrote {path}")
