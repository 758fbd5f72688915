"""Pictures of the candidates that matter most: the best, the start, and the line that led from one to the other."""

from __future__ import annotations

from collections.abc import Sequence

from uninas.errors import UninasError
from uninas.language.alone import architecture
from uninas.render import svg
from uninas.report.content import ranked
from uninas.report.reading import Row, Texts
from uninas.search.store import lineage

DRAWN = 100  # candidates with a picture: about 0.1 s and 1 kB each
LINE = 5  # of them, at most so many ancestors of the best
LARGEST = 2**20  # characters of a picture
THEMES = ("light", "dark")
LEVELS = ("network", "block")


def chosen(rows: Sequence[Row], aims: Sequence[tuple[str, str]], count: int = DRAWN) -> list[int]:
    """The numbers of the candidates to draw, the best first."""
    best = [row.number for row in ranked(rows, aims) if row.score is not None]
    parents = {row.number: row.parent for row in rows}
    line = lineage(parents, best[0])[1 : LINE + 1] if best else []
    return list(dict.fromkeys([*best[:1], *(row.number for row in rows[:1]), *line, *best]))[:count]


def draw(text: str, levels: Sequence[str] = LEVELS[:1]) -> dict[str, dict[str, str]]:
    """level -> theme -> picture of an architecture; without those that cannot be drawn, or would be too large."""
    try:
        graph = architecture(text)
        found = {level: {theme: svg(graph, level=level, theme=theme) for theme in THEMES} for level in levels}
    except UninasError:
        return {}
    inner = {level: {theme: picture[max(0, picture.find("<svg")) :] for theme, picture in themes.items()}
             for level, themes in found.items()}  # fmt: skip
    return {level: themes for level, themes in inner.items() if max(map(len, themes.values())) <= LARGEST}


def album(rows: Sequence[Row], aims: Sequence[tuple[str, str]], texts: Texts) -> dict[int, dict[str, dict[str, str]]]:
    """number -> level -> theme -> picture; the blocks of the best candidate alone, as they are large."""
    found = {}
    for place, number in enumerate(chosen(rows, aims)):
        text = texts[number]
        if text is not None:
            found[number] = draw(text, LEVELS[: 2 if place == 0 else 1])
    return found
