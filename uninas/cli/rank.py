"""`uninas rank`: options, one call, one print."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uninas.cli.config import read_config
from uninas.cli.options import INTERRUPTED, check_functions, events_option, limits, merged, scoring, whole, words
from uninas.errors import error, shown, visible
from uninas.runs.process import terminable

if TYPE_CHECKING:
    from uninas.ranking.run import Settings

PROTOCOL = ("space", "where", "proxies", "datasets", "limit", "sample_seed", "seeds", "metric", "batch_size", "images",
            "init", "options")  # fmt: skip
"""What a protocol may say."""
REPORTED = {"proxies", "datasets", "limit", "seeds"}  # what a report may take a part of
KINDS = ("forest", "process")  # of scores.learned, which needs numpy
EVERY = 30.0  # seconds between lines


def _numbers(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """16,64 -> (16, 64)"""
    numbers = [whole(word, 2, 10**6) for word in words(context, parameter, text)]
    if None in numbers:
        raise click.BadParameter(f"expected numbers of labels from 2 on, but got {text!r}")
    return tuple(number for number in numbers if number)


def _followed(context: click.Context, parameter: click.Parameter, name: str) -> str:
    """What a protocol says counts where nothing is said on the command line; returns its name and its digest."""
    if not name:
        return ""
    from uninas.language.resources import protocols_root

    shipped = {file.stem: file for file in protocols_root().glob("*.yaml")}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise error("UNI010", f"expected a protocol, but got {shown(name)}", None,
                    f"there are {', '.join(sorted(shipped))}; or name a YAML file")  # fmt: skip
    multiple = {each.name: each.multiple for each in context.command.params if each.name and hasattr(each, "multiple")}
    said = read_config(path, {name: multiple.get(name, False) for name in PROTOCOL})
    context.default_map = said
    return f"{path.stem} {sha256(repr(sorted(said.items())).encode()).hexdigest()[:8]}"


def _changed(context: click.Context) -> str:
    """What is said on the command line instead of by the protocol, as words behind its name."""
    source = click.core.ParameterSource.COMMANDLINE
    names = [name for name in PROTOCOL if context.get_parameter_source(name) is source]
    return f", changed in {', '.join(names)}" if names else ""


@click.command()
@click.argument("space", default="")
@click.option(
    "--protocol",
    "by",
    default="",
    is_eager=True,
    callback=_followed,
    metavar="NAME|FILE",
    help="Follow a protocol: space, rows, proxies, seeds, images, initial weights by a YAML file (nb201-vkdnw).",
)
@click.option("--table", default="", help="CSV file with a column of architectures and one of accuracies per data set.")
@click.option(
    "--proxy",
    "proxies",
    default="vkdnw_single",
    callback=words,
    show_default=True,
    help="Proxies, with commas between. An aggregate is named (vkdnw_agg) or written a+b+c.",
)
@click.option(
    "--datasets",
    default="c10",
    callback=words,
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
@click.option(
    "--metric",
    type=click.Choice(("percent", "raw", "lower")),
    default="percent",
    show_default=True,
    help="What the numbers are: accuracies in percent; or any, of which more (raw) or less (lower) is better.",
)
@click.option("--index", default="index", show_default=True, help="Column of the keys.")
@scoring(batch_size=64, init="kaiming_normal_fan_in")
@click.option(
    "-j",
    "--jobs",
    "workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes. The scores are the same, however many.",
)
@limits("network")
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
@click.option(
    "--fit",
    "labels",
    default="",
    callback=_numbers,
    metavar="N,N",
    help="Learn from so many accuracies, with the scores as features, and rank the other networks.",
)
@click.option("--model", type=click.Choice(KINDS), default="forest", show_default=True, help="What learns.")
@events_option
def rank(
    output: Path, resume: bool, trust: bool, metrics_only: bool, bootstrap: int, compare: Sequence[str],
    labels: Sequence[int], model: str, as_json: bool, any_version: bool, **options: Any,
) -> None:  # fmt: skip
    """Score the networks of a table, members of SPACE (a path or a name), and see how well proxies rank them.

    Without SPACE the table holds .uni files or names of shipped networks. Everything is kept in the folder given by -o.
    The same command run again goes on where it stopped; with more networks, proxies or seeds it adds what is missing.
    """
    from uninas.ranking.report import published

    if options["by"]:
        options["by"] += _changed(click.get_current_context())
    how = {name: options.pop(name) for name in ("workers", "time_limit", "memory_limit", "retry")}
    how["any_version"] = any_version
    settings = _settings(output, resume, metrics_only, trust, options)
    compared = published(compare, settings.names)  # what is wrong with it is told before any work
    status = 0 if metrics_only else _score(output, settings, how, as_json)
    blank = _report(output, settings, bootstrap, compared, as_json, status == INTERRUPTED, (labels, model))
    for proxy, dataset in blank:
        click.echo(f"{proxy} has no score for any network on {dataset}: the reason is above", err=True)
    sys.exit(status or bool(blank))


def _settings(output: Path, resume: bool, report: bool, trust: bool, options: dict[str, Any]) -> Settings:
    """The settings asked for; to resume or report, those that are not given are as the ranking was begun."""
    from uninas.ranking.run import Settings
    from uninas.ranking.store import FILE, Store

    if not (resume or report):
        if not options["table"]:
            raise click.UsageError("name a table: uninas rank nasbench201 --table cells.csv -o ranks/first")
        return Settings(**options)
    stored: dict[str, Any] = {}
    if (output / FILE).is_file():
        with Store(output, read_only=True) as store:
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
    settings: Settings = merged(Settings, {}, given, stored)
    if not report and not trust:
        _check_paths(settings, given)
        if "proxies" not in given and any(":" in name for name in settings.components):
            check_functions(settings.components)
    return settings


def _check_paths(settings: Settings, given: Mapping[str, Any]) -> None:
    """What is read is named by the user, not by the folder, which may be a stranger's."""
    from uninas.scores.input_sources import from_files

    outside = [settings.table] if "table" not in given else []
    outside += [settings.space] if "space" not in given and settings.space.endswith(".uni") else []
    outside += from_files(settings.images) if "images" not in given else []
    if outside:
        raise error("UNI070", f"the ranking reads {shown(outside[0], 200)}, which is not in its folder", None,
                    "if you know what that is, name it again, or accept it with --trust")  # fmt: skip


def _score(output: Path, settings: Settings, how: Mapping[str, Any], as_json: bool) -> int:
    """Compute what is missing; returns the exit status."""
    from uninas.ranking.events import begun, ended, scored
    from uninas.ranking.run import Ranking
    from uninas.runs.progress import watched, watcher_for

    with terminable(), Ranking(output, settings, ("crash", *how["retry"]), any_version=how["any_version"]) as ranking:
        try:
            outcomes = ranking.outcomes(how["workers"], time_limit=how["time_limit"], memory_limit=how["memory_limit"])
            with watched(watcher_for(as_json, EVERY), begun(ranking), ended) as watcher:
                for done, outcome in enumerate(outcomes, ranking.total - len(ranking.jobs) + 1):
                    watcher.step(scored(ranking, done, outcome))
        except KeyboardInterrupt:
            click.echo(f"interrupted: to go on, uninas rank --resume --trust -o {output}", err=True)
            return INTERRUPTED
    return 0


def _report(
    output: Path,
    settings: Settings,
    samples: int,
    compared: Mapping[str, Sequence[Path]],
    as_json: bool,
    early: bool,
    fit: tuple[Sequence[int], str],
) -> list[tuple[str, str]]:
    """Write and print what the scores say; returns the proxies that have none, each with its data set."""
    from uninas.ranking import report
    from uninas.ranking.store import Store
    from uninas.report.ranking import write_page
    from uninas.runs.progress import say, say_event

    with Store(output, read_only=True) as store:
        found, scores = report.results(store, settings, samples, compared)
    if not found and not early:
        counts = ", ".join(f"{len(part.networks)} on {name}" for name, part in scores.items())
        raise error("UNI070", f"expected at least 2 networks with all {settings.seeds} x {len(settings.components)} "
                    f"scores in {output}, but got {counts}", None, "a ranking compares networks")  # fmt: skip
    blank = [(one.proxy, one.dataset) for one in found if one.failures == one.networks]
    learned = report.taught(scores, settings, *fit)
    paths = [*report.write_files(output, found, scores, settings), write_page(output)]
    if as_json:
        further = {"learned": [asdict(one) for one in learned]} if learned else {}
        say_event("report", files=[str(path) for path in paths], **report.as_dict(found, settings), **further)
        return blank
    from rich.console import Console

    console = Console(width=None if sys.stdout is not None and sys.stdout.isatty() else 200)
    for part in report.tables(found, scores, settings):
        console.print(visible(part) if isinstance(part, str) else part, markup=False, highlight=False)
    for line in report.taught_lines(learned, settings):
        say(line)
    for path in paths:
        say(f"wrote {path}")
    return blank
