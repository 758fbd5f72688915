"""Recipes, schedules and the loop: the same numbers from the same seed, however the work is cut and interrupted."""

import dataclasses

import pytest
import torch

from uninas import create_model, load
from uninas.backend.groups import parameter_groups
from uninas.backend.weights import plain, stacked_again
from uninas.errors import UninasError
from uninas.training import checkpoint
from uninas.training.classification import Classification
from uninas.training.distributed import World
from uninas.training.loop import Diverged, Trainer
from uninas.training.recipe import TASKS, Recipe
from uninas.training.schedule import learning_rate

RECIPE = Recipe("classification", epochs=3, batch=32, lr=4e-3, warmup_epochs=0.5, pad=1, clip=1.0, evaluate_every=0)


def trainer(graph, images, recipe=RECIPE, *, parts=1, seed=0):
    task = Classification(recipe, images)
    network = task.network(graph)
    return Trainer(task, task.module(network, seed), recipe, world=World(), seed=seed, parts=parts)


def weights_of(some):
    return {name: tensor.clone() for name, tensor in some.weights().items()}


# ---- recipes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["uninas", "micro"])
def test_a_shipped_recipe_says_all(name, task):
    recipe = Recipe.load(name, task)
    assert Recipe.read(recipe.as_dict()) == recipe and recipe.task == task


def test_the_published_rates_are_those_of_the_table():
    rates = {task: (r.lr, r.min_lr, r.warmup_lr, r.batch) for task in TASKS if (r := Recipe.load("uninas", task))}
    assert rates == {
        "classification": (8 * 1e-4, 8 * 1e-6, 8 * 1e-7, 8 * 48),
        "detection": (4 * 2.5e-5, 4 * 2.5e-6, 4 * 1e-7, 4 * 4),
        "segmentation": pytest.approx((4 * 1.5e-5, 0, 4 * 1e-7, 4 * 4)),
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "a recipe has no epoch.*\n.*did you mean 'epochs'"),
        ({"schedule": "cosin"}, "cosine or linear or multi_step or constant, but got cosin"),
        ({"epochs": 0}, "expected epochs of a recipe to be at least 1, but got 0"),
        ({"lr": "fast"}, "expected lr of a recipe to be float, but got fast"),
        ({"flip": 1.5}, "expected flip of a recipe to be at most 1"),
        ({"milestones": [1]}, "milestones for the schedule multi_step alone"),
        ({"lr": float("nan")}, "at least 0, but got nan"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(values, message):
    with pytest.raises(UninasError, match=message) as raised:
        RECIPE.but(**values)
    assert raised.value.code == "UNI130"


# ---- schedules -----------------------------------------------------------------------------------------------------


def test_schedules_are_those_of_timm():
    from timm.scheduler import CosineLRScheduler, PolyLRScheduler

    per, warm = 20, 10
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    shared = {"warmup_t": warm, "warmup_lr_init": 1e-5, "t_in_epochs": False}
    recipe = dataclasses.replace(RECIPE, lr=0.1, warmup_lr=1e-5, min_lr=1e-3, warmup_epochs=0.5)
    pairs = [
        (recipe, CosineLRScheduler(torch.optim.SGD(parameters, 0.1), 60, lr_min=1e-3, **shared)),
        (dataclasses.replace(recipe, schedule="linear", min_lr=0.0),
         PolyLRScheduler(torch.optim.SGD(parameters, 0.1), 60, power=1, lr_min=0, **shared)),
    ]  # fmt: skip
    for ours, theirs in pairs:
        for update in range(60):
            theirs.step_update(update)
            assert learning_rate(ours, update, per) == pytest.approx(theirs.optimizer.param_groups[0]["lr"], abs=1e-12)


def test_multi_step_falls_to_its_floor_and_no_lower():
    recipe = Recipe.load("uninas", "detection")
    rates = [learning_rate(recipe, epoch * 100, 100) for epoch in range(12)]
    assert rates == pytest.approx([4e-7 + (1e-4 - 4e-7) * e / 5 for e in range(5)] + [1e-4] * 3 + [1e-5] * 4)


# ---- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [False, True])
def test_kernels_alone_decay(fold):
    model = create_model("micro_coatnet", fold=fold)
    decayed, others = parameter_groups(model, 0.05)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    listed = [{names[id(each)] for each in group["params"]} for group in (decayed, others)]
    assert not listed[0] & listed[1] and listed[0] | listed[1] == set(names.values())
    assert all(name.endswith(".weight") for name in listed[0])
    assert any("rel_pos_bias" in name for name in listed[1]) and not any("rel_pos_bias" in name for name in listed[0])
    elements = sum(each.numel() for each in decayed["params"])
    assert elements == sum(each.numel() for each in parameter_groups(create_model("micro_coatnet"), 1)[0]["params"])


def test_weights_have_the_names_of_the_text_however_they_are_held():
    apart, together = create_model("micro_coatnet"), create_model("micro_coatnet", fold=True)
    assert plain(together).keys() == plain(apart).keys() == apart.state_dict().keys()
    together.load_state_dict(stacked_again(together, plain(apart)))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(together.eval()(x), apart.eval()(x))


# ---- the loop ------------------------------------------------------------------------------------------------------


def test_a_network_learns(tiny, bars):
    some = trainer(tiny, bars, RECIPE.but(epochs=16, batch=16, pad=0))
    some.run()
    assert some.rows[-1]["top1"] > 80 and some.rows[-1]["loss"] < some.rows[0]["loss"] / 2


@pytest.mark.parametrize("stop", [1, 7, 14])
def test_a_training_that_was_interrupted_ends_with_the_same_bits(tiny, bars, tmp_path, stop):
    whole = trainer(tiny, bars)
    whole.run()
    first = trainer(tiny, bars)

    class Killed(Exception):
        pass

    def watch(step):
        if getattr(step, "update", 0) == stop:
            checkpoint.save(tmp_path, first.state())
            raise Killed

    with pytest.raises(Killed):
        first.run(watch)
    second = trainer(tiny, bars, seed=0)
    second.restore(checkpoint.load(tmp_path))
    second.run()
    assert second.update == whole.update
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, second.weights()[name]), name
    figures = [{k: v for k, v in row.items() if k not in ("images_per_second", "waiting")} for row in whole.rows]
    assert figures == [{k: v for k, v in r.items() if k not in ("images_per_second", "waiting")} for r in second.rows]


def test_accumulated_parts_are_one_batch_up_to_rounding(bars):
    plain_net = load("network n { input 3 x 16 x 16 stem conv(8, 3, stride=2) -> gelu "
                     "head global_avg_pool -> linear(4) }")  # fmt: skip
    one, four = (trainer(plain_net, bars, RECIPE.but(epochs=1), parts=parts) for parts in (1, 4))
    one.run()
    four.run()
    for name, tensor in one.weights().items():
        torch.testing.assert_close(tensor, four.weights()[name], rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_with_its_place(tiny, bars):
    some = trainer(tiny, bars, RECIPE.but(lr=1e30, warmup_epochs=0.0, clip=0.0))
    with pytest.raises(Diverged) as raised:
        some.run()
    assert raised.value.rate > 1e29 and len(raised.value.images) == 32


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    for update in (1, 2):
        checkpoint.save(tmp_path, {"update": update})
    (tmp_path / checkpoint.LAST).write_bytes(b"half a file")
    assert checkpoint.load(tmp_path)["update"] == 1
    (tmp_path / checkpoint.PREVIOUS).unlink()
    with pytest.raises(UninasError, match=r"no checkpoint in .* can be read"):
        checkpoint.load(tmp_path)
    assert checkpoint.load(tmp_path / "none") is None


def test_seeds_differ_and_torchs_own_generator_is_left_alone(tiny, bars):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (trainer(tiny, bars, RECIPE.but(epochs=1), seed=seed) for seed in (0, 1))
    first.run()
    assert torch.equal(before, torch.get_rng_state())
    second.run()
    assert first.rows[0]["loss"] != second.rows[0]["loss"]


def test_a_moving_average_is_what_is_evaluated_and_resumed(tiny, bars, tmp_path):
    recipe = RECIPE.but(ema=0.5)
    whole = trainer(tiny, bars, recipe)
    whole.run(save=lambda: checkpoint.save(tmp_path, whole.state()) if whole.epoch < 3 else None)
    own = whole.task.weights(whole.module)
    assert any(not torch.equal(tensor, own[name]) for name, tensor in whole.weights().items())
    second = trainer(tiny, bars, recipe)
    second.restore(checkpoint.load(tmp_path))
    second.run()
    assert second.update == 15
    assert all(torch.equal(tensor, second.weights()[name]) for name, tensor in whole.weights().items())


def test_frozen_norms_keep_their_statistics(tiny, bars):
    some = trainer(tiny, bars, RECIPE.but(epochs=1, batch_norm="frozen"))
    before = {name: buffer.clone() for name, buffer in some.module.named_buffers() if "running" in name}
    some.run()
    assert before and all(torch.equal(buffer, before[n]) for n, buffer in some.module.named_buffers() if n in before)
