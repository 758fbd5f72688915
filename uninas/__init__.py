"""UniNAS toolkit: a language, a compiler and a search engine for neural network architectures.

    >>> import uninas
    >>> graph = uninas.load("block Gate { out = in * (in -> conv(C, 1) -> sigmoid) }")
    >>> graph.cost.params, graph.output_shapes
    (4160, ((64, 56, 56),))

Importing the package does not import torch; `create_model` and `compile` do when they are first used.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uninas.errors import UninasError, missing
from uninas.graph import Block, Each, Graph, Node, Wire
from uninas.language.elaborate import sized
from uninas.language.elaborate import space as read_space
from uninas.language.library import SOURCES, find, shipped
from uninas.language.printer import dumps
from uninas.ops.op import REGISTRY as operations
from uninas.ops.op import Cost, Op
from uninas.space import Space
from uninas.version import __version__

if TYPE_CHECKING:
    from uninas.backend.backbone import pyramid
    from uninas.backend.create import create_model
    from uninas.backend.emit import compile
    from uninas.backend.optimize import optimize
    from uninas.backend.timm_models import register_timm
    from uninas.backend.trace import from_module
    from uninas.language.grammars import grammar
    from uninas.proxies import Score, proxy
    from uninas.ranking.report import Result
    from uninas.render import render
    from uninas.search.asktell import Search
    from uninas.search.opened import open_run
    from uninas.training.benchmark import benchmark
    from uninas.training.recipe import Recipe
    from uninas.training.run import evaluate, train

__all__ = [
    "Block", "Cost", "Each", "Graph", "Node", "Op", "Recipe", "Search", "Space", "UninasError", "Wire", "__version__",
    "benchmark", "compile", "create_model", "dumps", "evaluate", "from_module", "grammar", "list_models", "load",
    "open_run", "operations", "optimize", "proxies", "proxy", "pyramid", "rank", "register_timm", "render", "score",
    "space", "train",
]  # fmt: skip

_LATE = {
    "Recipe": "uninas.training.recipe:Recipe",
    "Search": "uninas.search.asktell:Search",
    "compile": "uninas.backend.emit:compile",
    "create_model": "uninas.backend.create:create_model",
    "benchmark": "uninas.training.benchmark:benchmark",
    "evaluate": "uninas.training.run:evaluate",
    "from_module": "uninas.backend.trace:from_module",
    "grammar": "uninas.language.grammars:grammar",
    "open_run": "uninas.search.opened:open_run",
    "optimize": "uninas.backend.optimize:optimize",
    "pyramid": "uninas.backend.backbone:pyramid",
    "register_timm": "uninas.backend.timm_models:register_timm",
    "proxies": "uninas.proxies",
    "proxy": "uninas.proxies:proxy",
    "render": "uninas.render",
    "train": "uninas.training.run:train",
}
"""What is imported when it is first used, so that importing the package stays quick and loads no torch."""


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


def space(source: str | Path) -> Space:
    """A search space: by the name of a shipped one, a path to a `.uni` file, or its text.

    >>> cells = space("nasbench201")
    >>> cells.count()
    15625
    """
    return read_space(*find(source))


def score(
    net: str | Path | Graph,
    proxy: str = "vkdnw",
    *,
    seed: int = 0,
    repeats: int = 1,
    img_size: int | tuple[int, int] | None = None,
    **settings: Any,
) -> Score:
    """The score of a network by a proxy or a cost, without training: the number that every command gives, too.

    Args:
        net: the name of a shipped network, a path, a text, or a Graph. (For a torch module: `uninas.proxies.score`.)
        proxy: a name (`uninas proxies` lists them), or MODULE:FUNCTION for a function of your own.
        seed, repeats: the seed of weights, images and labels; the mean over that many seeds from it on.
        img_size: height and width of the images, instead of the network's.
        settings: batch_size, images, options, init, fold, device, threads, as `runs.scorer.Scorer` has them.
    """
    from uninas.runs.scorer import score as scored

    graph = net if isinstance(net, Graph) else load(net, img_size=img_size)
    return scored(graph, proxy, seed, repeats=repeats, **settings)


def rank(
    table: str | Path,
    proxies: Sequence[str],
    datasets: Sequence[str],
    folder: str | Path,
    *,
    space: str = "",
    workers: int = 1,
    bootstrap: int = 1000,
    **settings: Any,
) -> list[Result]:
    """How well proxies rank the networks of a table, as `uninas rank` does; scores are kept in the folder.

    Args:
        table: a CSV file with a column of architectures and one of accuracies for each data set.
        proxies, datasets, space: as on the command line.
        workers: number of processes.
        bootstrap: number of drawings behind each interval; 0 for none.
        settings: limit, seeds, batch_size, init, options, images, device, ...: fields of `ranking.run.Settings`.
    """
    from uninas.ranking.report import results
    from uninas.ranking.run import Ranking, Settings

    asked = Settings(str(table), tuple(proxies), tuple(datasets), space, **settings)
    with Ranking(Path(folder), asked) as ranking:
        for _ in ranking.outcomes(workers):
            pass
        return results(ranking.store, asked, bootstrap, {})[0]


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


def _from_elsewhere(source: str) -> str:
    """The text of a network that another program wrote, or that a package makes. Loads torch."""
    from uninas.backend.sources import text_of

    return text_of(source)


# Texts know nothing of other programs; here they learn where networks come from.
for _source in ("timm", "torchvision", ".onnx", ".py", ".json"):
    SOURCES.add(_source, _from_elsewhere, owner="uninas")


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'uninas' has no attribute {name!r}")
    module, _, inside = _LATE[name].partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as problem:
        raise missing(problem) or problem from None
    return getattr(found, inside) if inside else found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
