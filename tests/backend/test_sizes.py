"""One set of weights at any size: position tables, running statistics, drop path, backbones."""

import pytest
import torch
import torch.nn.functional as F

from uninas import create_model, load
from uninas.backend.backbone import Backbone, sharing
from uninas.backend.layers import OffsetTable, PosEmbed
from uninas.errors import UninasError
from uninas.graph.resolve import at_size
from uninas.graph.variants import with_drop_path
from uninas.ops.regulariser import DropPath


def images(*size, seed=0):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stacks", [0, 3])
def test_a_table_is_resized_as_torch_does_it(stacks):
    table = OffsetTable(4, 6, 3, 3)
    table.table.data = torch.randn((stacks, 25) if stacks else 25, generator=torch.Generator().manual_seed(1))
    table.parts = stacks
    planes = table.table.reshape(-1, 1, 5, 5)
    wanted = F.interpolate(planes, (7, 11), mode="bilinear")[:, 0]
    torch.testing.assert_close(table.offsets().reshape(-1, 7, 11), wanted)
    assert table().shape == ((stacks, 1, 24, 24) if stacks else (24, 24))


def test_a_constant_table_stays_constant_and_one_of_its_own_size_stays_itself():
    table = OffsetTable(5, 7, 3, 4)
    torch.nn.init.constant_(table.table, 1.5)
    torch.testing.assert_close(table(), torch.full((35, 35), 1.5))
    own = OffsetTable(3, 4)
    torch.nn.init.normal_(own.table, generator=torch.Generator().manual_seed(0))
    assert torch.equal(own.offsets().flatten(), own.table)


def test_an_embedding_is_resized_bicubically():
    embedding = PosEmbed((4, 6, 8), (4, 3, 3))
    torch.nn.init.normal_(embedding.weight, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(embedding.weight[None], (6, 8), mode="bicubic")
    torch.testing.assert_close(embedding(torch.zeros(1, 4, 6, 8)), wanted)


@pytest.mark.parametrize("fold", [False, True])
def test_two_sizes_share_weights_gradients_and_statistics(fold):
    model = create_model("micro_coatnet", fold=fold)
    other = sharing(model, (64, 96))
    assert other.architecture.cost.params == model.architecture.cost.params
    assert {id(p) for p in other.parameters()} == {id(p) for p in model.parameters()}
    other(images(64, 96)).square().mean().backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not unused
    other.load_state_dict(model.state_dict())  # strict
    before = next(b for n, b in model.named_buffers() if n.endswith("running_mean"))
    assert before.abs().sum() > 0  # the training pass at the other size moved the statistics of this one


def test_the_network_at_its_own_size_is_the_same_to_the_last_bit():
    graph = load("micro_coatnet")
    assert at_size(graph, (32, 32)) is graph
    there_and_back = at_size(at_size(graph, (64, 64)), (32, 32))
    assert there_and_back.cost == graph.cost
    model = create_model("micro_coatnet").eval()
    back = sharing(sharing(model, (64, 64)), (32, 32))
    assert torch.equal(back(images(32, 32)), model(images(32, 32)))


PUBLISHED = {  # FLOPs in G at 224, 512 and 1280 x 800: arXiv 2510.06035; '-' where the table has none
    "resnet": (9.0, 47, 184),
    "efficientnet": (6.1, 32, 124),
    "coatnet": (8.44, 51, 296),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_are_the_published_ones_at_every_size(name):
    graph = load(name)
    sizes = [(224, 224), (512, 512), (800, 1280)]
    found = [at_size(graph, size).cost.flops / 1e9 for size in sizes]
    for value, published in zip(found, PUBLISHED[name], strict=True):
        assert value == pytest.approx(published, rel=0.01, abs=0.5 if published > 10 else 0.06)
    assert len({at_size(graph, size).cost.params for size in sizes}) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swin_tiny_patch4_window7_224", "does not exist at 96 x 96: expected a map that windows of 7 tile"),
        ("mixer_s16_224", r"weights of the same shapes .*stages.0.blocks.0.mlp_1.conv_1"),
        ("vit_small_patch16_224", "expected 197 tokens, as its embedding has, but got 37"),
    ],
)
def test_what_has_no_other_size_says_why(name, message):
    with pytest.raises(UninasError, match=message) as raised:
        sharing(create_model(name), (96, 96))
    assert raised.value.code == "UNI020"


# ---- drop path -----------------------------------------------------------------------------------------------------


def test_every_residual_branch_gets_a_drop_path_and_costs_nothing():
    graph = load("coatnet")
    other = with_drop_path(graph, 0.2)
    rates = [node.op.p for _, _, node in other.walk() if isinstance(node.op, DropPath)]
    assert len(rates) == 20 and rates[0] == 0 and rates[-1] == pytest.approx(0.2) and rates == sorted(rates)
    assert other.cost == graph.cost


def test_a_drop_path_does_nothing_in_evaluation_and_something_in_training():
    with_path, without = (create_model("micro_coatnet", drop_path_rate=rate) for rate in (0.3, 0.0))
    assert with_path.state_dict().keys() == without.state_dict().keys()
    x = images(32, 32)
    assert torch.equal(with_path.eval()(x), without.eval()(x))
    torch.manual_seed(0)
    assert not torch.equal(with_path.train()(x), without.train()(x))


def test_a_network_without_residual_branches_has_no_drop_path():
    with pytest.raises(UninasError, match="residual branches"):
        create_model(
            "network n { input 3 x 8 x 8 stem conv(4, 3) head global_avg_pool -> linear(2) }", drop_path_rate=0.1
        )


# ---- backbones -----------------------------------------------------------------------------------------------------


def test_a_backbone_gives_normed_maps_at_any_size():
    backbone = Backbone(load("coatnet", img_size=64), drop_path=0.1).eval()
    backbone.check_strides()
    for height, width in ((64, 64), (96, 160)):
        maps = backbone(images(height, width))
        assert [tuple(each.shape[1:]) for each in maps] == [
            (c, height // s, width // s) for c, s in zip((96, 192, 384, 768), (4, 8, 16, 32), strict=True)
        ]
        assert all(each.var(1).mean().item() == pytest.approx(1, rel=0.2) for each in maps)


def test_a_backbone_that_moves_keeps_sharing():
    backbone = Backbone(load("micro_resnet"))
    backbone(images(64, 64))
    backbone.double()
    backbone(images(64, 64).double())[0].sum().backward()
    assert backbone.body.stem.conv_1.weight.grad is not None
    with pytest.raises(UninasError, match=r"strides 4, 8, 16, 32, but micro_resnet has 2, 4, 8, 16"):
        backbone.check_strides()


def test_recomputing_gives_the_same_gradients():
    gradients = []
    for recompute in (False, True):
        backbone = Backbone(load("micro_coatnet"), recompute=recompute)
        sum(each.square().mean() for each in backbone(images(32, 32))).backward()
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])
