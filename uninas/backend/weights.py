"""Weights under the names of the text, however a model was built, and in files that anybody can read safely."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from uninas.errors import error, shown

FILE = "model.safetensors"


def plain(module: nn.Module) -> dict[str, Tensor]:
    """The state dict as it would be without `fold`: n equal parts under n names, not one tensor with an axis of n."""
    folded = _folded(module)
    found: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        path = next((path for path in folded if name.startswith(f"{path}.")), "")
        if path:
            rest = name[len(path) + 1 :]
            found |= {f"{path}.{number}.{rest}": part for number, part in enumerate(tensor.unbind())}
        else:
            found[name] = tensor
    return found


def stacked_again(module: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `plain`: the state dict of a model that may be folded, from weights under plain names."""
    found, folded = dict(weights), _folded(module)
    for name in module.state_dict() if folded else ():
        path, count = next(((p, n) for p, n in folded.items() if name.startswith(f"{p}.")), ("", 0))
        if path:
            rest = name[len(path) + 1 :]
            names = [f"{path}.{number}.{rest}" for number in range(count)]
            if all(each in found for each in names):
                found[name] = torch.stack([found.pop(each) for each in names])
    return found


def take(module: nn.Module, state: Mapping[str, Tensor], what: str = "the weights", *notes: str) -> None:
    """Load a state dict, strict; `what` is its name in messages. Raises UNI055 for that of another module."""
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError) as problem:  # of tensors, and of what are none
        first, *more = [shown(line.strip(), 200) for line in str(problem).splitlines() if line.strip()]
        raise error("UNI055", f"{what} do not fit: {first}", None, *more[:3], *notes) from None


def _folded(module: nn.Module) -> dict[str, int]:
    """Paths of folded parts in a compiled model, or in a module that holds one, with their number."""
    found: dict[str, int] = {}
    for path, inner in module.named_modules():
        about = getattr(inner, "meta", {}).get("uninas") if isinstance(getattr(inner, "meta", None), dict) else None
        if about:
            found |= {f"{path}.{name}" if path else name: count for name, count in about.get("folded", {}).items()}
    return found


def prefix_of(names: Iterable[str]) -> str:
    """What stands before the names of the network in a model that has it as its backbone; '' where it is the model."""
    for name in names:
        before, mark, _ = name.partition(_BODY)
        if mark:
            return before + mark
    return ""


_BODY = "backbone.body."


def save_weights(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights as safetensors; the metadata are words, or values of JSON. Raises UNI100."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    metadata = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    try:
        safetensors.torch.save_file(tensors, path, metadata)
    except (OSError, safetensors.SafetensorError) as problem:
        raise error("UNI100", f"cannot write {shown(path, 200)}: {shown(problem, 120)}") from None


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights in a safetensors file, and its metadata. Raises UNI070 when it cannot be read."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as problem:
        raise error("UNI070", f"cannot read the weights in {shown(path)}: {shown(problem, 120)}") from None


def weights_file(source: object) -> Path | None:
    """The file of weights that a name means: itself, or that in a folder of a training; None where it means none."""
    if not isinstance(source, str | Path) or "{" in str(source):
        return None
    path = Path(source)
    if path.suffix == ".safetensors":
        return path
    return path / FILE if (path / FILE).is_file() else None
