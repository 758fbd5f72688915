"""The page of a ranking: the same page as that of a search, with how well each score ranks above it.

It is made of the files that a ranking leaves: a network is a candidate, its accuracy the score, and the scores of
untrained networks stand beside it as further objectives.
"""

from __future__ import annotations

import csv
import math
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uninas.errors import UninasError, error, shown
from uninas.language.printer import dumps
from uninas.ranking.members import builder, dataset
from uninas.ranking.report import FIGURES, SCORES, finite
from uninas.ranking.store import Store
from uninas.report.content import MAX_ROWS, changed, words
from uninas.report.diagrams import draw
from uninas.report.page import assembled
from uninas.runs.process import read_json, write_text
from uninas.search.texts import is_path
from uninas.version import __version__

MOST_BYTES = 256 * 2**20  # of the file of scores
TEXTS, DRAWN = 200, 20  # networks with a text and with a picture, the most accurate
NAMES = {"kendall": "Kendall's tau", "spearman": "Spearman", "ndcg": "nDCG", "best": "best found", "regret": "regret"}
COSTS = ("params", "flops", "macs")
"""Scores that are columns of the networks themselves."""
Line = Mapping[str, str]


def write_page(folder: Path, output: Path | None = None) -> Path:
    """Write the page of a ranking that is done. Raises UNI110 where there is none. Returns its path."""
    return write_text(output or folder / "report.html", page(folder))


def page(folder: Path) -> str:
    """The page of a ranking with all its networks inside. Raises UNI110."""
    results, settings = figures_of(folder)
    try:
        networks = _networks(folder / SCORES) if (folder / SCORES).exists() else {}
    except (OSError, ValueError, LookupError, csv.Error):
        raise _nothing_in(folder) from None
    ways = _ways(folder)
    names = list(dict.fromkeys(words(one.get("proxy")) for one in results))
    datasets = [line["dataset"] for lines in networks.values() for line in lines]
    datasets = list(dict.fromkeys([*datasets, *(words(one.get("dataset")) for one in results)]))
    way = "lower" if settings.get("metric") == "lower" else "higher"
    first = datasets[0] if datasets else "accuracy"
    label = f"accuracy on {first}" if settings.get("metric", "percent") == "percent" else first
    order = _ordered(networks, first, way)[:MAX_ROWS]
    texts = _texts(order, networks, settings, folder)
    title = f"Ranking {folder.resolve().name}"
    about: dict[str, Any] = {
        "folder": folder.resolve().name,
        "title": title,
        "measured": [
            _figures([one for one in results if words(one.get("dataset")) == name], name) for name in datasets
        ],
        "axis": next((f"component {name}" for name in names if name not in COSTS), "params"),
        "settings": [[name, words(value)] for name, value in settings.items()],
        "objectives": [(label, way), *((name, ways.get(name, "higher")) for name in names)],
        "rungs": [label],
        "limits": {},
        "goal": None,
        "command": f"uninas rank --resume -o {folder}",
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": f"uninas-toolkit {__version__}, Python {platform.python_version()}",
        "left_out": max(0, len(networks) - MAX_ROWS),
    }
    data = {
        "about": about,
        "columns": _columns(order, networks, datasets, names),
        "changes": [(None, changed([], texts[key].splitlines())) if key in texts else None for key in order],
        "diagrams": {number: draw(texts[key]) for number, key in enumerate(order[:DRAWN]) if key in texts},
    }
    return assembled(about, data)


def figures_of(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """How well each score ranks, and the settings, from the file of a ranking that is done. Raises UNI110."""
    try:
        told = read_json(folder / FIGURES, "UNI110")
        results = [{**dict(one), "metrics": dict(one.get("metrics") or {})} for one in told["results"]]
        return finite(results), dict(told["settings"])
    except (UninasError, OSError, ValueError, LookupError, TypeError, AttributeError):
        raise _nothing_in(folder) from None


def _nothing_in(folder: Path) -> UninasError:
    what = f"there are no figures of a ranking in {shown(folder, 200)}"
    return error("UNI110", what, None, "uninas rank ... -o FOLDER")


def _networks(path: Path) -> dict[str, list[Line]]:
    """The lines of the file of scores by the key of the network, in their order."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError("too many scores")
    found: dict[str, list[Line]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            found.setdefault(line["index"], []).append({name: value or "" for name, value in line.items() if name})
    return found


def _ways(folder: Path) -> dict[str, str]:
    """Whether higher or lower is better, by score; what is not known is taken for higher."""
    with suppress(UninasError), Store(folder, read_only=True) as store:
        return {name: way for name, way in store.directions.items() if way in ("higher", "lower")}
    return {}


def _ordered(networks: Mapping[str, Sequence[Line]], first: str, way: str) -> list[str]:
    """Keys of the networks, the best on a data set first."""
    sign = -1 if way == "higher" else 1

    def place(key: str) -> float:
        number = _mean([line["accuracy"] for line in networks[key] if line["dataset"] == first])
        return math.inf if number is None else sign * number

    return sorted(networks, key=place)


def _columns(
    order: Sequence[str], networks: Mapping[str, Sequence[Line]], datasets: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """The networks, one list for each column that the page of a search has."""
    first = datasets[0] if datasets else ""
    of = {
        key: {name: [line for line in networks[key] if line["dataset"] == name] for name in datasets} for key in order
    }
    own = [(networks[key][0], of[key].get(first, [])) for key in order]
    nothing: list[Any] = [None] * len(order)
    empty, zeros = [""] * len(order), [0] * len(order)
    costs = {
        cost: [_mean([line.get(cost, "") for line in networks[key]]) for key in order] for cost in ("params", "macs")
    }
    components: dict[str, list[float | None]] = {}
    for name in datasets:
        label = f" on {name}" * (name != first)
        if name != first:
            components[f"accuracy{label}"] = [_mean([line["accuracy"] for line in of[key][name]]) for key in order]
        for score in names:
            components[score + label] = [_mean([line.get(score, "") for line in of[key][name]]) for key in order]
    scores = [_mean([line["accuracy"] for line in lines]) for _, lines in own]
    return {
        "number": list(range(len(order))), "parent": nothing, "mate": nothing, "rung": zeros, **costs,
        "activations": nothing, "peak": nothing, "operations": nothing, "score": scores,
        "key": [shown(key) for key in order], "edit": [shown(line["architecture"], 200) for line, _ in own],
        "kind": empty, "reason": empty, "failure": ["" if score is not None else "not measured" for score in scores],
        "seed": empty, "worker": empty, "seconds": nothing, "started": nothing, "refused": zeros,
        "components": components, "choices": {},
    }  # fmt: skip


def _mean(cells: Sequence[str]) -> float | None:
    """The mean of the cells that are numbers; None where none is."""
    found = [float(cell) for cell in cells if re.fullmatch(r"-?\d{1,30}(\.\d{1,30})?(e[-+]?\d{1,3})?", cell)]
    found = [number for number in found if math.isfinite(number)]
    return sum(found) / len(found) if found else None


def _texts(
    order: Sequence[str], networks: Mapping[str, Sequence[Line]], settings: Mapping[str, Any], folder: Path
) -> dict[str, str]:
    """The texts of the most accurate networks; of files and spaces outside of the library, none is read."""
    source, found = words(settings.get("space")), dict[str, str]()
    if is_path(source) or not isinstance(settings.get("datasets"), list):
        return found
    wanted = {}
    with suppress(UninasError):  # of settings that somebody changed
        wanted = {(told := dataset(words(label))).name: told for label in settings["datasets"]}
    for key in order[:TEXTS]:
        line = networks[key][0]
        with suppress(UninasError, LookupError, ValueError):
            if not is_path(line["architecture"]):
                graph = builder(source, folder)(line["architecture"], wanted[line["dataset"]])
                found[key] = dumps(graph)
    return found


def _figures(results: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """How well scores rank on a data set, as a table: the best by Kendall's tau first, brackets are 95 % intervals."""
    known = [metric for metric in NAMES if any(metric in _metrics(one) for one in results)]

    def tau(one: Mapping[str, Any]) -> float:
        mean = (_metrics(one).get("kendall") or {}).get("mean")
        return -float(mean) if isinstance(mean, int | float) else 9.0

    rows = [
        [words(one.get("proxy")), *(cell(one, metric) for metric in known),
         words(one.get("networks")), words(one.get("failures")), _number(one.get("seconds"))]
        for one in sorted(results, key=tau)
    ]  # fmt: skip
    heads = ["score", *(NAMES[metric] for metric in known), "networks", "failed", "seconds each"]
    return {"dataset": name, "heads": heads, "rows": rows}


def _metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    found = result.get("metrics")
    return {name: one for name, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}


def cell(result: Mapping[str, Any], metric: str) -> str:
    """A metric of a score with its interval, as a cell of a table; nothing where it is not known."""
    found = _metrics(result).get(metric)
    if found is None:
        return ""
    interval = found.get("interval")
    ends = interval.values() if isinstance(interval, dict) else interval if isinstance(interval, list) else ()
    shown_ends = [_number(end) for end in ends]
    return _number(found.get("mean")) + (f" [{', '.join(shown_ends)}]" if len(shown_ends) == 2 else "")


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and not isinstance(value, bool) else "–"
