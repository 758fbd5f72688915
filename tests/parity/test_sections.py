"""Networks whose sections take what earlier ones made, against small modules written here and those of torchvision."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import uninas


def same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy the weights of `theirs` into `ours`, both in the order in which they are used."""
    values = [value for name, value in theirs.state_dict().items() if not name.endswith("num_batches_tracked")]
    names = [name for name in ours.state_dict() if not name.endswith("num_batches_tracked")]
    assert [v.shape for v in values] == [ours.state_dict()[name].shape for name in names]
    ours.load_state_dict(dict(zip(names, values, strict=True)), strict=False)


def shaken(module: nn.Module, seed: int) -> nn.Module:
    """The module in evaluation, with weights, biases and running statistics away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator) * 0.05
            value.copy_(1 + noise.abs() if "running_var" in name else value + noise)
    return module.eval()


class DoubleConv(nn.Sequential):
    def __init__(self, into: int, out: int):
        super().__init__(
            nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
        )  # fmt: skip


class Up(nn.Module):
    def __init__(self, into: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(into, into // 2, 2, stride=2)
        self.convs = DoubleConv(into, into // 2)

    def forward(self, below: Tensor, beside: Tensor) -> Tensor:
        made: Tensor = self.convs(torch.cat([beside, self.up(below)], 1))
        return made


class UNet(nn.Module):
    """Ronneberger et al. 2015, with padding and batch norm."""

    def __init__(self, classes: int, first: int):
        super().__init__()
        widths = [first * 2**n for n in range(5)]
        self.downs = nn.ModuleList(DoubleConv(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.ups = nn.ModuleList(Up(width) for width in widths[:0:-1])
        self.head = nn.Conv2d(first, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: list[Tensor] = []
        for number, down in enumerate(self.downs):
            x = down(nn.functional.max_pool2d(x, 2) if number else x)
            made.append(x)
        x = made.pop()
        for up in self.ups:
            x = up(x, made.pop())
        logits: Tensor = self.head(x)
        return logits


def test_unet_is_that_of_the_paper() -> None:
    theirs = shaken(UNet(3, 8), 1)
    ours = uninas.create_model("unet", classes=3, first=8, img_size=64).eval()
    same_weights(ours, theirs)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert ours.architecture.cost.params == sum(p.numel() for p in theirs.parameters())
    torch.testing.assert_close(ours(x), theirs(x))


def test_a_pyramid_is_that_of_torchvision() -> None:
    detection = pytest.importorskip("torchvision.ops.feature_pyramid_network")
    text = """
    from blocks.fpn import Pyramid
    network necks {
        input 8 x 32 x 40, 16 x 16 x 20, 24 x 8 x 10, 32 x 4 x 5
        section neck Pyramid(12)
        section pool (neck[3]) -> max_pool(1, 2, padding=0)
        stem (in[0]) -> conv(1, 1)
        out = (neck, pool, stem)
    }
    """
    theirs = shaken(detection.FeaturePyramidNetwork([8, 16, 24, 32], 12, detection.LastLevelMaxPool()), 3)
    ours = uninas.create_model(text).eval()
    weights = theirs.state_dict() | {"stem.weight": torch.zeros(1, 8, 1, 1), "stem.bias": torch.zeros(1)}
    ours.load_state_dict(dict(zip(ours.state_dict(), weights.values(), strict=True)))
    generator = torch.Generator().manual_seed(4)
    maps = [torch.randn(2, *shape, generator=generator) for shape in ours.architecture.inputs]
    made = theirs(OrderedDict((str(n), x) for n, x in enumerate(maps)))
    for one, two in zip(ours(*maps), made.values(), strict=False):
        torch.testing.assert_close(one, two)


def test_a_backbone_with_a_pyramid_has_the_parameters_and_maps_of_torchvision() -> None:
    utils = pytest.importorskip("torchvision.models.detection.backbone_utils")
    theirs = utils.resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    graph = uninas.load("resnet50_fpn")
    assert graph.cost.params == sum(p.numel() for p in theirs.parameters())
    with torch.device("meta"):
        shapes = [tuple(x.shape[1:]) for x in theirs.to("meta")(torch.empty(1, 3, 224, 224)).values()]
    assert list(graph.output_shapes) == shapes


def test_a_head_that_all_levels_share_is_that_of_torchvision() -> None:
    retinanet = pytest.importorskip("torchvision.models.detection.retinanet")
    text = """
    from networks.retinanet_resnet50 import Tower
    network heads {
        input 8 x 16 x 12, 8 x 8 x 6, 8 x 4 x 3
        section scores (in) -> shared each level { out = level -> Tower(2 * 5) }
        section boxes (in) -> shared each level { out = level -> Tower(2 * 4) }
        out = (scores, boxes)
    }
    """
    theirs = shaken(retinanet.RetinaNetHead(8, 2, 5), 5)
    ours = uninas.create_model(text).eval()
    same_weights(ours, theirs)
    assert ours.architecture.cost.params == sum(p.numel() for p in theirs.parameters())
    generator = torch.Generator().manual_seed(6)
    maps = [torch.randn(2, *shape, generator=generator) for shape in ours.architecture.inputs]
    made = [x.unflatten(1, (2, -1)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in ours(*maps)]
    expected = theirs(maps)
    torch.testing.assert_close(torch.cat(made[:3], 1), expected["cls_logits"])
    torch.testing.assert_close(torch.cat(made[3:], 1), expected["bbox_regression"])


def test_retinanet_has_the_parameters_of_torchvision() -> None:
    detection = pytest.importorskip("torchvision.models.detection")
    utils = pytest.importorskip("torchvision.models.detection.backbone_utils")
    pyramid = pytest.importorskip("torchvision.ops.feature_pyramid_network")
    theirs = utils.resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=pyramid.LastLevelP6P7(256, 256),
    )  # fmt: skip
    heads = detection.retinanet.RetinaNetHead(256, 9, 91)
    counted = sum(p.numel() for module in (theirs, heads) for p in module.parameters())
    assert uninas.load("retinanet_resnet50").cost.params == counted


def in_order_of_use(module: nn.Module, x: Tensor) -> list[tuple[str, nn.Module]]:
    """The layers with weights, as they are called."""
    found: list[tuple[str, nn.Module]] = []
    hooks = [
        layer.register_forward_hook(lambda layer, x, y, name=name: found.append((name, layer)))
        for name, layer in module.named_modules()
        if layer.state_dict() and not list(layer.children())
    ]
    module(x)
    for hook in hooks:
        hook.remove()
    return found


def test_hrnet_equals_that_of_timm() -> None:
    timm = pytest.importorskip("timm")
    theirs = shaken(timm.create_model("hrnet_w18"), 0)
    graph = uninas.load("hrnet_w18")
    ours = uninas.compile(graph).eval()
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pairs = zip(in_order_of_use(ours, x), in_order_of_use(theirs, x), strict=True)
        for (_, layer), (_, other) in pairs:
            layer.load_state_dict(other.state_dict())
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    assert graph.cost.params == sum(p.numel() for p in theirs.parameters())
    with FlopCounterMode(display=False) as counter:
        theirs(x)
    assert graph.cost.flops == counter.get_total_flops()
