"""What differs between two architectures, how far apart they are, and the ways from one to the other."""

import random
from functools import reduce

import pytest

import uninas
from uninas.graph import Wire
from uninas.graph.diff import align, diff
from uninas.language.elaborate import build, space
from uninas.language.library import find
from uninas.mutate import Insert, MoveWalk, Refusal, Remove, SetAttribute, Skip, apply, walk_of
from uninas.mutate.path import edit_path, feature_distance, unreachable
from uninas.space import Budget, Limit

BODY = "a = in -> conv(32, 3)\n out = in + (a -> gelu -> conv(16, 1))"


# ---- diff ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "lines"),
    [
        (Insert((), "silu", Wire("a")), ["+ silu: silu"]),
        (Remove((), "gelu", Wire("a")), ["- gelu: gelu"]),
        (SetAttribute((), "a", "kernel", 5), ["~ a: conv(out=32) -> conv(out=32, kernel=5)"]),
        (Skip((), Wire("in"), Wire("conv")), ["+ add_1: add"]),
    ],
    ids=str,
)
def test_one_edit_is_one_line(edit, lines, block, moves):
    before = block(BODY)
    after = apply(before, edit, moves("insert {silu}"))
    found = diff(before, after)
    assert found and found.distance == 1
    assert found.text().splitlines()[2:] == lines


def test_a_wire_from_elsewhere_is_told(block):
    before, after = (
        block("a = in -> relu\n b = a -> gelu\n out = a * b"),
        block("a = in -> relu\n b = a -> gelu\n out = in * b"),
    )
    [change] = diff(before, after).changes
    assert (change.status, change.before, change.after) == ("rewired", "from a, b", "from in, b")


def test_changes_inside_blocks_are_shown_where_they_are(tiny, moves):
    known = moves("insert {gelu}, remove")
    after = apply(tiny, Insert(("stages.0", "blocks.1", "mb_conv"), "gelu", Wire("in")), known)
    found = diff(tiny, after)
    assert found.text().splitlines()[2:] == [
        "  stages.0: stage", "    blocks.1: Unified", "      mb_conv: MBConv", "+       gelu_3: gelu",
    ]  # fmt: skip
    old, new = found.marks()
    assert old == {"stages.0": "inside", "stages.0.blocks.1": "inside", "stages.0.blocks.1.mb_conv": "inside"}
    assert new == {**old, "stages.0.blocks.1.mb_conv.gelu_3": "added"}
    values = found.as_dict()
    assert values["distance"] == 1 and values["after"]["operations"] == tiny.operations + 1
    assert values["changes"][0]["inner"][0]["inner"][0]["inner"][0]["new"] == "gelu_3"


def test_equal_architectures_do_not_differ_whatever_their_names(block):
    one, other = block("a = in -> relu\n out = a * a"), block("b = in -> relu\n out = b * b")
    assert not diff(one, other) and diff(one, other).changes == ()
    assert "same architecture" in diff(one, other).text()


def test_an_alignment_costs_no_more_than_any_other():
    rng = random.Random(0)
    for _ in range(50):
        a, b = ([rng.randrange(4) for _ in range(rng.randrange(6))] for _ in range(2))
        rows = align(a, b, lambda x, y: 2 * (x != y), lambda _: 1)
        assert [x for x, _ in rows if x is not None] == a and [y for _, y in rows if y is not None] == b
        cost = sum(1 if x is None or y is None else 2 * (x != y) for x, y in rows)
        assert cost == _levenshtein(a, b)


def _levenshtein(a, b):
    """Insertions and deletions alone, since an exchange costs as much as both."""
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return _levenshtein(a[1:], b[1:])
    return 1 + min(_levenshtein(a[1:], b), _levenshtein(a, b[1:]))


# ---- distances -----------------------------------------------------------------------------------------------------


def test_distances_order_networks_as_edits_do(tiny, moves):
    known = moves("insert {gelu, conv(C, 3)}")
    near = apply(tiny, Insert(("stages.1", "blocks.1"), "gelu", Wire("in")), known)
    far = apply(near, Insert(("stages.0", "blocks.1"), "conv(C, 3)", Wire("in")), known)
    other = uninas.load("resnet18")
    for measure in (feature_distance, lambda a, b: diff(a, b).distance):
        distances = [measure(tiny, graph) for graph in (tiny, near, far, other)]
        assert distances == sorted(distances) and len(set(distances)) == 4 and distances[0] == 0
        assert measure(far, tiny) == measure(tiny, far)
    assert 0 < feature_distance(tiny, other) <= 1


# ---- paths ---------------------------------------------------------------------------------------------------------


def test_a_path_of_moves_leads_from_one_network_to_the_other(tiny):
    walk = walk_of(space(*find("UniNAS")), tiny, Budget())
    rng, aim = random.Random(4), tiny
    for _ in range(2):
        aim = walk.propose(aim, rng, {tiny.key, aim.key}).graph
    path = edit_path(tiny, aim, walk, expansions=20)
    assert isinstance(path, list) and 1 <= len(path) <= 2
    assert reduce(walk.apply, path, tiny).key == aim.key


def test_a_path_of_choices_is_as_long_as_answers_differ():
    walk = walk_of(space(*find("nasbench201")))
    rng = random.Random(2)
    a, b = walk.sample(rng), walk.sample(rng)
    path = edit_path(a, b, walk)
    first, second = walk.member(a).answers, walk.member(b).answers
    assert len(path) == sum(first[name] != second[name] for name in first)
    assert reduce(walk.apply, path, a).key == b.key


def test_what_no_edit_can_reach_is_told_with_a_reason(tiny):
    walk = walk_of(space(*find("UniNAS")), tiny, Budget((Limit("params", high=1e6),)))
    for other in ("resnet18", "vit_small_patch16_224"):
        outcome = edit_path(tiny, uninas.load(other), walk)
        assert isinstance(outcome, Refusal) and outcome.reason == "site"
    free = MoveWalk(walk.moves, Budget(), tiny)
    larger = build(find("coatnet")[0], "coatnet")
    assert "inputs" in unreachable(tiny, larger, free).why
    assert unreachable(tiny, tiny, free) is None


def test_a_path_that_is_not_found_in_time_is_no_path(tiny):
    walk = walk_of(space(*find("UniNAS")), tiny, Budget())
    rng, aim, seen = random.Random(1), tiny, {tiny.key}
    for _ in range(4):
        aim = walk.propose(aim, rng, seen).graph
        seen.add(aim.key)
    outcome = edit_path(tiny, aim, walk, expansions=1)
    assert isinstance(outcome, Refusal) and outcome.reason == "known"
