"""How to train: the numbers of a recipe, read from YAML, checked, and printed with what they come to.

    >>> recipe = Recipe.load("uninas", "classification")
    >>> recipe.epochs, recipe.batch, recipe.but(epochs=1).epochs
    (150, 384, 1)

What decides a training is here and nowhere else: the same recipe, network, data and seed give the same weights.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from uninas.errors import Diagnostic, UninasError, did_you_mean, error, shown
from uninas.language.resources import recipes_root
from uninas.runs.plain_yaml import read_yaml

SETTINGS = "training.json"
"""The file that makes a folder one of a training."""

TASKS = ("classification", "detection", "segmentation")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "task": TASKS,
    "schedule": ("cosine", "linear", "multi_step", "constant"),
    "optimizer": ("adamw", "sgd"),
    "batch_norm": ("local", "sync", "frozen"),
    "test": ("whole", "slide"),
    "recompute": ("none", "stages"),
}
"""The words that a field may hold."""

LOW: Mapping[str, float] = {"epochs": 1, "batch": 1, "lr": 0, "evaluate_every": 0, "samples": 1, "head_width": 8}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training besides network, data and seed. Lengths are in epochs, sizes in pixels."""

    task: str
    epochs: int
    batch: int
    """Images behind one update, in all processes and steps of accumulation together."""
    lr: float
    """The highest learning rate, after warming up."""
    schedule: str = "cosine"
    min_lr: float = 0.0
    """Where the schedule ends; multi_step falls no lower."""
    warmup_epochs: float = 0.0
    warmup_lr: float = 0.0
    """Where warming up begins; it rises linearly."""
    milestones: tuple[float, ...] = ()
    """After these epochs multi_step divides the rate by ten."""
    optimizer: str = "adamw"
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 0.05
    """Of the kernels of convolutions and linear layers alone; norms, biases and position tables have none."""
    clip: float = 1.0
    """The largest norm of all gradients together; 0: any."""
    drop_path: float = 0.0
    """The rate in the last residual branch; the first has none."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is then what is evaluated; 0: none."""
    batch_norm: str = "local"
    """Statistics of each process, of all together (sync, on GPUs), or those that the weights came with (frozen)."""
    recompute: str = "none"
    """Compute activations of `stages` twice instead of keeping them."""
    evaluate_every: int = 1
    """Epochs between evaluations; 0: only after the last."""
    height: int | None = None
    """Of the images, if not the network's own."""
    width: int | None = None
    flip: float = 0.5
    """Probability of a mirror image."""

    # -- classification
    smoothing: float = 0.0
    mixup: float = 0.0
    """Alpha of the beta distribution that two images are mixed by; 0: none."""
    augment: str | None = None
    """RandAugment and its kin in timm's words, for image files."""
    crop_scale: tuple[float, float] | None = None
    """Area of random crops as a part of the image, for image files."""
    crop_share: float = 1.0
    """Side of the middle that is evaluated, as a part of the image, for image files."""
    pad: int = 0
    """Pixels by which images may be shifted, for images in memory."""

    # -- detection and segmentation
    head_width: int | None = None
    """Channels of the heads, if not those of the papers: 256 of Mask R-CNN, 512 of UperNet."""
    samples: int = 512
    """Proposals of each picture that the heads of a detector learn from; four times as many are made."""

    # -- segmentation
    photometric: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    """Random sizes before a crop is taken."""
    class_share: float = 1.0
    """Crops with more than that of a single class are drawn again."""
    auxiliary: float = 0.0
    """Weight of the loss of a head on the third stage."""
    test: str = "whole"

    def __post_init__(self) -> None:
        problems = [problem for field in dataclasses.fields(self) for problem in _problems(self, field.name)]
        if self.schedule != "multi_step" and self.milestones:
            problems.append(Diagnostic("UNI130", "expected milestones for the schedule multi_step alone"))
        if problems:
            raise UninasError(problems)

    @classmethod
    def load(cls, source: str | Path, task: str) -> Self:
        """The recipe for a task from a shipped set (uninas, micro) or a YAML file. Raises UninasError."""
        if task not in TASKS:
            raise error("UNI130", f"there is no task {shown(task)}", None, did_you_mean(task, TASKS),
                        f"tasks are {', '.join(TASKS)}")  # fmt: skip
        path = _path(source)
        read = read_yaml(path, "UNI130", f"{task}: {{epochs: 8, batch: 128, lr: 2e-3}}")
        if not isinstance(read.get(task), Mapping):
            held = ", ".join(map(str, read))
            raise error("UNI130", f"expected a section {task} in the recipe {path.name}, but it has {shown(held)}")
        return cls.read({"task": task, **read[task]})

    @classmethod
    def read(cls, values: Mapping[Any, Any]) -> Self:
        """A recipe from plain values. Raises UninasError with everything that is wrong with them."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = [key for key in values if key not in known]
        if unknown:
            raise UninasError(
                Diagnostic("UNI130", f"a recipe has no {shown(key)}", None,
                           tuple(filter(None, [did_you_mean(str(key), known)])))
                for key in unknown
            )  # fmt: skip
        required = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING]
        if missing := [name for name in required if name not in values]:
            raise error("UNI130", f"expected a recipe with {', '.join(missing)}")
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**given)

    def but(self, **values: Any) -> Self:
        """The recipe with other values for some fields. Raises UninasError."""
        return self.read({**self.as_dict(), **values})

    def as_dict(self) -> dict[str, Any]:
        """All fields as values of JSON."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}

    @property
    def digest(self) -> str:
        """A hash of all fields."""
        return sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _path(source: str | Path) -> Path:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        return path
    shipped = {file.stem: file for file in recipes_root().glob("*.yaml")}
    if str(source) not in shipped:
        raise error("UNI130", f"there is no recipe {shown(source)}", None, did_you_mean(str(source), shipped),
                    f"there are {', '.join(sorted(shipped))}, or name a .yaml file")  # fmt: skip
    return shipped[str(source)]


def _problems(recipe: Recipe, name: str) -> list[Diagnostic]:
    """What is wrong with a field: its type, its word, or its sign."""
    value = getattr(recipe, name)
    kind = get_type_hints(Recipe)[name]
    if not _fits(value, kind):
        wanted = str(getattr(kind, "__name__", kind)) if get_origin(kind) is None else str(kind)
        return [Diagnostic("UNI130", f"expected {name} of a recipe to be {wanted}, but got {shown(value)}")]
    if name in CHOICES and value not in CHOICES[name]:
        note = did_you_mean(str(value), CHOICES[name])
        words = " or ".join(CHOICES[name])
        return [Diagnostic("UNI130", f"expected {name} of a recipe to be {words}, but got {shown(value)}", None,
                           (note,) if note else ())]  # fmt: skip
    numbers = value if isinstance(value, tuple) else (value,)
    low = LOW.get(name, 0)
    if any(isinstance(number, int | float) and not low <= number < math.inf for number in numbers):
        return [Diagnostic("UNI130", f"expected {name} of a recipe to be at least {low}, but got {shown(value)}")]
    if name in _SHARES and not value <= 1:
        return [Diagnostic("UNI130", f"expected {name} of a recipe to be at most 1, but got {shown(value)}")]
    return []


_SHARES = ("flip", "drop_path", "ema", "smoothing", "crop_share", "class_share")


def _fits(value: object, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_fits(value, each) for each in get_args(kind))
    if kind is NoneType:
        return value is None
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, tuple):
            return False
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind
