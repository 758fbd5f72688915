"""A folder that a repository of models can hold: `timm.create_model("local-dir:FOLDER")` reads it, and people do.

| file | what it holds |
|---|---|
| config.json | what timm asks for: "uninas" with the text as its source, input size, number of classes |
| model.safetensors | weights under the names of the text, which is in the metadata |
| network.uni | the text |
| README.md | the model card |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uninas.backend.create import create_model
from uninas.backend.model import Model
from uninas.backend.timm_models import ANY
from uninas.backend.weights import FILE, load_weights, plain, save_weights, stacked_again, take, weights_file
from uninas.errors import error, shown
from uninas.graph import Graph
from uninas.graph.simplify import simplified
from uninas.graph.variants import with_classes
from uninas.language.printer import dumps
from uninas.ops.op import show_shape
from uninas.version import __version__

DIAGRAM = "network.svg"
CITATION = """@software{uninas_toolkit,
  title   = {UniNAS toolkit},
  version = {VERSION}
}
@article{uninas,
  title = {Universal Neural Architecture Space},
  note  = {arXiv 2510.06035}
}"""


def with_weights_of(graph: Graph, weights: Path | None, *, fold: bool = False) -> Model:
    """The module of a graph with weights from a file or the folder of a training; fresh ones (seed 0) without.

    Raises UNI055 where they do not fit, and UNI070 where they cannot be read.
    """
    if weights is None:
        return create_model(graph, generator=torch.Generator().manual_seed(0), fold=fold)
    path = weights_file(weights)
    if path is None:
        raise error("UNI070", f"expected weights in {shown(weights, 200)}", None,
                    "a .safetensors file, or the folder of a training")  # fmt: skip
    tensors, about = load_weights(path)
    if about.get("text"):
        model = create_model(path, fold=fold)
        wanted = simplified(graph)
        wanted = with_classes(wanted, model.num_classes) if model.num_classes else wanted
        if wanted.key not in (model.architecture.key, simplified(model.architecture).key):
            raise error("UNI055", f"the weights in {shown(path, 200)} are those of another network than {graph.name}")
        return model
    model = create_model(graph, fold=fold)
    take(model, stacked_again(model, tensors), f"the weights in {shown(path, 200)}")
    return model


def to_safetensors(graph: Graph, path: Path, weights: Path | None = None) -> None:
    """Write weights as a file that says in its metadata which network they are for: `create_model(path)` reads it."""
    model = with_weights_of(graph, weights)
    save_weights(path, plain(model), {"text": dumps(model.architecture, explicit=True), "version": __version__})


def to_folder(
    graph: Graph, folder: Path, *, weights: Path | None = None, found: Mapping[str, Any] | None = None
) -> None:
    """Write the folder. `found` says how the network was found: lines for the card, by what they tell.

    Raises UNI100 for a folder that holds something else, whose files would be lost.
    """
    model = with_weights_of(graph, weights)
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in folder.iterdir())
    if others and not {"config.json", "network.uni"} <= set(others):
        raise error("UNI100", f"expected a new folder, but {shown(folder, 200)} holds {shown(', '.join(others))}")
    graph = model.architecture
    text = dumps(graph, explicit=True)
    (folder / "network.uni").write_text(dumps(graph), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config(model, text), indent=2) + "\n", encoding="utf-8")
    state: dict[str, Tensor] = plain(model)
    save_weights(folder / FILE, state, {"text": text, "version": __version__, "format": "pt"})
    (folder / "README.md").write_text(card(graph, weights is not None, found or {}), encoding="utf-8")


def config(model: Model, text: str) -> dict[str, Any]:
    """The values of config.json, as timm writes them for its own models."""
    cfg = model.default_cfg
    names = ("input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes",
             "pool_size", "first_conv", "classifier")  # fmt: skip
    return {
        "architecture": ANY,
        "num_classes": model.num_classes,
        "model_args": {"source": text},
        "pretrained_cfg": {"tag": None, "custom_load": False, **{name: _plain(cfg[name]) for name in names}},
    }


def card(graph: Graph, trained: bool, found: Mapping[str, Any]) -> str:
    """The model card: diagram, costs, how the network was found, how to use it, what to cite."""
    cost, name = graph.cost, graph.name or "network"
    shape = " and ".join(map(show_shape, graph.inputs))
    rows = [
        ("input", shape),
        ("parameters", f"{cost.params:,}"),
        ("FLOPs (2 x MACs)", f"{cost.flops:,}"),
        *found.items(),
    ]
    facts = "\n".join(f"| {key} | {value} |" for key, value in rows)
    state = "Weights are trained." if trained else "Weights are those of a fresh network: **nobody has trained it.**"
    return f"""---
library_name: timm
tags: [image-classification, timm, uninas]
---

# {name}

An architecture in the language of UniNAS toolkit {__version__}. {state}

![{name}]({DIAGRAM})

| | |
|---|---|
{facts}

## Use

```python
import timm
import uninas

uninas.register_timm()
model = timm.create_model("local-dir:FOLDER", pretrained=True)   # or hf-hub:OWNER/NAME
```

Or without timm: `uninas.create_model("FOLDER/{FILE}")`. `network.uni` holds the text.

## Text

```
{dumps(graph).rstrip()}
```

## Cite

```bibtex
{CITATION.replace("VERSION", __version__)}
```
"""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
