"""Our networks under names that timm knows, so that its scripts, and what builds on it, take them.

    uninas.register_timm()
    timm.create_model("uninas_resnet50", num_classes=10)
    timm.create_model("uninas", source="mine.uni", drop_path_rate=0.1)
    timm.create_model("local-dir:exported", pretrained=True)       # what `uninas export --to hf` wrote

timm reads names with a slash as repositories of a hub and what follows a dot as a tag of weights, so ours have neither.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uninas.backend.create import create_model
from uninas.backend.habits import pipeline
from uninas.backend.model import Model
from uninas.backend.weights import weights_file
from uninas.errors import UninasError, error, shown
from uninas.graph import Graph, Wire
from uninas.graph.network import network_of
from uninas.graph.variants import reductions
from uninas.language.elaborate import sized
from uninas.language.library import find, shipped

PREFIX = "uninas"
ANY = "uninas"
"""The entry that takes any network as `source`."""
IGNORED = ("exportable", "no_jit", "pretrained_model_args", "cache_dir")
"""What timm's scripts may pass on to every model, whatever it is."""
IN_THE_TEXT = {
    "global_pool": "the pooling stands in the text, as global_avg_pool",
    "output_stride": "the strides stand in the text",
    "bn_momentum": "it stands in the text, as batch_norm(momentum=0.01)",
    "bn_eps": "it stands in the text, as batch_norm(eps=0.001)",
}
"""Options of timm's models that are no options of ours, and where they are said."""

__all__: list[str] = []  # timm adds the names that are registered
default_cfgs: dict[str, dict[str, Any]] = {}
"""What timm asks of a name before there is a model: its scripts resize images, and networks, by this."""


def register_timm(*files: str | Path) -> list[str]:
    """Make networks known to `timm.create_model`, and give their names.

    All that are shipped are called uninas_NAME, and "uninas" takes any text, name or path as its `source`; networks of
    further `.uni` files are called by the names of their files. Called again, it adds what is new; a file that is
    named again is read again, and the last one of a name is meant. Raises UninasError for a file with mistakes.
    """
    from timm.models import is_model

    names = [name for name, path in shipped().items() if path.parent.name == "networks"]
    own: dict[str, str] = {}
    for file in map(str, files):
        if own.setdefault(timm_name(file), file) != file:
            raise error("UNI060", f"{own[timm_name(file)]} and {file} would both be called {timm_name(file)}")
    known = {ANY: "", **{f"{PREFIX}_{name}": name for name in names}}
    for name, source in known.items():
        if name not in own and not is_model(name):
            _register(name, source)
    for name, source in own.items():
        _register(name, source)
    return sorted({*known, *own})


def timm_name(file: str | Path) -> str:
    """How timm calls the network of a file, or NAME of file.uni:NAME: a dot would begin a tag, a slash a place."""
    _, picked, name = str(file).rpartition(".uni:")
    return f"{PREFIX}_{re.sub(r'[^A-Za-z0-9_-]', '_', name if picked else Path(file).stem)}"


def _register(name: str, source: str) -> None:
    from timm.models import register_model

    default_cfgs[name] = pipeline(_graph(source)) if source else {"num_classes": 0, "fixed_input_size": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Overwriting", UserWarning)  # which is meant: the last one of a name counts
        register_model(_entry(name, source))


def _graph(source: str) -> Graph:
    return create_model(source).architecture if weights_file(source) else sized(*find(source), None)


def _entry(name: str, source: str) -> Callable[..., Model]:
    def entry(pretrained: bool = False, **options: Any) -> Model:
        return _created(source or str(options.pop("source", "")), name, pretrained, options)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__ = __name__
    return entry


def _created(source: str, name: str, pretrained: bool, options: dict[str, Any]) -> Model:
    if not source:
        raise error("UNI060", f"expected a source for {name}", None, f'timm.create_model("{ANY}", source="mine.uni")')
    from timm.layers.config import is_scriptable

    cfg, overlay = options.pop("pretrained_cfg", None), options.pop("pretrained_cfg_overlay", None)
    known = {**_values(cfg), **_values(overlay)}
    for option in IGNORED:
        options.pop(option, None)
    for option, where in IN_THE_TEXT.items():
        if options.pop(option, None) not in (None, "avg", ""):
            raise error("UNI060", f"expected no {option}: {where}")
    if is_scriptable():  # type: ignore[no-untyped-call]
        raise error("UNI060", "expected no TorchScript, which torch has given up", None, "--torchcompile in its place")
    if options.get("features_only"):
        options["out_indices"] = _levels(source, options.get("out_indices"))
    place = {key: options.pop(key) for key in ("device", "dtype") if key in options}
    classes = known.get("num_classes")
    if isinstance(classes, int) and classes > 0 and classes != default_cfgs[name].get("num_classes"):
        options.setdefault("num_classes", None if options.get("features_only") else classes)
    model = create_model(source, **options)
    given: dict[str, Any] = {
        key: known[key] for key in ("mean", "std", "interpolation", "crop_pct", "label_names") if key in known
    }
    located = {key: known[key] for key in ("url", "file", "hf_hub_id", "source", "tag") if known.get(key)}
    own: dict[str, Any] = {key: known[key] for key in ("input_size", "num_classes") if key in known}
    model.default_cfg = {**model.default_cfg, **given, **located, "architecture": name}
    if pretrained:
        _load(model, {**model.default_cfg, **own}, located)
    return model.to(**place) if place else model


def _levels(source: str, indices: Any) -> Any:
    """Numbers of the stages that stand for features, as timm counts them: the last one of each size of map."""
    graph = _graph(source)
    steps = reductions(graph)
    last = {steps[Wire(stage.name)]: number for number, stage in enumerate(network_of(graph).stages)}
    numbers = list(last.values())
    if not numbers or indices is None:
        return numbers or indices
    try:
        return [numbers[index] for index in indices]
    except (IndexError, TypeError):
        raise error("UNI060", f"expected out_indices from 0 to {len(numbers) - 1}, but got {shown(indices)}") from None


def _load(model: Model, cfg: dict[str, Any], located: dict[str, Any]) -> None:
    """Weights from where a folder or a hub says that they are."""
    from timm.models import load_pretrained

    if not located:
        raise error("UNI060", f"there are no trained weights for {cfg['architecture']}", None,
                    "pretrained=False; or, for what you trained, local-dir:FOLDER of uninas export")  # fmt: skip
    features = model.num_classes == 0
    try:
        load_pretrained(model, cfg, num_classes=model.num_classes, in_chans=model.architecture.inputs[0][0],
                        strict=not features)  # fmt: skip
    except RuntimeError as problem:
        raise _misfit(cfg, problem) from problem


def _misfit(cfg: dict[str, Any], problem: RuntimeError) -> UninasError:
    first = str(problem).splitlines()[0]
    return error("UNI055", f"the weights of {cfg['architecture']} do not fit: {first}")


def _values(cfg: Any) -> dict[str, Any]:
    if cfg is None or isinstance(cfg, str):
        return {}
    return dict(cfg) if isinstance(cfg, dict) else dict(vars(cfg))
