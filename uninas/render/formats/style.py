"""How pictures look: colours of the two themes, the font, and what is done to every text that a user wrote."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

FONT = "DejaVu Sans"  # it comes with matplotlib, so a picture has the same measures everywhere

# Merge points are small circles with these.
SYMBOLS = {"add": "+", "subtract": "−", "multiply": "×", "maximum": "max", "concat": "‖", "concat_tokens": "‖"}

MAX_TEXT = 120  # characters of a name or title that are shown


@dataclass(frozen=True)
class Theme:
    """The colours of a picture by what they are for."""

    ink: str
    faint: str
    """Of texts that matter less."""
    line: str
    skip: str
    """Of wires that bypass something."""
    paper: str
    panel: str
    border: str
    box: str
    """Of whatever is no single operation."""
    frame: str
    card: str
    palette: Mapping[str, str]
    """Fills of operations by family."""
    marks: Mapping[str, str]
    fills: Mapping[str, str]
    """Of items with a mark."""
    cold: str
    hot: str

    def heat(self, share: float) -> str:
        """A colour between cold and hot, for a share from 0 to 1."""
        pairs = zip(_channels(self.cold), _channels(self.hot), strict=True)
        return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


# Fills after the "light" scheme of Paul Tol, which keeps apart under all three kinds of colour blindness. Families that
# do the work are the darkest, so the hierarchy survives a grey printer; black text has a contrast of more than 7 : 1 on
# each. Removed, added and changed also differ in their lines: dashed, solid and double.
LIGHT = Theme(
    ink="#1a1a1a",
    faint="#595959",
    line="#4a4a4a",
    skip="#0b4f8a",
    paper="#ffffff",
    panel="#fafafa",
    border="#9a9a9a",
    box="#f4f4f4",
    frame="#00000008",
    card="#ffffff",
    palette={
        "conv": "#77aadd", "linear": "#f09070", "attention": "#ffaabb", "norm": "#dddddd", "activation": "#eedd88",
        "pool": "#8fd6bd", "merge": "#ffffff", "split": "#99ddff", "shape": "#f4f4f4", "regulariser": "#bbcc33",
    },
    marks={"removed": "#c1272d", "added": "#1a7f37", "changed": "#b35900", "choice": "#6639ba"},
    fills={"removed": "#fdecec", "added": "#e3f6e6", "changed": "#fff3dc", "choice": "#f6f2fd"},
    cold="#fffaf0",
    hot="#f0803c",
)  # fmt: skip

DARK = Theme(
    ink="#f2f2f2",
    faint="#bdbdbd",
    line="#a8a8a8",
    skip="#7cc4ff",
    paper="#16181c",
    panel="#1d2025",
    border="#6a6e76",
    box="#2a2d33",
    frame="#ffffff0a",
    card="#22252b",
    palette={
        "conv": "#20507e", "linear": "#7a3718", "attention": "#7d2f4c", "norm": "#4a4a4a", "activation": "#584c0c",
        "pool": "#1c5746", "merge": "#16181c", "split": "#14506c", "shape": "#33363c", "regulariser": "#47500f",
    },
    marks={"removed": "#ff7b72", "added": "#56d364", "changed": "#e3a23c", "choice": "#bc8cff"},
    fills={"removed": "#3d1a1c", "added": "#12331c", "changed": "#3d2a0a", "choice": "#2a2140"},
    cold="#22252b",
    hot="#8a3c0c",
)  # fmt: skip

THEMES = {"light": LIGHT, "dark": DARK}


def _channels(color: str) -> tuple[int, ...]:
    return tuple(int(color[n : n + 2], 16) for n in (1, 3, 5))


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Any text as markup: special characters escaped, never too long."""
    kept = plain(value, 4 * limit)
    return escaped(kept if len(kept) <= limit else kept[: limit - 3] + "...")


def plain(value: object, limit: int = 400) -> str:
    """Any text without control characters and without backslashes, which Graphviz would expand (\\N, \\G) twice."""
    kept = (" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") else c for c in str(value)[:limit])
    return "".join(kept).replace("\\", "∖")


def escaped(value: str) -> str:
    """Text as markup."""
    return html.escape(value).replace("&#x27;", "&#39;")
