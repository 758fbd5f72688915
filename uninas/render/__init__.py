"""Graphs, spaces and what lies between two graphs as pictures: SVG, PNG, PDF, DOT, Mermaid.

No Graphviz needs to be installed: the wheels of `pygraphviz` carry it.

>>> from uninas.language.elaborate import build
>>> from uninas.language.library import load_text
>>> gate = build(load_text("block Gate { out = in * (in -> conv(C, 1) -> sigmoid) }"), "Gate")
>>> print(mermaid(gate, title="").split("classDef")[0].rstrip())
flowchart TB
    n0["in  64×56×56"]
    n1((" "))
    n2("conv 1×1"):::conv
    n3("sigmoid"):::activation
    n4(("×"))
    n5["out  64×56×56"]
    n0 --- n1
    n1 --> n2
    n2 --> n3
    n1 ==> n4
    n3 --> n4
    n4 --> n5

`uninas.render` is a function and this package at once: `uninas.render(graph, "net.svg")` draws.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from uninas.render.files import FORMATS, Difference, Film, Subject, dot, mermaid, render, svg
from uninas.render.scenes.differences import Step
from uninas.render.scenes.options import DIRECTIONS, LEVELS, SHOWN, THEMES, Options

__all__ = [
    "DIRECTIONS", "FORMATS", "LEVELS", "SHOWN", "THEMES", "Difference", "Film", "Options", "Step", "Subject",
    "dot", "mermaid", "render", "svg",
]  # fmt: skip


class _Drawing(ModuleType):
    """This package, which draws when it is called."""

    def __call__(self, subject: Subject, path: str | Path, **options: Any) -> Path:
        return render(subject, path, **options)


sys.modules[__name__].__class__ = _Drawing
