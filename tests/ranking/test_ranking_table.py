"""Tables of architectures: what is read, what is refused and where; and how a cell becomes a graph."""

import re

import pytest

from uninas import UninasError, load
from uninas.ranking import nasbench201
from uninas.ranking.members import Dataset, builder, dataset
from uninas.ranking.table import read_table


def write(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text, newline="")
    return path


def test_rows_with_their_keys_and_accuracies(table):
    rows = read_table(table, ["easy", "hard"]).rows
    assert [row.key for row in rows] == ["first", "second", "third", "fourth", "fifth"]
    assert rows[2].architecture == '{"a": "Large", "b": 0}'
    assert rows[2].accuracies == {"easy": 70.25, "hard": 33.0}


def test_a_filter_keeps_rows_that_are_neither_empty_nor_0(table):
    assert [row.line for row in read_table(table, ["easy"], where="kept").rows] == [0, 1, 3]


def test_columns_may_be_named(tmp_path):
    path = write(tmp_path, "net,val_a,a,id\r\nx,50,1,7\r\ny,60,1,8\r\n")
    table = read_table(path, ["a"], architecture="net", accuracy="val_{}", index="id")
    assert [(row.key, row.architecture, row.accuracies["a"]) for row in table.rows] == [("7", "x", 50), ("8", "y", 60)]


def test_without_keys_lines_are_numbered(tmp_path):
    assert [row.key for row in read_table(write(tmp_path, "arch,a\nx,50\n\ny,60\n"), ["a"]).rows] == ["0", "1"]


MISTAKES = {
    "arch,a\nx,50\ny,n/a\n": "table.csv:3:1: error[UNI110]: expected a number in the column a, but got 'n/a'",
    "arch,a\nx,nan\n": "table.csv:2:1: error[UNI110]: expected a number in the column a, but got 'nan'",
    "arch,a\nx,150\n": "table.csv:2:1: error[UNI110]: expected an accuracy from 0 to 100 percent, but got 150",
    "arch,a\nx,50\ny\n": "table.csv:3:1: error[UNI110]: expected 2 cells, as in the header, but got 1",
    'arch,a\n"x\nz",50\n" ",60\n': "table.csv:4:1: error[UNI110]: expected an architecture in the column arch",
    "arch,a,a\nx,50,60\n": "table.csv:1:1: error[UNI110]: the column a is there twice",
    "index,arch,a\n1,x,50\n1,y,60\n": "table.csv:3:1: error[UNI110]: the key 1 is there twice",
    'arch,a\n"x"y,50\n': "table.csv:2:1: error[UNI110]: this is no CSV: ',' expected after '\"'",
    "arch,a\n": "there is no row in",
    "": "expected a column architecture or arch_str or arch",
    "arch,acc\nx,50\n": "expected a column a or a_test or a_acc or a_accuracy in",
    "arch,a\nx,0.5\ny,0.75\n": "expected the accuracies on a in percent, but none in",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_shown_with_its_line(tmp_path, text):
    with pytest.raises(UninasError) as caught:
        read_table(write(tmp_path, text), ["a"])
    assert MISTAKES[text] in str(caught.value).replace(f"{tmp_path}/", "")
    assert caught.value.code == "UNI110"


LOSSES = "arch,loss\nx,-2.5\ny,\nz,300\n,\n"


@pytest.mark.parametrize("metric", ["raw", "lower"])
def test_numbers_of_another_kind_have_no_bounds_and_rows_that_lack_one_are_counted(tmp_path, metric):
    table = read_table(write(tmp_path, LOSSES), ["loss"], metric=metric)
    assert [(row.line, row.accuracies["loss"]) for row in table.rows] == [(0, -2.5), (2, 300)] and table.empty == 2


def test_a_row_must_have_every_number_that_is_asked_for(tmp_path):
    table = read_table(write(tmp_path, "arch,a,b\nx,50,\ny,,60\nz,70,80\n"), ["a", "b"])
    assert [row.architecture for row in table.rows] == ["z"] and table.empty == 2
    with pytest.raises(UninasError, match=r"there is no row in .*; 1 rows lack a number"):
        read_table(write(tmp_path, "arch,a\nx,\n"), ["a"])


def test_another_metric_is_refused(tmp_path):
    with pytest.raises(UninasError, match="expected the metric to be percent or raw or lower"):
        read_table(write(tmp_path, LOSSES), ["loss"], metric="best")


def test_a_missing_column_names_those_there_are(table):
    with pytest.raises(UninasError, match=r"did you mean 'hard'.*\n.*its columns are index, architecture, easy, hard"):
        read_table(table, ["hart"])


@pytest.mark.parametrize("content", [b"arch,a\n\xff,50\n", None])
def test_a_file_that_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "table.csv"
    if content:
        path.write_bytes(content)
    with pytest.raises(UninasError, match=r"UNI001.*cannot read"):
        read_table(path, ["a"])


# ---- data sets and members -------------------------------------------------------------------------------------------


def test_data_sets_and_what_networks_look_like_there():
    assert dataset("in16") == Dataset("in16", (3, 16, 16), 120)
    assert dataset("mine:1x28x32:7") == Dataset("mine", (1, 28, 32), 7)
    assert dataset("mine") == Dataset("mine")
    assert dataset("c10:3x64x64").label == "c10:3x64x64:10"
    for text in ("a b", "mine:3x", "mine:3x32", ":3x32x32"):
        with pytest.raises(UninasError, match="expected a data set like"):
            dataset(text)


@pytest.mark.parametrize("name", ["c10", "c100", "in16"])
def test_a_cell_by_string_and_by_index_is_the_network_of_the_benchmark(tmp_path, name):
    build = builder("nasbench201", tmp_path)
    official = {"c10": "cifar10", "c100": "cifar100", "in16": "imagenet16"}[name]
    expected = nasbench201.graph_of(77, official)
    assert build("77", dataset(name)) == build(nasbench201.string_of(77), dataset(name)) == expected


def test_a_cell_on_another_data_set(tmp_path):
    graph = builder("nasbench201", tmp_path)("77", dataset("mine:1x24x24:3"))
    assert (graph.inputs, graph.output_shapes) == (((1, 24, 24),), ((3,),))
    assert nasbench201.graph_of(77).operations == graph.operations


def test_a_member_by_numbers_and_by_names(space):
    build = builder(str(space), space.parent)
    by_number, by_name = (build(text, dataset("x")) for text in ("[1, 0]", '{"a": "Large", "b": "Small"}'))
    assert by_number == by_name
    assert by_number != build("[0, 1]", dataset("x"))
    assert build("[1, 0]", dataset("x:3x8x8:9")).output_shapes == ((9,),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected 2 answers, but got 1"),
        ("[1, 2]", "expected an answer to b, but got 2"),
        ("[1, true]", "expected an answer to b, but got True"),
        ('{"a": "Huge", "b": 0}', "expected an answer to a, but got Huge"),
        ('{"a": 0}', "expected an answer to b, but got None"),
        ("Small", "expected answers such as [0, 3], 0:3 or JSON, but got Small"),
        ("|skip_connect~0|", "strings of cells are for the shipped nasbench201"),
        ("[" * 100_000, "expected answers such as [0, 3], 0:3 or JSON"),
    ],
)
def test_answers_that_do_not_fit_are_refused(space, text, message):
    with pytest.raises(UninasError, match=re.escape(message)):
        builder(str(space), space.parent)(text, dataset("x"))


def test_networks_from_files_names_and_texts(tmp_path):
    (tmp_path / "nets").mkdir()
    text = "network Tiny { input 3 x 8 x 8 head global_avg_pool -> linear(4) }"
    (tmp_path / "nets" / "tiny.uni").write_text(text)
    build = builder("", tmp_path)
    assert build("nets/tiny.uni", dataset("x")) == build(text, dataset("x")) == load(text)
    assert build("nets/tiny.uni:Tiny", dataset("c100")).output_shapes == ((100,),)
    assert build("resnet18", dataset("x:3x64x64")).inputs == ((3, 64, 64),)


def test_a_space_without_choices_is_refused(tmp_path):
    with pytest.raises(UninasError, match="resnet18 has no open choices"):
        builder("resnet18", tmp_path)
