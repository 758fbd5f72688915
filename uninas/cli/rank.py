"""`uninas rank`: options, one call, one print."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uninas.cli.options import input_option
from uninas.runs.process import terminable

if TYPE_CHECKING:
    from uninas.ranking.progress import Watcher
    from uninas.ranking.run import Settings

REPORTED = {"proxies", "datasets", "limit", "seeds"}  # what a report may take a part of
INTERRUPTED = 130  # what a shell reports after Ctrl-C


def _listed(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    """a,b -> ('a', 'b')"""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _options(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """vkdnw.max_tensors=32 -> {'vkdnw': {'max_tensors': 32}}"""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        proxy, dot, option = name.partition(".")
        if not (equals and dot and option):
            raise click.BadParameter(f"expected PROXY.NAME=VALUE, but got {text!r}")
        try:
            found.setdefault(proxy, {})[option] = json.loads(value)
        except (ValueError, RecursionError):
            found.setdefault(proxy, {})[option] = value
    return found


@click.command()
@click.argument("space", default="")
@click.option("--table", default="", help="CSV file with a column of architectures and one of accuracies per data set.")
@click.option(
    "--proxy",
    "proxies",
    default="vkdnw_single",
    callback=_listed,
    show_default=True,
    help="Proxies, with commas between. An aggregate is named (vkdnw_agg) or written a+b+c.",
)
@click.option(
    "--datasets",
    default="c10",
    callback=_listed,
    show_default=True,
    help="Data sets, with commas between: c10, c100, in16, or others like mine:3x64x64:5.",
)
@click.option("--limit", type=click.IntRange(2), help="Networks to draw from the table.  [default: all]")
@click.option("--sample-seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the drawing.")
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="How many times to score, each with other weights and images.",
)
@click.option("--where", default="", help="Keep only rows where this column is neither empty nor 0 (valid9445).")
@click.option("--architecture", default="", help="Column of the architectures.  [default: arch_str and the like]")
@click.option("--accuracy", default="", help="Columns of the accuracies, as {}_test.  [default: found by the names]")
@click.option("--index", default="index", show_default=True, help="Column of the keys.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Number of images.")
@input_option
@click.option(
    "--init", default="kaiming_normal_fan_in", show_default=True, help="Initial weights; own for what the networks say."
)
@click.option(
    "--option", "options", multiple=True, callback=_options, metavar="PROXY.NAME=VALUE", help="Option of a proxy."
)
@click.option("--device", default="cpu", show_default=True, help="Where to score: cpu, cuda (all GPUs), cuda:1.")
@click.option(
    "-j",
    "--jobs",
    "workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes. The scores are the same, however many.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the ranking.")
@click.option("--resume", is_flag=True, help="Go on with the ranking in the folder, as it was begun.")
@click.option("--metrics-only", is_flag=True, help="Compute no scores; report those that are in the folder.")
@click.option(
    "--bootstrap",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Drawings for the confidence intervals; 0 for none.",
)
@click.option(
    "--compare",
    multiple=True,
    metavar="[DATASET=]CSV",
    help="Published scores, with a column per proxy and a column index.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per event.")
def rank(
    output: Path, resume: bool, metrics_only: bool, workers: int, bootstrap: int, compare: Sequence[str],
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Score the networks of a table, members of SPACE (a path or a name), and see how well proxies rank them.

    Without SPACE the table holds .uni files or names of shipped networks. Everything is kept in the folder given by -o.
    The same command run again goes on where it stopped; with more networks, proxies or seeds it adds what is missing.
    """
    from uninas.ranking.report import published

    settings = _settings(output, resume, metrics_only, options)
    compared = published(compare, settings.names)  # what is wrong with it is told before any work
    status = 0 if metrics_only else _score(output, settings, workers, as_json)
    blank = _report(output, settings, bootstrap, compared, as_json, status == INTERRUPTED)
    for proxy, dataset in blank:
        click.echo(f"{proxy} has no score for any network on {dataset}: the reason is above", err=True)
    sys.exit(status or bool(blank))


def _settings(output: Path, resume: bool, report: bool, options: dict[str, Any]) -> Settings:
    """The settings asked for; to resume or report, those that are not given are as the ranking was begun."""
    from uninas.errors import error
    from uninas.ranking.run import Settings
    from uninas.ranking.store import FILE, Store

    if not (resume or report):
        if not options["table"]:
            raise click.UsageError("name a table: uninas rank nasbench201 --table cells.csv -o ranks/first")
        return Settings(**options)
    stored: dict[str, Any] = {}
    if (output / FILE).is_file():
        with Store(output) as store:
            stored = store.settings
    if not stored:
        raise error("UNI070", f"there is no ranking in {output}", None, "without --resume a new one is begun")
    context = click.get_current_context()
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    if report and given.keys() - REPORTED:
        raise click.UsageError(f"with --metrics-only, only {', '.join(sorted(REPORTED))} may be chosen anew")
    names = [field.name for field in dataclasses.fields(Settings) if field.name in stored]
    return Settings.of({name: given.get(name, stored[name]) for name in names})


def _score(output: Path, settings: Settings, workers: int, as_json: bool) -> int:
    """Compute what is missing; returns the exit status."""
    from uninas.ranking.progress import watched
    from uninas.ranking.run import Ranking

    with terminable(), Ranking(output, settings) as ranking:
        watcher = _watcher(as_json)
        try:
            with watched(watcher, ranking):
                for done, outcome in enumerate(ranking.outcomes(workers), ranking.total - len(ranking.jobs) + 1):
                    watcher.outcome(done, ranking, outcome)
        except KeyboardInterrupt:
            click.echo(f"interrupted: to go on, uninas rank --resume -o {output}", err=True)
            return INTERRUPTED
    return 0


def _watcher(as_json: bool) -> Watcher:
    from uninas.ranking.progress import Bar, JsonEvents, Lines

    if as_json:
        return JsonEvents()
    return Bar() if sys.stdout.isatty() else Lines()


def _report(
    output: Path, settings: Settings, samples: int, compared: Mapping[str, Sequence[Path]], as_json: bool, early: bool
) -> list[tuple[str, str]]:
    """Write and print what the scores say; returns the proxies that have none, each with its data set."""
    from uninas.errors import error
    from uninas.ranking import report
    from uninas.ranking.progress import JsonEvents
    from uninas.ranking.store import Store

    with Store(output) as store:
        found, scores = report.results(store, settings, samples, compared)
    if not found and not early:
        counts = ", ".join(f"{len(part.networks)} on {name}" for name, part in scores.items())
        raise error("UNI070", f"expected at least 2 networks with all {settings.seeds} x {len(settings.components)} "
                    f"scores in {output}, but got {counts}", None, "a ranking compares networks")  # fmt: skip
    blank = [(one.proxy, one.dataset) for one in found if one.failures == one.networks]
    paths = list(report.write_files(output, found, scores, settings))
    if as_json:
        JsonEvents.say("report", files=[str(path) for path in paths], **report.as_dict(found, settings))
        return blank
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    for part in report.tables(found, scores, settings):
        console.print(part, markup=False, highlight=False)
    for path in paths:
        click.echo(f"wrote {path}")
    return blank
