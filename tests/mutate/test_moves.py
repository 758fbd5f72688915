"""Each kind of move: what it does to a graph, and when it is refused."""

import dataclasses
import json
import random
from collections import Counter

import pytest

from uninas import load
from uninas.errors import UninasError
from uninas.graph import Each, Wire
from uninas.graph.resolve import resolved
from uninas.graph.simplify import is_dead, redundant
from uninas.language.elaborate import build, space
from uninas.language.library import find, load_text
from uninas.language.printer import dumps
from uninas.mutate import (
    KINDS,
    Delete,
    Depth,
    Duplicate,
    Insert,
    Move,
    MoveWalk,
    Refusal,
    Replace,
    Resolution,
    SetAttribute,
    Skip,
    Strides,
    Swap,
    Tie,
    Unskip,
    Untie,
    Width,
    Wrap,
    apply,
    attempt,
    read_edit,
    record,
)
from uninas.mutate.walk import walk_of
from uninas.space import MOVES, Budget, Limit

RESIDUAL = "block Residual(body: block) { out = in + (in -> body) }"


def stage_shapes(graph):
    return [graph.shapes(node.name)[0] for node in graph.nodes if node.name.startswith("stages.")]


def row(graph, stage):
    return [node.op.graph for node in graph.by_name[stage].op.graph.nodes]


# ---- inside blocks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "after"),
    [
        (Replace((), "a", "conv(width, 5)"), "a = in -> conv(32, 5)\n b = a -> gelu -> conv(16, 1)\n out = in + b"),
        (Replace((), "add", "multiply"), "a = in -> conv(32, 3)\n b = a -> gelu -> conv(16, 1)\n out = in * b"),
        (Replace((), "gelu", "relu -> silu"), "a = in -> conv(32, 3)\n out = in + (a -> relu -> silu -> conv(16, 1))"),
        (SetAttribute((), "a", "kernel", 7), "a = in -> conv(32, 7)\n out = in + (a -> gelu -> conv(16, 1))"),
        (SetAttribute((), "a", "out", 64), "a = in -> conv(64, 3)\n out = in + (a -> gelu -> conv(16, 1))"),
        (
            Skip((), Wire("in"), Wire("conv")),
            "a = in -> conv(32, 3)\n b = a -> gelu -> conv(16, 1)\n out = in + (b + in)",
        ),
        (Unskip((), "add", 0), "out = in -> conv(32, 3) -> gelu -> conv(16, 1)"),
        (Unskip((), "add", 1), "out = in"),
        (
            Wrap((), "Residual(body)", Wire("a"), "gelu"),
            "a = in -> conv(32, 3)\n out = in + (a -> Residual({ gelu }) -> conv(16, 1))",
        ),
        (
            Wrap((), "conv(C * 2, 1) -> body -> conv(C, 1)", Wire("in"), "conv"),
            "out = in + (in -> conv(32, 1) -> conv(64, 3) -> gelu -> conv(32, 1) -> conv(16, 1))",
        ),
        (
            Wrap((), "Residual(body)", Wire("a")),
            "a = in -> conv(32, 3)\n out = in + (a -> Twice -> gelu -> conv(16, 1))",
        ),
    ],
    ids=str,
)
def test_what_an_edit_inside_a_block_makes(edit, after, block, moves):
    known = moves(
        "replace {conv(width, 5), multiply, relu -> silu}, wrap {Residual(body), conv(C * 2, 1) -> body -> conv(C, 1)}",
        RESIDUAL,
    )
    before = block("a = in -> conv(32, 3)\n out = in + (a -> gelu -> conv(16, 1))")
    expected = block(after, more=f"{RESIDUAL}\nblock Twice {{ out = in + in }}")
    changed = apply(before, edit, known)
    assert changed.key == expected.key, dumps(changed)
    assert read_edit(json.loads(json.dumps(record(edit)))) == edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Replace((), "a", "conv(8, 1)"), "type"),
        (Replace((), "nothing", "relu"), "site"),
        (SetAttribute((), "a", "kernel", 0), "type"),
        (SetAttribute((), "a", "kernel", 4), "type"),
        (SetAttribute((), "a", "kernle", 3), "site"),
        (SetAttribute((), "conv", "out", 8), "type"),
        (Skip((), Wire("add"), Wire("conv")), "site"),
        (Skip((), Wire("in"), Wire("gelu")), "type"),
        (Skip((), Wire("in"), Wire("conv"), "concat"), "type"),
        (Unskip((), "a", 0), "site"),
        (Unskip((), "add", 2), "site"),
        (Wrap((), "Residual(body)", Wire("a"), "conv"), "site"),
        (Wrap((), "Residual(body)", Wire("nothing")), "site"),
        (Wrap((), "conv(C * 2, 1)", Wire("a"), "gelu"), "type"),
        (Wrap((), "relu -> gelu", Wire("a"), "gelu"), "type"),
        (Untie((), "a", 0), "site"),
        (Tie((), "a", "gelu"), "site"),
    ],
    ids=str,
)
def test_an_edit_that_does_not_fit_is_refused(edit, reason, block, moves):
    known = moves(
        "replace {conv(8, 1), relu}, skip {concat}, wrap {Residual(body), conv(C * 2, 1), relu -> gelu}", RESIDUAL
    )
    graph = block("a = in -> conv(32, 3)\n out = in + (a -> gelu -> conv(16, 1))")
    outcome = attempt(graph, edit, known)
    assert isinstance(outcome, Refusal) and outcome.reason == reason, outcome
    with pytest.raises(UninasError, match="UNI080"):
        apply(graph, edit, known)


def test_a_head_gets_a_body_of_its_own_changes_alone_and_goes_back(block, moves):
    known = moves("insert {gelu}")
    start = block("out = in -> split(4) -> each part { out = part -> conv(C, 1) } -> concat")
    own = apply(start, Untie((), "parts", 1), known)
    assert [len(node.inputs) for node in own.nodes if isinstance(node.op, Each)] == [3]
    assert own.by_name["concat"].inputs == (Wire("parts"), Wire("part"), Wire("parts", 1), Wire("parts", 2))
    assert (own.cost, own.operations) == (start.cost, start.operations)
    changed = apply(own, Insert(("part",), "gelu", Wire("conv")), known)
    assert changed.operations == start.operations + 1
    assert build(load_text(dumps(changed)), "B") == changed
    back = apply(changed, Tie((), "part", "parts"), known)
    assert back.operations == start.operations
    assert back.by_name["concat"].inputs == (Wire("parts"), Wire("parts", 3), Wire("parts", 1), Wire("parts", 2))
    assert isinstance(attempt(start, Untie((), "parts", 4), known), Refusal)


# ---- rows of blocks ------------------------------------------------------------------------------------------------


def test_blocks_swap_double_vanish_and_move(tiny, moves):
    known = moves("insert {gelu}, remove")
    changed = apply(tiny, Insert(("stages.1", "blocks.1"), "gelu", Wire("in")), known)
    plain, marked = row(tiny, "stages.1")[1], row(changed, "stages.1")[1]
    swapped = apply(changed, Swap(("stages.1",), 1, 2), known)
    assert row(swapped, "stages.1")[1:] == [plain, marked]
    double = apply(changed, Duplicate(("stages.1",), 1), known)
    assert row(double, "stages.1")[1:] == [marked, marked, plain]
    assert row(double, "stages.1")[1] is row(double, "stages.1")[2], "equal blocks are one graph"
    assert row(apply(changed, Delete(("stages.1",), 1), known), "stages.1")[1:] == [plain]
    moved = apply(changed, Move((), "stages.1", 1, "stages.1", 3), known)
    assert row(moved, "stages.1")[1:] == [plain, marked]
    deep = apply(tiny, Depth(("stages.0",), 5), known)
    assert len(row(deep, "stages.0")) == 5 and len({id(block) for block in row(deep, "stages.0")}) == 2
    assert apply(deep, Depth(("stages.0",), 2), known) == tiny
    for graph in (swapped, double, moved, deep):
        assert build(load_text(dumps(graph)), "tiny") == graph


def test_a_block_that_moves_to_another_stage_is_solved_for_its_channels(tiny, moves):
    known = moves("remove")
    moved = apply(tiny, Move((), "stages.1", 2, "stages.0", 2), known)
    assert [len(row(moved, stage)) for stage in ("stages.0", "stages.1")] == [3, 2]
    assert stage_shapes(moved) == stage_shapes(tiny)
    narrow = row(moved, "stages.0")[2]
    assert (narrow.inputs, narrow.output_shapes) == (((32, 8, 8),), ((32, 8, 8),))
    heads = [len(node.inputs) for _, _, node in narrow.walk() if isinstance(node.op, Each)]
    assert heads == [1], "heads keep their width, so there are fewer"
    grids = {node.op.height for _, _, node in narrow.walk() if getattr(node.op, "name", "") == "rel_pos_bias"}
    assert grids == {8}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Swap(("stages.0",), 0, 1), "type"),
        (Swap(("stages.0",), 1, 2), "site"),
        (Swap(("stem",), 0, 1), "site"),
        (Duplicate(("stages.0",), 0), "type"),
        (Delete(("stages.0",), 0), "type"),
        (Delete(("stages.0",), 9), "site"),
        (Depth(("stages.0",), 0), "site"),
        (Move((), "stages.0", 0, "stages.1", 4), "site"),
        (Move((), "stages.7", 0, "stages.1", 0), "site"),
        (Width((), "stem", 8), "site"),
        (Width((), "stages.1", 40), "type"),
        (Strides((), (1,)), "site"),
        (Strides((), (1, 3)), "site"),
        (Resolution((), 0, 0), "site"),
    ],
    ids=str,
)
def test_a_row_that_would_not_fit_is_refused(edit, reason, tiny, moves):
    outcome = attempt(tiny, edit, moves("remove"))
    assert isinstance(outcome, Refusal) and outcome.reason == reason, outcome


# ---- stages --------------------------------------------------------------------------------------------------------


def test_another_width_reaches_everything_that_depends_on_it(tiny, moves):
    text = """
    from blocks.mbconv import MBConv
    from blocks.attention import RelPosAttention
    from blocks.unified import Unified
    network tiny {
        input 3 x 32 x 32
        stem conv(16, 3, stride=2) -> batch_norm
        stage WIDTH x 2 stride STRIDE { Unified(width, stride, MBConv) }
        stage 64 x 3 stride 2 { Unified(width, stride, RelPosAttention(32)) }
        head layer_norm -> global_avg_pool -> linear(10)
    }"""
    wide = apply(tiny, Width((), "stages.0", 48), moves("remove"))
    assert wide.key == build(load_text(text.replace("WIDTH", "48").replace("STRIDE", "2")), "tiny").key
    assert apply(wide, Width((), "stages.0", 32), moves("remove")) == tiny


def test_another_width_of_the_last_stage_reaches_the_head(tiny, moves):
    wide = apply(tiny, Width((), "stages.1", 96), moves("remove"))
    assert wide.output_shapes == tiny.output_shapes
    assert wide.by_name["head"].op.graph.inputs == ((96, 4, 4),)
    assert {len(node.inputs) for _, _, node in wide.walk() if isinstance(node.op, Each)} == {3}


def test_strides_change_places_and_resolution_follows(tiny, moves):
    known = moves("remove")
    early = apply(tiny, Strides((), (2, 1)), known)
    assert [shape[1:] for shape in stage_shapes(early)] == [(8, 8), (8, 8)]
    late = apply(early, Strides((), (1, 2)), known)
    assert [shape[1:] for shape in stage_shapes(late)] == [(16, 16), (8, 8)]
    large = apply(late, Resolution((), 64, 64), known)
    assert [shape[1:] for shape in stage_shapes(large)] == [(32, 32), (16, 16)]
    for graph in (early, late, large):
        assert graph.output_shapes == tiny.output_shapes
        assert redundant(graph) == redundant(tiny)
        assert build(load_text(dumps(graph)), "tiny") == graph


@pytest.mark.parametrize("name", ["coatnet", "resnet50", "convnext_tiny", "densenet121"])
def test_another_resolution_is_what_the_text_would_make_of_it(name, moves):
    start, large = build(find(name)[0], name), build(find(name)[0], name, input=(3, 256, 256))
    assert apply(start, Resolution((), 256, 256), moves("remove")).key == large.key


# ---- rules of a space ----------------------------------------------------------------------------------------------


def test_every_kind_that_a_space_can_name_exists_and_the_other_way_round():
    assert set(MOVES) == set(KINDS) - {"graft", "choose", "written"}


def test_values_and_filters_restrict_what_is_drawn(tiny, moves):
    rules = moves("attribute {kernel in {3, 7}} where op == depthwise_conv and stage == 0, width {width in {24, 40}}")
    rng, drawn = random.Random(0), Counter()
    for _ in range(300):
        edit = rules.draw(tiny, rng)
        drawn[type(edit).__name__] += 1
        if isinstance(edit, SetAttribute):
            assert edit.value in (3, 7) and edit.path[0] == "stages.0" and edit.node == "depthwise_conv"
        elif not isinstance(edit, Refusal):
            assert edit.width in (24, 40)
    assert drawn["SetAttribute"] > 100 and drawn["Width"] > 100 and not drawn["Refusal"]


@pytest.mark.parametrize(
    ("condition", "paths"),
    [
        ("H == 4 and C == 64", {"stages.1"}),
        ("block == SqueezeExcite", {"stages.0"}),
        ("stage == 1 and index > 0", {"stages.1"}),
        ("not (op == conv) and depth > 3", {"stages.0", "stages.1"}),
    ],
)
def test_a_filter_sees_the_place(condition, paths, tiny, moves):
    rules = moves(f"insert {{gelu}} where {condition}")
    edits = list(rules.edits(tiny))
    assert {edit.path[0] for edit in edits} == paths
    assert len(edits) < len(list(moves("insert {gelu}").edits(tiny)))


def test_moves_that_are_even_over_moves_draw_each_edit_alike(block, moves):
    graph = block("out = in -> relu -> gelu -> add -> silu")
    rules = moves("remove, unskip", even="moves")
    rng = random.Random(0)
    drawn = Counter(str(rules.draw(graph, rng)) for _ in range(2000))
    removals = [number for text, number in drawn.items() if text.startswith("remove")]
    assert len(removals) == 4 and max(removals) < 1.5 * min(removals)


def test_a_network_whose_output_would_not_depend_on_its_input_is_refused(block, moves):
    start, known = block("out = in -> conv(C, 3) -> relu"), moves("insert {zero, gelu}")
    edits = {str(edit): attempt(start, edit, known, None, Budget()) for edit in known.edits(start)}
    dead = {text for text, outcome in edits.items() if isinstance(outcome, Refusal) and outcome.reason == "dead"}
    assert dead and dead == {text for text in edits if "zero" in text} and len(dead) < len(edits)
    edit = next(edit for edit in known.edits(start) if str(edit) in dead)
    assert is_dead(apply(start, edit, known)), "what was accepted by an earlier release can be replayed"
    walk, counts = MoveWalk(known, Budget(), start), Counter()
    for seed in range(20):
        counts.update(walk.propose(start, random.Random(seed), set()).refused)
    assert counts["dead"] > 5


def test_an_edit_beyond_the_budget_is_refused_before_the_network_is_built(tiny, moves, monkeypatch):
    known = moves("insert {conv(C, 7)}")
    edit = Insert(("stages.1", "blocks.1"), "conv(C, 7)", Wire("in"))
    budget = Budget((Limit("params", high=tiny.cost.params + 1000),))
    built = []
    monkeypatch.setattr("uninas.graph.graph.Graph.with_op", lambda *_: built.append(1))
    outcome = attempt(tiny, edit, known, None, budget)
    assert isinstance(outcome, Refusal) and outcome.reason == "budget" and not built
    exact = tiny.cost.params + 64 * 64 * 49 + 64
    assert f"but got {exact:,}" in outcome.why


def test_what_is_carried_over_is_what_would_be_computed(wild):
    rng, graph, seen = random.Random(11), wild.start, {wild.start.key}
    for _ in range(12):
        graph = wild.propose(graph, rng, seen).graph
        seen.add(graph.key)
        fresh = build(load_text(dumps(graph)), graph.name)
        for measure in ("key", "cost", "operations", "activations", "peak", "depth", "output_shapes"):
            assert getattr(graph, measure) == getattr(fresh, measure)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("insrt {gelu}", "UNI010", "unknown move insrt"),
        ("insert", "UNI013", "expected what to insert"),
        ("remove {gelu}", "UNI012", "expected nothing to put in"),
        ("width {widht in 8..64}", "UNI012", "width has no values called widht"),
        ("width {width in {relu -> gelu}}", "UNI014", "expected a number"),
        ("insert {gelu} where hight > 3", "UNI010", "unknown name hight"),
        ("insert {gelu} where H", "UNI014", "expected a condition"),
        ("insert {gelu} where H > 100 and hight > 3", "UNI010", "unknown name hight"),
        ("insert {gelu} where", "UNI002", "expected"),
    ],
)
def test_a_wrong_rule_is_shown_with_its_place(text, code, message, moves):
    with pytest.raises(UninasError, match=message) as raised:
        moves(text)
    assert raised.value.code == code
    assert raised.value.diagnostics[0].span is not None


def test_the_shipped_space_with_every_move_uses_every_kind():
    rules = space(*find("UniDAG")).moves
    assert {rule.name for rule in rules} == set(MOVES)


def test_the_published_step_is_what_its_space_says():
    """20 insertable nodes besides the gate's and the attention's, 0.7 and 0.3: arXiv 2510.06035.

    One of them, the bias by relative position, is inserted where it has a meaning at every size.
    """
    insert, bias, remove = space(*find("UniNAS")).moves
    assert [rule.name for rule in (insert, bias, remove)] == ["insert", "insert", "remove"]
    assert insert.weight + bias.weight == pytest.approx(0.7) and remove.weight == 0.3
    assert len(insert.options) + len(bias.options) == 21 and insert.where is None and remove.where is None
    assert bias.condition == "after == matmul1"


def test_the_operation_before_a_place_is_what_a_filter_asks(moves):
    rule = moves("insert {rel_pos_bias(rows, columns)} where after == matmul1")
    found = [edit.after.node for edit in rule.edits(load("coatnet", img_size=64))]
    assert found and all(name.startswith("matmul1") for name in found)


@pytest.mark.parametrize("size", [(224, 224), (512, 512), (96, 160)])
def test_networks_of_the_uninas_space_exist_at_other_sizes(size):
    """Whatever was inserted at 64 px: by the graph and by its text, and both say the same."""
    walk = walk_of(space(*find("UniNAS")), load("coatnet", img_size=64))
    graph, rng, seen = walk.sample(random.Random(1)), random.Random(1), set()
    for _ in range(30):
        graph = walk.propose(graph, rng, seen).graph
        seen.add(graph.key)
    graph = next(p.graph for p in walk.neighbours(graph) if "rel_pos_bias" in str(p.edit))
    resized = resolved(graph, [(3, *size)])
    assert load(dumps(graph), img_size=size) == resized and resized.output_shapes == graph.output_shapes


# ---- records from elsewhere ----------------------------------------------------------------------------------------


def test_any_record_is_an_edit_that_fits_or_a_refusal(tiny, moves):
    """Whatever a stored edit says, it is read or refused, and applied or refused, and never anything else."""
    known = moves("insert {gelu}, replace {relu}, skip {multiply}, wrap {conv(C * 2, 1) -> body -> conv(C, 1)}")
    names = ["in", "out", "conv_1", "conv_2", "add", "y", "heads", "mb_conv", "parts", "nothing", ""]
    paths = [[], ["stem"], ["stages.0"], ["stages.1", "blocks.1"], ["stages.0", "blocks.1", "mb_conv"], ["stages.9"]]
    rng = random.Random(0)

    def value(kind):
        one = lambda options: options[rng.randrange(len(options))]  # noqa: E731
        return {
            "str": lambda: one([*names, "gelu", "relu", "multiply", "kernel", "stages.0", tiny.key]),
            "int": lambda: one([-1, 0, 1, 2, 7, 10**9]),
            "Value": lambda: one([3, 0, True, "none", 0.5, -1]),
            "Wire": lambda: [one(names), one([-1, 0, 1])],
            "Port": lambda: [one(names), one([-1, 0, 1])],
            "tuple[int, ...]": lambda: [one([1, 2]) for _ in range(rng.randrange(4))],
            "tuple[str, ...]": lambda: one(paths),
        }[kind.removesuffix(" | None")]()

    outcomes = Counter()
    for _ in range(2000):
        kind = list(KINDS.values())[rng.randrange(len(KINDS))]
        fields = {field.name: value(str(field.type)) for field in dataclasses.fields(kind)}
        edit = read_edit({"move": kind.kind, **fields})
        outcome = attempt(tiny, edit, known, tiny)
        outcomes[type(outcome).__name__] += 1
        assert isinstance(outcome, Refusal) or build(load_text(dumps(outcome)), "tiny") == outcome
    assert min(outcomes["Graph"], outcomes["Refusal"]) > 10, outcomes
