"""Moves: what an edit does to a graph, and what holds for every walk."""

import json
import random
import re

import pytest
import torch

import uninas
from uninas.errors import UninasError
from uninas.graph import Block, Wire
from uninas.language.elaborate import build, space
from uninas.language.library import find, load_text
from uninas.language.printer import dumps
from uninas.mutate import (
    Insert,
    Moves,
    Port,
    Refusal,
    Remove,
    apply,
    attempt,
    blocks,
    places,
    propose,
    read_edit,
    record,
    region,
    walk_of,
)
from uninas.space import Budget, Limit, MoveRule

NETWORKS = ["coatnet", "efficientnet", "transformer", "resnet"]
STEPS = 60


def network(name):
    return build(find(name)[0], name)


def block(body, shape="16 x 8 x 8"):
    return build(load_text(f"block B {{ input {shape}\n{body} }}"), "B")


@pytest.fixture(scope="module")
def uninas_space():
    return space(*find("UniNAS"))


@pytest.fixture(scope="module")
def moves(uninas_space):
    return Moves(uninas_space.moves)


def walk(graph, moves, budget, seed, steps=STEPS):
    rng, seen = random.Random(seed), {graph.key}
    for _ in range(steps):
        proposal = propose(graph, moves, budget, rng, seen)
        graph = proposal.graph
        yield proposal
        seen.add(graph.key)


# ---- what holds for every walk -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_walk_keeps_shapes_and_budget_and_never_repeats(name, seed, moves):
    start, budget = network(name), Budget((Limit("flops", high=20e9), Limit("params", 20e6, 30e6)))
    graphs = [proposal.graph for proposal in walk(start, moves, budget, seed)]
    for graph in graphs:
        assert (graph.inputs, graph.output_shapes) == (start.inputs, start.output_shapes)
        assert [node.name for node in graph.nodes] == [node.name for node in start.nodes]
        assert not budget.violations(graph)
    assert len({graph.key for graph in [start, *graphs]}) == STEPS + 1


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_walk_made_prints_as_text_that_means_the_same(name, moves):
    *_, last = walk(network(name), moves, Budget(), seed=3)
    for explicit in (False, True):
        again = build(load_text(dumps(last.graph, explicit=explicit)), last.graph.name)
        assert again == last.graph
        assert (again.key, again.cost, again.operations) == (last.graph.key, last.graph.cost, last.graph.operations)


@pytest.mark.parametrize("name", NETWORKS)
def test_edits_can_be_written_down_and_replayed(name, moves):
    graph = network(name)
    for proposal in walk(graph, moves, Budget(), seed=4):
        edit = read_edit(json.loads(json.dumps(record(proposal.edit))))
        assert edit == proposal.edit
        graph = apply(graph, edit, moves)
        assert graph == proposal.graph


@pytest.mark.parametrize("name", ["coatnet", "densenet121"])
def test_what_a_walk_made_compiles_to_what_was_predicted(name, moves):
    start = build(find(name)[0], name, input=(3, 64, 64))
    *_, last = walk(start, moves, Budget((Limit("params", high=40e6),)), seed=9)
    model = uninas.compile(last.graph).to("meta")
    assert sum(weight.numel() for weight in model.parameters()) == last.graph.cost.params
    assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, *last.graph.output_shapes[0])


def test_equal_generators_walk_alike_and_others_do_not(moves):
    edits = [[str(p.edit) for p in walk(network("coatnet"), moves, Budget(), seed, 20)] for seed in (5, 5, 6)]
    assert edits[0] == edits[1] != edits[2]


def test_every_option_of_the_space_fits_somewhere_and_is_drawn(moves, uninas_space):
    start = network("coatnet")
    rng, drawn = random.Random(7), set()
    for _ in range(1500):
        edit = moves.draw(start, rng)
        if isinstance(edit, Insert) and not isinstance(attempt(start, edit, moves), Refusal):
            drawn.add(edit.what)
    assert drawn == {option.text for rule in uninas_space.moves for option in rule.options}


def test_an_edit_copies_only_the_path_to_the_place_where_it_happens(moves):
    start = network("coatnet")
    after = apply(start, Insert(("stages.2", "blocks.3"), "gelu", Wire("y")), moves)
    other = [node.name for old, node in zip(start.nodes, after.nodes, strict=True) if old is not node]
    assert other == ["stages.2"]
    old, new = (graph.by_name["stages.2"].op.graph for graph in (start, after))
    assert old.by_name["blocks.3"].op.graph is old.by_name["blocks.2"].op.graph, "equal blocks are one graph"
    assert [node.name for before, node in zip(old.nodes, new.nodes, strict=True) if before is not node] == ["blocks.3"]


def test_stem_head_and_the_rows_of_blocks_are_no_places(moves):
    start = network("coatnet")
    paths = [path for path, _ in blocks(start)]
    assert len(paths) == 12 and all(len(path) == 2 and path[0].startswith("stages.") for path in paths)
    for path in ((), ("stem",), ("stages.0",)):
        assert isinstance(attempt(start, Insert(path, "gelu", Wire("in")), moves), Refusal)


def test_every_place_is_drawn():
    graph = block("mid = in -> conv(2 * C, 1) -> gelu\n out = in + (mid -> conv(C, 1))")
    draw = Moves([MoveRule("insert", 1.0, space(*find("UniNAS")).moves[0].options)]).draw
    rng = random.Random(0)
    edges = {(edit.after, edit.before) for edit in (draw(graph, rng) for _ in range(400))}
    assert places(graph) == 5
    assert edges == {
        (Wire("in"), None), (Wire("in"), Port("conv_1")), (Wire("in"), Port("add")), (Wire("conv_1"), None),
        (Wire("mid"), None), (Wire("conv_2"), None), (Wire("add"), None),
    }  # fmt: skip


# ---- insertion -----------------------------------------------------------------------------------------------------


def test_insertion_feeds_all_users_or_one(moves):
    graph = block("a = in -> relu\n out = a * (a -> sigmoid)")
    assert dumps(apply(graph, Insert((), "gelu", Wire("a")), moves)) == dumps(
        block("a = in -> relu\n gelu = a -> gelu\n out = gelu * (gelu -> sigmoid)")
    )
    assert dumps(apply(graph, Insert((), "gelu", Wire("a"), Port("sigmoid")), moves)) == dumps(
        block("a = in -> relu\n out = a * (a -> gelu -> sigmoid)")
    )


def test_insertion_at_the_end_and_into_an_empty_block(moves):
    assert apply(block("out = in"), Insert((), "gelu", Wire("in")), moves) == block("out = in -> gelu")
    twice = block("out = in -> relu -> gelu")
    assert apply(block("out = in -> relu"), Insert((), "gelu", Wire("relu"), Port("out")), moves) == twice


def test_a_chain_moves_in_under_fresh_names_and_a_block_stays_one_node(moves):
    graph = block("out = in -> conv(C, 3)")
    chain = apply(graph, Insert((), "conv(C * 4, 1) -> conv(C, 1)", Wire("conv")), moves)
    assert [node.name for node in chain.nodes] == ["conv", "conv_1", "conv_2"]
    assert chain.shape(Wire("conv_1")) == (64, 8, 8)
    gate = apply(chain, Insert((), "Gate", Wire("in")), moves)
    assert [node.name for node in gate.nodes] == ["gate", "conv", "conv_1", "conv_2"]
    assert isinstance(gate.by_name["gate"].op, Block)


def test_a_change_in_the_body_of_each_reaches_every_part(moves):
    graph = block("out = in -> split(4) -> each part { out = part -> relu } -> concat")
    changed = apply(graph, Insert(("parts",), "conv(C, 1)", Wire("relu")), moves)
    assert changed.cost.params == 4 * (4 * 4 + 4)


# ---- removal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "node", "since"),
    [
        ("out = in -> relu -> gelu", "gelu", "relu"),
        ("out = in -> relu -> conv(64, 1) -> gelu -> conv(16, 1)", "conv_2", "relu"),
        ("out = in -> copy -> add", "add", "in"),
        ("out = in -> chunk(2) -> concat", "concat", "in"),
        ("out = in + (in -> relu)", "add", "in"),
        ("out = in -> relu -> global_avg_pool -> upsample(H, W)", "upsample", "relu"),
    ],
)
def test_what_a_removal_takes_out(body, node, since, moves):
    graph = block(body)
    assert region(graph, graph.by_name[node]) == Wire(since)
    names = [each.name for each in graph.nodes]
    left = apply(graph, Remove((), node, Wire(since)), moves)
    assert [each.name for each in left.nodes] == names[: names.index(since) + 1 if since in names else 0]


@pytest.mark.parametrize(
    ("body", "node"),
    [
        ("out = in -> conv(64, 1) -> gelu", "conv"),
        ("out = in -> identity -> gelu", "identity"),
        ("a = in -> conv(64, 1)\n b = a -> conv(16, 1)\n out = (b -> conv(64, 1)) + a", "b"),
        ("a, b = in -> chunk(2)\n out = (a -> relu, b) -> concat", "chunk"),
    ],
)
def test_what_cannot_be_removed(body, node):
    graph = block(body)
    refusal = region(graph, graph.by_name[node])
    assert isinstance(refusal, Refusal) and refusal.reason == "site"


def test_an_inner_block_that_becomes_empty_goes_too_but_a_block_of_a_stage_stays(moves):
    text = """block Inner { out = in -> relu }
    network N { input 3 x 8 x 8  stem conv(4)  stage 4 x 2 { Inner -> gelu }  head global_avg_pool -> linear(2) }"""
    start = build(load_text(text), "N")
    path = ("stages.0", "blocks.1")
    once = apply(start, Remove((*path, "inner"), "relu", Wire("in")), moves)
    assert [node.name for _, graph in blocks(once) for node in graph.nodes] == ["inner", "gelu", "gelu"]
    twice = apply(once, Remove(path, "gelu", Wire("in")), moves)
    assert [len(graph.nodes) for _, graph in blocks(twice)] == [2, 0]
    assert build(load_text(dumps(twice)), "N") == twice
    assert apply(twice, Insert(path, "gelu", Wire("in")), moves).operations == twice.operations + 1


# ---- sentences, records and refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            Insert(("stages.1", "blocks.0"), "gelu", Wire("conv_1")),
            "insert gelu after stages.1.blocks.0.conv_1",
        ),
        (
            Insert(("stages.1", "blocks.0"), "conv(C, 3)", Wire("chunk", 1), Port("concat", 1)),
            "insert conv(C, 3) after stages.1.blocks.0.chunk[1] before concat",
        ),
        (
            Remove(("stages.1", "blocks.0", "ffn"), "conv_2", Wire("in")),
            "remove stages.1.blocks.0.ffn.conv_2 back to in",
        ),
    ],
)
def test_an_edit_reads_as_a_sentence(edit, sentence):
    assert str(edit) == sentence
    assert read_edit(json.loads(json.dumps(record(edit)))) == edit


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"move": "teleport", "path": []},
        {"move": "insert", "path": [], "what": "gelu", "after": "conv"},
        {"move": "insert", "path": [], "what": "gelu", "after": ["conv", "0"]},
        {"move": "insert", "path": [], "what": 3, "after": ["conv", 0]},
        {"move": "remove", "path": [1], "node": "conv", "since": ["in", 0]},
        {"move": "remove", "path": None, "node": "conv", "since": ["in", 0]},
    ],
)
def test_a_malformed_record_is_refused(values):
    with pytest.raises(UninasError) as raised:
        read_edit(values)
    assert raised.value.code == "UNI080"


@pytest.mark.parametrize(
    "edit",
    [
        Insert(("conv",), "gelu", Wire("in")),
        Insert(("nowhere",), "gelu", Wire("in")),
        Insert((), "gelu", Wire("nothing")),
        Insert((), "gelu", Wire("conv", 1)),
        Insert((), "gelu", Wire("conv"), Port("conv")),
        Insert((), "gelu", Wire("conv"), Port("relu", 3)),
        Insert((), "gelu", Wire("conv"), Port("out")),
        Insert((), "conv(C, 7)", Wire("conv")),
        Remove((), "nothing", Wire("in")),
        Remove((), "conv", Wire("relu")),
        Remove((), "conv", Wire("conv")),
        Remove((), "wide", Wire("relu")),
    ],
    ids=str,
)
def test_an_edit_made_for_something_else_cannot_be_applied(edit, moves):
    graph = block("out = in -> conv(C, 3) -> relu -> conv(32, 1) as wide")
    with pytest.raises(UninasError, match=r"UNI080.*cannot ") as raised:
        apply(graph, edit, moves)
    assert str(edit) in str(raised.value)


def test_refusals_are_counted_by_reason(moves, uninas_space):
    start = block("out = in -> relu", "7 x 5 x 5")
    inserts, _, removes = (Moves([rule]) for rule in uninas_space.moves)
    with pytest.raises(UninasError, match="UNI080") as raised:
        propose(start, inserts, Budget((Limit("operations", high=1),)), random.Random(1), {start.key}, patience=40)
    counts = {reason: int(count) for reason, count in re.findall(r"(\w+) (\d+)[,)]", str(raised.value))}
    assert set(counts) == {"budget", "type"}, "7 channels cannot be halved or quartered"
    assert sum(counts.values()) == 40
    empty = apply(start, Remove((), "relu", Wire("in")), removes)
    with pytest.raises(UninasError, match=r"among 30 draws.*\(known \d+, site \d+\)"):
        propose(start, removes, Budget(), random.Random(1), {empty.key}, patience=30)


@pytest.mark.parametrize(("written", "draws"), [("patience 17", 17), ("", 1000)])
def test_a_space_says_how_many_refusals_in_a_row_end_a_step(written, draws):
    text = f"from networks.resnet18 import resnet18 space S {{ start resnet18 moves remove where C == 1 {written} }}"
    walk = walk_of(space(load_text(text), "S"))
    with pytest.raises(UninasError, match=rf"among {draws} draws"):
        walk.propose(walk.start, random.Random(0), ())
    members = f"input 3 x 8 x 8 choose wide in 4..8 head conv(wide, 3) budget params <= 1 {written}"
    with pytest.raises(UninasError, match=rf"among {draws} draws"):
        walk_of(space(load_text(f"space S {{ {members} }}"), "S")).sample(random.Random(0))


def test_a_proposal_says_what_was_refused_before(moves):
    start = network("coatnet")
    narrow = Budget((Limit("params", high=start.cost.params),))
    proposals = list(walk(start, moves, narrow, 8, 30))
    assert {reason for proposal in proposals for reason in proposal.refused} >= {"budget", "site"}


def test_a_space_with_unknown_moves_or_nothing_to_insert_is_refused(uninas_space):
    options = uninas_space.moves[0].options
    with pytest.raises(UninasError, match="unknown move insrt") as raised:
        Moves([MoveRule("insrt", 1.0, options)])
    assert "did you mean 'insert'?" in str(raised.value)
    for rules in ([MoveRule("insert", 1.0, ())], [MoveRule("remove", 0.0, ())], []):
        with pytest.raises(UninasError):
            Moves(rules)
