"""The commands that draw: `uninas render` and `uninas diff`."""

import json
import re

import pytest
from helpers.commands import GOOD, fail, packages_loaded_by, run, succeed


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.uni"
    path.write_text(GOOD)
    return path


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """A run of four candidates, scored by their parameters."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    succeed("search", "UniNAS", "--proxy", "params", "--iterations", 3, "--seed", 1, "-o", folder, "--json")
    return folder


@pytest.mark.parametrize("width", ["88mm", "8.8cm", "88"])
def test_lengths_are_written_with_a_unit(good, tmp_path, width):
    target = tmp_path / "good.svg"
    assert succeed("render", good, "-o", target, "--width", width, "--caption", "A caption.") == f"wrote {target}\n"
    assert 'width="88mm"' in target.read_text()
    assert "A caption." in target.read_text()


@pytest.mark.parametrize("width", ["wide", "88 miles", "-5mm", ""])
def test_other_lengths_are_refused(good, tmp_path, width):
    result = run("render", good, "-o", tmp_path / "good.svg", "--width", width)
    assert result.exit_code == 2
    assert "expected a length like 88mm" in result.stderr


def test_what_is_shown_and_opened_is_chosen(good, tmp_path):
    target = tmp_path / "good.dot"
    succeed("render", good, "-o", target, "--depth", 2, "--show", "name,flops")
    assert '"stages.0.blocks.0.sigmoid"' in target.read_text()
    succeed("render", good, "-o", target, "--level", "stage", "--expand", "Gate", "--theme", "dark")
    assert '"stages.0.blocks.0.sigmoid"' in target.read_text()
    assert "did you mean 'flops'?" in fail("render", good, "-o", target, "--show", "flop")


def test_a_space_is_drawn_as_one(tmp_path):
    target = tmp_path / "space.mmd"
    succeed("render", "nasbench201", "-o", target)
    assert ":::choice" in target.read_text()


def test_candidates_of_a_run_are_drawn(search, tmp_path):
    first, again, best = (tmp_path / f"{name}.dot" for name in ("first", "again", "best"))
    succeed("render", f"{search}:2", "-o", first, "--level", "full")
    succeed("render", search, "--candidate", 2, "-o", again, "--level", "full")
    succeed("render", search, "-o", best, "--level", "full")
    assert first.read_bytes() == again.read_bytes()
    assert "there is no candidate 9" in fail("render", f"{search}:9", "-o", first)
    assert "there is no run in" in fail("render", tmp_path, "-o", first)


def test_a_lineage_begins_with_the_start(search, good, tmp_path):
    target = tmp_path / "lineage.dot"
    succeed("render", f"{search}:3", "-o", target, "--lineage")
    titles = re.findall(r"<B>(start|candidate \d+)</B>", target.read_text())
    assert titles[0] == "start"
    assert titles[-1] == "candidate 3"
    assert "expected a candidate of a run" in fail("render", good, "-o", target, "--lineage")


def test_differences_are_said_and_drawn(good, search, tmp_path):
    other, target = tmp_path / "other.uni", tmp_path / "difference.svg"
    other.write_text(GOOD.replace("relu", "gelu"))
    said = succeed("diff", good, other, "--render", target)
    assert re.search(r"^\+ +gelu", said, re.MULTILINE)
    assert said.endswith(f"wrote {target}\n")
    assert "stroke-dasharray" in target.read_text()
    assert json.loads(succeed("diff", good, other, "--json"))["distance"] == 2
    assert "are the same architecture" in succeed("diff", good, good)
    assert succeed("diff", f"{search}:0", f"{search}:3")
    assert "expected two networks or blocks" in fail("diff", good, "nasbench201")


def test_drawing_loads_no_torch(good, tmp_path):
    assert packages_loaded_by("render", str(good), "-o", str(tmp_path / "good.svg"), "--level", "full") == {"uninas"}
    assert packages_loaded_by("diff", str(good), "resnet18", "--render", str(tmp_path / "diff.pdf")) == {"uninas"}
