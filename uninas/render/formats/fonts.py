"""One font for every picture: DejaVu Sans, which matplotlib carries. Layouts never depend on the fonts of a system.

Graphviz finds the font through a Fontconfig file that names nothing else; for an SVG that looks the same elsewhere,
text becomes the outlines of its letters.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from uninas.render.formats.style import escaped

FILES = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}


def folder() -> Path:
    """Where the font files are. matplotlib is found but not loaded."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.submodule_search_locations, "matplotlib is a dependency"
    return Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"


@contextmanager
def own_fonts() -> Iterator[None]:
    """Inside, the Fontconfig of Graphviz, which reads its settings once, meets ours."""
    name = "FONTCONFIG_FILE"
    before = os.environ.get(name)
    with tempfile.TemporaryDirectory(prefix="uninas-") as scratch:
        settings = Path(scratch) / "fonts.conf"
        settings.write_text(
            f'<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
            f"<dir>{escaped(str(folder()))}</dir><cachedir>{escaped(scratch)}</cachedir>"
            f"<config><rescan><int>0</int></rescan></config></fontconfig>",
            encoding="utf-8",
        )
        os.environ[name] = str(settings)
        try:
            with _quiet():
                yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what an older Fontconfig says about newer files of the system from the terminal; it looks at them all.

    The warnings come from C, so the file descriptor itself is turned aside; everything else is passed on.
    """
    with tempfile.TemporaryFile() as aside:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            for line in aside.read().decode(errors="replace").splitlines():
                if not line.startswith("Fontconfig warning"):
                    sys.stderr.write(f"{line}\n")


class Face:
    """The letters of one weight."""

    def __init__(self, bold: bool):
        from fontTools.ttLib import TTFont  # here, because most commands draw nothing

        font = TTFont(folder() / FILES[bold], lazy=True)
        self.units: int = font["head"].unitsPerEm
        self.glyphs: Any = font.getGlyphSet()
        self.names: dict[int, str] = font.getBestCmap()

    def glyph(self, letter: str) -> str:
        """The name of a letter's glyph in the font; letters that it lacks share one sign."""
        return self.names.get(ord(letter), ".notdef")

    def advance(self, letter: str) -> int:
        """The advance width of a letter, in units of the font."""
        return int(self.glyphs[self.glyph(letter)].width)

    def outline(self, letter: str) -> str:
        """The letter as the `d` of an SVG path, in units of the font, y upwards."""
        from fontTools.pens.svgPathPen import SVGPathPen

        pen = SVGPathPen(self.glyphs, ntos=lambda number: str(round(number)))
        self.glyphs[self.glyph(letter)].draw(pen)
        return str(pen.getCommands())


@cache
def face(bold: bool) -> Face:
    """The face of a weight, opened once."""
    return Face(bold)
