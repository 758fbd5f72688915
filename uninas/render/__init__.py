"""Graph -> DOT -> SVG, PNG or PDF, without a Graphviz installation: the wheels of `pygraphviz` carry it.

>>> from uninas.elaborate import build
>>> from uninas.library import load_text
>>> gate = build(load_text("block Gate { out = in * (in -> conv(C, 1) -> sigmoid) }"), "Gate")
>>> print(to_dot(gate).source.splitlines()[0])
digraph G {
"""

from uninas.render.files import FORMATS, render, svg
from uninas.render.pages import DIRECTIONS, LEVELS, dot, to_dot

__all__ = ["DIRECTIONS", "FORMATS", "LEVELS", "dot", "render", "svg", "to_dot"]
