"""A training in a folder: begun, interrupted, resumed, finished or diverged; and evaluated again later.

| file | what it holds |
|---|---|
| `training.json` | what decides the training: text and key of the network, whole recipe, data, seed, versions |
| `last.pt` | the newest checkpoint; `previous.pt` is the one before |
| `metrics.csv` | a row for every epoch |
| `result.json` | how it ended: `finished` with its figures, or `diverged` with the place |
| `model.safetensors` | the weights under the names of the text; its metadata say what they are |
| `wandb.json` | what Weights & Biases calls it, where it is logged there |

A folder may be a stranger's. What it names outside of itself is read here and goes nowhere, and images are used only
where they are those of the training; other people's data, which timm fetches by name, need the user's word (`trust`).
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from uninas.backend.backbone import resized
from uninas.backend.weights import FILE, load_weights, prefix_of, save_weights
from uninas.errors import UninasError, error, shown
from uninas.graph import Graph
from uninas.graph.simplify import redundant, simplified
from uninas.graph.summary import human
from uninas.language.alone import architecture
from uninas.language.elaborate import sized
from uninas.language.library import find
from uninas.language.printer import dumps
from uninas.runs.process import read_json, write_text, written
from uninas.training import checkpoint
from uninas.training.distributed import World, world
from uninas.training.files import fetched
from uninas.training.loop import Diverged, Row, Trainer, Watch
from uninas.training.recipe import SETTINGS, TASKS, Recipe
from uninas.training.task import Task
from uninas.version import __version__

METRICS, RESULT, LOGGED = "metrics.csv", "result.json", "wandb.json"
PRECISIONS = ("fp32", "bf16")
BYTES = 4

DECIDING = ("network", "task", "recipe", "data", "seed", "precision", "parts", "weights")
"""What a training that is resumed must have been begun with."""


@dataclass(frozen=True)
class Asked:
    """What is to be trained, and how."""

    network: str | Graph
    task: str
    data: str
    recipe: Recipe
    seed: int = 0
    device: str = "cpu"
    precision: str = ""
    """fp32 or bf16; by default bf16 on GPUs."""
    per_step: int | None = None
    """Images of one forward pass in one process; accumulation makes up for the rest of a batch."""
    weights: str = ""
    """A run, or a safetensors file, to begin from instead of fresh weights."""
    workers: int = 0
    """Processes that read images."""
    skip_bad: bool = False
    """Leave out objects without an area, instead of refusing the data."""
    memory_limit: float | None = None
    """Bytes; a training that would need more is refused."""


@dataclass(frozen=True)
class TrainingRun:
    """A folder with a training, as it stands."""

    folder: Path
    settings: Mapping[str, Any]
    metrics: tuple[Row, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path) -> TrainingRun:
        """Read a folder. Raises UNI070 where there is no training in it."""
        place = Path(folder)
        settings = _json(place / SETTINGS)
        if not settings:
            raise error("UNI070", f"there is no training in {shown(place)}", None,
                        "begin one: uninas train NET --data ... -o FOLDER")  # fmt: skip
        _check_settings(settings, place)
        return cls(place, settings, tuple(_metrics(place / METRICS)), _json(place / RESULT))

    @property
    def outcome(self) -> str:
        """`finished`, `diverged`, or `open`."""
        return str(self.result.get("outcome", "open"))

    @property
    def figures(self) -> dict[str, float]:
        """The last figures on the test images."""
        found = self.result.get("figures")
        known = found.items() if isinstance(found, dict) else ()
        return {name: float(value) for name, value in known if type(value) in (int, float)}


def _check_settings(settings: Mapping[str, Any], folder: Path) -> None:
    """Raise UNI070 for settings that are none of ours, as anybody can change a file."""
    network = settings.get("network")
    right = {
        "network": isinstance(network, dict) and all(isinstance(network.get(n), str) for n in ("name", "key", "text")),
        "task": settings.get("task") in TASKS,
        "recipe": isinstance(settings.get("recipe"), dict),
        "seed": type(settings.get("seed")) is int,
        "parts": type(settings.get("parts", 1)) is int and settings.get("parts", 1) > 0,
    }
    for name, fine in right.items():
        if not fine:
            raise error("UNI070", f"the training in {shown(folder)} has an odd {name}: {shown(settings.get(name))}",
                        None, f"somebody has changed its {SETTINGS}; begin a new one in another folder")  # fmt: skip


def is_training(folder: Path) -> bool:
    """Whether a folder holds a training."""
    return (folder / SETTINGS).is_file()


# ---- training ------------------------------------------------------------------------------------------------------


def train(
    network: str | Graph,
    task: str = "classification",
    *,
    data: str | Path,
    recipe: Recipe | str = "micro",
    out: str | Path,
    seed: int = 0,
    device: str = "cpu",
    watch: Watch | None = None,
    **options: Any,
) -> TrainingRun:
    """Train a network and keep everything in a folder; go on there where a training was interrupted.

    Args:
        network: the name of a shipped network, a path, a text, or a Graph.
        task: classification, detection or segmentation.
        data: images and what is to be learnt of them, see docs/training.md.
        recipe: a `Recipe`, the name of a shipped one, or a YAML file.
        out: the folder. A training that has finished there is returned as it is.
        watch: is told every update and every epoch.
        options: further fields of `Asked`.

    Raises UninasError for everything that is wrong with what is asked. A loss that is not finite is a result.
    """
    chosen = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, task)
    asked = Asked(network, task, str(data), chosen, seed=seed, device=device, **options)
    with world(asked.device) as place:
        return Session(asked, Path(out), place).run(watch)


def resume(folder: str | Path, *, watch: Watch | None = None, trust: bool = False, **options: Any) -> TrainingRun:
    """Go on with the training in a folder, as it was begun. With `trust`, also where timm fetches its data by name."""
    asked = asked_again(folder, trust, **options)
    with world(asked.device) as place:
        return Session(asked, Path(folder), place).run(watch)


def asked_again(folder: str | Path, trust: bool = False, **options: Any) -> Asked:
    """What the training in a folder was begun with. By default on the kind of device where it was.

    Raises UNI070 where its data would be fetched by name, unless the folder is trusted or `options` name them.
    """
    stored = TrainingRun.open(folder).settings
    try:
        given = {"device": stored["device"], "data": str(stored["data"]["path"]), **options}
        asked = Asked(
            architecture(stored["network"]["text"]), stored["task"], recipe=Recipe.read(stored["recipe"]),
            seed=stored["seed"], precision=str(stored["precision"]), weights=str(stored["weights"]), **given,
        )  # fmt: skip
    except (KeyError, TypeError) as problem:
        raise error("UNI070", f"the training in {shown(folder)} has an odd {SETTINGS}: {shown(problem)}") from None
    if fetched(asked.data) and not (trust or "data" in options):
        raise error("UNI070", f"the training in {shown(folder)} reads {shown(asked.data, 200)}, which is fetched by "
                    "name", None, "if you know what that is, accept it with --trust")  # fmt: skip
    return asked


class Session:
    """A training that is open: everything is read and checked, nothing is computed yet."""

    def __init__(self, asked: Asked, folder: Path, place: World):
        self.asked, self.folder, self.world = asked, folder, place
        self.precision = asked.precision or ("bf16" if place.device.type == "cuda" else "fp32")
        if self.precision not in PRECISIONS:
            raise error("UNI130", f"expected a precision of {' or '.join(PRECISIONS)}, but got {shown(self.precision)}")
        self.task = make_task(asked, place)
        self.whole = _network(asked)
        self.graph = self.task.network(simplified(self.whole))
        self.left_out = redundant(self.whole)
        self.group = min(asked.recipe.batch, len(self.task))  # images behind an update
        self.parts = self._parts()
        self._check_memory()

    def _parts(self) -> int:
        """Into how many parts every update is cut; a training that is resumed keeps its number."""
        stored = _json(self.folder / SETTINGS).get("parts")
        if stored is not None and self.asked.per_step is None:
            return int(stored)
        steps = math.ceil(self.group / (self.world.size * (self.asked.per_step or self.group)))
        return self.world.size * max(1, steps)

    def _check_memory(self) -> None:
        """Refuse what cannot fit, before there is any weight."""
        limit = self.asked.memory_limit
        if limit and self.memory > limit:
            path, elements = largest_map(self.graph)
            raise error("UNI130", f"expected a training in at most {human(limit)}bytes, but this one needs about "
                        f"{human(self.memory)}bytes; the largest map, of {human(elements)} elements an image, is made "
                        f"by {path}", None, "take fewer images a step: --per-step 1; or recompute=stages")  # fmt: skip

    @property
    def per_step(self) -> int:
        """Images of one forward pass."""
        return math.ceil(self.group / self.parts)

    @property
    def updates(self) -> int:
        """Updates of the whole training."""
        return self.asked.recipe.epochs * (len(self.task) // self.group)

    @property
    def memory(self) -> float:
        """A rough upper bound of bytes: activations of a step, weights, gradients, and two moments."""
        return BYTES * (self.graph.activations * self.per_step + 4 * self.graph.cost.params)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides the training, as values of JSON."""
        asked = self.asked
        return {
            "version": __version__,
            "torch": str(torch.__version__),
            "network": {"name": self.graph.name, "key": self.graph.key, "text": dumps(self.whole)},
            "task": asked.task,
            "recipe": asked.recipe.as_dict(),
            "data": {"path": asked.data, "fingerprint": self.task.fingerprint},
            "classes": list(self.task.classes),
            "seed": asked.seed,
            "device": self.world.device.type,
            "precision": self.precision,
            "parts": self.parts,
            "weights": asked.weights,
        }

    def plan(self) -> list[str]:
        """What will be done, in sentences for people."""
        recipe, graph = self.asked.recipe, self.graph
        path, elements = largest_map(graph)
        lines = [
            f"{graph.name}: {human(graph.cost.params)} parameters, {human(graph.cost.flops)} FLOPs an image of "
            f"{graph.inputs[0][1]} x {graph.inputs[0][2]}; the largest map has {human(elements)} elements ({path})",
            f"{len(self.task):,} images, {len(self.task.classes)} classes; {recipe.epochs} epochs of "
            f"{self.updates // recipe.epochs:,} updates; {self.group} images behind an update, in {self.parts} "
            f"part{'s' * (self.parts > 1)} of {self.per_step} on {self.world.size} process"
            f"{'es' * (self.world.size > 1)} ({self.world.device.type}, {self.precision})",
            f"learning rate {recipe.lr:g}, {recipe.schedule}, to {recipe.min_lr:g}; weight decay "
            f"{recipe.weight_decay:g}; drop path {recipe.drop_path:g}; about {human(self.memory)}bytes",
        ]
        if self.left_out:
            lines.append(f"{self.left_out} operations that do nothing are left out")
        return lines

    @property
    def done(self) -> int:
        """Updates that are there already."""
        state = checkpoint.load(self.folder) if is_training(self.folder) else None
        update = state.get("update") if state else 0
        return update if isinstance(update, int) else 0

    def run(self, watch: Watch | None = None) -> TrainingRun:
        """Train to the end, from where the folder says."""
        stored = self.begin()
        if stored.outcome != "open":
            return stored
        module = self.task.module(self.graph, self.asked.seed)
        if self.asked.weights:
            begin_from(self.task, module, Path(self.asked.weights))
        trainer = Trainer(self.task, module, self.asked.recipe, world=self.world, seed=self.asked.seed,
                          parts=self.parts, precision=self.precision)  # fmt: skip
        state = checkpoint.load(self.folder)
        if state:
            try:
                trainer.restore(state)
            except (KeyError, TypeError, ValueError, AttributeError) as problem:
                raise error("UNI070", f"the checkpoint in {shown(self.folder)} is of another training: "
                            f"{shown(problem, 100)}") from None  # fmt: skip
        try:
            trainer.run(watch if self.world.first else None, lambda: self._save(trainer))
        except Diverged as problem:
            return self._end({"outcome": "diverged", "update": problem.update, "rate": problem.rate,
                              "images": problem.images, "figures": {}})  # fmt: skip
        return self._finish(trainer)

    def begin(self) -> TrainingRun:
        """The folder with its settings, which are written, or compared with those that are there. May be repeated."""
        if self.world.first:
            known = _json(self.folder / SETTINGS)
            if known:
                check_same(known, self.settings, self.folder)
            else:
                _claim(self.folder)
                write_text(self.folder / SETTINGS, json.dumps(self.settings, indent=1))
        self.world.wait()
        return TrainingRun.open(self.folder)

    def _save(self, trainer: Trainer) -> None:
        if self.world.first:
            checkpoint.save(self.folder, trainer.state())
            write_metrics(self.folder / METRICS, trainer.rows)
        self.world.wait()

    def _finish(self, trainer: Trainer) -> TrainingRun:
        last = trainer.rows[-1]
        own = ("epoch", "loss", "rate", "images_per_second", "waiting", "memory")
        figures = {name: value for name, value in last.items() if name not in own}
        if self.world.first:
            about = {
                "format": "uninas 1", "text": self.settings["network"]["text"], "key": self.graph.key,
                "task": self.asked.task, "classes": list(self.task.classes), "recipe": self.asked.recipe.as_dict(),
                "size": list(self.graph.inputs[0][1:]), "figures": figures,
            }  # fmt: skip
            written(self.folder / FILE, lambda part: save_weights(part, trainer.weights(), about))
        return self._end({"outcome": "finished", "figures": figures, "loss": last["loss"],
                          "updates": trainer.update, "images_per_second": last["images_per_second"]})  # fmt: skip

    def _end(self, result: dict[str, Any]) -> TrainingRun:
        costs = {"params": self.graph.cost.params, "flops": self.graph.cost.flops}
        if self.world.first:
            write_text(self.folder / RESULT, json.dumps({**result, **costs}, indent=1))
        self.world.wait()
        return TrainingRun.open(self.folder)


def make_task(asked: Asked, place: World) -> Task:
    """The task with its data, read and checked."""
    recipe = asked.recipe
    if recipe.task != asked.task:
        raise error("UNI130", f"expected a recipe for {asked.task}, but it is for {recipe.task}")
    if recipe.batch_norm == "sync" and place.device.type != "cuda" and place.size > 1:
        raise error("UNI130", "batch norms can be kept in step on GPUs alone", None,
                    "on CPUs: --set batch_norm=local, or frozen")  # fmt: skip
    if asked.task == "classification":
        from uninas.training.classification import Classification, FileClassification
        from uninas.training.images import read_images

        if fetched(asked.data) or (Path(asked.data).is_dir() and (recipe.augment or recipe.crop_scale)):
            return FileClassification(recipe, asked.data, workers=asked.workers)
        size = (recipe.height, recipe.width) if recipe.height and recipe.width else None
        return Classification(recipe, read_images(asked.data, size), device=place.device)
    if asked.task == "segmentation":
        from uninas.training.segmentation import Segmentation

        return Segmentation(recipe, Path(asked.data), place, asked.workers)
    from uninas.training.detection import Detection

    return Detection(recipe, Path(asked.data), place, asked.workers, asked.skip_bad)


def _network(asked: Asked) -> Graph:
    """The network at the size of the recipe."""
    found = None if isinstance(asked.network, Graph) else find(asked.network)
    graph = sized(*found, None) if found else asked.network
    assert isinstance(graph, Graph)
    recipe = asked.recipe
    height, width = recipe.height or graph.inputs[0][1], recipe.width or graph.inputs[0][2]
    try:
        return sized(*found, (height, width)) if found else resized(graph, (height, width))
    except UninasError as problem:
        raise UninasError(
            dataclasses.replace(each, notes=(*each.notes, f"the task asks for images of {height} x {width}"))
            for each in problem.diagnostics
        ) from None


def largest_map(graph: Graph) -> tuple[str, int]:
    """The path of the operation with the largest output, and its elements for one image."""
    best, most = "", 0
    for path, inner, node in graph.walk():
        elements = max(math.prod(shape) for shape in inner.shapes(node.name))
        if elements > most:
            best, most = path, elements
    return best, most


def begin_from(task: Task, module: torch.nn.Module, source: Path) -> None:
    """Load the weights of an earlier training; heads of another shape keep their fresh weights.

    Every other name must match. Raises UNI070 with the first that does not.
    """
    path = source / FILE if source.is_dir() else source
    found, about = load_weights(path)
    own = task.weights(module)
    prefix, before = prefix_of(own), prefix_of(found)
    if prefix != before:  # of another task: the network alone
        found = {prefix + name.removeprefix(before): t for name, t in found.items() if name.startswith(before)}
    missing = [name for name in own if name not in found and (not prefix or name.startswith(prefix))]
    if missing:
        raise error("UNI070", f"expected weights of {module.__class__.__name__} in {shown(path)}, but they have no "
                    f"{missing[0]} ({len(missing)} of {len(own)} are missing)", None,
                    f"they are of {about.get('key', 'an unknown network')[:16]}")  # fmt: skip
    taken = {name: found[name] if name in found and found[name].shape == tensor.shape else tensor
             for name, tensor in own.items()}  # fmt: skip
    others = [name for name, tensor in own.items() if name in found and found[name].shape != tensor.shape]
    if [name for name in others if not name.startswith("head")]:
        raise error("UNI070", f"expected {others[0]} of {tuple(own[others[0]].shape)} in {shown(path)}, "
                    f"but it is of {tuple(found[others[0]].shape)}")  # fmt: skip
    task.load(module, taken)


def check_same(known: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise UNI070 with the differences between what a folder was begun with and what is asked for."""
    notes = []
    for name in DECIDING:
        was, asked = known.get(name), now[name]
        if name == "network":
            was, asked = (value.get("key") if isinstance(value, dict) else None for value in (was, asked))
        if name == "data":
            was, asked = (value.get("fingerprint") if isinstance(value, dict) else None for value in (was, asked))
        if isinstance(was, dict) and isinstance(asked, dict):
            notes += [f"{key} of the {name} was {shown(was.get(key))}, now {shown(asked.get(key))}"
                      for key in asked if was.get(key) != asked.get(key)]  # fmt: skip
        elif was != asked:
            notes.append(f"{name} was {shown(was)}, now {shown(asked)}")
    if notes:
        raise error("UNI070", f"the training in {shown(folder)} was begun with something else", None, *notes[:8],
                    "take another folder, or resume it as it was begun: uninas resume FOLDER")  # fmt: skip


def _claim(folder: Path) -> None:
    """Make the folder. Raises UNI070 where another run lies in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as problem:
        raise error("UNI070", f"cannot make the folder {shown(folder)}: {problem.strerror}") from None
    if others:
        raise error("UNI070", f"expected an empty folder, but {shown(folder)} holds {shown(', '.join(sorted(others)))}")


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; nothing where there is none."""
    if not path.exists():
        return {}
    found = read_json(path, "UNI070")
    if not isinstance(found, dict):
        raise error("UNI070", f"expected an object in {shown(path)}")
    return found


def logged_as(folder: Path) -> object:
    """What Weights & Biases calls the training in a folder; None where it was never logged there."""
    return _json(folder / LOGGED).get("session")


def keep_logged(folder: Path, session: str) -> None:
    """Remember what Weights & Biases calls it, so that it goes on there."""
    write_text(folder / LOGGED, json.dumps({"session": session}))


def write_metrics(path: Path, rows: Sequence[Row]) -> None:
    """A line for every epoch; figures that an epoch does not have stay empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def fill(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, names, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)

    written(path, fill)


def _metrics(path: Path) -> list[Row]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error) as problem:
        raise error("UNI070", f"cannot read {shown(path)}: {shown(problem, 100)}") from None


# ---- afterwards ----------------------------------------------------------------------------------------------------


def loaded(
    run: TrainingRun, place: World | None = None, data: str | None = None, trust: bool = False
) -> tuple[Task, torch.nn.Module]:
    """The task of a training that has finished, with its data read, and the trained model."""
    settings, path = run.settings, run.folder / FILE
    if not path.is_file():
        raise error("UNI070", f"expected a training that has finished in {shown(run.folder)}, but it is "
                    f"{run.outcome}", None, f"uninas resume {shown(run.folder)}")  # fmt: skip
    place = place or World()
    asked = asked_again(run.folder, trust, device=str(place.device), **({"data": data} if data else {}))
    task = make_task(asked, place)
    if list(task.classes) != settings.get("classes"):
        raise error("UNI130", "expected the classes of the training, but the data have "
                    f"{len(task.classes)} other ones")  # fmt: skip
    if not data and task.fingerprint != settings["data"].get("fingerprint"):
        raise error("UNI130", f"expected the images of the training in {shown(asked.data)}, but they are other ones",
                    None, "name those that are to be used: --data")  # fmt: skip
    module = task.module(task.network(simplified(_network(asked))), asked.seed)
    task.load(module, load_weights(path)[0])
    return task, module


def evaluate(
    run: str | Path, *, data: str | Path | None = None, device: str = "cpu", trust: bool = False
) -> dict[str, float]:
    """Figures of a trained network on the test images: exactly those of its training, on the same data.

    Args:
        run: the folder of a training that has finished.
        data: other images with the same classes.
        trust: fetch the data that the folder names, where timm fetches such by name.
    """
    stored = TrainingRun.open(run)
    with world(device) as place:
        task, module = loaded(stored, place, str(data) if data else None, trust)
        recipe = task.recipe.but(ema=0.0)
        trainer = Trainer(task, module, recipe, world=place, seed=0, parts=place.size,
                          precision=str(stored.settings["precision"]))  # fmt: skip
        return trainer.evaluate()
