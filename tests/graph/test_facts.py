"""Properties of graphs that are computed once: in many threads, and for graphs in which blocks stand many times."""

import random
import threading

import pytest

import uninas
from uninas.fact import fact
from uninas.graph import Block, Graph, Node, Wire
from uninas.ops.op import REGISTRY

FACTS = (
    "cost",
    "costs",
    "key",
    "canonical",
    "operations",
    "places",
    "activations",
    "peak",
    "depth",
    "uses",
    "dag",
    "is_row",
)


def test_a_fact_is_computed_once_and_kept():
    class Thing:
        calls = 0

        @fact
        def value(self) -> list[int]:
            """A list."""
            self.calls += 1
            return [1]

    thing = Thing()
    assert thing.value is thing.value and thing.calls == 1 and Thing.value.__doc__ == "A list."


def test_two_threads_may_compute_a_fact_at_once_and_get_the_same_object():
    both = threading.Barrier(2)

    class Thing:
        @fact
        def value(self) -> object:
            both.wait(10)
            return object()

    thing, found = Thing(), []
    threads = [threading.Thread(target=lambda: found.append(thing.value)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] is found[1] is thing.value


def test_facts_that_need_each_other_do_not_wait_for_each_other():
    """Sixteen threads ask for all facts of fresh graphs, in all orders."""
    names = ("resnet18", "coatnet", "vit_small_patch16_224")
    expected = {name: {each: getattr(uninas.load(name), each) for each in FACTS if each != "dag"} for name in names}
    graphs = {name: uninas.load(name) for name in names}
    wrong = []

    def ask(seed: int) -> None:
        order = [(name, each) for name in names for each in expected[name]]
        random.Random(seed).shuffle(order)
        wrong.extend((name, each) for name, each in order if getattr(graphs[name], each) != expected[name][each])

    threads = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads) and not wrong


# -- blocks that stand in a graph many times -----------------------------------------------------------------


def doubled(levels: int) -> Graph:
    """A block of nothing but two blocks, of two blocks each, ...; fresh objects each time."""
    graph = Graph(((4, 3, 3),), (), (Wire("in"),), "A")
    for _ in range(levels):
        nodes = (Node("a_1", Block(graph), (Wire("in"),)), Node("a_2", Block(graph), (Wire("a_1"),)))
        graph = Graph(((4, 3, 3),), nodes, (Wire("a_2"),), "A")
    return graph


def test_equality_repr_and_text_do_not_count_out_shared_blocks():
    one, other = doubled(60), doubled(60)
    assert one == other and hash(one) == hash(other) and one != doubled(59)
    assert one.key == other.key and len(repr(one)) < 200
    assert len(uninas.dumps(one)) < 60 * 300
    assert (one.operations, one.places) == (0, 2**61 - 2)


def test_a_block_that_uses_itself_too_often_is_refused():
    text = "block A(n = {}) {{ out = in -> if n > 0 {{ A(n - 1) -> A(n - 1) }} }}"
    assert uninas.load(text.format(10)) == uninas.load(text.format(10))
    with pytest.raises(uninas.UninasError, match="blocks"):
        uninas.load(text.format(30))


# -- keys ----------------------------------------------------------------------------------------------------


def conv(name: str, source: str = "in") -> Node:
    return Node(name, REGISTRY["conv"](4, 3), (Wire(source),))


def merged(name: str, kind: str, *sources: str) -> Node:
    return Node(name, REGISTRY[kind](), tuple(map(Wire, sources)))


def renamed(graph: Graph, seed: int) -> Graph:
    """An isomorphic graph: other names, another order, inputs of commutative operations shuffled."""
    rng = random.Random(seed)
    names = dict(zip(graph.by_name, rng.sample([f"n_{n}" for n in range(99)], len(graph.nodes)), strict=True)) | {
        "in": "in"
    }
    waiting, nodes, known = list(graph.nodes), [], {"in"}
    while waiting:
        ready = [node for node in waiting if all(wire.node in known for wire in node.inputs)]
        node = rng.choice(ready)
        waiting.remove(node)
        known.add(node.name)
        inputs = [Wire(names[wire.node], wire.port) for wire in node.inputs]
        if node.op.commutative:
            rng.shuffle(inputs)
        nodes.append(Node(names[node.name], node.op, tuple(inputs)))
    return Graph(graph.inputs, tuple(nodes), tuple(Wire(names[w.node], w.port) for w in graph.outputs))


RING = Graph(
    ((4, 5, 5),),
    (
        *(conv(name) for name in ("a1", "b1", "a2", "b2")),
        *(merged("s1", "add", "a1", "b1"), merged("s2", "add", "a2", "b2")),
        *(merged("m1", "multiply", "a1", "b2"), merged("m2", "multiply", "a2", "b1")),
        merged("all", "add", "s1", "s2", "m1", "m2"),
    ),
    (Wire("all"),),
)
TWO_RINGS = Graph(  # the same colours as one ring of eight, but not isomorphic to it
    ((4, 5, 5),),
    (
        *(conv(name) for name in ("a1", "b1", "a2", "b2")),
        *(merged("s1", "add", "a1", "b1"), merged("s2", "add", "a2", "b2")),
        *(merged("m1", "multiply", "a1", "b1"), merged("m2", "multiply", "a2", "b2")),
        merged("all", "add", "s1", "s2", "m1", "m2"),
    ),
    (Wire("all"),),
)


@pytest.mark.parametrize("graph", [RING, TWO_RINGS], ids=["ring", "two rings"])
def test_keys_of_symmetric_graphs_do_not_depend_on_how_they_are_written(graph):
    assert {renamed(graph, seed).key for seed in range(60)} == {graph.key}


def test_symmetric_graphs_that_differ_have_different_keys():
    assert RING.key != TWO_RINGS.key


def test_keys_of_random_cells_do_not_depend_on_how_they_are_written():
    """Cells of few equal operations, in which ties are frequent."""
    for seed in range(80):
        rng = random.Random(seed)
        names, nodes = ["in"], []
        for number in range(10):
            name, count = f"n{number}", rng.choice([1, 2, 2, 3])
            sources = rng.sample(names, min(count, len(names)))
            nodes.append(
                conv(name, sources[0]) if count == 1 else merged(name, rng.choice(["add", "multiply"]), *sources)
            )
            names.append(name)
        used = {wire.node for node in nodes for wire in node.inputs}
        ends = [node.name for node in nodes if node.name not in used]
        nodes.append(merged("all", "add", *ends))
        graph = Graph(((4, 5, 5),), tuple(nodes), (Wire("all"),))
        assert {renamed(graph, again).key for again in range(8)} == {graph.key}, seed


def test_many_ties_cost_bounded_work():
    branches = [node for n in range(150) for node in (conv(f"a{n}"), conv(f"b{n}", f"a{n}"))]
    pairs = [merged(f"m{n}", "multiply", f"b{n}", f"b{(n + 1) % 150}") for n in range(150)]
    graph = Graph(
        ((4, 5, 5),), (*branches, *pairs, merged("all", "add", *(f"m{n}" for n in range(150)))), (Wire("all"),)
    )
    assert len(graph.key) == 64


def test_keys_without_ties_are_those_of_the_first_version():
    """Stored runs hold them."""
    keys = {name: uninas.load(name).key[:16] for name in ("resnet18", "coatnet")}
    assert keys == KEYS


KEYS = {"resnet18": "9f3ae8e0fa9d2b0d", "coatnet": "3dbcedd976868cfd"}
