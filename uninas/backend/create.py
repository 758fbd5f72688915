"""`create_model`: from a name, a path or a text to a torch module, with the options people know from timm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from uninas.backend.emit import compile
from uninas.backend.model import Model
from uninas.errors import error
from uninas.graph import Graph
from uninas.graph.variants import with_classes, with_drop_path, with_stage_outputs
from uninas.language.elaborate import sized
from uninas.language.library import find


def create_model(
    source: str | Path | Graph,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    init: str | None = None,
    generator: torch.Generator | None = None,
    fold: bool = False,
    fuse: bool = False,
    **arguments: int | float | bool | str,
) -> Model:
    """Build the torch module of a network.

    Args:
        source: the name of a shipped network (`list_models()`), a path to a `.uni` file, its text, or a Graph.
        num_classes: outputs of the last linear layer; 0 removes it and gives the pooled features, N x C.
        in_chans, img_size: channels and size of the input image, instead of those in the text.
        drop_path_rate: stochastic depth; the rates of the drop_path operations rise linearly from 0 to this one.
        features_only: return the outputs of the stages (all, or those of `out_indices`) instead of logits.
        init, generator, fold, fuse: see `compile`.
        arguments: values for the parameters of the network.

    Raises UninasError for everything that is wrong with the text or the options.
    """
    if not isinstance(source, Graph):
        graph = sized(*find(source), img_size, channels=in_chans, arguments=arguments)
    elif arguments or in_chans is not None or img_size is not None:
        raise error("UNI060", "expected a name, path or text, to change its input or parameters, but got a graph")
    else:
        graph = source
    if features_only:
        if num_classes is not None:
            raise error("UNI060", "expected num_classes or features_only, but got both")
        graph = with_stage_outputs(graph, out_indices)
    elif out_indices is not None:
        raise error("UNI060", "expected features_only=True with out_indices")
    elif num_classes is not None:
        graph = with_classes(graph, num_classes)
    if drop_path_rate:
        graph = with_drop_path(graph, drop_path_rate)
    return compile(graph, init=init, generator=generator, fold=fold, fuse=fuse)


# ---- the options as edits of the graph -----------------------------------------------------------------------------
