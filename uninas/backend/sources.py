"""Networks by where they are: one function for everything that is neither ours nor a text.

| source | what happens |
|---|---|
| `timm:NAME`, `torchvision:NAME` | the model is made, without pretrained weights, and traced |
| `package.module:callable` | the callable is called, if the caller allows code that is named, and its module traced |
| `model.onnx` | read as data |
| `net.py` | what `uninas export --to py` wrote: the text in it is read; nothing of the file is run |
| `model.json` | the model JSON of the published UniNAS toolkit |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from uninas.backend import trace
from uninas.errors import error, in_a_line, shown
from uninas.graph import Graph
from uninas.interop import read_json
from uninas.interop.imported import Imported
from uninas.interop.onnx import read_onnx
from uninas.interop.python import text_in
from uninas.language.elaborate import sized
from uninas.language.library import find
from uninas.language.printer import dumps
from uninas.ops.op import Shape

DEFAULT_INPUT = (3, 224, 224)


@dataclass(frozen=True)
class Source:
    """A network from elsewhere: its text and graph; with its weights where it has some."""

    text: str
    graph: Graph
    imported: Imported | None = None
    module: nn.Module | None = None


def text_of(source: str) -> str:
    """The text of a source that names no code to run; `uninas.load` and every command ask for it."""
    return read(source).text


def read(source: str, shape: Shape | None = None, *, run: bool = False, partial: bool = False) -> Source:
    """A network by its source, for inputs of a shape (by default the model's own, or 3 x 224 x 224).

    `run` allows `package.module:callable`; `partial` lets foreign parts stand for what has no operation. Raises
    UninasError: UNI001, UNI010 or UNI054.
    """
    path = Path(source)
    if path.suffix == ".json":
        graph = read_json(path)
        return Source(dumps(graph), graph)
    if path.suffix == ".py":
        text = text_in(path)
        return Source(text, sized(*find(text), None))
    if path.suffix == ".onnx":
        found = read_onnx(path, partial=partial)
        return Source(found.text, found.graph, found)
    package, _, name = source.partition(":")
    if not package or not name:
        raise error(
            "UNI010", f"expected timm:NAME, torchvision:NAME, MODULE:CALLABLE or a file, but got {shown(source)}"
        )
    if package in ("timm", "torchvision"):
        module, own = _timm(name) if package == "timm" else _torchvision(name)
    elif run:
        module, own = called(package, name), DEFAULT_INPUT
    else:
        raise error("UNI010", f"expected a network, but {shown(source)} names code to run", None,
                    "write it as text first: uninas import MODULE:CALLABLE -o net.uni")  # fmt: skip
    found = trace.import_module(module, shape or own, re.sub(r"\W+", "_", name), partial=partial)
    return Source(found.text, found.graph, found, module)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise error("UNI060", f"{name} is not installed", None, f"pip install {name}") from None


def _timm(name: str) -> tuple[nn.Module, Shape]:
    timm = _package("timm")
    if not timm.is_model(name):
        close = [each for each in timm.list_models() if name[:6] in each][:3]
        raise error(
            "UNI010", f"timm has no model {shown(name)}", None, f"there are {', '.join(close)}" if close else ""
        )
    model = timm.create_model(name)
    return model, tuple(model.default_cfg.get("input_size", DEFAULT_INPUT))


def _torchvision(name: str) -> tuple[nn.Module, Shape]:
    models = _package("torchvision.models")
    if name not in models.list_models():
        raise error("UNI010", f"torchvision has no model {shown(name)}")
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, **extra), DEFAULT_INPUT


def called(package: str, name: str) -> nn.Module:
    """What a callable of a package gives, which must be a module."""
    try:
        found = getattr(import_module(package), name)
    except (ImportError, AttributeError) as problem:
        raise error("UNI010", f"cannot import {package}:{name}: {problem}") from None
    try:
        module = found if isinstance(found, nn.Module) else found()
    except Exception as problem:  # whatever the code of others raises
        raise error("UNI054", f"cannot call {package}:{name}: {shown(in_a_line(problem), 200)}", None,
                    "expected a callable without arguments that gives an nn.Module") from problem  # fmt: skip
    if not isinstance(module, nn.Module):
        raise error("UNI054", f"expected {package}:{name} to give an nn.Module, but got {shown(module)}")
    return module
