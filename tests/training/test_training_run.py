"""Trainings in folders: begun, killed, resumed, refused, evaluated, and built again."""

import json
import signal
import socket
import sys
import types

import numpy as np
import pytest
import torch
from helpers.commands import fail, succeed
from helpers.commands import run as command_run
from helpers.fresh import Start, fresh, together
from helpers.shapes import NET

from uninas import create_model, load
from uninas.backend.backbone import Backbone
from uninas.backend.weights import FILE, load_weights
from uninas.errors import UninasError
from uninas.runs.paired import paired
from uninas.training.benchmark import benchmark
from uninas.training.classification import Classification, FileClassification
from uninas.training.coco import average_precision
from uninas.training.compare import differences, grouped
from uninas.training.detection import Detector
from uninas.training.distributed import World
from uninas.training.images import read_images
from uninas.training.loop import Step, Trainer
from uninas.training.recipe import Recipe
from uninas.training.run import METRICS, RESULT, SETTINGS, TrainingRun, evaluate, resume, train

PLAIN = "network plain { input 3 x 16 x 16 stem conv(8, 3, stride=2) -> gelu head global_avg_pool -> linear(4) }"
RECIPE = Recipe("classification", epochs=3, batch=32, lr=4e-3, warmup_epochs=0.5, pad=1, evaluate_every=1)


@pytest.fixture
def archive(bars, tmp_path):
    path = tmp_path / "bars.npz"
    images = torch.cat((bars.train.images, bars.test.images)).numpy()
    labels = torch.cat((bars.train.labels, bars.test.labels)).numpy()
    split = np.repeat([0, 1], [len(bars.train), len(bars.test)])
    np.savez(path, image=images, label=labels, split=split, classes=np.array(bars.classes))
    return path


def test_a_training_keeps_everything_in_its_folder(archive, tmp_path):
    seen = []
    run = train(NET, data=archive, recipe=RECIPE, out=tmp_path / "a", watch=seen.append)
    assert run.outcome == "finished" and len(run.metrics) == 3
    assert {each.name for each in run.folder.iterdir()} == {SETTINGS, METRICS, RESULT, FILE, "last.pt", "previous.pt"}
    assert sum(isinstance(event, Step) for event in seen) == 15
    assert evaluate(run.folder) == {name: pytest.approx(value) for name, value in run.figures.items()}
    about = load_weights(run.folder / FILE)[1]
    assert json.loads(about["classes"]) == ["row", "column", "square", "red"] and about["key"]
    assert train(NET, data=archive, recipe=RECIPE, out=run.folder).result == run.result  # it says that it is finished


def test_a_trained_network_comes_back(archive, tmp_path):
    run = train(NET, data=archive, recipe=RECIPE.but(epochs=1), out=tmp_path / "a")
    model = create_model(run.folder).eval()
    weights = load_weights(run.folder / FILE)[0]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    folded = create_model(str(run.folder), fold=True).eval()
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(folded(x), model(x))
    with pytest.raises(UninasError, match="expected no init for trained weights"):
        create_model(run.folder, init="xavier")


def test_weights_begin_another_training(archive, tmp_path):
    first = train(NET, data=archive, recipe=RECIPE, out=tmp_path / "a")
    second = train(NET, data=archive, recipe=RECIPE.but(epochs=1), out=tmp_path / "b", weights=str(first.folder))
    assert second.metrics[0]["loss"] < first.metrics[0]["loss"]
    with pytest.raises(UninasError, match="expected weights of"):
        train("micro_resnet", data=archive, recipe=RECIPE.but(height=32, width=32), out=tmp_path / "c",
              weights=str(first.folder))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"recipe": RECIPE.but(lr=1e-3)}, "lr of the recipe was 0.004, now 0.001"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"network": NET.replace("gelu", "relu")}, "network was"),
    ],
)
def test_another_training_is_refused_with_the_differences(archive, tmp_path, change, note):
    given = {"network": NET, "data": archive, "recipe": RECIPE, "out": tmp_path / "a"}
    train(**given)
    with pytest.raises(UninasError, match=note) as raised:
        train(**{**given, **change})
    assert raised.value.code == "UNI070"


def test_a_folder_of_something_else_is_left_alone(archive, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("years of work")
    with pytest.raises(UninasError, match=r"expected an empty folder, but .* holds thesis.tex"):
        train(NET, data=archive, recipe=RECIPE, out=tmp_path / "a")
    with pytest.raises(UninasError, match="there is no training in"):
        TrainingRun.open(tmp_path / "a")


CHANGES = {
    SETTINGS: [
        ("network", 1), ("network", {"name": "x", "key": "x", "text": []}), ("network", {"name": "x", "key": "x"}),
        ("task", "chess"), ("recipe", []), ("recipe", {"epochs": "many"}), ("seed", "0"), ("seed", True), ("parts", 0),
        ("data", None), ("precision", 3), ("classes", 7), ("weights", "no/such"), ("network/text", "/etc/passwd"),
        ("network/text", "timm:resnet18"),
    ],
    RESULT: [("outcome", 3), ("outcome", "diverged"), ("figures", [1]), ("figures", {"top1": "high"})],
}  # fmt: skip


def test_a_training_that_a_stranger_changed_ends_in_a_message(archive, tmp_path):
    """Every command on it, whatever the files say."""
    run = train(PLAIN, data=archive, recipe=RECIPE.but(epochs=1, height=16, width=16), out=tmp_path / "a")
    for name, changes in CHANGES.items():
        before = (run.folder / name).read_text()
        for field, value in changes:
            found = json.loads(before)
            *above, last = field.split("/")
            inner = found[above[0]] if above else found
            inner[last] = value
            (run.folder / name).write_text(json.dumps(found))
            for words in (["resume"], ["evaluate"], ["report"], ["compare"]):
                result = command_run(*words, str(run.folder))
                assert isinstance(result.exception, SystemExit | None), (words, field, value, result.exception)
        (run.folder / name).write_text(before)
    for name in (SETTINGS, RESULT, METRICS):
        before = (run.folder / name).read_bytes()
        for content in (b"[" * 100_000, b"\xff\xfe", b"a,b\n1,x\n", b"[]"):
            (run.folder / name).write_bytes(content)
            assert isinstance(command_run("compare", str(run.folder)).exception, SystemExit | None), (name, content)
        (run.folder / name).write_bytes(before)


def test_weights_and_checkpoints_of_another_network_are_refused(archive, tmp_path):
    one = train(PLAIN, data=archive, recipe=RECIPE.but(epochs=1), out=tmp_path / "a").folder
    other = train(NET, data=archive, recipe=RECIPE.but(epochs=1), out=tmp_path / "b").folder
    (one / FILE).write_bytes((other / FILE).read_bytes())
    with pytest.raises(UninasError, match="the weights do not fit"):
        evaluate(one)
    (one / RESULT).unlink()
    (one / "last.pt").write_bytes((other / "last.pt").read_bytes())
    with pytest.raises(UninasError, match="the weights do not fit"):
        resume(one)
    torch.save({"format": 1, "update": "x"}, one / "last.pt")
    with pytest.raises(UninasError, match="is of another training"):
        resume(one)


def test_what_diverges_is_a_result(archive, tmp_path):
    run = train(NET, data=archive, recipe=RECIPE.but(lr=1e30, clip=0.0, warmup_epochs=0.0), out=tmp_path / "a")
    assert run.outcome == "diverged" and run.result["update"] > 0 and len(run.result["images"]) == 32
    with pytest.raises(UninasError, match="expected a training that has finished"):
        evaluate(run.folder)


def test_what_would_not_fit_is_refused_with_its_place(archive, tmp_path):
    with pytest.raises(UninasError, match=r"at most 1.00 Mbytes, .* the largest map, .* is made by stem"):
        train(NET, data=archive, recipe=RECIPE, out=tmp_path / "a", memory_limit=1e6)
    assert not (tmp_path / "a").exists()


def test_a_network_that_does_not_exist_at_the_size_is_refused(archive, tmp_path):
    with pytest.raises(UninasError, match=r"(?s)windows of 7.*the task asks for images of 96 x 96"):
        train("swin_tiny_patch4_window7_224", data=archive, recipe=RECIPE.but(height=96, width=96), out=tmp_path / "a")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected an array of classes"),
        ({"label": np.zeros(7, int)}, "expected 10 whole numbers as labels"),
        ({"label": np.arange(10) - 5}, "classes from 0 on"),
        ({"label": np.arange(10), "classes": np.array(["a"])}, "expected classes below 1"),
        ({"label": np.zeros(10, int), "split": np.ones(10, int)}, "no images for training"),
    ],
)
def test_data_that_does_not_fit_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", image=np.zeros((10, 3, 16, 16), np.uint8), **arrays)
    with pytest.raises(UninasError, match=message):
        train(NET, data=tmp_path / "x.npz", recipe=RECIPE.but(batch=2), out=tmp_path / "a")


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from uninas.training.recipe import Recipe
from uninas.training.run import train
from uninas.training.benchmark import benchmark
from uninas.training.loop import Step
net, data, out, at = sys.argv[1:]
def watch(event):
    if isinstance(event, Step) and event.update == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
train(net, data=data, recipe=Recipe.load(out + ".yaml", "classification"), out=out, watch=watch)
"""


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_bits(archive, tmp_path):
    import yaml

    whole = train(NET, data=archive, recipe=RECIPE, out=tmp_path / "whole")
    values = {name: value for name, value in RECIPE.as_dict().items() if name != "task"}
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump({"classification": values}))
    done = fresh("-c", KILLED, NET, archive, tmp_path / "killed", "8")
    assert done.returncode == -signal.SIGKILL
    assert TrainingRun.open(tmp_path / "killed").outcome == "open"
    after = resume(tmp_path / "killed")
    assert after.figures == whole.figures
    one, other = (load_weights(run.folder / FILE)[0] for run in (whole, after))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# ---- commands and processes ----------------------------------------------------------------------------------------


def command(archive, out, *further):
    return ["-m", "uninas", "train", PLAIN, "--data", str(archive), "--set", "epochs=2", "--set", "batch=32",
            "--set", "pad=1", "-o", str(out), *further]  # fmt: skip


def on(count, arguments):
    """A command on so many processes, started as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count))
    world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)} if count > 1 else {}
    return together(*(Start(arguments, None, {**world, **rank} if world else {}) for rank in ranks))


@pytest.mark.slow
def test_two_processes_train_as_one_that_accumulates(archive, tmp_path):
    """And a run of two that is interrupted after an epoch ends with the same bits."""
    one, two, cut = tmp_path / "one", tmp_path / "two", tmp_path / "cut"
    (done,) = on(1, command(archive, one, "--per-step", "16"))
    assert done.returncode == 0, done.stderr
    done, _ = on(2, command(archive, two))
    assert done.returncode == 0, done.stderr
    assert "in 2 parts of 16 on 2 processes" in done.stdout
    alone, halves = (load_weights(folder / FILE)[0] for folder in (one, two))
    for name, tensor in alone.items():
        torch.testing.assert_close(tensor, halves[name], rtol=1e-4, atol=1e-5)
    cut.mkdir()
    for name in (SETTINGS, "previous.pt"):
        (cut / name.replace("previous", "last")).write_bytes((two / name).read_bytes())
    assert [done.returncode for done in on(2, command(archive, cut))] == [0, 0]
    assert all(torch.equal(tensor, halves[name]) for name, tensor in load_weights(cut / FILE)[0].items())


def test_a_process_of_many_without_a_master_is_told_so(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UninasError, match=r"(?s)expected RANK in the environment.*torchrun"):
        train(NET, data=archive, recipe=RECIPE, out=tmp_path / "a")


@pytest.mark.parametrize(
    "given", [{"WORLD_SIZE": "many"}, {"WORLD_SIZE": "2", "RANK": "two"}, {"WORLD_SIZE": "2", "RANK": "2"},
              {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "x"}],
)  # fmt: skip
def test_an_environment_of_processes_that_is_none_is_told_so(archive, tmp_path, monkeypatch, given):
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "1", **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UninasError) as raised:
        train(NET, data=archive, recipe=RECIPE, out=tmp_path / "a")
    assert raised.value.code == "UNI130"


def test_commands_train_evaluate_resume_and_compare(archive, tmp_path):
    for seed, *further in (("0", "--tensorboard"), ("1",)):
        text = succeed("train", PLAIN, "--data", str(archive), "--set", "epochs=1", "--set", "batch=32",
                       "--seed", seed, "-o", str(tmp_path / seed), *further)  # fmt: skip
        assert "160 images, 4 classes; 1 epochs of 5 updates; 32 images behind an update, in 1 part of 32" in text
        assert "finished in" in text and "top1" in text
    assert "finished in" in succeed("resume", str(tmp_path / "0"))
    told = json.loads(succeed("status", str(tmp_path / "0"), "--json"))
    assert told["outcome"] == "finished" and told["epochs"] == told["of"] == 1 and told["last_epoch"]["top1"]
    assert "1 of 1" in succeed("status", str(tmp_path / "0")) and "of one network" in fail("top", str(tmp_path / "0"))
    assert "report.html" in succeed("report", str(tmp_path / "0"))
    page = (tmp_path / "0" / "report.html").read_text()
    assert "<h2>Curves</h2>" in page and "<th>square</th>" in page and "network plain" in page
    figures = json.loads(succeed("evaluate", str(tmp_path / "0"), "--json"))
    assert figures == TrainingRun.open(tmp_path / "0").figures
    together = json.loads(succeed("compare", str(tmp_path / "0"), str(tmp_path / "1"), "--json"))
    (row,) = together["trainings"]
    assert together["differences"] == [], "one network has nobody to differ from"
    pasted = [succeed("compare", str(tmp_path / "0"), "--to", form) for form in ("markdown", "csv", "latex")]
    assert pasted[0].startswith("| network | task |") and pasted[1].startswith("network,task,seeds")
    assert r"\begin{tabular}{llr" in pasted[2] and r"images/s \\" in pasted[2]
    tops = [TrainingRun.open(tmp_path / seed).figures["top1"] for seed in ("0", "1")]
    assert row["top1"] == pytest.approx(sum(tops) / 2) and row["seeds"] == 2 and row["network"] == "plain"
    assert "a recipe has no epoch" in fail("train", PLAIN, "--data", str(archive), "--set", "epoch=1", "-o",
                                           str(tmp_path / "x"))  # fmt: skip


def test_a_folder_does_not_decide_what_is_fetched_nor_whose_images_are_shown(archive, tmp_path):
    run = train(NET, data=archive, recipe=RECIPE.but(epochs=1), out=tmp_path / "a")
    stored = json.loads((run.folder / SETTINGS).read_text())

    def altered(**data):
        (run.folder / SETTINGS).write_text(json.dumps({**stored, "data": {**stored["data"], **data}}))

    altered(path="hfds/somebody/else")
    for command in ("resume", "evaluate", "report"):
        assert "hfds/somebody/else, which is fetched by name" in fail(command, str(run.folder))
    named = succeed("evaluate", str(run.folder), "--data", str(archive), "--json")
    assert json.loads(named) == pytest.approx(run.figures), "images that the user names are the user's word"
    altered(fingerprint="0" * 16)
    for command in ("evaluate", "report"):
        assert "expected the images of the training" in fail(command, str(run.folder))


def test_a_session_of_weights_and_biases_goes_on(archive, tmp_path, monkeypatch):
    begun = []

    class Session:
        id = "abc123"
        log = finish = staticmethod(lambda *values, **named: None)

        def __init__(self, **given):
            begun.append(given)

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=Session))
    folder = str(tmp_path / "a")
    succeed("train", PLAIN, "--data", str(archive), "--set", "epochs=1", "--set", "batch=32", "-o", folder,
            "--wandb", "ours")  # fmt: skip
    (tmp_path / "a" / RESULT).unlink()  # as if it had been killed at its end
    succeed("resume", folder, "--wandb", "ours")
    assert "id" not in begun[0] and begun[1]["id"] == "abc123" and begun[1]["resume"] == "allow"


def test_paired_differences_have_students_interval():
    from scipy import stats

    one, other = {0: 1.0, 1: 2.5, 2: 3.0, 5: 9.0}, {0: 0.5, 1: 1.0, 2: 2.9, 7: 1.0}
    middle, half = paired(one, other)
    interval = stats.ttest_rel([1.0, 2.5, 3.0], [0.5, 1.0, 2.9]).confidence_interval(0.95)
    assert (middle - half, middle + half) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert paired({0: 1.0}, {0: 2.0}) is None


def test_the_best_network_is_set_against_every_other_over_shared_seeds(tmp_path):
    def training(name, seed, top1, lr=1.0):
        folder = tmp_path / f"{name}{seed}{lr}"
        folder.mkdir()
        network = {"name": name, "key": name, "text": ""}
        settings = {"network": network, "task": "classification", "recipe": {"lr": lr}, "seed": seed}
        (folder / "training.json").write_text(json.dumps(settings))
        result = {"outcome": "finished", "figures": {"top1": top1}} if top1 else {"outcome": "diverged", "figures": {}}
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    figures = {"a": (70.0, 71.0, 72.0), "b": (60.0, 61.5, 61.9), "c": (69.0, 73.0, 70.0), "d": (50.0, None, None)}
    folders = [training(name, seed, top) for name, tops in figures.items() for seed, top in enumerate(tops)]
    folders.append(training("a", 0, 99.0, lr=2.0))  # by another recipe, which is another question
    rows = {row["against"]: row for row in differences(grouped(folders))}
    assert rows.keys() == {"b", "c"} and all(row["network"] == "a" and row["seeds"] == 3 for row in rows.values())
    assert rows["b"]["verdict"] == "better" and rows["b"]["difference"] == pytest.approx(9.8667, abs=1e-3)
    assert rows["c"]["verdict"] == "no difference found" and rows["c"]["low"] < 0 < rows["c"]["high"]
    text = succeed("compare", *map(str, folders))
    assert "no difference found" in text and "for one comparison" in text


def test_a_short_training_is_the_last_rung_of_a_search(archive, tmp_path, monkeypatch):
    """Halving sorts out by a cheap score; what is left is trained, stored, and not trained again."""
    space = tmp_path / "tiny.uni"
    space.write_text(NET + "space Tiny { start tiny moves insert 1 {gelu, conv(C, 1), batch_norm}, remove 0.3 }")
    recipe = tmp_path / "short.yaml"
    values = {name: value for name, value in RECIPE.but(epochs=1).as_dict().items() if name != "task"}
    recipe.write_text(json.dumps({"classification": values}))
    monkeypatch.chdir(tmp_path)
    succeed("search", str(space), "--strategy", "halving", "--cheap", "params", "--proxy", "train:short.yaml",
            "--input", f"train:short.yaml={archive}", "--iterations", "6", "--strategy-option", "eta=2", "-j", "0",
            "-o", str(tmp_path / "run"))  # fmt: skip
    from uninas.search.store import Store

    with Store(tmp_path / "run", read_only=True) as store:
        trained = [c for c in store if c.rung == 1]
    assert trained and all(c.score is not None and 0 <= c.score <= 100 and "top5" in c.components for c in trained)
    refused = fail("search", str(space), "--proxy", "train:short.yaml", "-j", "0", "-o", str(tmp_path / "other"))
    assert "expected images to train on for train:short.yaml" in refused


def test_networks_are_timed_side_by_side():
    rows = json.loads(succeed("benchmark", PLAIN, "micro_resnet", "--batch", "1,2", "--mode", "plain,fold",
                              "--seconds", "0.01", "--img-size", "32", "--json"))  # fmt: skip
    assert [(r["network"], r["mode"], r["batch"]) for r in rows[:2]] == [("plain", "plain", 1), ("plain", "plain", 2)]
    assert len(rows) == 8 and all(r["passes"] >= 50 and r["low"] <= r["median"] <= r["high"] for r in rows)
    assert all(r["images_per_second"] == pytest.approx(1e3 * r["batch"] / r["median"]) for r in rows)
    assert "expected numbers or best" in command_run("benchmark", PLAIN, "--batch", "many").output
    with pytest.raises(UninasError, match="expected backbone or model, but got head"):
        benchmark([PLAIN], what=["head"])
    assert benchmark([PLAIN], batch=["best"], seconds=0.0, passes=2, warm=0.0)[0].batch >= 1


# ---- pictures in folders -------------------------------------------------------------------------------------------


@pytest.fixture
def folders(bars, tmp_path):
    from PIL import Image

    for split, part in (("train", bars.train), ("val", bars.test)):
        for number in range(40):
            place = tmp_path / "pictures" / split / bars.classes[int(part.labels[number])]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.images[number].movedim(0, -1).numpy()).save(place / f"{number}.png")
    return tmp_path / "pictures"


FILES = {"epochs": 1, "batch": 8, "pad": 0, "height": 16, "width": 16, "crop_scale": [0.5, 1.0]}


def test_pictures_in_folders_are_read_alike_by_any_number_of_workers(folders, tmp_path):
    recipe = RECIPE.but(**FILES, augment="rand-m9-mstd0.5")
    runs = [train(NET, data=folders, recipe=recipe, out=tmp_path / str(n), workers=n) for n in (0, 2)]
    weights = [load_weights(run.folder / FILE)[0] for run in runs]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert sorted(runs[0].settings["classes"]) == ["column", "red", "row", "square"]
    assert evaluate(runs[0].folder) == runs[0].figures


def test_small_pictures_in_folders_are_held_in_memory(folders, tmp_path):
    run = train(NET, data=folders, recipe=RECIPE.but(epochs=1, batch=8), out=tmp_path / "a")
    assert run.outcome == "finished"


def test_pictures_that_cannot_be_read_are_named(folders, tmp_path):
    spoilt = [next((folders / "train" / name).iterdir()) for name in ("row", "red")]
    for path in spoilt:
        path.write_bytes(b"no picture")
    with pytest.raises(UninasError) as raised:
        train(NET, data=folders, recipe=RECIPE.but(epochs=1, batch=8), out=tmp_path / "a")
    assert all(path.name in str(raised.value) for path in spoilt) and "2 pictures" in str(raised.value)
    with pytest.raises(UninasError, match="cannot read the picture"):
        train(NET, data=folders, recipe=RECIPE.but(**FILES), out=tmp_path / "b")
    with pytest.raises(UninasError, match="expected folders train and val"):
        train(NET, data=folders / "train", recipe=RECIPE, out=tmp_path / "c")


@pytest.mark.parametrize(
    ("module", "given"),
    [
        ("faster_coco_eval", lambda: average_precision(None, [])),
        ("timm.data.dataset_factory", lambda: FileClassification(RECIPE, "nowhere")),
        ("torchvision.models.detection", lambda: Detector(Backbone(load("resnet", img_size=64)), 3)),
    ],
    ids=["faster_coco_eval", "timm", "torchvision"],
)
def test_without_the_extra_one_line_says_what_to_install(module, given, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UninasError, match=r"pip install 'uninas-toolkit\[train\]'"):
        given()


def test_what_the_machine_does_not_have_is_said_before_anything(archive, tmp_path):
    if not torch.cuda.is_available():
        with pytest.raises(UninasError, match="cannot use the device cuda"):
            train(NET, data=archive, recipe=RECIPE, out=tmp_path / "a", device="cuda")
    with pytest.raises(UninasError, match="recompute is for detection and segmentation"):
        train(NET, data=archive, recipe=RECIPE.but(recompute="stages"), out=tmp_path / "a")
    task = Classification(RECIPE, read_images(archive))
    with pytest.raises(UninasError, match="in equal parts for 2 processes, but got 3 parts"):
        Trainer(task, torch.nn.Linear(2, 2), RECIPE, world=World(0, 2), seed=0, parts=3)
    assert not (tmp_path / "a").exists()


def test_the_published_recipe_runs_on_images_in_memory_without_what_needs_files(archive, tmp_path):
    changes = {"epochs": 1, "height": 16, "width": 16, "warmup_epochs": 0.1, "drop_path": 0}
    settings = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    given = ["train", PLAIN, "--data", str(archive), "--recipe", "uninas", *settings, "-o", str(tmp_path / "a")]
    refused = fail(*given)
    assert "augment of a recipe is for image files" in refused and "--set augment=null" in refused
    text = succeed(*given, "--set", "augment=null", "--set", "crop_scale=null")
    assert "160 images behind an update" in text  # fewer images than the recipe's batch
