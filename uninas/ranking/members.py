"""From what stands in a table to a graph: cells of NAS-Bench-201, answers to a space's choices, or texts and files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from uninas.errors import did_you_mean, error, shown
from uninas.graph import Graph
from uninas.graph.variants import with_classes
from uninas.language.elaborate import build, space
from uninas.language.library import Module, find, load_file, shipped_file
from uninas.ops.op import Shape
from uninas.ranking import nasbench201
from uninas.space import Choice, Decide


@dataclass(frozen=True)
class Dataset:
    """A column of accuracies, and what networks look like there; None leaves them as they are written."""

    name: str
    input: Shape | None = None
    classes: int | None = None

    @property
    def label(self) -> str:
        """As it is written on the command line."""
        shape = "" if self.input is None else f":{'x'.join(map(str, self.input))}"
        return f"{self.name}{shape}" + ("" if self.classes is None else f":{self.classes}")


_C10, _C100, _IN16 = (((3, size, size), classes) for classes, size in nasbench201.DATASETS.values())
KNOWN = {"c10": _C10, "cifar10": _C10, "c100": _C100, "cifar100": _C100, "in16": _IN16, "imagenet16": _IN16}
"""Data sets that need no further words: shape of an image, and number of classes."""


def dataset(text: str) -> Dataset:
    """'c10', or 'mine:3x64x64:5' with the shape of an image and the number of classes. Raises UNI110."""
    found = re.fullmatch(r"([\w.-]+)(?::(\d{1,5})x(\d{1,5})x(\d{1,5}))?(?::(\d{1,6}))?", text)
    if not found:
        raise error("UNI110", f"expected a data set like c10 or mine:3x64x64:5, but got {shown(text)}")
    name, *sizes, classes = found.groups()
    shape: Shape | None
    shape, number = KNOWN.get(name, (None, None))
    if sizes[0] is not None:
        shape = tuple(map(int, sizes))
    return Dataset(name, shape, int(classes) if classes else number)


Build = Callable[[str, Dataset], Graph]


@cache
def builder(source: str, folder: Path) -> Build:
    """How texts become graphs: as members of the space `source`, or, where it is empty, as networks of their own.

    The text of a member of NAS-Bench-201 is its official string or index; that of another space is JSON: the answers
    in the order of the space's choices, or by name. Any other text is a path to a .uni file (from `folder` on), the
    name of a shipped network, or a network.
    """
    if not source:
        return lambda text, dataset: _network(text, folder, dataset)
    module, name = find(source)
    if name == "nasbench201" and module.file.source.text == load_file(shipped_file(name)).file.source.text:
        return lambda text, dataset: _cell(module, text, dataset)
    choices = space(module, name).choices
    if not choices:
        raise error("UNI042", f"{name} has no open choices", None, "leave the space out to rank .uni files")
    return lambda text, dataset: _sized(module, name, dataset, _answers(text, choices))


def fingerprint(source: str) -> str:
    """The hash of a space's text, so that a changed text is noticed."""
    return sha256(find(source)[0].file.source.text.encode()).hexdigest() if source else ""


def _cell(module: Module, text: str, dataset: Dataset) -> Graph:
    cell = nasbench201.answers_of(int(text) if text.isdecimal() and len(text) < 9 else text)
    for name, (classes, size) in nasbench201.DATASETS.items():
        if (dataset.input, dataset.classes) == ((3, size, size), classes):
            return nasbench201.graph_of(cell, name)
    answers = dict(zip("abcdef", cell, strict=True))
    return _sized(module, "nasbench201", dataset, lambda choice: answers[choice.path])


def _network(text: str, folder: Path, dataset: Dataset) -> Graph:
    is_path = re.search(r"\.uni(:\w+)?$", text) and "{" not in text
    module, name = find(str(folder / text) if is_path else text)
    return _sized(module, name, dataset, None)


def _sized(module: Module, name: str, dataset: Dataset, decide: Decide | None) -> Graph:
    graph = build(module, name, input=dataset.input, decide=decide)
    return graph if dataset.classes is None else with_classes(graph, dataset.classes)


def _answers(text: str, choices: tuple[Choice, ...]) -> Decide:
    """What a cell of a table says about a member of a space.

    | written | meaning |
    |---|---|
    | `[0, 3, 1]`, `(0, 3, 1)` | numbers of options, in the order of the choices |
    | `{"kernel": 1, "body": "MBConv"}` | numbers or texts of options, by the names of the choices |
    | `8:64:24`, `8,64,24` | texts of options, or else their numbers |
    | `031` | numbers of options, one digit each |
    """
    given: Any = _read_answers(text.strip(), choices)
    if isinstance(given, list):
        if len(given) != len(choices):
            raise error("UNI042", f"expected {len(choices)} answers, but got {len(given)} in {shown(text)}")
        given = dict(zip((choice.path for choice in choices), given, strict=True))
    if not isinstance(given, dict):
        hint = "strings of cells are for the shipped nasbench201, not for a changed copy" if text[:1] == "|" else ""
        raise error("UNI042", f"expected answers such as [0, 3], 0:3 or JSON, but got {shown(text)}", None, hint)

    def decide(choice: Choice) -> int:
        answer = given.get(choice.path)
        if isinstance(answer, str) and answer in choice.options:
            return choice.options.index(answer)
        if type(answer) is int and 0 <= answer < len(choice.options):
            return answer
        hint = did_you_mean(choice.path, given) if answer is None else f"options: {', '.join(choice.options)}"
        raise error("UNI042", f"expected an answer to {choice.path}, but got {shown(answer)}", None, shown(hint, 300))

    return decide


def _read_answers(text: str, choices: tuple[Choice, ...]) -> Any:
    """A list in the order of the choices, a dictionary by their names, or None where the text is neither."""
    if re.fullmatch(r"\(.*\)", text):
        text = f"[{text[1:-1].rstrip().removesuffix(',')}]"
    if text.isdecimal() and len(text) == len(choices):
        return [int(digit) for digit in text]
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None
    parts = [part.strip() for part in re.split(r"[:,]", text)]
    if len(parts) != len(choices) or not all(parts):
        return None
    if all(part in choice.options for part, choice in zip(parts, choices, strict=True)):
        return parts
    return [int(part) if part.isdecimal() and len(part) < 9 else part for part in parts]
