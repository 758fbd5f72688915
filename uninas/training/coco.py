"""Objects of pictures as COCO writes them: boxes, masks and classes in JSON, and how well they were found.

A folder has `instances_train.json` and `instances_val.json` (also `annotations/instances_train2017.json`), and pictures
in `images/train` and `images/val` (also `train2017`, `val2017`). Masks are polygons, or run lengths. What is marked
as a crowd is not learnt, and nobody is blamed for what is found there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from uninas.errors import error, shown
from uninas.runs.process import read_json
from uninas.training.files import Report
from uninas.training.loop import missing

FILES = (
    "instances_{}.json",
    "annotations/instances_{}.json",
    "instances_{}2017.json",
    "annotations/instances_{}2017.json",
)
FOLDERS = ("images/{}", "{}", "images/{}2017", "{}2017", "images")
MOST_BYTES = 2 * 2**30
SMALLEST = 1e-3  # pixels; the side of a box


@dataclass(frozen=True)
class Thing:
    """An object: its box (left, top, right, bottom), number of its class from 0 on, mask as COCO writes it."""

    box: tuple[float, float, float, float]
    label: int
    mask: Any
    crowd: bool


@dataclass(frozen=True)
class Photo:
    """A picture and what is in it."""

    id: int
    file: Path
    height: int
    width: int
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Objects:
    """The pictures of one split, and the classes in the order of COCO's own numbers."""

    photos: tuple[Photo, ...]
    classes: tuple[str, ...]
    ids: tuple[int, ...]
    raw: Mapping[str, Any]
    left_out: int = 0

    @property
    def fingerprint(self) -> str:
        said = [(p.id, p.file.name, [(t.box, t.label, t.crowd) for t in p.things]) for p in self.photos]
        return sha256(repr(said).encode()).hexdigest()[:16]


def read_objects(root: Path, split: str, skip_bad: bool = False) -> Objects:
    """The pictures of a split. Raises one UninasError with everything that is wrong with them.

    With `skip_bad`, objects whose box has no area in their picture, or without a mask, are left out instead.
    """
    path = next((root / name.format(split) for name in FILES if (root / name.format(split)).is_file()), None)
    if path is None:
        raise error("UNI130", f"expected a file {FILES[0].format(split)} in {shown(root)}", None,
                    "as COCO writes it, beside images/train and images/val")  # fmt: skip
    raw = _read(path)
    report = Report(str(path))
    categories = sorted(_listed(raw, "categories", path), key=lambda each: each["id"])
    numbers = {each["id"]: number for number, each in enumerate(categories)}
    folder = next((root / name.format(split) for name in FOLDERS if (root / name.format(split)).is_dir()), root)
    images = {each["id"]: each for each in _listed(raw, "images", path)}
    for number, image in images.items():
        if not all(_is_side(image.get(side)) for side in ("height", "width")):
            report.add("pictures without a height and a width", number)
    report.check()
    things: dict[int, list[Thing]] = {number: [] for number in images}
    left_out = 0
    for each in _listed(raw, "annotations", path):
        thing = _thing(each, images, numbers, report, skip_bad)
        if thing is None:
            left_out += 1
        else:
            things[each["image_id"]].append(thing)
    photos = []
    for number, image in images.items():
        file = folder / str(image.get("file_name", ""))
        if not file.is_file():
            report.add("pictures that are missing", file)
        photos.append(Photo(number, file, image["height"], image["width"], tuple(things[number])))
    if not photos or not any(not thing.crowd for photo in photos for thing in photo.things):
        report.add("files without pictures or objects", path)
    report.check(lambda: "leave out bad objects: --skip-bad" if any(
        kind.startswith(("boxes", "masks")) for kind in report.kinds) else "")  # fmt: skip
    return Objects(tuple(photos), tuple(str(each.get("name", each["id"])) for each in categories),
                   tuple(each["id"] for each in categories), raw, left_out)  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path, "UNI130", MOST_BYTES)
    if not isinstance(found, dict):
        raise error("UNI130", f"expected an object with images, annotations and categories in {shown(path)}")
    return found


def _listed(raw: Mapping[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    found = raw.get(name)
    if not isinstance(found, list) or not all(isinstance(each, dict) and type(each.get("id")) is int for each in found):
        raise error("UNI130", f"expected a list {name}, each with a number as its id, in {shown(path)}")
    return found


def _thing(
    each: Mapping[str, Any], images: Mapping[int, Any], numbers: Mapping[int, int], report: Report, skip_bad: bool
) -> Thing | None:
    place = f"annotation {each['id']}"
    ids = [one if type(one := each.get(name)) is int else -1 for name in ("image_id", "category_id")]
    image, number = images.get(ids[0]), numbers.get(ids[1])
    if image is None or number is None:
        report.add("objects of a picture that is not listed" if image is None else "objects of an unknown class", place)
        return None
    box = each.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        report.add("objects without a box of four numbers", place)
        return None
    left, top, wide, high = map(float, box)
    right, below = min(left + wide, float(image["width"])), min(top + high, float(image["height"]))
    left, top = max(left, 0.0), max(top, 0.0)
    if not (right - left > SMALLEST and below - top > SMALLEST):
        if not skip_bad:
            report.add("boxes without an area inside their picture", place)
        return None
    mask, crowd = each.get("segmentation"), bool(each.get("iscrowd", 0))
    if not crowd and not _is_mask(mask, image["height"], image["width"]):
        if not skip_bad:
            report.add("masks that are neither polygons nor run lengths", place)
        return None
    return Thing((left, top, right, below), number, mask, crowd)


def _is_side(value: object) -> bool:
    """Whether this is a height or width in pixels."""
    return type(value) is int and 0 < value < 2**16


def _is_mask(mask: Any, height: int, width: int) -> bool:
    """Whether a mask is written as COCO writes them: polygons of at least three points, or run lengths of its size."""
    if isinstance(mask, list):
        return bool(mask) and all(
            isinstance(line, list) and len(line) >= 6 and len(line) % 2 == 0
            and all(type(one) in (int, float) and abs(one) < 2**20 for one in line) for line in mask
        )  # fmt: skip
    counts = mask.get("counts") if isinstance(mask, dict) and mask.get("size") == [height, width] else None
    if isinstance(counts, list):
        return all(type(one) is int and one >= 0 for one in counts) and sum(counts) == height * width
    return isinstance(counts, str) and counts.isascii()


def mask_array(mask: Any, height: int, width: int) -> np.ndarray[Any, Any]:
    """A mask, polygons or run lengths, as H x W of 0 and 1."""
    masks = _evaluation().mask
    if isinstance(mask, list):
        rle = masks.merge(masks.frPyObjects(mask, height, width))
    elif isinstance(mask.get("counts"), list):
        rle = masks.frPyObjects(mask, height, width)
    else:
        rle = {"size": mask["size"], "counts": mask["counts"]}
    found: np.ndarray[Any, Any] = masks.decode(rle)
    return found


def encoded_mask(mask: np.ndarray[Any, Any]) -> dict[str, Any]:
    """H x W of 0 and 1 as run lengths."""
    found: dict[str, Any] = _evaluation().mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = found["counts"]
    return {"size": list(found["size"]), "counts": counts.decode() if isinstance(counts, bytes) else counts}


def average_precision(objects: Objects, found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """COCO's average precision of boxes and masks, in percent, for what was found in all pictures of a split."""
    library = _evaluation()
    names = {"bbox": "ap_box", "segm": "ap_mask"}
    figures = dict.fromkeys(("ap_box", "ap50_box", "ap_mask", "ap50_mask"), 0.0)
    if not found:
        return figures
    truth = library.COCO({name: objects.raw[name] for name in ("images", "annotations", "categories")})
    results = truth.loadRes([dict(each) for each in found])
    for kind, name in names.items():
        judge = library.COCOeval_faster(truth, results, kind, print_function=lambda *words: None)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        figures[name] = 100 * max(0.0, float(judge.stats[0]))
        figures[name.replace("ap", "ap50")] = 100 * max(0.0, float(judge.stats[1]))
    return figures


def _evaluation() -> Any:
    try:
        import faster_coco_eval
    except ImportError:
        raise missing("the average precision of detection") from None
    return faster_coco_eval
