"""The page of a ranking: how well each score ranks, with intervals, and the scores against the accuracies.

One HTML file without a script, made of the files that a ranking leaves, which opens without a network.
"""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uninas.errors import UninasError, error, shown
from uninas.runs.process import read_json, write_text
from uninas.version import __version__

FIGURES = "metrics.json"
MOST_PICTURE = 16 * 2**20  # bytes of a plot
WORDS = {"kendall": "Kendall's tau", "spearman": "Spearman", "ndcg": "nDCG", "best": "best found", "regret": "regret"}


def write_page(folder: Path, output: Path | None = None) -> Path:
    """Write the page of a ranking that is done. Raises UNI110 where there is none. Returns its path."""
    try:
        told = read_json(folder / FIGURES, "UNI110")
        results, settings = [dict(one) for one in told["results"]], dict(told["settings"])
        results = [{**one, "metrics": dict(one.get("metrics") or {})} for one in results]
    except (UninasError, ValueError, LookupError, TypeError):
        what = f"there are no figures of a ranking in {shown(folder, 200)}"
        raise error("UNI110", what, None, "uninas rank ... -o FOLDER") from None
    title = f"Ranking {folder.resolve().name}"
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for dataset in dict.fromkeys(str(one.get("dataset")) for one in results):
        mine = [one for one in results if str(one.get("dataset")) == dataset]
        parts += [f"<h2>{html.escape(dataset)}</h2>", _table(mine), *_picture(folder, dataset)]
    by = f"<p class=note>Written by uninas-toolkit {__version__}.</p>"
    parts += ["<h2>Settings</h2>", _rows(settings.items()), by]
    page = _PAGE.format(title=html.escape(title), body="\n".join(parts))
    return write_text(output or folder / "report.html", page)


def _table(results: list[dict[str, Any]]) -> str:
    """A row for each score, the best by Kendall's tau first; brackets are 95 % intervals."""
    names = [name for name in WORDS if any(name in one["metrics"] for one in results)]
    ordered = sorted(results, key=lambda one: -_mean(one, "kendall"))
    heads = ["score", *(WORDS[name] for name in names), "networks", "failed", "seconds each"]
    lines = ["<table><thead><tr>", *(f"<th>{head}</th>" for head in heads), "</tr></thead><tbody>"]
    for one in ordered:
        cells = [str(one.get("proxy")), *(_figure(one["metrics"].get(name)) for name in names),
                 str(one.get("networks")), str(one.get("failures")), _number(one.get("seconds"))]  # fmt: skip
        lines.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
    return "".join([*lines, "</tbody></table>"])


def _mean(result: Mapping[str, Any], name: str) -> float:
    """The mean of a metric; less than any where there is none."""
    found = result["metrics"].get(name)
    mean = found.get("mean") if isinstance(found, dict) else None
    return float(mean) if isinstance(mean, int | float) else -math.inf


def _figure(found: Any) -> str:
    if not isinstance(found, dict):
        return ""
    interval = found.get("interval")
    ends = [_number(end) for end in interval] if isinstance(interval, list) and len(interval) == 2 else []
    return _number(found.get("mean")) + (f" [{', '.join(ends)}]" if ends else "")


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and not isinstance(value, bool) else "–"


def _picture(folder: Path, dataset: str) -> Iterator[str]:
    path = folder / f"scores_{dataset}.png"
    if path.parent == folder and path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_PICTURE:
        data = base64.b64encode(path.read_bytes()).decode()
        yield f'<img alt="Scores against accuracies on {html.escape(dataset)}" src="data:image/png;base64,{data}">'


def _rows(pairs: Any) -> str:
    lines = (
        f"<tr><th scope=row>{html.escape(str(name).replace('_', ' '))}</th><td>{html.escape(_said(value))}</td></tr>"
        for name, value in pairs
        if value not in (None, "", [], {})
    )
    return f"<table class=settings>{''.join(lines)}</table>"


def _said(value: Any) -> str:
    return value if isinstance(value, str) else shown(json.dumps(value), 500)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #d5d9e0; vertical-align: top; }}
th {{ font-weight: 400; color: #57606a; }} td {{ overflow-wrap: anywhere; }}
img {{ max-width: 100%; margin: 1rem 0; }} .note {{ color: #57606a; font-size: .85rem; }}
</style></head>
<body>
{body}
</body></html>
"""
