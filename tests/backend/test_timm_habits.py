"""What programs written for timm and torchvision ask of a model, asked by timm and torchvision themselves."""

import json

import pytest
import timm
import torch
from helpers.commands import fail, succeed
from helpers.reports import searched
from timm.data import resolve_data_config
from timm.models import resolve_model_input_args
from timm.optim import param_groups_layer_decay
from timm.task import FeatureDistillationTask

import uninas
from uninas.errors import UninasError
from uninas.ops.regulariser import Dropout

NETWORK = "micro_resnet"


@pytest.fixture(scope="module", autouse=True)
def registered():
    return uninas.register_timm()


@pytest.fixture
def model():
    return timm.create_model(f"uninas_{NETWORK}", num_classes=7)


def images(model, count=2, seed=0):
    return torch.randn(count, *model.default_cfg["input_size"], generator=torch.Generator().manual_seed(seed))


# ---- timm ----------------------------------------------------------------------------------------------------------


def test_shipped_networks_and_any_text_are_models_of_timm(registered, tmp_path):
    assert set(registered) <= set(timm.list_models("uninas*")) and "uninas_resnet50" in registered
    text = uninas.dumps(uninas.load(NETWORK))
    (tmp_path / "mine.uni").write_text(text)
    assert "uninas_mine" in uninas.register_timm(tmp_path / "mine.uni")
    wanted = uninas.load(NETWORK).cost.params
    for made in (timm.create_model("uninas_mine"), timm.create_model("uninas", source=text)):
        assert sum(one.numel() for one in made.parameters()) == wanted
    with pytest.raises(UninasError, match="expected a source"):
        timm.create_model("uninas")
    with pytest.raises(UninasError, match="no trained weights"):
        timm.create_model(f"uninas_{NETWORK}", pretrained=True)
    for option in ({"bn_eps": 1e-3}, {"bn_momentum": 0.01}, {"global_pool": "max"}, {"scriptable": True}):
        with pytest.raises(UninasError, match=r"expected no (bn_|global_pool|TorchScript)"):
            timm.create_model(f"uninas_{NETWORK}", **option)


def test_the_last_file_of_a_name_is_meant_and_two_at_once_are_refused(tmp_path):
    for folder, classes in (("one", 3), ("two", 5)):
        (tmp_path / folder).mkdir()
        text = f"network a {{ input 3 x 8 x 8\n    head global_avg_pool -> linear({classes}) }}"
        (tmp_path / folder / "a.b-c.uni").write_text(text)
    one, two = tmp_path / "one" / "a.b-c.uni", tmp_path / "two" / "a.b-c.uni"
    for file, classes in ((one, 3), (two, 5), (one, 3)):
        assert "uninas_a_b-c" in uninas.register_timm(file)
        assert timm.create_model("uninas_a_b-c").num_classes == classes
        assert timm.create_model(**resolve_model_input_args("uninas_a_b-c", {"img_size": 16})).num_classes == classes
    uninas.register_timm()  # which has no file of this name, leaves it as it is
    assert timm.create_model("uninas_a_b-c").num_classes == 3
    with pytest.raises(UninasError, match="would both be called uninas_a_b-c"):
        uninas.register_timm(one, two)


def test_what_a_script_asks_for_before_there_is_a_model_is_what_it_gets(tmp_path):
    asked = resolve_model_input_args(f"uninas_{NETWORK}", {"img_size": 48, "in_chans": 1}, num_classes=4, drop_rate=0.2)
    model = timm.create_model(**asked, device="meta", dtype=torch.bfloat16)
    assert model.architecture.inputs == ((1, 48, 48),) and model.num_classes == 4 and model.in_chans == 1
    assert {(one.device.type, one.dtype) for one in model.parameters()} == {("meta", torch.bfloat16)}
    assert [one.p for one in model.modules() if isinstance(one, torch.nn.Dropout)] == [0.2]
    text = timm.create_model(**resolve_model_input_args("uninas", {}, source=NETWORK))
    assert text.num_classes == 10  # not the thousand that timm believes in where it knows nothing


def test_weights_of_other_classes_begin_a_training_as_those_of_timm_do(tmp_path, model):
    torch.save({"state_dict": model.state_dict()}, tmp_path / "seven.pth")
    overlay = {"file": str(tmp_path / "seven.pth"), "num_classes": -1}  # as --pretrained-path says it
    asked = resolve_model_input_args(f"uninas_{NETWORK}", {}, pretrained=True, pretrained_cfg_overlay=overlay)
    other = timm.create_model(**asked)
    assert other.num_classes == 10
    same = [torch.equal(one, dict(model.named_parameters())[path]) for path, one in other.named_parameters()
            if not path.startswith(other.default_cfg["classifier"])]  # fmt: skip
    assert same and all(same)


@pytest.mark.parametrize("name", ["micro_resnet", "micro_transformer", "efficientnet_b0"])
def test_a_head_says_what_its_classifier_takes(name):
    model = uninas.create_model(name, img_size=64, drop_rate=0.5).eval()
    features = model.forward_features(images(model))
    assert model.num_features == features.shape[1 if features.ndim == 4 else -1]
    before = model.forward_head(features, pre_logits=True)
    assert before.shape == (2, model.head_hidden_size)
    assert torch.allclose(model.get_classifier()(before), model.forward_head(features), atol=1e-5)
    model.reset_classifier(0)
    assert torch.equal(model.forward_head(features), before)
    assert torch.equal(model.forward_head(features, pre_logits=True), before)


def test_dropout_is_put_before_the_classifier_or_takes_the_rate():
    def rates(graph):
        return [node.op.p for _, _, node in graph.walk() if isinstance(node.op, Dropout)]

    text = "network a {{ input 3 x 8 x 8\n    head global_avg_pool {} -> linear(3) }}"
    for middle in ("", "-> dropout(0.5)"):
        assert rates(uninas.create_model(text.format(middle), drop_rate=0.2).architecture) == [0.2]
        assert rates(uninas.create_model(text.format(middle), drop_rate=0.2, num_classes=0).architecture) == [0.2]
    with pytest.raises(UninasError, match="drop_rate from 0 up to 1"):
        uninas.create_model(NETWORK, drop_rate=1.0)
    with pytest.raises(UninasError, match="expected drop_rate to be a number"):
        uninas.create_model(NETWORK, drop_rate="much")
    with pytest.raises(UninasError, match="ends in a linear layer, for drop_rate"):
        uninas.create_model("unet", drop_rate=0.1)


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv2_100"])
def test_an_encoder_has_one_map_of_each_size_as_those_of_timm_have(name):
    with torch.device("meta"):  # as segmentation libraries look at an encoder first
        ours, theirs = (timm.create_model(one, features_only=True) for one in (f"uninas_{name}", name))
        assert ours.feature_info.channels() == theirs.feature_info.channels()
        assert ours.feature_info.reduction() == theirs.feature_info.reduction()
        some = timm.create_model(f"uninas_{name}", features_only=True, out_indices=(1, -1))
        assert some.feature_info.channels() == [theirs.feature_info.channels()[index] for index in (1, -1)]
        assert len(some(torch.zeros(1, 3, 64, 64))) == 2
    with pytest.raises(UninasError, match="out_indices from 0 to 4"):
        timm.create_model(f"uninas_{name}", features_only=True, out_indices=(0, 5))
    with pytest.raises(UninasError, match="expected no output_stride: the strides stand in the text"):
        timm.create_model(f"uninas_{name}", features_only=True, output_stride=16)


def test_a_network_learns_from_another_as_timm_distils():
    task = FeatureDistillationTask(
        student_model=uninas.create_model(NETWORK), teacher_model=uninas.create_model("micro_transformer"),
        verbose=False,
    )  # fmt: skip
    found = task(torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.long))
    assert torch.isfinite(found["loss"])


def test_the_options_of_timm_mean_what_they_do_there(model):
    assert model.num_classes == 7 and model(images(model)).shape == (2, 7)
    features = timm.create_model(f"uninas_{NETWORK}", features_only=True, out_indices=(1, 2), drop_path_rate=0.1)
    found = features(images(features))
    assert [one.shape[1] for one in found] == features.feature_info.channels() == [48, 128]
    assert timm.create_model("uninas_resnet18", img_size=96, in_chans=1)(torch.zeros(1, 1, 96, 96)).shape == (1, 1000)


def test_a_data_pipeline_gets_the_real_size_of_the_input(model):
    config = resolve_data_config(model=model)
    assert config["input_size"] == (3, 32, 32) == model.pretrained_cfg["input_size"]
    assert model.get_submodule(model.default_cfg["classifier"]).out_features == 7
    assert isinstance(model.get_submodule(model.default_cfg["first_conv"]), torch.nn.Conv2d)


@pytest.mark.parametrize("name", ["micro_resnet", "micro_transformer", "micro_coatnet"])
def test_rates_fall_towards_the_input_and_tables_do_not_decay(name):
    model = uninas.create_model(name)
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
    scale = {id(one): group["lr_scale"] for group in groups for one in group["params"]}
    assert set(scale) == {id(one) for one in model.parameters()}
    by_section: dict[str, list[float]] = {}
    for path, one in model.named_parameters():
        by_section.setdefault(".".join(path.split(".")[: 1 + path.startswith("stages")]), []).append(scale[id(one)])
    means = [sum(found) / len(found) for found in by_section.values()]
    assert means == sorted(means) and means[-1] == 1.0
    free = {id(one) for group in groups if not group["weight_decay"] for one in group["params"]}
    assert all(id(model.get_parameter(path)) in free for path in model.no_weight_decay())
    assert not model.no_weight_decay() - {path for path, _ in model.named_parameters()}


def test_intermediates_are_the_outputs_of_stages(model):
    model.eval()
    x = images(model)
    final, found = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x)) and torch.equal(found[-1], final) and len(found) == 4
    only = model.forward_intermediates(x, indices=(0, 2), intermediates_only=True, stop_early=True)
    assert all(map(torch.equal, only, (found[0], found[2])))
    assert torch.equal(model.forward_intermediates(x, indices=1)[1][0], found[3])
    for wrong in ({"norm": True}, {"output_fmt": "NLC"}, *({"indices": each} for each in ((9,), 0, 9, -1, ("a",)))):
        with pytest.raises(UninasError):
            model.forward_intermediates(x, **wrong)


def test_checkpoints_change_memory_and_nothing_else(model):
    x, gradients = images(model), []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(x).square().sum().backward()
        gradients.append([one.grad.clone() for one in model.parameters()])
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(*gradients, strict=True))
    features = uninas.create_model(NETWORK, features_only=True)
    features.set_grad_checkpointing()
    assert [one.shape[1] for one in features(x)] == features.feature_info.channels()
    with pytest.raises(UninasError, match="sections are in a row"):
        uninas.create_model("resnet50_fpn").set_grad_checkpointing()


def test_images_of_a_wrong_size_are_answered_by_a_sentence():
    model = uninas.create_model("micro_transformer")
    with pytest.raises(UninasError, match=r"expected 3 x 32 x 32 for micro_transformer, but got 3 x 48 x 48") as found:
        model(torch.zeros(2, 3, 48, 48))
    assert "img_size=48" in str(found.value)
    assert uninas.create_model("micro_transformer", img_size=48)(torch.zeros(2, 3, 48, 48)).shape == (2, 10)


# ---- torchvision ---------------------------------------------------------------------------------------------------


def test_a_detector_of_torchvision_gets_its_backbone_in_one_call():
    from torchvision.models.detection import FasterRCNN

    detector = FasterRCNN(uninas.pyramid("resnet18", width=32), num_classes=3, min_size=64, max_size=96).eval()
    (found,) = detector([torch.rand(3, 64, 96)])
    assert set(found) == {"boxes", "labels", "scores"}


# ---- folders for repositories of models ----------------------------------------------------------------------------


def test_an_exported_folder_is_read_by_timm_with_its_weights(tmp_path):
    folder = tmp_path / "exported"
    said = succeed("export", NETWORK, "--to", "hf", "-o", folder)
    assert f"local-dir:{folder}" in said
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "network.svg", "network.uni", "README.md",
    }  # fmt: skip
    mine = uninas.create_model(folder / "model.safetensors").eval()
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    x = images(theirs)
    assert torch.equal(mine(x), theirs(x))
    assert timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=3)(x).shape == (2, 3)
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32] and config["num_classes"] == mine.num_classes
    card = (folder / "README.md").read_text()
    assert all(part in card for part in ("network.svg", "| parameters |", "```bibtex", "nobody has trained it"))


def test_weights_go_along_and_must_fit(tmp_path):
    trained = tmp_path / "weights.safetensors"
    succeed("export", NETWORK, "--to", "safetensors", "-o", trained)
    onnxruntime = pytest.importorskip("onnxruntime")
    written = tmp_path / "net.onnx"
    succeed("export", NETWORK, "--to", "onnx", "--weights", trained, "-o", written, "--dynamic")
    model, session = uninas.create_model(trained).eval(), onnxruntime.InferenceSession(written)
    for size in ((3, 32, 32), (1, 48, 64)):
        x = torch.randn(size[0], 3, *size[1:])
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert torch.allclose(torch.from_numpy(found), model(x), atol=1e-4)
    said = fail("export", "resnet18", "--to", "onnx", "--weights", trained, "-o", written)
    assert "those of another network than resnet18" in said
    assert "expected no weights for py" in fail("export", NETWORK, "--to", "py", "--weights", trained)
    said = fail("export", "micro_transformer", "--to", "onnx", "--dynamic", "-o", written)
    assert "made for one size" in said


def test_a_candidate_of_a_run_says_how_it_was_found(tmp_path):
    run = searched(tmp_path / "first")
    succeed("export", run, "--to", "hf", "-o", tmp_path / "best")
    card = (tmp_path / "best" / "README.md").read_text()
    assert "found by" in card and "--proxy params --seed 3" in card
    assert "| params |" in card
    assert "digraph" in succeed("export", f"{run}:2", "--to", "dot")
    assert "there is no candidate 99" in fail("export", f"{run}:99", "--to", "dot")
