"""Paths through small networks, counted by hand, and through well-known ones."""

import pytest
import torch
from torch import Tensor, nn

import uninas
from uninas.proxies import ProxyError, score
from uninas.proxies.paths import regions
from uninas.ranking.nasbench201 import graph_of

IMAGE = torch.zeros(1, 4, 8, 8)
CELLS = 15  # of a NAS-Bench-201 network, which has a stem, a classifier and two blocks of its own beside them


class Net(nn.Module):
    """A body of layers that keep the shape, between nothing and the means of the channels."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.conv, self.other = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x).mean((2, 3))


def scores(module: nn.Module, x: Tensor = IMAGE) -> tuple[float, float, float]:
    return tuple(score(name, module, x).value for name in ("path_depth", "pooled_paths", "shortcuts"))


@pytest.mark.parametrize(
    ("body", "depth", "pooled", "shortcuts"),
    [
        pytest.param(lambda n, x: x, 0, 0, 0, id="nothing"),
        pytest.param(lambda n, x: n.other(n.norm(n.conv(x)).relu()), 2, 0, -2, id="a row"),
        pytest.param(lambda n, x: x + n.other(n.norm(n.conv(x)).relu()), 1, 0, 1, id="a shortcut"),
        pytest.param(lambda n, x: x + n.conv(x) + n.other(x), 2 / 3, 0, 1, id="two branches and a shortcut"),
        pytest.param(lambda n, x: n.conv(x) + n.other(x), 1, 0, 0, id="two branches"),
        pytest.param(lambda n, x: x + n.conv(x) + x, 1 / 3, 0, -1, id="a shortcut too many"),
        pytest.param(lambda n, x: n.pool(x) + n.conv(x), 1 / 2, 1 / 2, 0, id="a shortcut that pools"),
        pytest.param(lambda n, x: x + n.pool(x) + n.conv(x), 1 / 3, 1 / 3, -1, id="one that does, one that does not"),
        pytest.param(lambda n, x: n.pool(n.conv(x)), 1, 1, -1, id="a pooling after the weight"),
        pytest.param(lambda n, x: x + x, 0, 0, -1, id="nothing twice"),
        pytest.param(lambda n, x: x + n.conv(x + n.other(x)), 1, 0, 1, id="a block within a block"),
        pytest.param(lambda n, x: (y := x + n.conv(x)) + n.other(y), 1, 0, 2, id="a block after a block"),
        pytest.param(lambda n, x: x + 0 * n.conv(x), 0, 0, 0, id="what is multiplied by 0"),
        pytest.param(lambda n, x: x + n.conv(torch.ones_like(x)), 0, 0, 0, id="what does not depend on the input"),
        pytest.param(lambda n, x: torch.cat([x, n.conv(x)], 1), 1 / 2, 0, 1, id="concatenated"),
        pytest.param(lambda n, x: torch.cat([x[:, :2], x[:, 2:]], 1), 0, 0, -1, id="split and concatenated"),
        pytest.param(lambda n, x: x * n.conv(x.mean((2, 3), keepdim=True)).sigmoid(), 1 / 2, 0, 1, id="a gate"),
    ],
)
def test_paths_are_counted_as_by_hand(body, depth, pooled, shortcuts):
    assert scores(Net(body)) == pytest.approx((depth, pooled, shortcuts))


@pytest.mark.parametrize(
    ("cell", "depth", "pooled", "shortcuts"),
    [
        ("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|", 5 / 3, 0, 1),
        ("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|", 2, 0, -2),
        ("|avg_pool_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|", 1 / 2, 1 / 2, 0),
        ("|skip_connect~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|", 1 / 3, 0, -1),
    ],
)
def test_cells_of_nas_bench_201(cell, depth, pooled, shortcuts):
    found = scores(uninas.compile(graph_of(cell)), torch.zeros(1, 3, 32, 32))
    # Each of the two has two convolutions in one path, and a pooling and a convolution in the other.
    assert found == pytest.approx((CELLS * depth + 2 + 2 * 3 / 2, CELLS * pooled + 2 / 2, CELLS * shortcuts - 2))


def test_well_known_networks():
    timm = pytest.importorskip("timm")
    image = torch.zeros(1, 3, 224, 224)
    resnet, vgg = timm.create_model("resnet18"), timm.create_model("vgg11", num_classes=10)
    assert score("shortcuts", resnet, image).components["with_shortcut"] == 5  # three of the eight have a convolution
    assert score("path_depth", resnet, image).value == 2 + 5 * 1 + 3 * 3 / 2
    assert scores(vgg, image) == (11, 5, -11)


def test_paths_of_a_dense_network_double_with_every_layer():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2 * (n + 1), 2) for n in range(60))

        def forward(self, x):
            xs = [x]
            for layer in self.layers:
                xs.append(layer(torch.cat(xs, 1)))
            return torch.cat(xs, 1)

    (dense, *_) = regions(Dense(), (torch.zeros(1, 2),))
    assert dense.paths.total == 2**60 and dense.operations == 60
    assert score("path_depth", Dense(), torch.zeros(1, 2)).value == pytest.approx(30)


def test_attention_is_a_region_beside_its_shortcut():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3))
    assert score("shortcuts", net, torch.zeros(1, 3, 8)).components["with_shortcut"] == 2


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Net(lambda n, x: 0 * n.conv(x)), "does not depend on its input"),
        (Net(lambda n, x: x if x.sum() > 0 else n.conv(x)), "cannot be recorded"),
        (Net(lambda n, x: n.conv(x[:, :3])), "cannot be recorded"),
    ],
)
def test_a_network_without_paths_is_refused(module, message):
    for name in ("path_depth", "pooled_paths", "shortcuts"):
        with pytest.raises(ProxyError, match=message):
            score(name, module, IMAGE)
