"""`create_model`: from a name, a path or a text to a torch module, with the options people know from timm."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import cast

import torch

from uninas.backend.emit import compile
from uninas.backend.model import Model
from uninas.backend.optimize import optimize as optimized
from uninas.backend.trace import with_weights
from uninas.backend.weights import load_weights, plain, prefix_of, stacked_again, take, weights_file
from uninas.errors import error, shown
from uninas.graph import Graph
from uninas.graph.resolve import at_size
from uninas.graph.simplify import simplified
from uninas.graph.variants import last_operation, with_classes, with_drop_path, with_dropout, with_stage_outputs
from uninas.language.alone import architecture
from uninas.language.elaborate import sized
from uninas.language.library import find
from uninas.ops.linear import Linear


def create_model(
    source: str | Path | Graph,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    init: str | None = None,
    generator: torch.Generator | None = None,
    fold: bool = False,
    fuse: bool = False,
    optimize: str | None = None,
    state_dict: Mapping[str, torch.Tensor] | None = None,
    names: str | Path | None = None,
    **arguments: int | float | bool | str,
) -> Model:
    """Build the torch module of a network.

    Args:
        source: the name of a shipped network (`list_models()`), a path to a `.uni` file, its text, or a Graph; or the
            folder of a training that has finished, whose weights it then has.
        num_classes: outputs of the last linear layer; 0 removes it and gives the pooled features, N x C.
        in_chans, img_size: channels and size of the input image, instead of those in the text.
        drop_rate: dropout before the last linear layer; a dropout that the text has there takes this rate.
        drop_path_rate: stochastic depth; the rates of the drop_path operations rise linearly from 0 to this one.
        features_only: return the outputs of the stages (all, or those of `out_indices`) instead of logits.
        init, generator, fold, fuse: see `compile`.
        optimize: `inference` or `training`, to run the passes of `uninas.optimize` for it.
        state_dict: weights to begin with: under our names; or those of the module that the graph was imported from.
        names: the file that `uninas import` wrote beside the text, when the weights are those of the original.
        arguments: values for the parameters of the network.

    Raises UninasError for everything that is wrong with the text or the options.
    """
    _check_options(num_classes, in_chans, img_size, features_only, out_indices)
    _check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
    fold = fold or optimize is not None
    num_classes, in_chans = (None if value is None else int(value) for value in (num_classes, in_chans))
    if img_size is not None:
        img_size = (int(img_size[0]), int(img_size[1])) if isinstance(img_size, Sequence) else int(img_size)
    if trained := weights_file(source):
        model = _trained(trained, img_size, init or generator, features_only, out_indices, fold=fold, fuse=fuse)
        return model if optimize is None else optimized(model, optimize, copied=False)
    full = graph = _graph(source, img_size, in_chans, arguments)
    if drop_rate and not features_only:
        graph = with_dropout(graph, drop_rate)
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
    model = compile(graph, init=init, generator=generator, fold=fold, fuse=fuse)
    with_weights(model, graph, state_dict, names)
    if features_only:
        model.return_features()
    elif num_classes == 0 and isinstance(op := last_operation(full)[0], Linear):
        model.meta["uninas"]["removed"] = op
    return model if optimize is None else optimized(model, optimize, copied=False)


def _graph(
    source: str | Path | Graph, img_size: int | tuple[int, int] | None, in_chans: int | None,
    arguments: dict[str, int | float | bool | str],
) -> Graph:  # fmt: skip
    if not isinstance(source, Graph):
        return sized(*find(source), img_size, channels=in_chans, arguments=arguments)
    if arguments or in_chans is not None or img_size is not None:
        raise error("UNI060", "expected a name, path or text, to change its input or parameters, but got a graph")
    return source


def _trained(
    path: Path, img_size: int | tuple[int, int] | None, fresh: object, features_only: bool,
    out_indices: Sequence[int] | None, *, fold: bool, fuse: bool,
) -> Model:  # fmt: skip
    """The network of a file of weights, with these weights."""
    if fresh is not None:
        raise error("UNI060", "expected no init for trained weights")
    weights, about = load_weights(path)
    prefix = prefix_of(weights)
    inner = {
        name.removeprefix(prefix): tensor for name, tensor in weights.items() if prefix and name.startswith(prefix)
    }
    if not about.get("text"):
        raise error("UNI070", f"the weights in {shown(path, 200)} do not say which network they are for", None,
                    "uninas export NET --to safetensors --weights FILE gives a file that does")  # fmt: skip
    graph = simplified(architecture(about["text"], "the text of the weights"))
    if "classes" in about and not inner:
        graph = with_classes(graph, _count(about["classes"], path))
    if img_size is not None:
        graph = at_size(graph, (img_size, img_size) if isinstance(img_size, int) else img_size)
    if inner or features_only:
        graph = with_stage_outputs(graph, out_indices)
    model = compile(graph, fold=fold, fuse=fuse)
    names = set(plain(model))
    known = {name: tensor for name, tensor in (inner or weights).items() if name in names}
    take(model, stacked_again(model, known), f"the weights in {shown(path, 200)}")
    if inner or features_only:
        model.return_features()
    return model


def _count(classes: str, path: Path) -> int:
    """The number of classes, which a training lists in JSON."""
    try:
        found = json.loads(classes)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not found:
        raise error("UNI070", f"the classes in {shown(path, 200)} cannot be read: {shown(classes)}")
    return len(found)


def _check_options(
    num_classes: object, in_chans: object, img_size: object, features_only: object, out_indices: object
) -> None:  # fmt: skip
    """Raise UninasError for options of another kind than `create_model` takes."""
    for name, value in (("num_classes", num_classes), ("in_chans", in_chans)):
        if not (value is None or is_whole(value)):
            raise error("UNI060", f"expected {name} to be an integer, but got {shown(value)}")
    pair = isinstance(img_size, tuple | list) and len(img_size) == 2 and all(map(is_whole, img_size))
    if not (img_size is None or pair or is_whole(img_size)):
        raise error("UNI060", f"expected img_size to be an integer or a pair of them, but got {shown(img_size)}")
    if not isinstance(features_only, bool):
        raise error("UNI060", f"expected features_only to be True or False, but got {shown(features_only)}")
    several = isinstance(out_indices, Sequence) and not isinstance(out_indices, str | bytes)
    if not (out_indices is None or (several and all(map(is_whole, cast("Sequence[object]", out_indices))))):
        raise error("UNI060", f"expected out_indices to be integers like (1, 3), but got {shown(out_indices)}")


def _check_rates(**rates: object) -> None:
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, Real):
            raise error("UNI060", f"expected {name} to be a number, but got {shown(rate)}")


def is_whole(value: object) -> bool:
    """Whether a value is an integer, also one of numpy, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)
