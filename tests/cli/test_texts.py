"""What other programs use: problems as JSON, texts from standard input, moves as data."""

import json

import pytest
from click.testing import CliRunner
from helpers.commands import succeed

import uninas
from uninas.cli.main import cli
from uninas.language.parser import MAX_FILE_BYTES

WRONG = "block A {\n    out = in -> cnv(8, 3) -> relu\n}\nblock B { out = in -> conv(8, stride=0) }\n"


def piped(text, *arguments):
    return CliRunner().invoke(cli, list(arguments), input=text)


def test_check_tells_every_problem_as_json_with_its_span_and_a_suggestion():
    done = piped(WRONG, "check", "--stdin", "a.uni", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and not found["ok"]
    first, second = found["files"][0]["problems"]
    assert WRONG[first["span"]["start"] : first["span"]["end"]] == "cnv" and first["suggestion"] == "conv"
    assert (first["code"], first["span"]["line"], first["span"]["column"]) == ("UNI010", 2, 17)
    assert second["code"] == "UNI015" and second["span"]["line"] == 4 and second["suggestion"] is None


def test_a_suggestion_put_in_place_of_its_span_mends_the_text():
    problem = json.loads(piped(WRONG, "check", "--stdin", "a.uni", "--json").stdout)["files"][0]["problems"][0]
    span = problem["span"]
    mended = WRONG[: span["start"]] + problem["suggestion"] + WRONG[span["end"] :]
    left = json.loads(piped(mended, "check", "--stdin", "a.uni", "--json").stdout)["files"][0]["problems"]
    assert [one["code"] for one in left] == ["UNI015"]


def test_check_as_json_says_what_good_files_define(tmp_path):
    (tmp_path / "good.uni").write_text("block A { out = in -> relu }\n")
    found = json.loads(succeed("check", tmp_path, "--json"))
    assert found["ok"] and found["files"][0]["definitions"] == [{"name": "A", "kind": "block"}]


def test_imports_of_a_text_from_standard_input_are_looked_up_beside_its_name(tmp_path):
    (tmp_path / "other.uni").write_text("block B { out = in -> relu }\n")
    text = "from other import B\nblock A { out = in -> B }\n"
    assert piped(text, "check", "--stdin", str(tmp_path / "mine.uni")).exit_code == 0


def test_fmt_lays_out_standard_input():
    done = piped("block A {out=in->relu}", "fmt", "--stdin", "a.uni")
    assert done.stdout == "block A { out = in -> relu }\n" and done.exit_code == 0
    assert piped(done.stdout, "fmt", "--stdin", "a.uni", "--check").exit_code == 0
    assert piped("block A {out=in->relu}", "fmt", "--stdin", "a.uni", "--check").exit_code == 1


def test_standard_input_is_read_as_a_file_is():
    """With the mark that some editors write before a text; no more than a file may have; and in UTF-8."""
    assert piped(b"\xef\xbb\xbfblock A { out = in -> relu }\n", "fmt", "--stdin", "a.uni", "--check").exit_code == 0
    for text, message in ((b"#" * (MAX_FILE_BYTES + 1), "more than"), (b"# \xff", "expected UTF-8, but got byte 0xff")):
        for command in ("fmt", "check"):
            done = piped(text, command, "--stdin", "a.uni")
            assert done.exit_code == 1 and "cannot read a.uni: " in done.output
            assert message in done.output and "Traceback" not in done.output


def test_a_listed_move_applied_gives_the_network_that_was_listed(tmp_path):
    lines = succeed("moves", "coatnet_lean", "--at", "stages.0.blocks.0", "-n", "5", "--json").splitlines()
    for line in lines:
        (tmp_path / "edit.json").write_text(line)
        text = succeed("apply", "coatnet_lean", tmp_path / "edit.json")
        assert uninas.load(text).key.startswith(json.loads(line)["key"])


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"move": "insert"}', '{"move": "fly"}', "[" * 10_000, '"insert"'])
def test_what_is_no_edit_is_told(text):
    done = piped(text, "apply", "coatnet_lean", "-")
    assert done.exit_code == 1 and "UNI080" in done.stderr and "Traceback" not in done.output


def test_a_text_on_standard_input_stands_wherever_a_network_may():
    text = uninas.dumps(uninas.load("micro_resnet"))
    found = json.loads(piped(text, "summary", "--json", "-").stdout)
    assert (found["name"], found["params"]) == ("micro_resnet", uninas.load("micro_resnet").cost.params)
    assert piped(text, "print", "-").stdout == succeed("print", "micro_resnet")
    assert json.loads(piped(WRONG, "check", "--json", "--stdin").stdout)["files"][0]["file"] == "<stdin>"
    assert piped("block A {out=in->relu}", "fmt", "--stdin").stdout == "block A { out = in -> relu }\n"
    done = piped("\n", "summary", "-")
    assert done.exit_code == 1 and "expected a network on standard input" in done.stderr
