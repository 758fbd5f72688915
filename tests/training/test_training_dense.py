"""Detection and segmentation: heads equal to a peer's, figures equal to others' figures, data that is refused whole."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from uninas import create_model, load
from uninas.backend.weights import FILE, load_weights
from uninas.errors import UninasError
from uninas.training.coco import average_precision, encoded_mask, mask_array, read_objects
from uninas.training.detection import Detection
from uninas.training.distributed import World
from uninas.training.metrics import Overlap, TopK
from uninas.training.page import write_page
from uninas.training.recipe import Recipe
from uninas.training.run import evaluate, train
from uninas.training.segmentation import MaskFolder, Segmentation
from uninas.training.upernet import UperHead

NET = """
network small {
    input 3 x 64 x 64
    stem conv(16, 3, stride=2, bias=false) -> batch_norm -> relu -> conv(16, 3)
    stage 24 x 1 stride 2 { R(width, stride) }
    stage 32 x 1 stride 2 { R(width, stride) }
    stage 48 x 1 stride 2 { R(width, stride) }
    stage 64 x 1 stride 2 { R(width, stride) }
    head layer_norm -> global_avg_pool -> linear(10)
}
block R(width, stride) {
    x = in -> conv(width, 3, stride, bias=false) -> batch_norm -> relu
    out = x + (x -> conv(width, 3, bias=false) -> batch_norm -> relu)
}
"""
DENSE = {"batch": 4, "epochs": 30, "lr": 2e-3, "warmup_epochs": 2.0, "weight_decay": 0.01, "flip": 0.0,
         "height": 96, "width": 96, "evaluate_every": 0, "head_width": 32, "samples": 64}  # fmt: skip


def drawn(number, size=96):
    """A picture with a square and a disc, and their masks."""
    source = np.random.default_rng(number)
    image = source.integers(0, 60, (size, size, 3)).astype(np.uint8)
    masks = []
    for kind in (0, 1):
        side = int(source.integers(24, 36))
        x, y = (int(v) for v in source.integers(2, size // 2 - 6, 2))
        x += (size // 2 - 4) * kind
        rows, columns = np.mgrid[:size, :size]
        inside = (columns >= x) & (columns < x + side) & (rows >= y) & (rows < y + side)
        if kind:
            inside &= (columns - x - side / 2) ** 2 + (rows - y - side / 2) ** 2 <= side**2 / 4
        image[inside] = (230, 60, 60) if kind == 0 else (60, 230, 60)
        masks.append(inside)
    return image, masks


@pytest.fixture
def objects(tmp_path):
    """Four pictures in COCO's format, and the same as masks of classes."""
    root = tmp_path / "drawn"
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "semantic" / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(4):
            image, masks = drawn(number)
            Image.fromarray(image).save(root / "images" / split / f"{number}.png")
            labels = np.zeros(image.shape[:2], np.uint8)
            images.append({"id": number + 1, "file_name": f"{number}.png", "height": 96, "width": 96})
            for kind, mask in enumerate(masks):
                labels[mask] = kind + 1
                rows, columns = np.nonzero(mask)
                box = [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number + 1, "category_id": 7 * (kind + 1), "bbox": box,
                    "area": int(mask.sum()), "iscrowd": 0, "segmentation": encoded_mask(mask),
                })  # fmt: skip
            Image.fromarray(labels).save(root / "semantic" / split / f"{number}.png")
        kinds = [{"id": 7, "name": "square"}, {"id": 14, "name": "disc"}]
        file = root / f"instances_{split}.json"
        file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": kinds}))
    return root


# ---- heads ---------------------------------------------------------------------------------------------------------


def test_the_head_has_the_size_of_its_peers():
    """31.50 M parameters and 422.7 GFLOPs at four UniNAS widths and 512 px (150 classes)."""
    channels = (96, 192, 384, 768)
    with torch.device("meta"):
        head = UperHead(channels, 150).eval()
        maps = [torch.empty(1, c, 512 // s, 512 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)]
    with FlopCounterMode(display=False) as counter:
        head(maps)
    assert sum(p.numel() for p in head.parameters()) / 1e6 == pytest.approx(31.50, abs=0.01)
    assert counter.get_total_flops() / 1e9 == pytest.approx(422.7, abs=0.2)


@pytest.mark.slow
def test_the_head_is_that_of_transformers():
    pytest.importorskip("transformers")
    from transformers import UperNetConfig
    from transformers.models.upernet.modeling_upernet import UperNetHead

    channels = [8, 12, 16, 20]
    config = UperNetConfig(hidden_size=32, num_labels=5, pool_scales=[1, 2, 3, 6])
    theirs, ours = UperNetHead(config, channels).eval(), UperHead(channels, 5, 32).eval()
    source = torch.Generator().manual_seed(0)
    names = {"psp_modules": "pyramid.branches", "bottleneck": "pyramid.bottleneck", "lateral_convs": "laterals",
             "fpn_convs": "smooth", "fpn_bottleneck": "fuse", "classifier": "classifier"}  # fmt: skip
    renamed = {}
    for name, tensor in theirs.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=source) * 0.5 + 0.1)
        first, *rest = name.split(".")
        renamed[".".join([names[first], *rest]).replace(".conv.", ".0.").replace(".batch_norm.", ".1.")] = tensor
    ours.load_state_dict(renamed)
    maps = [torch.randn(2, c, s, s, generator=source) for c, s in zip(channels, (16, 8, 4, 2), strict=True)]
    torch.testing.assert_close(ours(maps), theirs(maps))


# ---- figures -------------------------------------------------------------------------------------------------------


def test_overlap_is_that_of_torchmetrics():
    pytest.importorskip("torchmetrics")
    from torchmetrics import JaccardIndex

    source = torch.Generator().manual_seed(0)
    ours, theirs = Overlap(6), JaccardIndex(task="multiclass", num_classes=6, ignore_index=255)
    for _ in range(3):
        found = torch.randint(0, 6, (2, 40, 30), generator=source)
        labels = torch.where(
            torch.rand(found.shape, generator=source) < 0.5, found, torch.randint(0, 6, found.shape, generator=source)
        )
        labels[torch.rand(found.shape, generator=source) < 0.1] = 255
        ours.add(found, labels)
        theirs.update(found, labels)
    assert ours.result()["miou"] == pytest.approx(100 * theirs.compute().item(), abs=1e-4)


def test_classes_among_the_most_likely_are_counted():
    metric = TopK((1, 2))
    metric.add(torch.tensor([[3.0, 2, 1], [1, 2, 3], [1, 3, 2], [3, 1, 2]]), torch.tensor([0, 1, 2, 1]))
    assert metric.result() == {"top1": 25.0, "top2": 75.0}


def test_average_precision_is_that_of_pycocotools(objects):
    pytest.importorskip("pycocotools")
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = read_objects(objects, "val")
    source = np.random.default_rng(0)
    found = []
    for each in truth.raw["annotations"]:
        mask = np.roll(mask_array(each["segmentation"], 96, 96), int(source.integers(-6, 7)), axis=1)
        box = [v + float(source.normal(0, 3)) for v in each["bbox"]]
        found.append({"image_id": each["image_id"], "category_id": each["category_id"], "bbox": box,
                      "segmentation": encoded_mask(mask), "score": float(source.random())})  # fmt: skip
    ours = average_precision(truth, found)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth.raw
        coco.createIndex()
        results = coco.loadRes(found)
        for kind, name in (("bbox", "box"), ("segm", "mask")):
            judge = COCOeval(coco, results, kind)
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
            assert ours[f"ap_{name}"] == pytest.approx(100 * judge.stats[0], abs=1e-6)
            assert ours[f"ap50_{name}"] == pytest.approx(100 * judge.stats[1], abs=1e-6)
    assert 0 < ours["ap_box"] < 100
    assert average_precision(truth, [])["ap_box"] == 0


# ---- training ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_mask_rcnn_learns_four_pictures(objects, tmp_path):
    recipe = Recipe("detection", **{**DENSE, "epochs": 50, "lr": 4e-3, "warmup_epochs": 5.0})
    run = train(NET, "detection", data=objects, recipe=recipe, out=tmp_path / "run")
    assert run.metrics[-1]["loss"] < run.metrics[0]["loss"] / 2
    assert run.figures["ap50_box"] > 50, run.figures
    assert evaluate(run.folder) == run.figures
    page = write_page(run.folder).read_text()
    assert page.count("<figure>") == 4 and "square 0.9" in page and "disc 0.9" in page and "<svg" in page
    maps = create_model(run.folder)(torch.zeros(1, 3, 96, 96))
    assert [tuple(each.shape[1:]) for each in maps] == [(24, 24, 24), (32, 12, 12), (48, 6, 6), (64, 3, 3)]
    again = Recipe("segmentation", **{**DENSE, "epochs": 1})
    other = train(NET, "segmentation", data=objects, recipe=again, out=tmp_path / "other", weights=str(run.folder))
    assert other.outcome == "finished"


@pytest.mark.slow
def test_a_detector_trains_on_two_processes(objects, tmp_path):
    """Each sees half of the pictures. Before the first norm nothing differs, so its mean is that of all four."""
    recipe = Recipe("detection", **{**DENSE, "epochs": 1})
    whole = train(NET, "detection", data=objects, recipe=recipe, out=tmp_path / "whole")
    (tmp_path / "net.uni").write_text(NET)
    asked = [f"--set={name}={value}" for name, value in {**DENSE, "epochs": 1}.items()]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29873",
         "-m", "uninas", "train", str(tmp_path / "net.uni"), "--task", "detection", "--data", str(objects), *asked,
         "-o", str(tmp_path / "halves")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    one, two = (load_weights(folder / FILE)[0] for folder in (whole.folder, tmp_path / "halves"))
    mean = "rcnn.backbone.backbone.body.stem.batch_norm.running_mean"
    torch.testing.assert_close(one[mean], two[mean])


def test_upernet_learns_four_pictures(objects, tmp_path):
    recipe = Recipe("segmentation", **DENSE, auxiliary=0.4)
    run = train(NET, "segmentation", data=objects, recipe=recipe, out=tmp_path / "run")
    assert run.figures["miou"] > 70, run.figures
    page = write_page(run.folder).read_text()
    assert page.count("<figure>") == 4 and "what was found" in page and page.count("<tr>") == 4
    assert evaluate(run.folder) == run.figures


def test_a_picture_is_segmented_whole_or_in_windows(objects):
    for test in ("whole", "slide"):
        recipe = Recipe("segmentation", **{**DENSE, "height": 64, "width": 64}, test=test)
        task = Segmentation(recipe, objects, World())
        module = task.module(load(NET), 0).eval()
        with torch.inference_mode():
            found = task.predict(module, torch.randint(0, 255, (3, 70, 150), dtype=torch.uint8))
        assert found.shape == (70, 150) and int(found.max()) < 3


def test_wide_and_tall_pictures_meet_their_like(objects):
    task = Detection(Recipe("detection", **{**DENSE, "height": 64, "width": 96}), objects, World())
    assert task.canvas(480, 640) == (64, 96) and task.canvas(640, 480) == (96, 64)
    import dataclasses

    photos = [dataclasses.replace(task.train.photos[0], height=10 + 20 * (n % 2), width=20) for n in range(10)]
    task.train = dataclasses.replace(task.train, photos=tuple(photos))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    found = task.ordered(order, 2)
    assert sorted(found.tolist()) == list(range(10))
    assert all(a % 2 == b % 2 for a, b in found[:8].reshape(-1, 2).tolist())


def test_nobody_learns_from_pixels_without_a_class():
    class Constant(nn.Module):
        def forward(self, x):
            return [x[:, :2]]

    task = Segmentation.__new__(Segmentation)
    task.recipe = Recipe("segmentation", **DENSE)
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    loss = task.loss(Constant(), (x, torch.full((1, 8, 8), 255, dtype=torch.uint8)))
    assert loss.item() == 0


# ---- data that is refused ------------------------------------------------------------------------------------------


def changed(root, split, change):
    path = root / f"instances_{split}.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def test_everything_that_is_wrong_with_objects_is_said_at_once(objects):
    def spoil(raw):
        raw["annotations"][0]["bbox"] = [200, 10, 5, 5]
        raw["annotations"][1]["bbox"] = [10, 10, 0, 5]
        raw["annotations"][2]["category_id"] = 99
        raw["annotations"][3]["image_id"] = 99
        raw["annotations"][4]["bbox"] = "wide"
        raw["images"][1]["file_name"] = "gone.png"

    changed(objects, "train", spoil)
    with pytest.raises(UninasError) as raised:
        read_objects(objects, "train")
    text = str(raised.value)
    for part in (
        "2 boxes without an area inside their picture: annotation 1, annotation 2",
        "1 objects of an unknown class",
        "1 objects of a picture that is not listed",
        "1 objects without a box",
        "1 pictures that are missing",
        "--skip-bad",
    ):
        assert part in text


def test_bad_boxes_can_be_left_out(objects):
    changed(objects, "train", lambda raw: raw["annotations"][0].update(bbox=[10, 10, 0, 5]))
    found = read_objects(objects, "train", skip_bad=True)
    assert found.left_out == 1 and sum(len(photo.things) for photo in found.photos) == 7
    assert found.classes == ("square", "disc") and found.ids == (7, 14)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("annotations", {"segmentation": None}, "1 masks that are neither polygons nor run lengths"),
        ("annotations", {"segmentation": [[1, 2]]}, "1 masks that are neither"),
        ("annotations", {"segmentation": [["x"] * 6]}, "1 masks that are neither"),
        ("annotations", {"segmentation": {"size": [9, 9], "counts": [81]}}, "1 masks that are neither"),
        ("annotations", {"segmentation": {"size": [96, 96], "counts": [-5, 5]}}, "1 masks that are neither"),
        ("annotations", {"image_id": []}, "1 objects of a picture that is not listed"),
        ("annotations", {"category_id": {}}, "1 objects of an unknown class"),
        ("annotations", {"id": "one"}, "expected a list annotations, each with a number as its id"),
        ("images", {"height": None}, "1 pictures without a height and a width"),
        ("images", {"width": -3}, "1 pictures without a height and a width"),
        ("categories", {"id": [1]}, "expected a list categories"),
    ],
)
def test_objects_with_odd_values_are_refused(objects, kind, values, message):
    changed(objects, "train", lambda raw: raw[kind][0].update(values))
    with pytest.raises(UninasError, match=message):
        read_objects(objects, "train")


def test_polygons_and_run_lengths_are_masks():
    polygon = mask_array([[2.0, 2, 8, 2, 8, 6, 2, 6]], 10, 12)
    assert polygon.shape == (10, 12) and polygon.sum() == 24
    assert np.array_equal(mask_array(encoded_mask(polygon), 10, 12), polygon)
    assert mask_array({"size": [2, 2], "counts": [1, 3]}, 2, 2).sum() == 3


def test_everything_that_is_wrong_with_masks_is_said_at_once(objects):
    (objects / "semantic" / "train" / "0.png").unlink()
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(objects / "semantic" / "train" / "1.png")
    (objects / "images" / "val" / "2.png").write_bytes(b"no picture")
    with pytest.raises(UninasError) as raised:
        MaskFolder(objects, Recipe("segmentation", **DENSE))
    text = str(raised.value)
    assert "1 pictures without a mask" in text and "1 masks of another size" in text and "cannot be read" in text


def test_classes_beyond_the_list_are_refused(objects):
    (objects / "classes.json").write_text('["ground", "square"]')
    with pytest.raises(UninasError, match=r"masks with classes beyond the 2 of classes\.json"):
        MaskFolder(objects, Recipe("segmentation", **DENSE))
    for text, message in (("{", "cannot read"), ("[" * 100_000, "cannot read"), ("3", "expected a list of names")):
        (objects / "classes.json").write_text(text)
        with pytest.raises(UninasError, match=message):
            MaskFolder(objects, Recipe("segmentation", **DENSE))


def test_masks_of_ade20k_count_from_one(objects):
    (objects / "semantic").rename(objects / "annotations")
    folder = MaskFolder(objects, Recipe("segmentation", **DENSE))
    labels = folder.labels(folder.train[0][1])
    assert set(labels.unique().tolist()) == {0, 1, 255} and len(folder.classes) == 2


def test_a_network_without_four_strides_is_refused(objects, tmp_path):
    with pytest.raises(UninasError, match="expected stages of strides 4, 8, 16, 32, but micro_resnet has 2, 4, 8, 16"):
        train("micro_resnet", "detection", data=objects, recipe=Recipe("detection", **DENSE), out=tmp_path / "x")
