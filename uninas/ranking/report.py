"""What the scores say: metrics for every data set and proxy, as a table, as files, and as scatter plots.

Failed scores rank last, behind all others. Files appear whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uninas.errors import error
from uninas.ranking.metrics import METRICS, Floats, Interval, bootstrap, measured, spearman
from uninas.ranking.run import Settings, aggregate
from uninas.ranking.store import Network, Store
from uninas.ranking.table import Sheet
from uninas.runs.process import csv_text, write_text, written
from uninas.scores.aggregate import parts_of, ranked
from uninas.scores.learned import held_out

if TYPE_CHECKING:
    from rich.console import RenderableType

FIGURES, SCORES = "metrics.json", "scores.csv"
SHOWN_FAILURES = 5  # reasons listed below a table


@dataclass(frozen=True)
class Figure:
    """A metric: its mean over the seeds, their standard deviation, and a 95 % interval of the mean."""

    mean: float
    deviation: float
    interval: Interval | None
    per_seed: Sequence[float]


@dataclass(frozen=True)
class Result:
    """How well one proxy ranks the networks on one data set."""

    dataset: str
    proxy: str
    networks: int
    failures: int
    """Networks without a score, with any of the seeds."""
    seconds: float
    """Mean time of one score."""
    metrics: Mapping[str, Figure]
    compared: Mapping[str, float] = field(default_factory=dict)
    """Spearman's correlation of the first seed's scores with published ones, by the name of their file."""


class Scores:
    """The scores on one data set of the networks that are complete: scored by every proxy with every seed.

    Raises UNI070 where a proxy never scored here.
    """

    def __init__(self, store: Store, settings: Settings, dataset: str):
        self.dataset, self.directions = dataset, store.directions
        unknown = set(settings.components) - self.directions.keys()
        if unknown:
            raise error("UNI070", f"there are no scores of {', '.join(sorted(unknown))} here", None,
                        f"there are scores of {', '.join(self.directions)}")  # fmt: skip
        networks = store.networks(dataset, settings.limit)
        wanted = {(seed, proxy) for seed in range(settings.seeds) for proxy in settings.components}
        found: dict[int, dict[tuple[int, str], tuple[float, float]]] = {}
        self.reasons: dict[str, Counter[str]] = {proxy: Counter() for proxy in settings.components}
        for line, seed, proxy, value, _, failure, seconds in store.scores(dataset):
            if (seed, proxy) in wanted:
                found.setdefault(line, {})[seed, proxy] = math.nan if value is None else value, seconds
                if failure is not None:
                    self.reasons[proxy][failure] += 1
        self.networks: list[Network] = [one for one in networks if len(found.get(one.line, ())) == len(wanted)]
        self.missing = len(networks) - len(self.networks)
        self.percent, self.sign = settings.metric == "percent", -1 if settings.metric == "lower" else 1
        self.accuracies = np.array([one.accuracy for one in self.networks])
        """As the table has them; times `sign`, more is better."""
        lines, seeds = [one.line for one in self.networks], range(settings.seeds)
        pairs = {
            proxy: np.array([[found[line][seed, proxy] for line in lines] for seed in seeds]).reshape(
                settings.seeds, len(lines), 2
            )
            for proxy in settings.components
        }
        self.values: dict[str, Floats] = {proxy: pair[..., 0] for proxy, pair in pairs.items()}
        """(seeds, networks) for every single proxy; NaN where it failed."""
        self.seconds = {proxy: float(pair[..., 1].mean()) if lines else 0.0 for proxy, pair in pairs.items()}

    def of(self, name: str) -> Floats:
        """The scores by a proxy or an aggregate as it gives them; NaN where it, or all components, failed."""
        together = aggregate(name, self.directions)
        if together is None:
            return self.values[name]
        parts = [self.values[part] for part in together.components]
        sums = [together.values({part: self.values[part][seed] for part in together.components})
                for seed in range(len(parts[0]))]  # fmt: skip
        return np.where(np.isnan(parts).all(axis=0), np.nan, np.array(sums))

    def merits(self, name: str) -> Floats:
        """The same as ranks, 1 the worst, so that more is better; what failed shares the lowest."""
        lower = self.directions.get(name) == "lower"
        return np.array([ranked(row, "lower" if lower else "higher") for row in self.of(name)])


def results(
    store: Store, settings: Settings, samples: int, compare: Mapping[str, Sequence[Path]], seed: int = 0
) -> tuple[list[Result], dict[str, Scores]]:
    """The metrics of every proxy on every data set, with bootstrap intervals from `samples` drawings (0: none)."""
    gathered = {name: Scores(store, settings, name) for name in settings.names}
    return [
        _result(scores, proxy, samples, compare.get(dataset, ()), seed)
        for dataset, scores in gathered.items()
        if len(scores.networks) > 1
        for proxy in settings.proxies
    ], gathered


def _result(scores: Scores, proxy: str, samples: int, compare: Sequence[Path], seed: int) -> Result:
    values, merits = scores.of(proxy), scores.merits(proxy)
    truth, percent = scores.accuracies * scores.sign, scores.percent
    per_seed = [measured(row, truth, percent=percent) for row in merits]
    # The same drawings for every proxy, so that their intervals can be compared.
    drawn = bootstrap(merits, truth, samples, np.random.default_rng(seed), percent=percent) if samples else {}
    figures = {}
    for name in METRICS:
        sign = scores.sign if name == "best" else 1  # it is a number of the table
        numbers = [sign * float(found[name][0]) for found in per_seed]
        deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
        interval = drawn.get(name)
        if interval is not None and sign < 0:
            interval = Interval(-interval.high, -interval.low)
        figures[name] = Figure(float(np.mean(numbers)), deviation, interval, numbers)
    compared = {path.name: found for path in compare if (found := _agreement(scores, proxy, values[0], path))}
    failures = int(np.isnan(values).any(axis=0).sum())
    seconds = sum(scores.seconds[part] for part in parts_of(proxy))
    return Result(scores.dataset, proxy, len(scores.networks), failures, seconds, figures, compared)


# ---- learned from labels ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taught:
    """How well a predictor that learned from some networks ranks the others: Kendall's tau over several drawings."""

    dataset: str
    model: str
    labels: int
    networks: int
    """On which it was measured, of one drawing."""
    kendall: float
    deviation: float
    """Of tau, over the drawings."""


def taught(
    scores: Mapping[str, Scores], settings: Settings, counts: Sequence[int], model: str, drawings: int = 10
) -> list[Taught]:
    """Curves over numbers of labels: features are the scores of all proxies, means over their seeds.

    Networks that a predictor learned from never count. Raises UNI110 where a data set has too few networks.
    """
    found = []
    for dataset, part in scores.items():
        rows = np.array([part.values[name].mean(axis=0) for name in settings.components]).T
        labels = part.accuracies * part.sign
        for count in counts:
            if count > len(labels) - 2:
                raise error("UNI110", f"expected at most {len(labels) - 2} labels of the {len(labels)} networks on "
                            f"{dataset}, but got {count}", None, "others must be left to be ranked")  # fmt: skip
        generator = np.random.default_rng(settings.sample_seed)
        for count, (predicted, rests) in held_out(rows, labels, counts, drawings, model, generator).items():
            taus = [
                float(measured(row[rest], labels[rest], percent=part.percent)["kendall"][0])
                for row, rest in zip(predicted, rests, strict=True)
            ]
            spread = float(np.std(taus, ddof=1))
            found.append(Taught(dataset, model, count, len(labels) - count, float(np.mean(taus)), spread))
    return found


def taught_lines(found: Sequence[Taught], settings: Settings) -> Iterator[str]:
    """The curves as text, named for what they are: learned from labels."""
    if found:
        yield f"learned from labels, by a {found[0].model} on {', '.join(settings.components)}:"
    for one in found:
        yield (
            f"  {one.dataset}: {one.labels} labels, Kendall {one.kendall:.3f} ±{one.deviation:.3f} "
            f"on {one.networks} others"
        )


# ---- beside published scores -----------------------------------------------------------------------------------------

PUBLISHED = {"nwot": "naswot"}
"""Columns of published scores that we call differently."""


def published(given: Sequence[str], datasets: Sequence[str]) -> dict[str, list[Path]]:
    """Files of published scores by data set: 'c10=scores.csv', or a file whose name ends in _c10."""
    found: dict[str, list[Path]] = {}
    for text in given:
        name, equals, path = text.rpartition("=")
        if not equals:
            name = next((one for one in datasets if Path(text).stem.endswith(f"_{one}")), "")
            name = datasets[0] if not name and len(datasets) == 1 else name
        if name not in datasets:
            raise error("UNI110", f"expected one of the data sets {', '.join(datasets)} for {path}", None,
                        f"write --compare {datasets[0]}={path}")  # fmt: skip
        Sheet(Path(path)).column("index", (), "an index")  # raises what is wrong
        found.setdefault(name, []).append(Path(path))
    return found


def _agreement(scores: Scores, proxy: str, values: Floats, path: Path) -> float | None:
    """Spearman's correlation with the column of the same name; None where there is none."""
    sheet = Sheet(path)
    key = sheet.column("index", (), "an index")
    names = [name for name in sheet.header if proxy in (name, PUBLISHED.get(name))]
    if not names:
        return None
    place = sheet.columns[names[0]]
    published = {cells[key]: sheet.number(line, place) for line, cells in enumerate(sheet.rows)}
    pairs = [
        (value, published[network.key])
        for value, network in zip(values, scores.networks, strict=True)
        if math.isfinite(value) and network.key in published
    ]
    if len(pairs) < 2:
        return None
    ours, theirs = np.array(pairs).T
    return spearman(ours, theirs)


# ---- on a terminal ---------------------------------------------------------------------------------------------------


def tables(found: Sequence[Result], scores: Mapping[str, Scores], settings: Settings) -> Iterator[RenderableType]:
    """A table for every data set, and what is to be said about it."""
    from rich import box
    from rich.table import Table

    for dataset, part in scores.items():
        title = f"{dataset}: {len(part.networks)} networks, {settings.seeds} seed{'s' * (settings.seeds > 1)}"
        title += f", by {settings.by}" * bool(settings.by)
        rows = [result for result in found if result.dataset == dataset]
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("proxy", overflow="fold")
        unit = " %" * part.percent
        heads = ["Kendall", "Spearman", "nDCG", f"best{unit}", f"regret{unit}", "failed", "seconds"]
        heads += ["published"] * any(result.compared for result in rows)
        for head in heads:
            table.add_column(head, justify="right")
        for result in rows:
            cells = [_shown(result.metrics[name], 3 if name in METRICS[:3] else 2) for name in METRICS]
            published = " ".join(f"{number:.3f}" for number in result.compared.values())
            table.add_row(
                result.proxy, *cells, str(result.failures), f"{result.seconds:.3g}", *[published][: len(heads) - 7]
            )
        if rows:
            yield table
        yield from (*_remarks(part), "")


def _remarks(scores: Scores) -> Iterator[str]:
    if scores.missing:
        yield f"{scores.dataset}: {scores.missing} networks are not scored yet, and left out"
    for proxy, reasons in scores.reasons.items():
        for reason, count in reasons.most_common(SHOWN_FAILURES):
            yield f"{proxy} failed {count} times (ranked last): {reason}"


def _shown(figure: Figure, digits: int) -> str:
    """0.618 ±0.004, and below it 0.601 .. 0.634"""
    if math.isnan(figure.mean):
        return "-"
    text = f"{figure.mean:.{digits}f}"
    if len(figure.per_seed) > 1:
        text += f" ±{figure.deviation:.{digits}f}"
    if figure.interval is not None:
        text += f"\n{figure.interval.low:.{digits}f} .. {figure.interval.high:.{digits}f}"
    return text


# ---- files -----------------------------------------------------------------------------------------------------------


def write_files(
    folder: Path, found: Sequence[Result], scores: Mapping[str, Scores], settings: Settings
) -> Iterator[Path]:
    """Write scores.csv, metrics.csv, metrics.json and a plot for each data set; yields their paths."""
    yield write_text(folder / SCORES, scores_csv(scores, settings))
    yield write_text(folder / "metrics.csv", metrics_csv(found))
    figures = json.dumps(as_dict(found, settings), indent=2, allow_nan=False)
    yield write_text(folder / FIGURES, f"{figures}\n")
    for dataset, part in scores.items():
        if len(part.networks) > 1:
            yield written(
                folder / f"scores_{dataset}.png",
                partial(plot, part, [result for result in found if result.dataset == dataset]),
            )


def as_dict(found: Sequence[Result], settings: Settings) -> dict[str, Any]:
    """Settings and results as plain values; None where a metric does not exist."""
    return {"settings": settings.as_dict(), "results": [finite(dataclasses.asdict(result)) for result in found]}


def finite(value: Any) -> Any:
    """Plain values with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def scores_csv(scores: Mapping[str, Scores], settings: Settings) -> str:
    """One line per network, data set and seed; one column per proxy and aggregate, empty where it failed."""
    names = tuple(dict.fromkeys((*settings.proxies, *settings.components)))
    rows: list[list[object]] = [["index", "architecture", "dataset", "accuracy", "params", "macs", "seed", *names]]
    for dataset, part in scores.items():
        columns = np.array([part.of(name) for name in names])
        for place, network in enumerate(part.networks):
            for seed in range(settings.seeds):
                numbers = ["" if math.isnan(value) else repr(float(value)) for value in columns[:, seed, place]]
                rows.append([network.key, network.architecture, dataset, network.accuracy, network.params, network.macs,
                             seed, *numbers])  # fmt: skip
    return csv_text(rows)


def metrics_csv(found: Sequence[Result]) -> str:
    """One line per data set and proxy."""
    parts = ("mean", "deviation", "low", "high")
    head = [f"{name}_{part}" for name in METRICS for part in parts]
    rows: list[list[object]] = [["dataset", "proxy", "networks", "failures", "seconds", *head]]
    for result in found:
        figures: list[object] = []
        for name in METRICS:
            figure = result.metrics[name]
            ends = (figure.interval.low, figure.interval.high) if figure.interval else (None, None)
            figures += [figure.mean, figure.deviation, *ends]
        rows.append([result.dataset, result.proxy, result.networks, result.failures, result.seconds, *figures])
    return csv_text(rows)


def plot(scores: Scores, found: Sequence[Result], path: Path) -> None:
    """Score against accuracy, for every proxy, with the first seed."""
    from matplotlib.figure import Figure as Canvas  # without pyplot: no display, no global state

    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    canvas = Canvas(figsize=(4 * columns, 3.2 * lines), layout="constrained")
    for number, result in enumerate(found, 1):
        axes = canvas.add_subplot(lines, columns, number)
        size = min(20.0, max(3.0, 4000 / len(scores.networks)))
        axes.scatter(scores.of(result.proxy)[0], scores.accuracies, s=size, alpha=0.5, linewidths=0)
        axes.set(xlabel=result.proxy, ylabel=f"accuracy on {scores.dataset} (%)" if scores.percent else scores.dataset)
        axes.set_title(f"Spearman {result.metrics['spearman'].per_seed[0]:.3f}", fontsize="medium")
        axes.grid(alpha=0.3)
    canvas.savefig(path, dpi=150)
