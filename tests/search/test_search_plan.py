"""What is searched: settings become a start, moves and a budget, or an error that says what to do."""

import random
from dataclasses import replace

import pytest

from uninas.errors import UninasError
from uninas.graph.resolve import at_size
from uninas.search.plan import Settings, make_plan
from uninas.space import Limit


def test_the_space_gives_start_moves_and_budget(make):
    plan = make()
    assert (plan.start.name, plan.start.inputs) == ("tiny", ((3, 16, 16),))
    assert [rule.name for rule in plan.space.moves] == ["insert", "remove"]
    assert plan.budget.limits == (Limit("params", high=20_000),)


def test_limits_by_hand_replace_their_side_only(make):
    limits = make(params_min=100.0, flops_max=1e9).budget.limits
    assert set(limits) == {Limit("params", 100.0, 20_000), Limit("flops", None, 1e9)}
    assert make(params_max=9e3).budget.limits == (Limit("params", None, 9e3),)


def test_the_start_may_be_another_network_at_another_size(make):
    plan = make(start="resnet18", img_size=64, params_max=12e6)
    assert (plan.start.name, plan.start.inputs) == ("resnet18", ((3, 64, 64),))


def test_a_size_that_is_asked_for_stays():
    settings = Settings(space="UniDAG", proxy="params")
    assert "resolution" in {rule.name for rule in make_plan(settings).space.moves}
    fixed = make_plan(replace(settings, img_size=64))
    assert fixed.start.inputs == ((3, 64, 64),)
    assert "resolution" not in {rule.name for rule in fixed.space.moves}


def test_the_number_of_classes_changes_the_last_layer(make):
    assert make(classes=7).start.output_shapes == ((7,),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params_max": 10.0}, "the start tiny breaks the budget: expected params of at most 10"),
        ({"params_min": 30e3}, "expected a low end below the high end of params"),
        ({"start": "resnet81"}, "did you mean 'resnet18'?"),
        ({"space": "resnet18"}, "expected resnet18 to have moves"),
        ({"space": "block B { out = in }"}, "expected B to be a space"),
        ({"space": "space S { moves remove 1 }"}, "start"),
        (
            {"space": "nasbench201", "start": "resnet18"},
            "expected a member of nasbench201",
        ),
        ({"space": "nasbench201", "classes": 3}, "expected no number of classes for nasbench201"),
        ({"images": {"": "nois"}}, "cannot read nois: No such file"),
        ({"img_size": 100_000}, "expected channels, height and width from 1 to 65536, but got 3x100000x100000"),
    ],
)
def test_what_cannot_be_searched(changes, message, make):
    with pytest.raises(UninasError) as raised:
        make(**changes).as_dict()
    assert message in str(raised.value)


def test_moves_may_be_drawn_at_even_odds_of_their_own(make):
    assert make(even="moves").walk.moves.even == "moves" and make().walk.moves.even == "rules"
    with pytest.raises(UninasError, match="expected no choice of odds"):
        make_plan(Settings(space="nasbench201", proxy="params", even="moves"))


def test_a_relative_budget_is_measured_at_the_start(tmp_path):
    file = tmp_path / "s.uni"
    file.write_text(
        "from networks.resnet18 import resnet18 space S { start resnet18 moves remove 1 budget params <= 110% }"
    )
    plan = make_plan(Settings(space=str(file), proxy="params"))
    assert plan.budget.limits == (Limit("params", None, 1.1 * plan.start.cost.params),)


@pytest.mark.parametrize(
    ("written", "by_hand", "kept"),
    [
        ("params <= 26M, params >= 24M", {}, "24000000 <= params <= 26000000"),
        ("params <= 26M, params >= 24M", {"params_max": 25e6}, "24000000 <= params <= 25000000.0"),
        ("params 90%..110%", {"params_max": 26e6}, "{low} <= params <= None; None <= params <= 26000000.0"),
    ],
)
def test_every_limit_of_the_space_is_kept(written, by_hand, kept, tmp_path):
    file = tmp_path / "s.uni"
    file.write_text(f"from networks.resnet import resnet space S {{ start resnet moves remove 1 budget {written} }}")
    plan = make_plan(Settings(space=str(file), proxy="params", **by_hand))
    assert plan.fingerprint["budget"] == kept.format(low=0.9 * plan.start.cost.params)


def test_a_space_whose_blocks_have_changed_is_another_one(tmp_path):
    file = tmp_path / "s.uni"
    (tmp_path / "mine.uni").write_text("block Mine { out = in -> conv(C, 1) }")
    written = (
        "from mine import Mine from networks.resnet import resnet space S { start resnet moves insert 1 { Mine } }"
    )
    file.write_text(written)
    plan = make_plan(Settings(space=str(file), proxy="params"))
    file.write_text(f"# the same\n{written}")
    assert make_plan(plan.settings).fingerprint == plan.fingerprint
    (tmp_path / "mine.uni").write_text("block Mine { out = in -> conv(C, 3) }")
    assert make_plan(plan.settings).fingerprint != plan.fingerprint


def test_a_space_of_choices_starts_from_a_member_drawn_by_the_seed():
    first, again, other = (make_plan(Settings(space="nasbench201", proxy="params", seed=n)) for n in (1, 1, 2))
    assert first.start == again.start != other.start
    small = make_plan(Settings(space="nasbench201", proxy="params", seed=1, img_size=16, params_max=1e6))
    assert small.start.inputs == ((3, 16, 16),)
    assert small.budget.violations(small.start) == [] and small.budget.limits == (Limit("params", None, 1e6),)
    assert first.fingerprint["moves"] != make_plan(Settings(space="mobilenetv2", proxy="params")).fingerprint["moves"]


# ---- sizes that candidates must fit ---------------------------------------------------------------------------------


def test_candidates_exist_at_every_size_that_is_asked_for():
    plan = make_plan(Settings(space="UniNAS", proxy="params", img_size=64, fits=("224", "96x160:9G")))
    at = [limit for limit in plan.budget.limits if limit.at]
    assert [(limit.at, limit.high) for limit in at] == [((224, 224), None), ((96, 160), 9e9)]
    graph, rng = plan.start, random.Random(0)
    for _ in range(10):
        graph = plan.walk.propose(graph, rng, {graph.key}).graph
        assert at_size(graph, (96, 160)).cost.flops <= 9e9
    assert "9000000000.0 at 96 x 160" in plan.fingerprint["budget"]


def test_a_start_that_does_not_fit_is_said_to():
    with pytest.raises(UninasError, match=r"flops of at most 1,000,000,000 at 224 x 224, but got 8,4"):
        make_plan(Settings(space="UniNAS", proxy="params", fits=("224:1G",)))
    swin = Settings(space="UniNAS", proxy="params", start="swin_tiny_patch4_window7_224", fits=("100",))
    with pytest.raises(UninasError, match=r"network that exists at 100 x 100, but there: .*windows of 7"):
        make_plan(swin)


@pytest.mark.parametrize("text", ["big", "0x5", "99999", "224:600T", "224x"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(UninasError, match="expected a size like 224"):
        make_plan(Settings(space="UniNAS", proxy="params", fits=(text,)))
