"""How pictures look: fonts, colours and the text of labels. Everything a user wrote goes through `text`."""

from __future__ import annotations

import html
import unicodedata

FONT = "Helvetica,Arial,sans-serif"
INK = "#1a1a1a"
FAINT = "#5c5c5c"
SKIP = "#0b4f8a"
PAPER = "#ffffff"

# Fills of operations by family, after the "light" scheme of Paul Tol, which keeps apart under all three kinds of colour
# blindness. Families that do the work are the darkest, so the hierarchy survives a grey printer; black text has a
# contrast of more than 7 : 1 on each.
PALETTE = {
    "conv": "#77aadd",
    "linear": "#f09070",
    "attention": "#ffaabb",
    "norm": "#dddddd",
    "activation": "#eedd88",
    "pool": "#8fd6bd",
    "merge": "#ffffff",
    "split": "#99ddff",
    "shape": "#f4f4f4",
    "regulariser": "#bbcc33",
}
PLAIN = "#f7f7f7"  # whatever is no single operation

# What stands on dark paper instead: the same hues, dark enough for light text.
DARK = {
    "#1a1a1a": "#f2f2f2", "#5c5c5c": "#b8b8b8", "#4a4a4a": "#a8a8a8", "#8a8a8a": "#7a7a7a", "#0b4f8a": "#7cc4ff",
    "#ffffff": "#16181c", "#f7f7f7": "#2a2d33", "#fafafa": "#1d2025",
    "#77aadd": "#20507e", "#f09070": "#7d3a1c", "#ffaabb": "#7d2f4c", "#dddddd": "#4a4a4a", "#eedd88": "#5e5212",
    "#8fd6bd": "#1d5a48", "#99ddff": "#155a7a", "#f4f4f4": "#33363c", "#bbcc33": "#4b5510",
}  # fmt: skip
THEMES = ("light", "dark")

# Merge points are small circles with these.
SYMBOLS = {"add": "+", "subtract": "−", "multiply": "×", "maximum": "max", "concat": "‖", "concat_tokens": "‖"}

MAX_TEXT = 120  # characters of a name or title that are shown


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Any text as part of an HTML-like label: special characters escaped, never too long."""
    kept = plain(value)
    return escaped(kept if len(kept) <= limit else kept[: limit - 3] + "...")


def plain(value: object, limit: int = 400) -> str:
    """Any text without control characters and without backslashes, which Graphviz would expand (\\N, \\G) twice."""
    kept = (" " if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Zl", "Zp") else c for c in str(value)[:limit])
    return "".join(kept).replace("\\", "∖")


def escaped(value: str) -> str:
    """Text as markup."""
    return html.escape(value).replace("&#x27;", "&#39;")


def bold(markup: str) -> str:
    """Markup in bold."""
    return f"<B>{markup}</B>"


def small(markup: str, color: str = FAINT, size: int = 9) -> str:
    """Markup in another size and colour."""
    return f'<FONT POINT-SIZE="{size}" COLOR="{color}">{markup}</FONT>'


def label(*lines: str) -> str:
    """An HTML-like label of lines that are already markup."""
    return f"<{'<BR/>'.join(lines)}>"


def heading(*lines: str, align: str = "LEFT") -> str:
    """The label of a cluster or a picture; lines with a little room between them."""
    cell = f'<TR><TD ALIGN="{align}">'
    return f"<{table([f'{cell}{line}</TD></TR>' for line in lines])}>"


def table(rows: list[str], **attributes: object) -> str:
    """A borderless table of ready rows."""
    given = {"BORDER": 0, "CELLBORDER": 0, "CELLSPACING": 0, "CELLPADDING": 1, **attributes}
    listed = " ".join(f'{key}="{value}"' for key, value in given.items())
    return f"<TABLE {listed}>{''.join(rows)}</TABLE>"


def edge_of(family: str) -> str:
    """The colour of a family in a legend: its fill, darkened where it would vanish on paper."""
    return {"norm": "#b5b5b5", "shape": "#d9d9d9"}.get(family, PALETTE[family])
