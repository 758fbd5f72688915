"""Passes keep the function of a network, for every one that is shipped, alone and together with what torch offers."""

import copy
import random
from functools import cache

import pytest
import torch

import uninas
from uninas.backend import fast, layers
from uninas.backend.optimize import GOALS, PASSES, optimize
from uninas.errors import UninasError
from uninas.mutate import Budget, Moves, propose

SIZES = {"inception_v3": 107}  # its windows need more than others
OWN_SIZE = ("swin_tiny_patch4_window7_224", "micro_coatnet", "micro_efficientnet", "micro_resnet",
            "micro_transformer")  # fmt: skip
OF_IMAGES = [name for name in uninas.list_models() if [len(shape) for shape in uninas.load(name).inputs] == [3]]
SMALL = ("micro_coatnet", "micro_transformer", "micro_resnet", "micro_efficientnet")


def trained(source, **settings):
    """A model whose norms, biases and scales are no longer as they began, in evaluation and double precision."""
    size = None if source in OWN_SIZE or not isinstance(source, str) else SIZES.get(source, 64)
    model = uninas.create_model(source, img_size=size, **settings).eval()
    draw = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3, generator=draw)
            module.running_var.uniform_(0.5, 2, generator=draw)
        if isinstance(module, layers.LayerScale):
            module.weight.data.uniform_(0.1, 1, generator=draw)
        if getattr(module, "bias", None) is not None and isinstance(module.bias, torch.Tensor):
            module.bias.data.normal_(std=0.1, generator=draw)
        if isinstance(module, layers.OffsetTable):
            module.table.data.normal_(generator=draw)
    return model.double()


def images(model, batch=2):
    like = next(model.parameters(), torch.zeros(()))
    draw = torch.Generator().manual_seed(0)
    return torch.randn(batch, *model.architecture.inputs[0], generator=draw, dtype=like.dtype)


def assert_same(model, *others):
    x = images(model)
    with torch.inference_mode():
        wanted = model(x)
        for other in others:
            torch.testing.assert_close(other(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", OF_IMAGES)
def test_every_shipped_network_keeps_its_function(network):
    model = trained(network)
    assert_same(model, *(optimize(model, goal) for goal in GOALS))


@cache
def known(network, fold):
    """A model, which passes leave as it is, its images and what it says of them."""
    model = trained(network, fold=fold)
    with torch.inference_mode():
        return model, images(model), model(images(model))


@pytest.mark.parametrize("network", ["micro_coatnet", "swin_tiny_patch4_window7_224", "mixed"])
@pytest.mark.parametrize("name", PASSES)
def test_every_pass_alone_keeps_the_function_and_says_what_it_gained(name, network):
    model, x, wanted = known(network, name != "fold")
    other = optimize(model, passes=[name])
    with torch.inference_mode():
        torch.testing.assert_close(other(x), wanted, rtol=1e-5, atol=1e-5)
    (line,) = other.meta["optimized"]
    assert line.startswith(f"{name}: ")
    assert line.endswith(PASSES[name].gain)


def test_what_is_gained_is_told():
    told = dict(line.split(": ") for line in optimize(trained("coatnet")).meta["optimized"])
    assert told["fold"].startswith("7 ")
    assert told["heads"].startswith("7 ")
    assert told["attention"].startswith("0 ")
    assert told["norms"].startswith("16 ")


def test_optimized_attention_cuts_stacks_and_looks_up_nothing():
    targets = {node.target for node in optimize(trained("swin_tiny_patch4_window7_224")).graph.nodes}
    assert fast.head_attention in targets
    assert not targets & {layers.split, layers.stack_parts, layers.matmul1, layers.concat, layers.window_partition}


@pytest.mark.parametrize("seed", range(4))
def test_members_of_walks_keep_their_function(seed):
    moves, rng = Moves(uninas.space("UniNAS").moves), random.Random(seed)
    graph = uninas.load(SMALL[seed])
    for _ in range(15):
        graph = propose(graph, moves, Budget(), rng, seen={graph.key}).graph
    model = trained(graph)
    assert_same(model, *(optimize(model, goal) for goal in GOALS))


@pytest.mark.parametrize("network", [name for name in OF_IMAGES if name not in OWN_SIZE] + list(SMALL))
def test_folding_layouts_autocast_and_copies_go_together(network):
    first = trained(network, fold=True)
    model = copy.deepcopy(first).to(memory_format=torch.channels_last)
    assert_same(first, model)
    for each in (model, copy.deepcopy(optimize(model))):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = each.float()(images(each))
            assert all(one.isfinite().all() for one in (found if isinstance(found, tuple) else (found,)))


@pytest.mark.parametrize("network", SMALL)
def test_optimized_networks_go_through_torch_compile(network):
    model = trained(network)
    fast_one = torch.compile(optimize(model), backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(fast_one(images(model)), model(images(model)), rtol=1e-5, atol=1e-5)


def test_training_keeps_names_weights_and_gradients():
    model = uninas.create_model("micro_coatnet", fold=True)
    other = optimize(model, "training")
    assert other.state_dict().keys() == model.state_dict().keys()
    x, found = images(model), []
    for each in (model, other):
        each.train()(x).logsumexp(1).sum().backward()
        found.append({name: parameter.grad for name, parameter in each.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-4)


def test_the_given_model_stays_as_it_is():
    model = uninas.create_model("micro_resnet")
    before, code = copy.deepcopy(model.state_dict()), model.code
    optimize(model)
    assert model.training and model.code == code
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_habits_of_models_stay():
    model = optimize(trained("micro_resnet"))
    x = images(model)
    with torch.inference_mode():
        torch.testing.assert_close(model.forward_head(model.forward_features(x)), model(x))
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)
    maps = uninas.create_model("micro_coatnet", features_only=True, optimize="inference")(x.float())
    assert [len(each) for each in maps] == [2] * len(maps)


def test_create_model_optimizes():
    model = uninas.create_model("micro_coatnet", optimize="inference")
    assert not model.training
    assert_same(uninas.create_model("micro_coatnet", fold=True).eval(), model)
    assert uninas.create_model("micro_coatnet", optimize="training").training


def test_zeros_leave_sums_only_where_the_shape_stays():
    text = "block B { input 4 x 6 x 6 out = (in -> zero) + in + (in -> conv(4, 3)) }"
    other = optimize(uninas.compile(uninas.load(text)).eval())
    assert layers.zero not in {node.target for node in other.graph.nodes}
    wide = "block B { input 4 x 6 x 6 out = (in -> zero) + (in -> global_avg_pool) }"
    model = uninas.compile(uninas.load(wide)).eval()
    assert_same(model, optimize(model))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: optimize(torch.nn.ReLU()), "expected a torch.fx.GraphModule, but got ReLU"),
        (lambda m: optimize(m, "speed"), "expected the goal to be inference or training, but got speed"),
        (lambda m: optimize(m, passes=["normz"]), "expected passes among"),
        (lambda m: optimize(m, passes="normz"), "among .*, but got normz"),
    ],
)
def test_mistakes_are_told(call, message):
    with pytest.raises(UninasError, match=message):
        call(uninas.create_model("micro_resnet"))
