"""Channels are found by what a module does, not by sizes that happen to be equal."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint

import uninas
from uninas.proxies import proxies, score
from uninas.proxies.observe.blocks import block_features
from uninas.proxies.observe.channels import ChannelAxes, channel_axis, reshaped, tag
from uninas.proxies.types import ProxyError


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


NETWORKS = {
    "torchvision swin_t": (lambda: torchvision.models.swin_t(num_classes=5), (2, 3, 64, 96), {3}),
    "torchvision convnext_tiny": (lambda: torchvision.models.convnext_tiny(num_classes=5), (2, 3, 64, 96), {1}),
    "torchvision resnet18": (lambda: torchvision.models.resnet18(num_classes=5), (2, 3, 64, 96), {1}),
    "timm swin": (lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=(56, 112)), (2, 3, 56, 112), {3}),
    "timm vit": (lambda: timm.create_model("test_vit", img_size=32, num_classes=5), (2, 3, 32, 32), {2}),
    "timm convnext": (lambda: timm.create_model("test_convnext", num_classes=5), (2, 3, 32, 64), {1}),
    "timm caformer": (lambda: timm.create_model("caformer_s18", num_classes=5), (2, 3, 32, 64), {1, 2}),
    "timm mixer": (lambda: timm.create_model("mixer_s32_224", num_classes=5), (2, 3, 224, 224), {2}),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_axis_of_channels_is_known_in_networks_of_torchvision_and_timm(name):
    make, shape, axes = NETWORKS[name]
    module = make().eval()
    with torch.no_grad():
        maps = block_features(module, (noise(*shape),))
    found = {channel_axis(one) for one in maps[1:]}
    assert found == axes
    assert all("_uninas_channels" in one.__dict__ for one in maps)  # followed, not taken for granted


def test_maps_of_convolutions_along_one_axis_are_no_tokens():
    module = nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 6, 3), nn.ReLU())
    with torch.no_grad():
        maps = block_features(nn.Sequential(module, nn.Flatten(), nn.Linear(72, 3)), (noise(2, 4, 16),))
    assert [channel_axis(one) for one in maps[1:]] == [1] * len(maps[1:])


@pytest.mark.parametrize("name", ["expressivity", "progressivity", "trainability"])
def test_transposed_images_give_the_same_score_where_convolutions_are_pointwise(name):
    text = """
        network net {{
            input 3 x {}
            stem conv(16, 1)
            stage 16 x 2 {{ conv(width, 1) -> relu -> conv(width, 1) }}
            head global_avg_pool -> linear(5)
        }}
    """
    tall, wide = (uninas.create_model(text.format(size)) for size in ("16 x 8", "8 x 16"))
    wide.load_state_dict(tall.state_dict())
    images = noise(8, 3, 16, 8)
    values = [score(name, tall, images).value, score(name, wide, images.transpose(2, 3).contiguous()).value]
    assert values[0] == pytest.approx(values[1], abs=0.4 if name == "trainability" else 1e-4)  # which draws signs


def test_scores_of_a_module_and_of_its_transposed_twin_agree():
    """Blocks that work on N x H x W x C, with H = W, H = C, and W = C."""

    class Last(nn.Module):
        def __init__(self, last: bool):
            super().__init__()
            self.last = last
            self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)) for _ in range(2)))
            self.first = nn.Conv2d(3, 8, 1)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            x = self.first(x)
            if self.last:
                return self.head(self.blocks(x.permute(0, 2, 3, 1)).mean((1, 2)))
            for block in self.blocks:
                for layer in block:
                    x = nn.functional.conv2d(x, layer.weight[:, :, None, None], layer.bias)
            return self.head(x.mean((2, 3)))

    for height, width in ((8, 8), (8, 5), (5, 8), (6, 6)):
        with torch.no_grad():
            maps = block_features(Last(True), (noise(4, 3, height, width),))
        assert {channel_axis(one) for one in maps} == {3} and {one.shape[3] for one in maps} == {8}


def test_what_cannot_be_followed_and_has_two_likely_readings_is_refused():
    with pytest.raises(ProxyError, match="N x H x W x C"):
        channel_axis(torch.zeros(2, 8, 8, 3))
    assert channel_axis(torch.zeros(2, 3, 8, 8)) == 1 and channel_axis(torch.zeros(2, 5, 3)) == 2


@pytest.mark.parametrize(
    ("move", "axis"),
    [
        (lambda x: x.permute(0, 2, 3, 1), 3),
        (lambda x: torch.permute(x, (0, 2, 3, 1)), 3),
        (lambda x: x.movedim(1, -1).contiguous(), 3),
        (lambda x: x.transpose(1, 2), 2),
        (lambda x: x.flatten(2), 1),
        (lambda x: x.flatten(2).transpose(1, 2), 2),
        (lambda x: x.flatten(2).transpose(1, 2).view(2, 5, 7, 6), 3),
        (lambda x: x.reshape(2, 6, 35), 1),
        (lambda x: (x * 2 + 1).relu().clone(), 1),
        (lambda x: torch.cat([x, x], 1), 1),
        (lambda x: x[:, :, 1:], 1),
        (lambda x: x.chunk(2, 1)[0], 1),
        (lambda x: nn.functional.layer_norm(x.permute(0, 2, 3, 1), (6,)), 3),
        (lambda x: nn.functional.layer_norm(x, (6, 5, 7)), 1),
        (lambda x: nn.functional.interpolate(x, scale_factor=2), 1),
        (lambda x: nn.functional.max_pool2d(x, 2), 1),
        (lambda x: x.unsqueeze(1), 2),
        (lambda x: nn.functional.linear(x, torch.ones(4, 7)), 3),
        (lambda x: nn.functional.conv2d(x.permute(0, 2, 3, 1), torch.ones(4, 5, 1, 1)), 1),
    ],
)
def test_the_axis_follows_operations(move, axis):
    with ChannelAxes(), torch.no_grad():
        moved = move(tag(torch.zeros(2, 6, 5, 7), 1))
    assert channel_axis(moved) == axis


def test_reshaping_keeps_an_axis_that_stays_whole():
    assert reshaped(1, (2, 6, 5, 7), (2, 6, 35)) == 1
    assert reshaped(1, (2, 6, 5, 7), (2, 3, 2, 5, 7)) is None
    assert reshaped(2, (2, 35, 6), (2, 5, 7, 6)) == 3


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool | None):
        super().__init__()
        self.reentrant = reentrant
        self.first, self.second, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.first(x).relu()
        x = self.second(x) if self.reentrant is None else checkpoint(self.second, x, use_reentrant=self.reentrant)
        return self.last(x.relu().mean((2, 3)))


def test_checkpoints_give_the_score_without_them_or_an_error_that_says_why():
    values: dict[tuple[bool | None, str], float | None] = {}
    for reentrant in (None, False, True):
        torch.manual_seed(0)
        module = Checkpointed(reentrant)
        for name in proxies():
            try:
                values[reentrant, name] = score(name, module, noise(4, 3, 16, 16)).value
            except ProxyError:
                values[reentrant, name] = None
    for name in proxies():
        plain = values[None, name]
        for reentrant in (False, True):
            same = None if plain is None else pytest.approx(plain, rel=1e-4)
            assert values[reentrant, name] in (None, same), (name, reentrant)
    assert values[True, "trainability"] is None and values[False, "trainability"] is not None
