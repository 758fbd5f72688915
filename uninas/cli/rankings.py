"""`uninas status`, `top` and `compare` for rankings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uninas.cli.options import merged
from uninas.cli.tables import json_text, table, terminal_width, written
from uninas.errors import error, shown
from uninas.ranking.report import FIGURES, Scores, finite
from uninas.ranking.run import Settings
from uninas.ranking.store import Store
from uninas.report.ranking import cell, figures_of
from uninas.runs.progress import number, say

if TYPE_CHECKING:
    from collections.abc import Iterator


def ranking_status(folder: Path, as_json: bool) -> None:
    """How far a ranking is: networks with all scores, by data set, and why scores failed."""
    with Store(folder, read_only=True) as store:
        settings = _settings(store)
        parts = [Scores(store, settings, name) for name in settings.names]
        running = store.being_written
    found = {
        "folder": str(folder),
        "table": settings.table,
        "space": settings.space,
        "proxies": list(settings.proxies),
        "seeds": settings.seeds,
        "complete": {part.dataset: len(part.networks) for part in parts},
        "of": {part.dataset: len(part.networks) + part.missing for part in parts},
        "failed": {
            proxy: {reason: sum(part.reasons[proxy][reason] for part in parts) for reason in part.reasons[proxy]}
            for part in parts for proxy in settings.components if part.reasons[proxy]
        },
        "seconds_each": {proxy: float(np.mean([part.seconds[proxy] for part in parts]))
                         for proxy in settings.components},
        "running": running,
    }  # fmt: skip
    say(json_text(found) if as_json else "\n".join(f"{name:<10} {value}" for name, value in _spoken(found)))


def _spoken(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    missing = any(found["complete"][name] < found["of"][name] for name in found["of"])
    yield "ranking", f"{found['folder']}: {found['table']}{' of ' * bool(found['space'])}{found['space']}"
    go_on = f"not running; to go on: uninas rank --resume --trust -o {found['folder']}"
    yield "state", "running" if found["running"] else go_on if missing else "finished"
    for name, complete in found["complete"].items():
        yield "networks", f"{complete:,} of {found['of'][name]:,} with all scores on {name}"
    failed = [f"{count:,} of {proxy}: {shown(reason, 100)}" for proxy, reasons in found["failed"].items()
              for reason, count in reasons.items()]  # fmt: skip
    yield "failed", "; ".join(failed[:8]) + f"; and {len(failed) - 8} more reasons" * (len(failed) > 8) or "none"
    yield "time", ", ".join(f"{proxy} {seconds:.3g} s" for proxy, seconds in found["seconds_each"].items())


def ranking_top(folder: Path, count: int, as_json: bool) -> None:
    """The networks that the first proxy puts on top, with their accuracy, on the first data set."""
    with Store(folder, read_only=True) as store:
        settings = _settings(store)
        scores = Scores(store, settings, settings.names[0])
    first, ways = settings.proxies[0], settings.proxies
    values = {name: scores.of(name).mean(axis=0) for name in ways}
    order = np.argsort(-scores.merits(first).mean(axis=0), kind="stable")[:count]
    rows = [
        finite({"key": one.key, "architecture": one.architecture, "accuracy": one.accuracy, "params": one.params,
                "scores": {name: float(values[name][place]) for name in ways}})
        for place, one in ((int(place), scores.networks[place]) for place in order)
    ]  # fmt: skip
    if as_json:
        say(json_text(rows))
        return
    heads = [*ways, f"accuracy on {scores.dataset}", "parameters", "index", "network"]
    cells = [[*(number(row["scores"][name]) for name in ways), number(row["accuracy"]),
              "" if row["params"] is None else f"{row['params']:,}", row["key"],
              shown(row["architecture"].partition("\n")[0], 60)] for row in rows]  # fmt: skip
    say(table(heads, cells, terminal_width()))


def compare_rankings(folders: Sequence[Path], as_json: bool, form: str | None) -> None:
    """Kendall's tau of every score on every data set, with its interval, a column for each ranking."""
    told = {folder: figures_of(folder)[0] for folder in folders}
    labels = {folder: folder.name if len({one.name for one in folders}) == len(folders) else str(folder)
              for folder in folders}  # fmt: skip
    if as_json:
        say(json_text({labels[folder]: results for folder, results in told.items()}))
        return
    taus = {(str(one.get("dataset")), str(one.get("proxy")), folder): cell(one, "kendall")
            for folder, results in told.items() for one in results}  # fmt: skip
    lines = dict.fromkeys((dataset, proxy) for dataset, proxy, _ in taus)
    heads = ["data set", "Kendall's tau of", *labels.values()]
    cells = [[*line, *(taus.get((*line, folder), "") for folder in folders)] for line in lines]
    say(written(form, heads, cells) if form else table(heads, cells, terminal_width()))
    if not form:
        say(f"brackets: 95 % intervals, from the networks of each ranking alone ({FIGURES})")


def _settings(store: Store) -> Settings:
    """What a ranking was begun with."""
    stored = store.settings
    if not {"table", "proxies", "datasets"} <= stored.keys():
        raise error("UNI070", f"the ranking in {shown(store.path.parent)} does not say what it ranks")
    settings: Settings = merged(Settings, {}, {}, stored)
    return settings
