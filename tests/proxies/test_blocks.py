"""Where blocks end, in networks by other people and in our own."""

import math
from itertools import pairwise

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import uninas
from uninas.proxies import ProxyError, score
from uninas.proxies.observe.blocks import _blocks, block_features


def names(module: nn.Module) -> dict[int, list[str]]:
    """The modules of each block."""
    known = {layer: name for name, layer in module.named_modules()}
    found: dict[int, list[str]] = {}
    for layer, number in _blocks(module).items():
        found.setdefault(number, []).append(known[layer])
    return found


def bounds(module: nn.Module) -> tuple[str, str, int]:
    rows = [row[0] for row in names(module).values()]
    return rows[0], rows[-1], len(rows)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ("layer1.0", "layer4.1", 8)),
        ("vit_tiny_patch16_224", ("blocks.0", "blocks.11", 12)),
        ("swin_tiny_patch4_window7_224", ("layers.0.blocks.0", "layers.3.blocks.1", 12)),
        ("convnext_atto", ("stages.0.blocks.0", "stages.3.blocks.1", 12)),
        ("mobilenetv2_035", ("blocks.0.0", "blocks.6.0", 17)),
        ("densenet121", ("features.denseblock1.denselayer1", "features.denseblock4.denselayer16", 58)),
    ],
)
def test_blocks_of_timm_models(name: str, expected: tuple[str, str, int]):
    with torch.device("meta"):
        assert bounds(timm.create_model(name)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ("layer1.0", "layer4.1", 8)),
        ("mobilenet_v2", ("features.1", "features.17", 17)),
        ("efficientnet_b0", ("features.1.0", "features.7.0", 16)),
        ("vit_b_32", ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_11", 12)),
        ("swin_t", ("features.1.0", "features.7.1", 12)),
    ],
)
def test_blocks_of_torchvision_models(name: str, expected: tuple[str, str, int]):
    with torch.device("meta"):
        assert bounds(torchvision.models.get_model(name, weights=None)) == expected


def test_a_chain_has_a_block_for_each_filter():
    chain = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU()
    )
    expected = [["0", "1", "2", "3"], ["4", "5"]]
    assert list(names(chain).values()) == expected
    wrapped = nn.ModuleDict({"body": nn.Sequential(chain)})
    assert list(names(wrapped).values()) == [[f"body.0.{name}" for name in row] for row in expected]
    maps = block_features(chain, (torch.ones(2, 3, 12, 12),))
    assert [tuple(x.shape[1:]) for x in maps] == [(3, 12, 12), (4, 5, 5), (5, 3, 3)]


class Writes(nn.Module):
    """A block that overwrites its input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(nn.functional.leaky_relu_(x)))


def test_features_are_what_left_the_block_whatever_the_next_one_writes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Writes(), Writes())
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, first, second = block_features(model, (x,))
        torch.testing.assert_close(first, model[:2](x))
        torch.testing.assert_close(second, model(x))
    assert (first < 0).any()


def test_gradients_connect_the_features():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Writes(), Writes())
    maps = block_features(model, (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)),))
    for before, after in pairwise(maps):
        assert torch.autograd.grad(after.sum(), before, retain_graph=True)[0].abs().sum() > 0


TEXT = """
block Residual { out = in + (in -> conv(C, 3) -> relu -> conv(C, 3)) }
block Down { out = in -> max_pool(2, 2) -> conv(12, 1) }
network Tiny {
    input 3 x 16 x 16
    stem conv(8, 3) -> batch_norm
    stage 8 x 2 { Residual }
    stage 12 { Down }
    head global_avg_pool -> linear(5)
}
"""


def test_the_blocks_of_a_text_are_those_it_writes():
    model = uninas.create_model(TEXT)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = block_features(model, (x,))
    assert [tuple(y.shape[1:]) for y in maps] == [(8, 16, 16), (8, 16, 16), (8, 16, 16), (12, 8, 8)]
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(x), maps[-1])
        torch.testing.assert_close(model.stem.batch_norm(model.stem.conv(x)), maps[0])


def test_too_few_blocks_are_an_error():
    with pytest.raises(ProxyError, match="blocks with feature maps between them, but found 0"):
        block_features(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), (torch.ones(2, 3, 4, 4).flatten(1),))


HEADS = """
block Heads {
    parts = in -> batch_norm -> conv(3 * C, 1) -> split(12) -> each part {
        q, k, v = part -> chunk(3)
        map = (q, k) -> matmul1 -> rel_pos_bias -> softmax
        out = (map, v) -> matmul2
    }
    out = in + (parts -> concat -> conv(C, 1))
}
block Wide { out = in + (in -> layer_norm -> conv(4 * C, 1) -> gelu -> conv(C, 1)) }
network Small {
    input 3 x 32 x 32
    stem conv(16, 4, stride=4, padding=0)
    stage 16 x 2 { Heads -> Wide }
    head layer_norm -> global_avg_pool -> linear(10)
}
"""


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "timm resnet": timm.create_model("resnet10t", num_classes=10),
        "timm vit": timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3, num_classes=10),
        "uninas heads": uninas.create_model(HEADS),
        "uninas mobilenetv2": uninas.create_model("mobilenetv2_100", img_size=32),
    }


BOUNDS = {  # for four samples
    "naswot": lambda found: found.value <= 4 * math.log(found.components["units"]),
    "jacov": lambda found: found.value <= -4 + 1e-3,
    "zen": lambda found: found.value == pytest.approx(sum(found.components.values())),
    "expressivity": lambda found: found.value > 0,
    "progressivity": lambda found: found.value < found.components["expressivity"],
    "trainability": lambda found: found.value <= 0,
    "linear_regions": lambda found: found.value == 4,
    "ntk": lambda found: found.value >= 1,
}


@pytest.mark.parametrize("model", ["timm resnet", "timm vit", "uninas heads", "uninas mobilenetv2"])
@pytest.mark.parametrize("name", BOUNDS)
def test_every_proxy_scores_every_kind_of_model(name: str, model: str, models: dict[str, nn.Module]):
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = score(name, models[model], x)
    assert BOUNDS[name](found)
    assert score(name, models[model], x).value == found.value
