"""Models of the published UniNAS toolkit: its model JSON to our graphs and back, and its weights.

    graph = read_json("model.json")             # from its model JSON
    text = write_json(graph)                    # and back
    model = uninas.compile(graph)
    model.load_state_dict(state_dict_from_published(graph, torch.load("weights.pt", weights_only=True)))

Nothing here loads torch. Batch norms have eps 1e-5, layer norms 1e-6; GELU is the exact one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from uninas.errors import contents, did_you_mean, error, shown
from uninas.graph import Graph
from uninas.interop.published import MAX_TEXT, parse, render
from uninas.interop.reader import to_graph
from uninas.interop.writer import to_model, weights

__all__ = ["published_names", "read_json", "read_with_names", "state_dict_from_published", "write_json"]

Tensor = TypeVar("Tensor")


def read_json(path_or_text: str | Path, name: str = "") -> Graph:
    """The network that a model JSON of the published toolkit describes.

    Args:
        path_or_text: a file, or the text itself, which begins with a brace.
        name: what the network is called; by default as the file is.

    Raises UninasError: UNI001 for a file that cannot be read, UNI050 for JSON that is no such model.
    """
    if isinstance(path_or_text, str) and path_or_text.lstrip().startswith("{"):
        return to_graph(parse(path_or_text), name or "model")
    path = Path(path_or_text)
    return to_graph(parse(_text(path), path.name), name or path.stem)


def read_with_names(path_or_text: str | Path, name: str = "") -> tuple[Graph, dict[str, str]]:
    """The network, and for every parameter's name in the published toolkit its name in our compiled module."""
    graph = read_json(path_or_text, name)
    return graph, published_names(graph)


def write_json(graph: Graph, *, indent: int | None = 2) -> str:
    """The model JSON that the published toolkit reads as an equivalent network.

    Raises UninasError (UNI051) naming the first node that the toolkit has nothing for.
    """
    return render(to_model(graph), indent)


def published_names(graph: Graph) -> dict[str, str]:
    """For every parameter's name in the published toolkit, in its order, the name in our compiled module."""
    return {
        f"{part.module}.{theirs}": f"{part.node}.{ours}"
        for part in weights(to_model(graph))
        for theirs, ours in part.parameters.items()
    }


def state_dict_from_published(graph: Graph, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published toolkit's parameters and running statistics under the names of `uninas.compile(graph)`.

    Tensors are passed on as they are. Other entries of modules that exist here (buffers that follow from the shapes)
    are left out. Raises UninasError: UNI050 for a parameter that is missing, or a module that the graph has not;
    UNI051 for a graph that the published toolkit has nothing for.
    """
    modules = {part.module: part for part in weights(to_model(graph))}
    for key in published:
        if key.rpartition(".")[0] not in modules:
            raise error("UNI050", f"expected parameters of modules in the graph, but got {shown(key)}", None,
                        did_you_mean(key, published_names(graph)))  # fmt: skip
    state: dict[str, Tensor] = {}
    for name, part in modules.items():
        for theirs, ours in part.parameters.items():
            if f"{name}.{theirs}" not in published:
                raise error("UNI050", f"expected a parameter {name}.{theirs} for {part.node}, but there is none")
            state[f"{part.node}.{ours}"] = published[f"{name}.{theirs}"]
        for statistic in ("running_mean", "running_var", "num_batches_tracked"):
            if f"{name}.{statistic}" in published:
                state[f"{part.node}.{statistic}"] = published[f"{name}.{statistic}"]
    return state


def _text(path: Path) -> str:
    try:
        return contents(path, 4 * MAX_TEXT).decode()  # a character takes at most 4 bytes; `parse` refuses what is long
    except UnicodeDecodeError:
        raise error("UNI001", f"cannot read {shown(path)}: it is not UTF-8 text") from None
