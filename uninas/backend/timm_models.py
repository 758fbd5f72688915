"""Our networks under names that timm knows, so that its scripts, and what builds on it, take them.

    uninas.register_timm()
    timm.create_model("uninas_resnet50", num_classes=10)
    timm.create_model("uninas", source="mine.uni", drop_path_rate=0.1)
    timm.create_model("local-dir:exported", pretrained=True)       # what `uninas export --to hf` wrote

timm reads names with a slash as repositories of a hub, so ours have an underscore.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from uninas.backend.create import create_model
from uninas.backend.model import Model
from uninas.errors import UninasError, error
from uninas.language.library import shipped

PREFIX = "uninas"
ANY = "uninas"
"""The entry that takes any network as `source`."""
IGNORED = ("bn_momentum", "bn_eps", "bn_tf", "scriptable", "exportable", "no_jit", "pretrained_model_args", "cache_dir")
"""What timm's scripts may pass on to every model, whatever it is."""

__all__: list[str] = []  # timm adds the names that are registered


def register_timm(*files: str | Path) -> list[str]:
    """Make networks known to `timm.create_model`, and give their names.

    All that are shipped are called uninas_NAME, and "uninas" takes any text, name or path as its `source`; networks of
    further `.uni` files are called by the names of their files. Call it once; called again it adds what is new.
    """
    from timm.models import is_model, register_model

    networks = [name for name, path in shipped().items() if path.parent.name == "networks"]
    named = {f"{PREFIX}_{name}": name for name in networks}
    named |= {f"{PREFIX}_{Path(file).stem}": str(file) for file in files}
    for name, source in {**named, ANY: ""}.items():
        if not is_model(name):
            register_model(_entry(name, source))
    return sorted([*named, ANY])


def _entry(name: str, source: str) -> Callable[..., Model]:
    def entry(pretrained: bool = False, **options: Any) -> Model:
        return _created(source or str(options.pop("source", "")), name, pretrained, options)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__ = __name__
    return entry


def _created(source: str, name: str, pretrained: bool, options: dict[str, Any]) -> Model:
    if not source:
        raise error("UNI060", f"expected a source for {name}", None, f'timm.create_model("{ANY}", source="mine.uni")')
    cfg, overlay = options.pop("pretrained_cfg", None), options.pop("pretrained_cfg_overlay", None)
    known = {**_values(cfg), **_values(overlay)}
    for option in IGNORED:
        options.pop(option, None)
    if options.pop("drop_rate", 0.0):
        raise error("UNI060", "expected no drop_rate: dropout stands in the text, as dropout(0.1)")
    if options.pop("global_pool", "avg") not in ("avg", ""):
        raise error("UNI060", "expected no global_pool: the pooling stands in the text, as global_avg_pool")
    classes = options.get("num_classes")
    if classes is None and not options.get("features_only") and isinstance(known.get("num_classes"), int):
        options["num_classes"] = known["num_classes"] or None
    model = create_model(source, **options)
    given: dict[str, Any] = {
        key: known[key] for key in ("mean", "std", "interpolation", "crop_pct", "label_names") if key in known
    }
    located = {key: known[key] for key in ("url", "file", "hf_hub_id", "source", "tag") if known.get(key)}
    own: dict[str, Any] = {key: known[key] for key in ("input_size", "num_classes") if key in known}
    model.default_cfg = {**model.default_cfg, **given, **located, "architecture": name}
    if pretrained:
        _load(model, {**model.default_cfg, **own}, located)
    return model


def _load(model: Model, cfg: dict[str, Any], located: dict[str, Any]) -> None:
    """Weights from where a folder or a hub says that they are."""
    from timm.models import load_pretrained

    if not located:
        raise error("UNI060", f"there are no trained weights for {cfg['architecture']}", None, "pretrained=False")
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
