"""`uninas sample` and `uninas mutate`."""

import json

import pytest
from click.testing import CliRunner

import uninas
from uninas.cli.main import cli
from uninas.language.elaborate import space
from uninas.language.library import find
from uninas.mutate import member_of, read_edit, walk_of


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_samples_are_different_members_as_lines_json_and_texts(tmp_path):
    lines = run("sample", "nasbench201", "-n", 3, "--seed", 1).splitlines()
    assert len(set(lines)) == 3 and all("params" in line and "a = " in line for line in lines)
    told = [
        json.loads(line)
        for line in run("sample", "nasbench201", "-n", 3, "--seed", 1, "--json", "-o", tmp_path).splitlines()
    ]
    choices = space(*find("nasbench201"))
    for number, values in enumerate(told):
        graph = uninas.load(tmp_path / f"nasbench201_{number}.uni")
        assert graph.key.startswith(values["key"]) and graph.cost.params == values["params"]
        member = member_of(choices, graph)
        assert {c.path: c.options[member.answers[c.path]] for c in member.choices} == values["answers"]


def test_a_walk_is_printed_and_its_end_is_written(tmp_path):
    sentences = run("mutate", "resnet18", "--moves", 3, "--seed", 5, "-o", tmp_path / "end.uni").splitlines()
    told = [json.loads(line) for line in run("mutate", "resnet18", "--moves", 3, "--seed", 5, "--json").splitlines()]
    graph = uninas.load("resnet18")
    walk = walk_of(space(*find("UniNAS")), graph)
    for sentence, values in zip(sentences, told, strict=True):
        edit = read_edit(values["edit"])
        graph = walk.apply(graph, edit)
        assert sentence.endswith(str(edit)) and graph.key.startswith(values["key"])
    assert uninas.load(tmp_path / "end.uni") == graph


def test_a_space_with_fewer_members_than_asked_for_says_how_many(tmp_path):
    (tmp_path / "few.uni").write_text(
        "space Few { input 3 x 8 x 8 choose wide in 4..6 head conv(wide, 3) budget params <= 140 }"
    )
    message = run("sample", tmp_path / "few.uni", "-n", 5, code=1)
    assert "expected 5 different members of Few, but found 2" in message and "budget" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "UniNAS"), "no open choices"),
        (("sample", "resnet18"), "moves or choices"),
        (("mutate", "--space", "resnet18"), "moves or choices"),
        (("mutate", "--space", "resnet18"), "uninas search UniNAS --start resnet18"),
        (("mutate", "UniNAS"), "expected a network, but UniNAS is a space, with the start coatnet"),
        (("sample", "nowhere"), "UNI010"),
        (("mutate", "coatnet", "--space", "UniDAG"), "expected redundant of at most 0, but got 15"),
        (("mutate", "coatnet", "--space", "UniDAG"), "uninas print NET --simplify"),
    ],
)
def test_what_cannot_be_walked_is_told(arguments, message):
    assert message in run(*arguments, code=1)


def test_moves_from_one_network_to_another_are_found_and_can_be_applied(tmp_path):
    end, moves = tmp_path / "end.uni", tmp_path / "moves.json"
    run("mutate", "resnet18", "--moves", 2, "--seed", 5, "-o", end)
    lines = run("diff", "resnet18", end, "--space", "UniNAS").splitlines()
    moves.write_text(run("diff", "resnet18", end, "--space", "UniNAS", "--json"))
    told = json.loads(moves.read_text())["moves"]
    assert [line.rpartition("FLOPs  ")[2] for line in lines[-2:]] == [str(read_edit(move["edit"])) for move in told]
    assert uninas.load(run("apply", "resnet18", moves)).key == uninas.load(end).key
    refused = run("diff", "resnet18", "vit_small_patch16_224", "--space", "UniNAS", code=1)
    assert "UNI080" in refused and "no moves of UniNAS lead from resnet18 to vit_small" in refused
    assert run("diff", "resnet18", "resnet18", "--space", "UniNAS").endswith("the same architecture\n")
