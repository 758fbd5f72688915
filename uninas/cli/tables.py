"""What the command line shows: values as text, in columns. Pure functions; `width` is the room there is, 0: any."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from uninas.graph.summary import BYTES, MIB, Row, Summary, human
from uninas.ops.op import show_shape, show_value
from uninas.ops.reference import facts, sentence
from uninas.runs.process import csv_text

LEAST = 16  # characters that a folded column keeps
LEAST_LAST = 24  # a last column narrower than this is not folded


def columns(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int = 0, *, right: int = 0, fold: int = -1
) -> str:
    """A table. Its last `right` columns are numbers; column `fold` is folded where the rest leaves no room.

    >>> print(columns(["name", "params"], [["stem", "928"], ["stages.0", "1.2 M"]], right=1))
    name      params
    ----------------
    stem         928
    stages.0   1.2 M
    """
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    total = sum(widths) + 2 * (len(widths) - 1)
    if width and total > width and widths[fold] > LEAST:
        widths[fold] = max(LEAST, widths[fold] - (total - width))
        total = sum(widths) + 2 * (len(widths) - 1)
    lines = [_line(headers, widths, right), "-" * total]
    for row in rows:
        for number, part in enumerate(textwrap.wrap(row[fold], widths[fold], break_on_hyphens=False) or [""]):
            cells = list(row) if number == 0 else [""] * len(row)
            cells[fold] = part
            lines.append(_line(cells, widths, right))
    return "\n".join(lines)


def written(form: str, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    r"""A table for other programs: csv, markdown or latex (a tabular of booktabs).

    >>> print(written("markdown", ["name", "params"], [["stem", 928]]))
    | name | params |
    |---|---|
    | stem | 928 |
    >>> print(written("latex", ["name", "params"], [["conv_1", 928]]))
    \begin{tabular}{lr}
    \toprule
    name & params \\
    \midrule
    conv\_1 & 928 \\
    \bottomrule
    \end{tabular}
    """
    if form == "csv":
        return csv_text([headers, *rows]).removesuffix("\n")
    if form == "markdown":
        cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (headers, *rows)]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        return "\n".join([lines[0], "|" + "---|" * len(headers), *lines[1:]])
    numeric = [bool(rows) and all(_is_number(row[n]) for row in rows) for n in range(len(headers))]
    cells = [[re.sub(r"([#$%&_{}])", r"\\\1", str(cell)) for cell in row] for row in (headers, *rows)]
    lines = [" & ".join(row) + r" \\" for row in cells]
    head = r"\begin{tabular}{" + "".join("r" if is_number else "l" for is_number in numeric) + "}"
    return "\n".join([head, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"])


def _is_number(cell: object) -> bool:
    """Whether a cell holds a number, perhaps in words, or nothing."""
    return isinstance(cell, int | float) or (isinstance(cell, str) and re.fullmatch(r"-?[\d,.]*", cell) is not None)


def summary_rows(found: Summary) -> tuple[list[str], list[list[Any]]]:
    """The rows of a summary with whole numbers, for tables of other programs."""
    headers = ["name", "consists of", "output", "params", "flops", "share", "activations", "kept", "peak"]
    rows = [
        [row.path, row.what, show_shape(row.output), row.cost.params, row.cost.flops, round(row.share, 4),
         row.memory.activations, row.memory.kept, row.memory.peak]
        for row in found.rows
    ]  # fmt: skip
    total = [found.cost.params, found.cost.flops, 1, found.activations, found.kept, found.peak]
    return headers, [*rows, ["total", "", ", ".join(map(show_shape, found.outputs)), *total]]


def score_rows(found: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Scores of a network, a row for each proxy."""
    headers = ["proxy", "value", "spread", "better", "seconds", "params", "flops"]
    return headers, [
        [s["proxy"], s["value"], "" if s["spread"] is None else s["spread"], s["direction"], round(s["seconds"], 3),
         found["params"], found["flops"]]
        for s in found["scores"]
    ]  # fmt: skip


def _line(cells: Sequence[str], widths: Sequence[int], right: int) -> str:
    numbers = len(cells) - right
    padded = [
        f"{cell:>{width}}" if position >= numbers else f"{cell:<{width}}"
        for position, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def pairs(lines: Iterable[tuple[str, str]]) -> str:
    """Names and values, the values below each other."""
    known = list(lines)
    longest = max(len(name) for name, _ in known)
    return "\n".join(f"{name:<{longest}}  {value}" for name, value in known)


def summary_text(found: Summary, width: int = 0, *, memory: bool = False) -> str:
    """The rows and totals of an architecture; with `memory`, rows say how much of it they need."""
    rows = [
        ["  " * row.depth + row.name, row.what, show_shape(row.output), *_figures(row, memory)] for row in found.rows
    ]
    shapes = " -> ".join(", ".join(map(show_shape, side)) for side in (found.inputs, found.outputs))
    totals = [
        (found.name or "architecture", f"{shapes}, {found.operations:,} operation{'s' * (found.operations != 1)}"),
        ("parameters", f"{found.cost.params:,}"),
        ("FLOPs", f"{human(found.cost.flops)} (2 x {human(found.cost.macs)} MACs)"),
        ("element-wise", f"{human(found.cost.elementwise)} operations"),
        ("activations", f"{human(found.activations)} elements, {found.activations * BYTES / MIB:,.1f} MiB"),
        ("training keeps", f"{human(found.kept)} elements, {found.kept * BYTES / MIB:,.1f} MiB for each sample"),
        ("at one time", f"{human(found.peak)} elements, {found.peak_mib:,.1f} MiB (float32, one sample)"),
    ]
    figures = ["written", "kept", "at one time"] if memory else ["params", "FLOPs", "share"]
    headers = ["name", "consists of", "output", *figures]
    return f"{columns(headers, rows, width, right=3, fold=1)}\n\n{pairs(totals)}"


def _figures(row: Row, memory: bool) -> list[str]:
    """The numbers of a row: its costs, or its memory in MiB of float32 for one sample."""
    if not memory:
        return [human(row.cost.params), human(row.cost.flops), f"{row.share:.1%}"]
    return [f"{elements * BYTES / MIB:,.2f} MiB" for elements in
            (row.memory.activations, row.memory.kept, row.memory.peak)]  # fmt: skip


BARS = " ▁▂▃▄▅▆▇█"


def space_text(found: dict[str, Any], width: int = 0) -> str:
    """A space of choices: its size, its choices, and the costs of members drawn from it."""
    members = "not counted" if found["members"] is None else f"{found['members']:,}"
    head = [(found["name"], sentence(found["doc"]) or "a search space"), ("members", members)]
    if found["nested"]:
        head.append(("inside", "further choices open up, depending on these"))
    choices = columns(
        ["choice", "options", ""],
        [[one["path"], str(len(one["options"])), ", ".join(one["options"])] for one in found["choices"]], width,
    )  # fmt: skip
    rows = [
        [name, *(human(cost[key]) for key in ("least", "median", "most")), bars(cost["histogram"])]
        for name, cost in found["costs"].items()
    ]
    heads = [f"of {found['samples']} members", "least", "median", "most", "how many, from least to most"]
    return "\n\n".join([pairs(head), choices, *([columns(heads, rows, width)] if rows else [])])


def bars(counts: Sequence[int]) -> str:
    """A histogram in one line.

    >>> bars([0, 1, 4, 8])
    ' ▁▄█'
    """
    most = max(counts, default=0) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)


def score_text(found: dict[str, Any]) -> str:
    """Scores and the costs beside them."""
    lines = []
    for score in found["scores"]:
        spread = f" +- {score['spread']:.2g}" if score["spread"] is not None else ""
        lines.append((score["proxy"], f"{score['value']:.6g}{spread} ({score['direction']} is better)"))
        lines += [(f"  {name}", f"{value:.6g}") for name, value in score["components"].items()]
    lines += [(failed["proxy"], f"failed: {failed['failure']}") for failed in found["failures"]]
    repeats = f", mean of {found['repeats']}" if found["repeats"] > 1 else ""
    batch = f"{found['batch_size']} of {show_shape(tuple(found['input']))} ({found['images']})"
    return pairs(
        [
            *lines,
            ("parameters", f"{found['params']:,}"),
            ("FLOPs", f"{human(found['flops'])} (2 x {human(found['macs'])} MACs, one sample)"),
            ("batch", f"{batch}, weights {found['init']}, seed {found['seed']}{repeats}"),
            ("time", f"{sum(score['seconds'] for score in found['scores']):.2f} s"),
        ]
    )


def proxies_text(found: Sequence[dict[str, Any]], width: int = 0) -> str:
    """The table of proxies and aggregates."""
    rows = [[one["name"], one["direction"], one["doc"]] for one in found]
    return columns(["proxy", "better", ""], rows, width)


def proxy_text(known: dict[str, Any], width: int = 0) -> str:
    """One proxy or aggregate, with its options and their defaults."""
    parts = [f"{known['name']} ({known['direction']} is better)", known["details"]]
    rows = [[name, show_value(default)] for name, default in known["options"].items()]
    return "\n\n".join([*parts, *([columns(["option", "default"], rows, width)] if rows else [])])


def definitions_text(found: Sequence[dict[str, str]], width: int = 0) -> str:
    """The tables of shipped networks, spaces and blocks."""
    parts = []
    for kind in ("network", "space", "block"):
        shown = ("name", "module", "doc") if kind == "block" else ("name", "doc")
        headers = [f"{kind}s", *["import from"] * (len(shown) - 2), ""]
        rows = [[one[column] for column in shown] for one in found if one["kind"] == kind]
        parts.append(columns(headers, rows, width))
    return "\n\n".join(parts)


def operation_text(known: dict[str, Any], width: int = 0) -> str:
    """One entry of the reference of operations."""
    parts = [f"{known['name']} ({known['family']})", folded(known["doc"], width)]
    rows = [
        [a["name"], show_value(a["default"]) if "default" in a else "required", a["domain"], a["doc"]]
        for a in known["attributes"]
    ]
    if rows:
        parts.append(columns(["attribute", "default", "domain", ""], rows, width))
    return "\n\n".join([*parts, "\n".join(folded(fact, width, "  ") for fact in facts(known))])


def folded(text: str, width: int, indent: str = "") -> str:
    """Text in lines of at most `width` characters, those after the first indented; 0: in one line."""
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False) if width else text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int = 0) -> str:
    """Columns as wide as they must be; the last one flush left, the others flush right.

    Where that is wider than a terminal of `width` characters, a last column of words is folded, and a table of
    numbers alone is turned on its side.
    """
    lines = [heads, *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(heads))]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    if width and before + widths[-1] > width:
        if widths[-1] < LEAST_LAST:
            return table(*_turned(heads, rows))
        widths[-1] = max(LEAST_LAST, width - before)
    shown = []
    for row in lines:
        first, *more = textwrap.wrap(row[-1], widths[-1], break_on_hyphens=False) or [""]
        cells = [cell.rjust(space) for cell, space in zip(row[:-1], widths, strict=False)]
        shown += ["  ".join([*cells, first]).rstrip(), *(" " * before + part for part in more)]
    return "\n".join(shown)


def _turned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    first, *others = ([head, *(row[column] for row in rows)] for column, head in enumerate(heads))
    return first, others


def terminal_width() -> int:
    """The width of the terminal; 0 where nobody looks."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else 0


def json_text(value: object) -> str:
    """JSON, indented and strict."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[\x7f-\x9f\u200e-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", _spelt, text)


def _spelt(found: re.Match[str]) -> str:
    """A character that would command a terminal, as JSON spells it."""
    return f"\\u{ord(found[0]):04x}"
