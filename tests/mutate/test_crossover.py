"""Crossover of two networks: whole blocks and regions, recorded, replayed, never out of the budget."""

import json
import random
from collections import Counter

import pytest

from uninas.errors import UninasError
from uninas.graph import Wire
from uninas.language.elaborate import build
from uninas.language.library import find, load_text
from uninas.language.printer import dumps
from uninas.mutate import Graft, MoveWalk, Refusal, apply, attempt, read_edit, record
from uninas.space import Budget, Limit


@pytest.fixture(scope="module")
def parents():
    return [build(find(name)[0], name) for name in ("coatnet", "efficientnet")]


def test_children_of_two_networks_type_keep_the_budget_and_can_be_replayed(parents, moves):
    a, b = parents
    walk = MoveWalk(moves("remove"), Budget((Limit("params", 20e6, 32e6),)), a)
    rng, seen, kinds = random.Random(0), {a.key, b.key}, Counter()
    for _ in range(30):
        child = walk.crossover(a, b, rng, seen)
        seen.add(child.graph.key)
        kinds[child.edit.node is None] += 1
        assert (child.graph.inputs, child.graph.output_shapes) == (a.inputs, a.output_shapes)
        assert 20e6 <= child.graph.cost.params <= 32e6
        edit = read_edit(json.loads(json.dumps(record(child.edit))))
        assert edit == child.edit and edit.mate == b.key and edit.mate[:8] in str(edit)
        assert walk.apply(a, edit, b) == child.graph
        assert build(load_text(dumps(child.graph)), "coatnet") == child.graph
    assert set(kinds) == {True, False}, "whole blocks and regions"


def test_a_block_of_another_width_is_solved_for_its_new_place(parents, moves):
    a, b = parents
    child = apply(a, Graft(("stages.3", "blocks.1"), b.key, ("stages.3", "blocks.1")), moves("remove"), b)
    block = child.by_name["stages.3"].op.graph.by_name["blocks.1"].op.graph
    assert block.inputs == ((768, 7, 7),) and "mb_conv" in block.by_name
    assert b.by_name["stages.3"].op.graph.by_name["blocks.1"].op.graph.inputs == ((512, 7, 7),)


def test_a_region_is_exchanged_for_another(block, moves):
    a = block("out = in -> relu -> conv(C, 3) -> gelu")
    b = block("out = in -> conv(64, 1) -> silu -> conv(32, 1) -> sigmoid", "32 x 4 x 4")
    edit = Graft((), b.key, (), "conv", Wire("relu"), "conv_2", Wire("in"))
    child = apply(a, edit, moves("remove"), b)
    assert child.key == block("out = in -> relu -> conv(32, 1) -> silu -> conv(16, 1) -> gelu").key
    assert isinstance(attempt(a, edit, moves("remove"), a), Refusal), "another second parent"


def test_a_crossover_needs_its_second_parent(parents, moves):
    a, b = parents
    edit = Graft(("stages.3", "blocks.1"), b.key, ("stages.3", "blocks.9"))
    for mate in (None, a, b):
        with pytest.raises(UninasError, match="UNI080"):
            apply(a, edit, moves("remove"), mate)
