"""What the compiler makes, against timm, torch's own counter and the predictions of the graph."""

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import uninas

PUBLISHED = [
    "resnet18", "resnet50", "mobilenetv2_100", "convnext_tiny", "vit_small_patch16_224", "mixer_s16_224",
]  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_equal_timm(name):
    theirs = timm.create_model(name, pretrained=False)
    assert uninas.load(name).cost.params == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("name", uninas.list_models())
def test_parameters_shapes_and_flops_equal_the_prediction(name):
    graph = uninas.load(name)
    with torch.device("meta"):  # weights that nobody draws
        model = uninas.compile(graph).eval()
    assert sum(p.numel() for p in model.parameters()) == graph.cost.params
    with FlopCounterMode(display=False) as counter:
        out = model(*(torch.empty(1, *shape, device="meta") for shape in graph.inputs))
    made = out if isinstance(out, tuple) else (out,)
    assert [tuple(x.shape[1:]) for x in made] == list(graph.output_shapes)
    assert counter.get_total_flops() == graph.cost.flops


def test_resnet18_gives_timms_logits():
    theirs = timm.create_model("resnet18", pretrained=False).eval()
    ours = uninas.create_model("resnet18").eval()
    # Both list their tensors in the order of the layers, shortcuts last in a block.
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"fuse": True}, {"fold": True}, {"fold": True, "fuse": True}])
def test_passes_keep_the_function(options):
    graph = uninas.load("block B { out = in -> conv(3 * C, 1) -> split(48) -> each p { q, k, v = p -> chunk(3) "
                        "m = (q, k) -> matmul1 -> rel_pos_bias -> softmax  out = (m, v) -> matmul2 } -> concat "
                        "-> conv(C, 1) input 64 x 6 x 6 }".replace(" input 64 x 6 x 6 }", " }").replace(
                            "block B {", "block B { input 64 x 6 x 6 "))  # fmt: skip
    plain, other = uninas.compile(graph).eval(), uninas.compile(graph, **options).eval()
    state = plain.state_dict()
    if options.get("fold"):
        tables = [key for key in state if "table" in key]
        stacked = next(key for key in other.state_dict() if "table" in key)
        state = {key: value for key, value in state.items() if key not in tables} | {
            stacked: torch.stack([state[key] for key in tables])
        }
    other.load_state_dict(state)
    x = torch.randn(2, 64, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(other(x), plain(x), rtol=1e-4, atol=1e-5)


def test_timm_like_options():
    model = uninas.create_model("resnet18", num_classes=7, in_chans=1, img_size=64).eval()
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(x)
        assert logits.shape == (1, 7)
        torch.testing.assert_close(model.forward_head(model.forward_features(x)), logits)
        model.reset_classifier(3)
        assert model(x).shape == (1, 3)
        features = uninas.create_model("resnet18", img_size=64, features_only=True, out_indices=(1, 3)).eval()
        assert [tuple(f.shape) for f in features(torch.zeros(1, 3, 64, 64))] == [(1, 128, 8, 8), (1, 512, 2, 2)]
    assert [info["num_chs"] for info in model.feature_info] == [64, 128, 256, 512]


def test_the_same_generator_gives_the_same_weights():
    one, two = (uninas.create_model("resnet18", generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
