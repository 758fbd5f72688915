"""NAS-Bench-201: the official order, strings and costs of all its cells."""

import csv
import random
from pathlib import Path

import pytest

from uninas import UninasError, dumps
from uninas.language.elaborate import build, space
from uninas.language.library import load_file, load_text, shipped_file
from uninas.ranking import nasbench201
from uninas.ranking.nasbench201 import DATASETS, answers_in, answers_of, graph_of, index_of, official_order, string_of

SIZE = 5**6
COLUMNS = {"cifar10": "c10", "cifar100": "c100", "imagenet16": "in16"}


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[dict[str, str]]:
    with (shared / "benchmarks" / "nb201_tss.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_space_has_all_cells_once() -> None:
    members = space(load_file(shipped_file("nasbench201")), "nasbench201")
    assert members.count() == len(official_order()) == len(set(official_order())) == SIZE


def test_strings_indices_and_answers_lead_to_each_other() -> None:
    for index in range(SIZE):
        text = string_of(index)
        assert answers_of(text) == answers_of(index) == official_order()[index]
        assert index_of(text) == index


def test_the_official_index_holds_for_every_row(rows: list[dict[str, str]]) -> None:
    assert [string_of(int(row["index"])) for row in rows] == [row["arch_str"] for row in rows]
    assert len(rows) == SIZE


@pytest.mark.slow
@pytest.mark.parametrize("dataset", DATASETS)
def test_the_costs_of_every_row(dataset: str, rows: list[dict[str, str]]) -> None:
    classes, column = DATASETS[dataset][0], COLUMNS[dataset]
    for index, row in enumerate(rows):
        cost = graph_of(index, dataset).cost
        assert cost.params == int(row[f"{column}_params"]), row["arch_str"]
        # NATS counts the bias of the last layer too, once for every class.
        assert cost.macs + classes == int(row[f"{column}_flops"]), row["arch_str"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_graph_is_the_one_that_the_space_builds(dataset: str) -> None:
    classes, size = DATASETS[dataset]
    module = load_file(shipped_file("nasbench201"))
    for index in random.Random(0).sample(range(SIZE), 10):
        answers = dict(zip("abcdef", answers_of(index), strict=True))
        given = {"input": (3, size, size), "arguments": {"classes": classes}}
        assert graph_of(index, dataset) == build(module, "nasbench201", decide=lambda c: answers[c.path], **given)  # noqa: B023


def test_a_graph_leads_back_to_its_answers_also_through_text() -> None:
    for index in random.Random(1).sample(range(SIZE), 20):
        graph = graph_of(index, "cifar100")
        again = build(load_text(dumps(graph, "net")), "net")
        assert answers_in(graph) == answers_in(again) == answers_of(index)


def test_cells_with_the_same_operations_in_other_places_cost_the_same() -> None:
    for index in random.Random(2).sample(range(SIZE), 10):
        answers = list(answers_of(index))
        cost = graph_of(answers).cost
        random.Random(index).shuffle(answers)
        assert graph_of(answers).cost == cost


def test_two_cells_share_what_they_have_in_common() -> None:
    one, other = graph_of((1, 2, 3, 4, 0, 1)), graph_of((1, 2, 3, 4, 0, 2))
    assert one.key != other.key
    assert one.by_name["stem"].op is other.by_name["stem"].op
    assert len({id(node.op.graph) for node in one.by_name["stages.0"].op.graph.nodes}) == 1


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("|nor_conv_3x3~0|", "expected a cell like |none~0|+|none~0|none~1|+|none~0|none~1|none~2|, but got"),
        ("|nor_conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|", "there is no operation nor_conv_5x5"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "expected a cell like"),
        (SIZE, "expected an index from 0 to 15,624, but got 15,625"),
        (-1, "expected an index from 0 to 15,624, but got -1"),
        ((0, 0, 0), "expected 6 numbers below 5, but got (0, 0, 0)"),
        ((0, 0, 0, 0, 0, 5), "expected 6 numbers below 5"),
    ],
)
def test_no_such_cell(cell: int | str | tuple[int, ...], message: str) -> None:
    with pytest.raises(UninasError) as caught:
        graph_of(cell)
    assert message in str(caught.value)


def test_no_such_data_set() -> None:
    with pytest.raises(UninasError, match="did you mean 'cifar10'"):
        graph_of(0, "cifar1")


@pytest.mark.parametrize("network", ["resnet18", "small"])
def test_another_network_has_no_answers(network: str) -> None:
    graph = graph_of(0)
    if network == "resnet18":
        other = build(load_file(shipped_file("resnet18")), "resnet18")
    else:
        other = build(load_text("network small { input 3 x 32 x 32 head global_avg_pool -> linear(10) }"), "small")
    assert answers_in(graph) == answers_of(0)
    with pytest.raises(UninasError, match="expected a network of NAS-Bench-201"):
        nasbench201.answers_in(other)
