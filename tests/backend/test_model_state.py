"""What a Model knows about itself, and that copies, resets and options keep it true."""

import copy
import io
import pickle

import pytest
import torch
from helpers import named

import uninas
from uninas.errors import UninasError
from uninas.proxies import score

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def resnet(**options):
    return uninas.create_model("resnet18", img_size=32, **{"num_classes": 10, **options}).eval()


def pickled(model):
    return pickle.loads(pickle.dumps(model))  # noqa: S301


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickled,
    "torch.save": saved,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", ["resnet18", "coatnet", "vit_small_patch16_224"])
def test_copies_are_models_that_know_what_the_original_knows(name, way):
    model = uninas.create_model(name, num_classes=4, **({} if name.startswith("vit") else {"img_size": 64})).eval()
    images = torch.randn(1, *model.architecture.inputs[0], generator=torch.Generator().manual_seed(0))
    other = COPIES[way](model)
    with torch.no_grad():
        assert torch.equal(model(images), other(images))
        assert torch.equal(model.forward_features(images), other.forward_features(images))
    assert type(other).__name__ == type(model).__name__ and "Model" in {kind.__name__ for kind in type(other).__mro__}
    assert (other.num_classes, other.feature_info) == (model.num_classes, model.feature_info)
    assert other.architecture.key == model.architecture.key
    assert [node.name for node in other.graph.nodes] == [node.name for node in model.graph.nodes]
    assert not any(layer.training for layer in other.modules())


def test_copies_of_networks_with_functions_and_parts_score_the_same():
    model = uninas.create_model("coatnet", img_size=32, num_classes=4)
    other = pickled(model)
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, two = (score("trainability", each, batch) for each in (model, other))
    assert one.value == two.value and one.components == two.components


def test_features_and_head_keep_the_mode_of_every_layer():
    model = resnet().train()
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.eval()
    before = norms[0].running_mean.clone()
    model.forward_head(model.forward_features(IMAGES))
    assert not any(layer.training for layer in norms) and torch.equal(before, norms[0].running_mean)
    assert model.training


def test_features_come_from_the_layers_that_the_model_has_now():
    model = resnet()
    model.forward_features(IMAGES)
    layer = next(name for name, one in model.named_modules() if isinstance(one, torch.nn.Conv2d))
    model.set_submodule(layer, torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False))
    with torch.no_grad():
        torch.testing.assert_close(model.forward_head(model.forward_features(IMAGES)), model(IMAGES))


def test_the_number_of_classes_follows_resets():
    model = resnet()
    for classes in (5, 0, 7, 0, 0, 3):
        model.reset_classifier(classes)
        out = model(IMAGES)
        assert out.shape == (4, classes or 512) and model.num_classes == classes
        assert model.architecture.output_shapes == ((classes or 512,),)
        assert torch.equal(model.forward_head(model.forward_features(IMAGES)), out)
        again = pickled(model)
        assert torch.equal(again(IMAGES), out) and again.num_classes == classes
    assert model.architecture.key == resnet(num_classes=3).architecture.key
    with pytest.raises(uninas.UninasError, match="at least 0"):
        model.reset_classifier(-1)


def test_a_model_without_classes_can_get_some():
    model = resnet(num_classes=0)
    assert model.num_classes == 0 and model(IMAGES).shape == (4, 512)
    model.reset_classifier(6)
    assert model(IMAGES).shape == (4, 6) and model.num_classes == 6
    assert model.state_dict().keys() == resnet().state_dict().keys()


def test_the_new_classifier_is_where_the_old_one_was():
    model = resnet().to(torch.float64)
    model.reset_classifier(3)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_a_network_without_a_classifier_cannot_be_reset():
    model = uninas.create_model(
        "network n { input 3 x 8 x 8  stage 4 { conv(C, 3) }  head global_avg_pool -> softmax }"
    )
    with pytest.raises(uninas.UninasError, match="linear layer"):
        model.reset_classifier(3)


@pytest.mark.parametrize("indices", [None, (0, 1, 2, 3), (1, 3), (3, 1), (2,), (-1,), (1, 1)])
def test_feature_info_is_in_step_with_the_features(indices):
    model = resnet(num_classes=None, features_only=True, out_indices=indices)
    for each in (model, pickled(model), copy.deepcopy(model)):
        maps = each(IMAGES)
        assert type(maps) is list and len(maps) == len(indices or range(4))
        assert [one.shape[1] for one in maps] == [info["num_chs"] for info in each.feature_info]
        assert [32 // one.shape[2] for one in maps] == [info["reduction"] for info in each.feature_info]
        assert each.num_classes == 0


def test_reduction_is_the_product_of_the_strides():
    import timm

    ours = uninas.create_model("resnet18", img_size=33, features_only=True)
    theirs = timm.create_model("resnet18", features_only=True).feature_info.reduction()[1:]
    assert [info["reduction"] for info in ours.feature_info] == theirs
    assert [one.shape[2] for one in ours.eval()(torch.zeros(1, 3, 33, 33))] == [9, 5, 3, 2]  # whose ratios are others


def test_reduction_survives_tokens():
    info = uninas.create_model("vit_small_patch16_224").feature_info
    assert {(one["num_chs"], one["reduction"]) for one in info} == {(384, 16)}


WRONG = [
    {"num_classes": 10**30},
    {"num_classes": "7"}, {"num_classes": 7.0}, {"num_classes": True}, {"num_classes": -1}, {"num_classes": [3]},
    {"img_size": "32"}, {"img_size": 32.0}, {"img_size": (32, 64, 3)}, {"img_size": ()}, {"img_size": 0},
    {"img_size": {}}, {"in_chans": "3"}, {"in_chans": 0}, {"in_chans": 2**40}, {"features_only": 1},
    {"features_only": True, "out_indices": 2}, {"features_only": True, "out_indices": (1.0,)},
    {"features_only": True, "out_indices": "13"}, {"features_only": True, "out_indices": ()},
    {"features_only": True, "out_indices": (9,)}, {"out_indices": (1,)}, {"drop_path_rate": "0.1"},
    {"drop_path_rate": float("nan")}, {"drop_path_rate": 2}, {"init": 3}, {"init": "no"}, {"generator": 3},
    {"width": object()}, {"depth": [1]},
]  # fmt: skip


@pytest.mark.parametrize("options", WRONG, ids=named)
def test_options_of_a_wrong_kind_are_refused(options):
    with pytest.raises(uninas.UninasError):
        uninas.create_model("resnet18", **{"img_size": 32, **options})


@pytest.mark.parametrize("source", [5, None, 2.5, b"resnet18", [], object(), True, torch.nn.ReLU()], ids=named)
@pytest.mark.parametrize("call", [uninas.create_model, uninas.load, uninas.compile], ids=lambda c: c.__name__)
def test_sources_of_a_wrong_kind_are_refused(call, source):
    with pytest.raises(uninas.UninasError):
        call(source)


def test_numbers_of_numpy_are_numbers():
    import numpy as np

    model = uninas.create_model("resnet18", num_classes=np.int64(7), img_size=(np.int32(32), np.int64(64)))
    assert model.architecture.inputs == ((3, 32, 64),) and model.num_classes == 7


TWO_HEADS = """
block Fork { a = in -> global_avg_pool -> linear(3)  b = in -> global_avg_pool -> linear(5)  out = (a, b) }
network two { input 3 x 8 x 8  stem conv(8, 3)  section heads Fork }
"""


def test_which_head_gets_the_classes_is_never_guessed():
    with pytest.raises(UninasError, match="expected a network with one output"):
        uninas.create_model(TWO_HEADS, num_classes=7)


def test_features_need_stages():
    with pytest.raises(UninasError, match="expected a network of stages"):
        uninas.create_model(TWO_HEADS, features_only=True)


def test_features_of_a_stage_that_makes_several_tensors_are_all_of_them():
    text = "network n { input 4 x 8 x 8  stage 4 { chunk(2) }  stage 2 stride 2 { concat -> conv(2, 3, stride) } }"
    model = uninas.create_model(text, features_only=True)
    made = model(torch.ones(1, 4, 8, 8))
    assert [tuple(x.shape[1:]) for x in made] == [(2, 8, 8), (2, 8, 8), (2, 4, 4)]
    assert [info["module"] for info in model.feature_info] == ["stages.0", "stages.0", "stages.1"]
    assert [info["reduction"] for info in model.feature_info] == [1, 1, 2]


def test_features_are_described_in_the_ways_of_timm():
    timm = pytest.importorskip("timm")
    ours = uninas.create_model("resnet18", features_only=True, out_indices=(1, 3))
    info, theirs = ours.feature_info, timm.create_model("resnet18", features_only=True, out_indices=(2, 4)).feature_info
    assert info.channels() == theirs.channels() and info.reduction() == theirs.reduction()
    assert info.channels(1) == info[1]["num_chs"] == 512 and info.reduction([0]) == [8]
    assert info.get_dicts(keys=["num_chs"]) == [{"num_chs": 128}, {"num_chs": 512}]
    assert info.module_name() == [one["module"] for one in info]


def test_the_classifier_is_the_layer_that_a_reset_replaces():
    model = uninas.create_model("resnet18", num_classes=7)
    before = model.get_classifier()
    assert before.out_features == 7
    model.reset_classifier(3)
    assert model.get_classifier().out_features == 3 and model.get_classifier() is not before
