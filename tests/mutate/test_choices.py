"""Spaces of choices: vectors, membership, neighbours, mutation and crossover, by the same interface as moves."""

import dataclasses
import json
import random

import pytest
from click.testing import CliRunner

from uninas.cli.walk import mutate
from uninas.errors import UninasError
from uninas.graph import Graph, Node, Wire
from uninas.language.elaborate import build, space
from uninas.language.library import find, load_text
from uninas.language.printer import dumps
from uninas.mutate import ChoiceWalk, Choose, Insert, MoveWalk, member_of, read_edit, record, walk_of
from uninas.ops.activation import Relu
from uninas.ranking import nasbench201
from uninas.space import Budget, Limit

CLOSING = """
block Wide { out = in -> conv(C, kernel in {3, 5, 7}) }
space closing {
    input 3 x 8 x 8
    choose op in {Wide, relu}
    stem conv(8, 3)
    stage 8 { op }
    head global_avg_pool -> linear(10)
}"""
NESTED = """
from blocks.mbconv import InvertedResidual
space N {
    input 3 x 16 x 16
    stem conv(8, 3) -> relu6 | gelu
    stage 8..32 step 8 x 2..4 { InvertedResidual(width, stride, 2, kernel in {3, 5, 7}) }
    head global_avg_pool -> linear(4)
}"""


@pytest.fixture(scope="module", params=["mobilenetv2", "nasbench201", "nested"])
def choices(request):
    return space(load_text(NESTED), "N") if request.param == "nested" else space(*find(request.param))


def test_neighbours_and_children_are_new_members_that_can_be_replayed(choices):
    walk = walk_of(choices)
    assert isinstance(walk, ChoiceWalk)
    rng = random.Random(0)
    graph, mate = walk.sample(rng), walk.sample(rng)
    seen = {graph.key, mate.key}
    forgetful = ChoiceWalk(choices, walk.budget)  # it finds out for itself which answers lead to the graph
    for _ in range(3):
        for proposal in (walk.propose(graph, rng, seen), walk.crossover(graph, mate, rng, seen)):
            assert proposal.graph.key not in seen and not walk.budget.violations(proposal.graph)
            edit = read_edit(json.loads(json.dumps(record(proposal.edit))))
            assert edit == proposal.edit and isinstance(edit, Choose) and "choose" in str(edit)
            assert forgetful.apply(graph, edit).key == proposal.graph.key
            seen.add(proposal.graph.key)


def test_a_child_has_each_answer_from_a_parent(choices):
    walk, rng = walk_of(choices), random.Random(3)
    a, b = walk.sample(rng), walk.sample(rng)
    child = walk.crossover(a, b, rng, {a.key, b.key})
    first, second, mixed = (walk.member(graph).answers for graph in (a, b, child.graph))
    assert all(mixed[name] in (first.get(name), second.get(name)) for name in mixed)
    assert mixed not in (first, second) and child.edit.mate == b.key


def test_membership_finds_the_answers_of_a_graph_that_came_as_text(choices):
    graph, answers = choices.sample(random.Random(5))
    again = build(load_text(dumps(graph)), graph.name)
    member = member_of(choices, again)
    assert member.answers == answers and member.graph == graph


@pytest.mark.parametrize("changes", [("a=99",), ("zzz=1",)])
def test_an_edit_that_answers_nothing_is_refused(changes):
    walk = walk_of(space(*find("nasbench201")))
    with pytest.raises(UninasError, match="UNI080"):
        walk.apply(walk.sample(random.Random(0)), Choose((), changes))


def test_a_walk_by_command_begins_at_the_network_that_is_named(tmp_path):
    file = tmp_path / "cell.uni"
    walk = walk_of(space(*find("nasbench201")))
    start = walk.sample(random.Random(5))
    file.write_text(dumps(start))
    result = CliRunner().invoke(mutate, [str(file), "--space", "nasbench201", "--json"])
    made = walk.apply(start, read_edit(json.loads(result.output)["edit"]))
    assert json.loads(result.output)["key"] == made.key[:16]
    outside = CliRunner().invoke(mutate, ["resnet18", "--space", "nasbench201"])
    assert isinstance(outside.exception, UninasError) and "UNI042" in str(outside.exception)


def test_a_vector_of_something_else_is_refused():
    cells = space(*find("nasbench201"))
    for wrong in ([0.5] * 6, ["a"] * 6, [0, 0]):
        with pytest.raises(UninasError, match="UNI042"):
            cells.decode(wrong)
    with pytest.raises(UninasError, match="expected 6 answers"):
        cells.member([0, 0])


def test_a_graph_outside_is_no_member():
    choices = space(load_text(NESTED), "N")
    with pytest.raises(UninasError, match="expected a member"):
        member_of(choices, build(find("resnet18")[0], "resnet18"))
    graph, _ = choices.sample(random.Random(5))
    other = Graph(
        graph.inputs, (*graph.nodes, Node("more", Relu(), graph.outputs)), (Wire("more"),), graph.name, graph.init
    )
    with pytest.raises(UninasError, match="expected a member"):
        member_of(choices, other)


def test_vectors_are_answers_in_order():
    choices = space(*find("mobilenetv2"))
    generator = random.Random(1)
    for _ in range(20):
        answers = choices.draw(generator)
        vector = choices.encode(answers)
        assert choices.decode(vector) == answers
        assert len(vector) == len(choices.choices)
    for wrong in ((), (0,) * 28, (99,) * 29, (-1,) * 29):
        with pytest.raises(UninasError, match="UNI042"):
            choices.decode(wrong)
    with pytest.raises(UninasError, match="UNI042"):
        choices.encode({"first": 0})


def test_drawing_without_building_is_uniform_and_right():
    choices = space(*find("nasbench201"))
    generator, counts = random.Random(0), [0] * 5
    for _ in range(2000):
        counts[choices.draw(generator)["a"]] += 1
    assert min(counts) > 300
    answers = choices.encode(choices.draw(generator))
    assert choices.member(answers).key == nasbench201.graph_of(answers).key


def test_all_neighbours_of_a_cell_and_the_official_names():
    choices = space(*find("nasbench201"))
    walk = walk_of(choices)
    cell = nasbench201.graph_of(1462)
    assert choices.encode(walk.member(cell).answers) == nasbench201.answers_of(1462)
    near = list(walk.neighbours(cell))
    assert len(near) == 24
    for proposal in near:
        vector = choices.encode(walk.member(proposal.graph).answers)
        assert sum(a != b for a, b in zip(vector, nasbench201.answers_of(1462), strict=True)) == 1
        assert nasbench201.graph_of(nasbench201.string_of(vector)).key == proposal.graph.key


def test_a_nested_space_samples_but_is_no_list():
    choices = space(load_text(NESTED), "N")
    for action in (lambda: choices.encode({}), lambda: choices.decode(()), lambda: list(choices.assignments())):
        with pytest.raises(UninasError, match="UNI042"):
            action()
    assert choices.draw(random.Random(0)).keys() > {choice.path for choice in choices.choices}


def test_a_budget_that_nobody_keeps_is_told(choices):
    walk = ChoiceWalk(dataclasses.replace(choices, patience=20), Budget((Limit("params", high=1),)))
    with pytest.raises(UninasError, match=r"UNI080.*budget 20"):
        walk.draw(random.Random(0), ())


def test_what_breaks_the_budget_is_no_member_of_a_walk(choices):
    graph = choices.completed({}).graph
    assert walk_of(choices).member(graph).graph == graph
    tight = ChoiceWalk(choices, Budget((Limit("params", high=graph.cost.params - 1),)))
    with pytest.raises(UninasError, match=r"UNI040.*breaks the budget"):
        tight.propose(graph, random.Random(0), ())


def test_an_edit_of_another_kind_of_space_is_refused(choices, wild):
    walk = walk_of(choices)
    graph = walk.sample(random.Random(0))
    for edit in (Insert((), "gelu", Wire("in")), Choose((), ("nonsense",))):
        with pytest.raises(UninasError, match="UNI080"):
            walk.apply(graph, edit)
    with pytest.raises(UninasError, match="UNI080"):
        wild.apply(wild.start, Choose((), ("first=1",)))


def test_what_a_space_is_made_of_decides_how_it_is_walked():
    assert isinstance(walk_of(space(*find("UniNAS"))), MoveWalk)
    with pytest.raises(UninasError, match="UNI023"):
        walk_of(space(load_text("network N { input 3 x 8 x 8 stem conv(4) }"), "N"))


@pytest.mark.parametrize(
    "body",
    [
        "stage 8..16 step 8 x 1..3 { conv(width, kernel in {1, 3, 5}) }",
        "choose wide in {true, false} stage 8 x 1..2 { if wide { conv(16) -> relu | gelu | silu } else { relu } }",
        "stage 8 x 2 { conv(out in {4, 8}) } stage 8 { if C > 4 { relu | gelu } }",
        "stage 8 { conv(out in {4, 8}) -> relu | gelu, if C == 4 { conv(C, kernel in {1, 3}) } x 2 }",
    ],
)
def test_a_nested_space_is_counted_as_if_all_were_built(body):
    choices = space(load_text(f"space N {{ input 3 x 8 x 8 stem conv(8) -> relu | gelu {body} head relu }}"), "N")
    assert choices.nested
    listed = [tuple(member.answers.items()) for member in choices.members()]
    assert choices.count() == len(listed) == len(set(listed))


def test_the_members_of_a_flat_space_are_its_assignments():
    choices = space(load_text("space S { input 3 x 8 x 8 choose a, b in {4, 8} stem conv(a) -> conv(b) }"), "S")
    assert sorted(choices.encode(member.answers) for member in choices.members()) == list(choices.assignments())
    assert all(choices.member(member.answers) == member.graph for member in choices.members())


def test_a_space_that_would_take_too_long_to_count_is_told(monkeypatch):
    monkeypatch.setattr("uninas.language.elaborate.counting.MAX_TRIED", 10)
    with pytest.raises(UninasError, match="UNI030"):
        space(load_text(NESTED), "N").count()


def test_edits_say_values_and_what_is_no_longer_asked():
    walk = ChoiceWalk(space(load_text(CLOSING), "closing"), Budget())
    start = walk.space.completed({}).graph
    met = set()
    for proposal in walk.neighbours(start):
        edit = read_edit(record(proposal.edit))
        assert edit == proposal.edit and walk.apply(start, edit).key == proposal.graph.key
        assert edit.answers(walk.member(start).answers) == walk.member(proposal.graph).answers
        met.add(str(edit))
    assert any(sentence.endswith(("kernel = 5", "kernel = 7")) for sentence in met)
    assert any("op = relu" in sentence for sentence in met)


def test_an_edit_whose_value_is_another_one_in_the_space_is_refused():
    walk = ChoiceWalk(space(*find("nasbench201")), Budget())
    graph = walk.sample(random.Random(0))
    edit = next(walk.neighbours(graph)).edit
    with pytest.raises(UninasError, match=r"UNI080.* is "):
        walk.apply(graph, dataclasses.replace(edit, values=("something_else",)))
    assert walk.apply(graph, dataclasses.replace(edit, values=None))  # as it was stored before values were


FITTING = """
space groups {
    input 12 x 4 x 4
    choose width in {6, 8}
    choose groups in {2, 3, 4}
    stem conv(width, 3) -> conv(width, 3, groups=groups)
    head global_avg_pool -> linear(2)
}
"""


def test_answers_that_do_not_fit_each_other_are_drawn_again():
    groups = space(load_text(FITTING), "groups")
    fitting = {(0, 0), (0, 1), (1, 0), (1, 2)}
    rng = random.Random(0)
    assert {tuple(groups.sample(rng)[1].values()) for _ in range(40)} == fitting
    walk = ChoiceWalk(groups, groups.budget)
    met, graph = set(), groups.member((0, 0))
    for _ in range(30):
        graph = walk.propose(graph, rng, ()).graph
        met.add(groups.encode(walk.member(graph).answers))
    assert met == fitting
    assert {groups.encode(walk.member(one.graph).answers) for one in walk.neighbours(groups.member((0, 1)))} == {(0, 0)}


def test_conditions_say_which_answers_fit_each_other():
    text = FITTING.replace("choose groups in {2, 3, 4}", "choose groups in {2, 3, 4} where width % groups == 0")
    fitting = [(0, 0), (0, 1), (1, 0), (1, 2)]
    groups = space(load_text(text), "groups")
    assert groups.count() == 4 and list(groups.assignments()) == fitting
    assert [groups.encode(member.answers) for member in groups.members()] == fitting
    rng = random.Random(0)
    assert {groups.encode(groups.draw(rng)) for _ in range(40)} == set(fitting)
    with pytest.raises(UninasError, match="expected answers for which this holds"):
        groups.member((0, 2))
    with pytest.raises(UninasError, match="first options"):
        space(load_text(text.replace("{2, 3, 4}", "{4, 2, 3}")), "groups")
    with pytest.raises(UninasError, match="heights"):
        space(load_text(text.replace("width %", "heights %")), "groups")
