"""UniNAS toolkit: a language, a compiler and a search engine for neural network architectures.

    >>> import uninas
    >>> graph = uninas.load("block Gate { out = in * (in -> conv(C, 1) -> sigmoid) }")
    >>> graph.cost.params, graph.output_shapes
    (4160, ((64, 56, 56),))

Importing the package does not import torch; `create_model` and `compile` do when they are first used.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uninas.errors import UninasError
from uninas.graph import Block, Each, Graph, Node, Wire
from uninas.language.elaborate import sized
from uninas.language.library import find, shipped
from uninas.language.printer import dumps
from uninas.ops.op import Cost, Op
from uninas.space import Space
from uninas.version import __version__

if TYPE_CHECKING:
    from uninas.backend.create import create_model
    from uninas.backend.emit import compile
    from uninas.training.run import evaluate, train

__all__ = [
    "Block", "Cost", "Each", "Graph", "Node", "Op", "UninasError", "Wire", "__version__", "compile", "create_model",
    "dumps", "evaluate", "list_models", "load", "train",
]  # fmt: skip

_NEEDS_TORCH = {
    "create_model": "uninas.backend.create",
    "compile": "uninas.backend.emit",
    "evaluate": "uninas.training.run",
    "train": "uninas.training.run",
}


def load(
    source: str | Path, *, img_size: int | tuple[int, int] | None = None, **arguments: int | float | bool | str
) -> Graph:
    """The graph of a network or block: by the name of a shipped one, a path to a `.uni` file, or its text.

    `img_size` is the height and width of the input image instead of that in the text; `arguments` are values for the
    parameters of the network.
    """
    return sized(*find(source), img_size, arguments=arguments)


def list_models(filter: str = "*") -> list[str]:
    """Names of the shipped networks that `create_model` knows, optionally only those matching a glob pattern."""
    return [name for name, path in shipped().items() if path.parent.name == "networks" and fnmatchcase(name, filter)]


def _svg(subject: Graph | Space) -> str | None:
    """The picture of a graph or space for notebooks; None, so that plain text is shown, where it would be too large."""
    from uninas.render import svg

    try:
        return svg(subject)
    except UninasError:
        return None


def _html(subject: Graph | Space) -> str | None:
    """The same in a page, never wider than it."""
    picture = _svg(subject)
    return picture and f'<div style="max-width: 100%; overflow-x: auto">{picture}</div>'


# Graphs and spaces know nothing of pictures; here they learn to show themselves in notebooks.
for _kind in (Graph, Space):
    for _name, _shown in (("_repr_svg_", _svg), ("_repr_html_", _html)):
        setattr(_kind, _name, _shown)


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module 'uninas' has no attribute {name!r}")
