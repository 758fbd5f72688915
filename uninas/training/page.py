"""The page of a training: curves, which classes are taken for which, and examples with what was found on them.

One HTML file without a script, which opens without a network.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uninas.backend.weights import FILE
from uninas.runs.process import write_text
from uninas.training.classification import TEST_BATCH, Classification, FileClassification
from uninas.training.coco import mask_array
from uninas.training.detection import Detection
from uninas.training.distributed import World
from uninas.training.files import picture
from uninas.training.images import as_input
from uninas.training.loop import Row
from uninas.training.metrics import Overlap
from uninas.training.run import TrainingRun, loaded
from uninas.training.segmentation import NONE, Segmentation
from uninas.training.task import Task

EXAMPLES = 4
MOST_CLASSES = 40  # of a matrix that can still be read
LOOKED_AT = 100  # pictures for the matrix of a segmentation
SURE = 0.5  # of what is drawn

Picture = np.ndarray[Any, Any]


def write_page(folder: str | Path, output: str | Path | None = None, trust: bool = False) -> Path:
    """Write the page of a training; curves alone while it has not finished. Returns its path.

    With `trust`, images are also shown where timm fetches them by the name that the folder gives.
    """
    run = TrainingRun.open(folder)
    network = run.settings["network"]
    title = f"{network['name']}: {run.settings['task']}"
    figures = "  ".join(f"{name} {value:.2f}" for name, value in run.figures.items())
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(run.outcome)}. {html.escape(figures)}</p>"]
    if run.metrics:
        parts += ["<h2>Curves</h2>", curves(run.metrics)]
    if (run.folder / FILE).is_file():
        task, module = loaded(run, trust=trust)
        task_parts(parts, task, module.eval(), World())
    recipe = html.escape(json.dumps(run.settings["recipe"], indent=1))
    parts += [
        "<h2>Recipe</h2>",
        f"<pre>{recipe}</pre>",
        "<h2>Network</h2>",
        f"<pre>{html.escape(network['text'])}</pre>",
    ]
    text = _PAGE.format(title=html.escape(title), body="\n".join(parts))
    return write_text(Path(output) if output else run.folder / "report.html", text)


def task_parts(parts: list[str], task: Task, module: nn.Module, place: World) -> None:
    """What a task has to show of a trained model."""
    with torch.inference_mode():
        counts = confusion(task, module, place)
        examples = pictures(task, module, place)
    if counts is not None and len(counts) <= MOST_CLASSES:
        parts += [
            "<h2>Classes (rows) and what they were taken for (columns), in percent</h2>",
            matrix(counts, task.classes),
        ]
    if examples:
        parts.append("<h2>Examples</h2>")
        parts += [
            f"<figure>{_png(image)}<figcaption>{html.escape(text)}</figcaption></figure>" for image, text in examples
        ]


def curves(rows: Sequence[Row]) -> str:
    """Figures by epoch, one panel each, as SVG."""
    from matplotlib.figure import Figure

    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in ("epoch", "memory")]
    figure = Figure(figsize=(3.2 * min(len(names), 4), 2.4 * -(-len(names) // 4)), layout="constrained")
    for number, name in enumerate(names, 1):
        axes = figure.add_subplot(-(-len(names) // 4), min(len(names), 4), number)
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), ".-")
        axes.set_title(name.replace("_", " "), fontsize=9)
    written = io.StringIO()
    figure.savefig(written, format="svg")
    text = written.getvalue()
    return text[text.index("<svg") :]


def confusion(task: Task, module: nn.Module, place: World) -> Tensor | None:
    """How often each class was taken for each, on the test images; None where that says nothing."""
    metric = Overlap(len(task.classes), NONE)
    if isinstance(task, Classification) and not isinstance(task, FileClassification):
        data = task.images.test
        for start in range(0, len(data), TEST_BATCH):
            part = data[start : start + TEST_BATCH]
            metric.add(module(as_input(part.images, task.size)).argmax(1), part.labels)
        return metric.counts
    if isinstance(task, Segmentation):
        for file, mask in task.folder.test[:LOOKED_AT]:
            metric.add(task.predict(module, picture(file).to(place.device)).cpu(), task.folder.labels(mask))
        return metric.counts
    return None


def matrix(counts: Tensor, classes: Sequence[str]) -> str:
    """A table whose cells are the darker the more they hold."""
    shares = 100 * counts / counts.sum(1, keepdim=True).clamp(min=1)
    rows = ["<tr><th></th>" + "".join(f"<th>{html.escape(name)}</th>" for name in classes) + "</tr>"]
    for name, row in zip(classes, shares.tolist(), strict=True):
        cells = "".join(f'<td style="background: rgb(40 90 160 / {share:.0f}%)">{share:.0f}</td>' for share in row)
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def pictures(task: Task, module: nn.Module, place: World) -> list[tuple[Picture, str]]:
    """Some test pictures with what was found on them."""
    if isinstance(task, Segmentation):
        found = []
        for file, mask in task.folder.test[:EXAMPLES]:
            image = picture(file).to(place.device)
            layers = [_coloured(image, labels) for labels in (task.folder.labels(mask), task.predict(module, image))]
            found.append((np.concatenate(layers, 1), f"{file.name}: what is there, and what was found"))
        return found
    if isinstance(task, Detection):
        return [_detected(task, module, number, place) for number in range(min(EXAMPLES, len(task.test.photos)))]
    return []


def _coloured(image: Tensor, labels: Tensor) -> Picture:
    """A picture under the colours of its classes."""
    shades = _shades(256)
    pixels = image.cpu().movedim(0, -1).numpy()
    known = (labels.cpu().numpy() != NONE)[..., None]
    mixed = np.where(known, pixels * 0.4 + shades[labels.cpu().numpy()] * 0.6, pixels)
    return mixed.astype(np.uint8)


def _detected(task: Detection, module: nn.Module, number: int, place: World) -> tuple[Picture, str]:
    """A picture with the boxes and masks that the detector is sure of."""
    photo = task.test.photos[number]
    pixels = picture(photo.file).movedim(0, -1).numpy().copy()
    shades, words = _shades(len(task.classes)), []
    for thing in task.found(module, photo, place):
        if thing["score"] < SURE:
            continue
        kind = task.train.ids.index(thing["category_id"])
        inside = mask_array(thing["segmentation"], photo.height, photo.width).astype(bool)
        pixels[inside] = (pixels[inside] * 0.5 + shades[kind] * 0.5).astype(np.uint8)
        left, top, wide, high = (round(side) for side in thing["bbox"])
        right, below = min(left + wide, photo.width - 1), min(top + high, photo.height - 1)
        pixels[[top, below], left : right + 1] = shades[kind]
        pixels[top : below + 1, [left, right]] = shades[kind]
        words.append(f"{task.classes[kind]} {thing['score']:.2f}")
    return pixels, f"{photo.file.name}: {', '.join(words) or 'nothing'}"


def _shades(count: int) -> Picture:
    """A colour for each number, unlike those of its neighbours."""
    turns = np.arange(count)[:, None] * 0.618034 + np.array([0, 1 / 3, 2 / 3])
    shades: Picture = (127 + 120 * np.cos(2 * np.pi * turns)).astype(np.uint8)
    return shades


def _png(pixels: Picture) -> str:
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}">'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-size: 12px; }} td, th {{ padding: 2px 5px; text-align: right; }}
pre {{ background: #f4f4f4; padding: 1rem; overflow: auto; }} figure {{ display: inline-block; margin: .5rem; }}
img {{ max-width: 34rem; image-rendering: pixelated; min-width: 12rem; }}
</style></head>
<body>
{body}
</body></html>
"""
