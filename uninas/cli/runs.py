"""`uninas status`, `uninas top` and `uninas compare`: looking at runs, finished or not, without disturbing them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from uninas.cli.kinds import kind_of
from uninas.cli.options import json_option
from uninas.cli.tables import json_text, table, terminal_width
from uninas.errors import error
from uninas.runs.process import csv_text, write_text
from uninas.runs.progress import duration, number, say
from uninas.search.candidate import Candidate
from uninas.search.store import Store, origin

_folder = click.argument("folder", type=click.Path(path_type=Path))


@click.command()
@_folder
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Say how far the run in FOLDER is: a search, a training or a ranking."""
    kind = kind_of([folder])
    if kind == "training":
        from uninas.cli.train import training_status

        training_status(folder, as_json)
        return
    if kind == "ranking":
        from uninas.cli.rankings import ranking_status

        ranking_status(folder, as_json)
        return
    with Store(folder, read_only=True) as store:
        found = state(store)
    say(json_text(found) if as_json else "\n".join(f"{name:<12} {value}" for name, value in spoken(found)))


@click.command()
@_folder
@click.option("-n", "--count", type=click.IntRange(1, 10**9), default=10, show_default=True, help="How many.")
@click.option("--pareto", is_flag=True, help="Those that no other beats in all objectives, instead.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write them to as .uni files.")
@json_option
def top(folder: Path, count: int, pareto: bool, output: Path | None, as_json: bool) -> None:
    """List the best candidates of the search in FOLDER, or the networks that a ranking there puts on top."""
    kind = kind_of([folder])
    if kind == "training":
        raise error("UNI070", f"{folder} is the training of one network", None, f"uninas status {folder}")
    if kind == "ranking":
        from uninas.cli.rankings import ranking_top

        if pareto or output:
            raise click.UsageError("--pareto and -o are of searches; a ranking lists its networks by the first score")
        ranking_top(folder, count, as_json)
        return
    with Store(folder, read_only=True) as store:
        found = _best(store, count, pareto)
        objectives = store.objectives
        if output:
            _write(store, [candidate for candidate, _ in found], output)
    if as_json:
        say(json_text([entry(candidate, value, objectives) for candidate, value in found]))
        return
    heads, rows = _listing(found, objectives)
    say(table(heads, rows, terminal_width()))


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to", "form", type=click.Choice(["markdown", "csv", "latex"]), help="As a table to paste; not of searches."
)
@click.option("--means", is_flag=True, help="Means over the seeds of searches, and differences seed by seed.")
@click.option("--curves", type=click.Path(path_type=Path), help="File for the best score by candidate: .csv, .svg, ...")
@json_option
def compare(folders: Sequence[Path], form: str | None, means: bool, curves: Path | None, as_json: bool) -> None:
    """Set the runs in FOLDERS side by side: searches, trainings, or rankings."""
    kind = kind_of(folders)
    if kind == "training":
        from uninas.cli.train import compare_trainings

        compare_trainings(folders, as_json, form)
        return
    if kind == "ranking":
        from uninas.cli.rankings import compare_rankings

        compare_rankings(folders, as_json, form)
        return
    if curves:
        _write_curves(folders, curves)
    if means:
        _say_means(folders, as_json)
        return
    found = []
    for folder in folders:
        with Store(folder, read_only=True) as store:
            found.append(summary(folder, store))
    if as_json:
        say(json_text(found))
        return
    heads = list(found[0])
    say(table(heads, [[_short(one[head]) for head in heads] for one in found], terminal_width()))


# ---- what they say ---------------------------------------------------------------------------------------------------


def state(store: Store) -> dict[str, Any]:
    """How far a run is, as plain values.

    Takes no longer for a large run than for a small one, unless its best is that by all objectives together.
    """
    settings, totals = store.settings, store.totals()
    done = sum(total.candidates for total in totals)
    first = min((total.first for total in totals), default=0.0)
    last = max((total.last for total in totals), default=0.0)
    best = _best(store, 1, False)
    return {
        "folder": str(store.path.parent),
        "space": settings.get("space"),
        "strategy": settings.get("strategy"),
        "objectives": store.objectives,
        "candidates": max(0, done - 1),
        "of": count_or_none(settings.get("iterations")),
        "failed": {total.reason: total.candidates for total in totals if total.reason},
        "rejected": store.refusals(),
        "best": entry(*best[0], store.objectives) if best else None,
        "scoring_seconds": sum(total.seconds for total in totals),
        "wall_seconds": max(0.0, last - first),
        "last_change": last,
        "running": store.being_written,
        "bytes": store.path.stat().st_size,
    }


def spoken(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The state of a run in words."""
    names = " and ".join(f"{name} ({direction} is better)" for name, direction in found["objectives"])
    failed = ", ".join(f"{count} {reason}" for reason, count in found["failed"].items()) or "none"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in found["rejected"].items())
    rejected = f"{sum(found['rejected'].values()):,} moves rejected" + (f" ({reasons})" if reasons else "")
    best = found["best"]
    per_hour = found["candidates"] / found["wall_seconds"] * 3600 if found["wall_seconds"] > 0 else 0
    ago = duration(time.time() - found["last_change"]) if found["last_change"] else "never"
    doing = "running" if found["running"] else f"not running; to go on: uninas resume {found['folder']}"
    finished = found["of"] is not None and found["candidates"] >= found["of"]
    return [
        ("run", f"{found['folder']}: {found['space']}, {found['strategy']}, {names}"),
        ("state", "finished" if finished and not found["running"] else doing),
        ("candidates", f"{found['candidates']:,} of {found['of'] or 0:,}; {rejected}"),
        ("failed", failed),
        ("best", f"{number(best['score'])}, number {best['number']}: {best['edit']}" if best else "none yet"),
        ("time", f"{duration(found['scoring_seconds'])} of scoring in {duration(found['wall_seconds'])}"
         f"; {per_hour:,.0f} candidates per hour; last change {ago} ago"),
        ("database", f"{found['bytes'] / 1e6:,.1f} MB"),
    ]  # fmt: skip


def entry(candidate: Candidate, value: float | None, objectives: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A candidate as plain values."""
    return {
        "number": candidate.number,
        "score": candidate.score,
        "ordered_by": value,
        "objectives": {name: candidate.components.get(name) for name, _ in objectives[1:]},
        "params": candidate.params,
        "flops": candidate.flops,
        "parent": candidate.parent,
        "edit": origin(candidate),
        "key": candidate.key,
    }


def summary(folder: Path, store: Store) -> dict[str, Any]:
    """One run as a row for comparing it with others."""
    found, settings = state(store), store.settings
    best = found["best"] or {}
    return {
        "run": folder.name,
        "space": Path(str(settings.get("space"))).stem,
        "strategy": found["strategy"],
        "by": "+".join(name for name, _ in found["objectives"]),
        "seed": settings.get("seed"),
        "candidates": found["candidates"],
        "failed": sum(found["failed"].values()),
        "best": best.get("score"),
        "at": best.get("number"),
        "params": best.get("params"),
        "flops": best.get("flops"),
        "seconds": found["scoring_seconds"],
    }


def _say_means(folders: Sequence[Path], as_json: bool) -> None:
    from uninas.search.compared import differences, groups, means

    found = groups(folders)
    rows, pairs = means(found), differences(found)
    if as_json:
        say(json_text({"means": rows, "differences": pairs}))
        return
    heads = ["group", "seeds", "candidates", "score", "mean", "standard_error", "best"]
    say(table([head.replace("_", " ") for head in heads], [[_short(row[h]) for h in heads] for row in rows],
              terminal_width()))  # fmt: skip
    if pairs:
        cells = [
            [f"{one['of']} less {one['less']}", str(one["seeds"]), number(one["mean"]),
             f"{number(one['low'])} to {number(one['high'])}", f"{one['better_in']:.0%}"]
            for one in pairs
        ]  # fmt: skip
        say("\n" + table(["difference", "seeds", "mean", "95% interval", "better in"], cells, terminal_width()))


def _write_curves(folders: Sequence[Path], path: Path) -> None:
    from functools import partial

    from uninas.report.plots import curves as draw
    from uninas.runs.process import written
    from uninas.search.compared import groups, table_of_curves

    found = groups(folders)
    rows = table_of_curves(found)
    if path.suffix == ".csv":
        write_text(path, csv_text([("group", "candidate", "mean", "standard_error"), *rows]))
    else:
        written(path, partial(draw, rows=rows, score=found[0].score))
    say(f"wrote {path}")


def _best(store: Store, count: int, pareto: bool) -> list[tuple[Candidate, float | None]]:
    if pareto:
        return [(candidate, candidate.score) for candidate in store.front()[:count]]
    if not store.ranked_together:
        return [(candidate, candidate.score) for candidate in store.best(count=count)]
    from uninas.search import top as tops  # here, because it loads numpy, which takes longer than all the rest

    return list(tops.top(store, count))


def _listing(
    found: Sequence[tuple[Candidate, float | None]], objectives: Sequence[tuple[str, str]]
) -> tuple[list[str], list[list[str]]]:
    ranks = [value for candidate, value in found if value != candidate.score]
    heads = [*(["sum of ln rank"] if ranks else []), *(name for name, _ in objectives), "parameters", "FLOPs", "number"]
    rows = [
        [
            *([number(value)] if ranks else []),
            *(number(candidate.components.get(name)) if place else number(candidate.score)
              for place, (name, _) in enumerate(objectives)),
            f"{candidate.params:,}", f"{candidate.flops:,}", str(candidate.number), origin(candidate),
        ]
        for candidate, value in found
    ]  # fmt: skip
    return [*heads, "origin"], rows


def _write(store: Store, candidates: Sequence[Candidate], output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        for candidate in candidates:
            head = f"# Candidate {candidate.number} of {store.path.parent}: {number(candidate.score)}"
            write_text(output / f"{candidate.number}.uni", f"{head}\n{store.text(candidate.number)}")
    except OSError as problem:
        raise error("UNI100", f"cannot write to {output}: {problem.strerror or problem}") from None


def count_or_none(value: object) -> int | None:
    """An integer; what somebody has put in place of one counts as missing."""
    return value if isinstance(value, int) else None


def _short(value: object) -> str:
    return number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value or "")
