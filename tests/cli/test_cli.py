"""The command line: what each command prints, writes and refuses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from helpers.commands import GOOD, fail, run, succeed

import uninas
from uninas.cli.main import LAZY, cli
from uninas.scores.aggregate import AGGREGATES
from uninas.version import __version__


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.uni"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.uni"
    path.write_text("block A { out = in -> rleu }\nblock B { out = in -> conv(0) }\n")
    return path


# -- the whole -----------------------------------------------------------------------------------------------


def test_the_version():
    assert succeed("--version") == f"uninas, version {__version__}\n"


def test_help_names_every_command():
    listed = succeed("--help").partition("Commands:")[2]
    names = [line.split()[0] for line in listed.strip().splitlines()]
    assert names == sorted({*cli.commands, *LAZY})
    assert {"check", "fmt", "summary", "render", "ops", "blocks", "import", "export", "score", "search"} <= set(names)


@pytest.mark.parametrize("name", sorted({*cli.commands, *LAZY}))
def test_every_command_explains_itself(name):
    text = succeed(name, "--help")
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.help is not None
    assert command.help.split()[0] in text
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_unknown_commands_and_options_are_answered_with_near_ones():
    result = run("sumary", "coatnet")
    assert (result.exit_code, "summary" in result.stderr) == (2, True)
    result = run("summary", "coatnet", "--dept", "2")
    assert (result.exit_code, "--depth" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["summary", "print", "score", "render", "export"])
def test_every_command_on_a_network_says_what_is_wrong_with_it(command, tmp_path):
    more = {"render": ["-o", tmp_path / "x.svg"], "export": ["--to", "dot"]}.get(command, [])
    assert "did you mean 'resnet18'?" in fail(command, "resnet_18", *more)
    assert "error[UNI001]" in fail(command, tmp_path / "missing.uni", *more)


# -- texts ---------------------------------------------------------------------------------------------------


def test_check_counts_what_is_fine(good):
    assert succeed("check", good) == f"ok {good}: 1 block, 1 network\n"


def test_check_prints_all_mistakes_of_all_files(good, bad, tmp_path):
    other = tmp_path / "other.uni"
    other.write_text("block C { out = in -> }")
    result = run("check", bad, good, other)
    assert result.exit_code == 1
    assert f"{bad}:1:23: error[UNI010]" in result.stderr
    assert f"{bad}:2:28: error[UNI015]" in result.stderr
    assert f"{other}:1:23: error[UNI002]" in result.stderr
    assert result.stdout == f"ok {good}: 1 block, 1 network\n"


def test_check_looks_into_folders(good, tmp_path):
    assert "1 network" in succeed("check", tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no .uni file" in fail("check", empty)


def test_everything_shipped_is_fine(root):
    lines = succeed("check", root / "spaces").splitlines()
    assert len(lines) == len(list((root / "spaces").rglob("*.uni")))


UNTIDY, TIDY = "block A{out=in->relu}  # short\n", "block A { out = in -> relu }  # short\n"


def test_fmt_lays_out_in_place(tmp_path):
    path = tmp_path / "a.uni"
    path.write_text(UNTIDY)
    assert succeed("fmt", path) == f"laid out {path}\n"
    assert path.read_text() == TIDY
    assert succeed("fmt", path) == ""


def test_fmt_check_and_diff_write_nothing(tmp_path):
    path = tmp_path / "a.uni"
    path.write_text(UNTIDY)
    checked = run("fmt", "--check", path)
    assert (checked.exit_code, checked.stdout) == (1, f"would lay out {path}\n")
    assert f"-{UNTIDY}+{TIDY}" in succeed("fmt", "--diff", path)
    assert path.read_text() == UNTIDY


def test_fmt_leaves_what_does_not_parse_and_goes_on(tmp_path):
    broken, untidy = tmp_path / "a.uni", tmp_path / "b.uni"
    broken.write_text("block {")
    untidy.write_text(UNTIDY)
    assert f"{broken}:1:7: error[UNI002]" in fail("fmt", broken, untidy)
    assert (broken.read_text(), untidy.read_text()) == ("block {", TIDY)


def test_print_leaves_out_what_does_nothing_when_asked(tmp_path):
    text = tmp_path / "b.uni"
    text.write_text("block B {\n    out = in -> relu -> identity\n}\n")
    assert "identity" in succeed("print", text)
    assert "out = in -> relu\n" in succeed("print", text, "--simplify")


def test_print_writes_text_that_means_the_same(good, tmp_path):
    text = tmp_path / "net.uni"
    assert succeed("print", f"{good}:small", "-o", text) == f"wrote {text}\n"
    assert uninas.load(text) == uninas.load(good)
    assert succeed("print", good) == text.read_text()


# -- views of an architecture --------------------------------------------------------------------------------


def test_summary_is_a_table_that_fits_a_pipe(good):
    lines = succeed("summary", good).splitlines()
    assert lines[0].split() == ["name", "consists", "of", "output", "params", "FLOPs", "share"]
    assert [line.split()[0] for line in lines[2:5]] == ["stem", "stages.0", "head"]
    assert any(line.startswith("FLOPs") and "(2 x " in line and "MACs)" in line for line in lines)
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


def test_summary_lists_as_deep_as_asked(good):
    shallow, deep = (succeed("summary", good, "--depth", depth).splitlines() for depth in (1, 2))
    assert len(deep) > len(shallow)
    assert "  conv" in "\n".join(deep)


def test_summary_as_json(good):
    found = json.loads(succeed("summary", good, "--json"))
    graph = uninas.load(good)
    assert (found["params"], found["flops"], found["macs"]) == (graph.cost.params, graph.cost.flops, graph.cost.macs)
    assert sum(row["params"] for row in found["rows"] if row["depth"] == 0) == found["params"]


def test_a_definition_is_picked_by_its_name(good):
    assert json.loads(succeed("summary", f"{good}:Gate", "--json"))["params"] == 0
    assert "there is no Gat" in fail("summary", f"{good}:Gat")


@pytest.mark.parametrize("kind", ["svg", "png", "pdf", "dot"])
def test_render_writes_a_picture(good, tmp_path, kind):
    target = tmp_path / f"net.{kind}"
    assert succeed("render", good, "-o", target, "--level", "full", "--direction", "LR") == f"wrote {target}\n"
    assert target.stat().st_size > 1000


def test_render_says_what_it_cannot_do(good, tmp_path):
    assert "error[UNI100]: expected a file that ends in .svg" in fail("render", good, "-o", tmp_path / "net.bmp")
    assert "error[UNI100]: cannot write" in fail("render", good, "-o", tmp_path / "no" / "net.svg")
    assert "did you mean 'block'?" in fail("render", good, "-o", tmp_path / "net.svg", "--level", "blok")


def test_a_summary_at_another_size():
    whole, quarter = (json.loads(succeed("summary", "resnet18", "--json", "--img-size", size)) for size in (224, 112))
    assert whole == json.loads(succeed("summary", "resnet18", "--json"))
    assert quarter["params"] == whole["params"] and quarter["macs"] < whole["macs"] / 3.5
    assert "from 1 to 65536, but got 3x70000x70000" in fail("summary", "resnet18", "--img-size", 70_000)


def scores(*arguments: object) -> dict[str, dict[str, object]]:
    """What `uninas score --json` says, the scores by the name of their proxies."""
    found = json.loads(succeed("score", *arguments, "--json"))
    return {**found, "scores": {one["proxy"]: one for one in found["scores"]}}


def test_score_prints_value_and_costs_and_repeats_itself(good):
    first, second = (scores(good, "--batch-size", 2) for _ in range(2))
    one, other = first["scores"]["vkdnw"], second["scores"]["vkdnw"]
    assert one["value"] == other["value"] > 0
    assert (one["direction"], one["spread"], first["batch_size"], first["seed"]) == ("higher", None, 2, 0)
    assert first["flops"] == uninas.load(good).cost.flops
    assert scores(good, "--batch-size", 2, "--seed", 1)["scores"]["vkdnw"]["value"] != one["value"]


def test_score_at_another_size(good):
    small = scores(good, "--proxy", "params", "--img-size", 16)
    assert small["input"] == [3, 16, 16]
    assert small["scores"]["params"]["value"] == small["params"]
    text = succeed("score", good, "--proxy", "params")
    assert text.splitlines()[0].startswith("params") and "MACs, one sample)" in text


def test_score_with_folded_heads_and_other_classes():
    names = ("--proxy", "params,trainable_layers", "--img-size", 32, "--classes", 7)
    plain, folded = scores("coatnet", *names), scores("coatnet", *names, "--fold")
    cost = uninas.create_model("coatnet", num_classes=7, img_size=32).meta["uninas"]["graph"].cost
    assert plain["params"] == folded["params"] == cost.params
    tensors, fewer = (found["scores"]["trainable_layers"]["value"] for found in (plain, folded))
    assert fewer < tensors


def test_score_by_several_proxies_as_by_each_alone(good):
    both = scores(good, "--proxy", "snip,naswot", "--option", "min_ndim=0")["scores"]
    assert list(both) == ["snip", "naswot"]
    assert both["snip"]["value"] == scores(good, "--proxy", "snip", "--option", "min_ndim=0")["scores"]["snip"]["value"]
    assert both["naswot"]["value"] == scores(good, "--proxy", "naswot")["scores"]["naswot"]["value"]


def test_one_proxy_that_fails_does_not_hide_the_others(good):
    arguments = ("score", good, "--proxy", "params,jacov,snip", "--batch-size", 1)
    text = run(*arguments)
    assert text.exit_code == 1
    assert re.search(r"^params +\d", text.output) and re.search(r"^snip +\d", text.output, re.MULTILINE)
    assert re.search(r"^jacov +failed: expected at least 2 samples to correlate, but got 1$", text.output, re.MULTILINE)
    found = json.loads(run(*arguments, "--json").output)
    assert [one["proxy"] for one in found["scores"]] == ["params", "snip"]
    assert [one["proxy"] for one in found["failures"]] == ["jacov"]


def test_score_repeats_with_fresh_weights_images_and_labels(good):
    found = scores(good, "--proxy", "snip", "--repeats", 3, "--init", "xavier_normal")
    assert (found["repeats"], found["init"], found["images"]) == (3, "xavier_normal", "normal")
    assert 0 < found["scores"]["snip"]["spread"] < found["scores"]["snip"]["value"]
    text = succeed("score", good, "--proxy", "snip", "--repeats", 3)
    assert " +- " in text and text.splitlines()[-2].endswith("weights default, seed 0, mean of 3")


def test_score_on_images_of_a_file(good, tmp_path):
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "images.npy"
    numpy.save(path, numpy.arange(8 * 3 * 32 * 32, dtype=numpy.uint8).reshape(8, 32, 32, 3))
    assert scores(good, "--proxy", "snip", "--input", path)["scores"]["snip"]["value"] > 0
    assert "expected from 9 to" in fail("score", good, "--input", path, "--batch-size", 9)


def test_score_says_what_is_wrong(good):
    assert "did you mean 'vkdnw'?" in fail("score", good, "--proxy", "vkdnv")
    assert "no trainable parameters" in fail("score", f"{good}:Gate")
    assert "did you mean 'min_ndim'?" in fail("score", good, "--proxy", "snip,vkdnw", "--option", "min_dim=1")
    assert "expected the option scalars of vkdnw to be like 1, but got many" in fail(
        "score", good, "--option", "scalars=many"
    )
    assert "did you mean 'xavier'?" in fail("score", good, "--init", "xaviour")
    assert "cannot use the device toaster" in fail("score", good, "--device", "toaster")
    assert "expected an input 'normal'" in fail("score", good, "--input", "noise")
    assert run("score", good, "--option", "scalars").exit_code == 2


# -- what there is -------------------------------------------------------------------------------------------


def test_ops_lists_and_explains():
    assert "Rectified linear unit" in succeed("ops")
    text = succeed("ops", "conv")
    assert "number of output channels" in text and "Parameters: " in text and "Example: " in text
    assert json.loads(succeed("ops", "relu", "--json"))["family"] == "activation"
    assert {entry["name"] for entry in json.loads(succeed("ops", "--json"))} >= {"conv", "add", "softmax"}
    assert "did you mean 'gelu'?" in fail("ops", "gelo")


def test_blocks_lists_what_is_shipped():
    found = json.loads(succeed("blocks", "--json"))
    kinds = {(one["name"], one["kind"]) for one in found}
    assert kinds >= {("coatnet", "network"), ("UniNAS", "space"), ("MBConv", "block")}
    networks = [one["name"] for one in found if one["kind"] == "network"]
    assert sorted(networks) == sorted(uninas.list_models())
    text = succeed("blocks")
    assert all(one["name"] in text for one in found)


def test_proxies_lists_and_explains():
    text = succeed("proxies")
    names = [line.split()[0] for line in text.splitlines()[2:]]
    kinds = names[: -len(AGGREGATES)]
    assert kinds == sorted(kinds) and "vkdnw" in kinds and names[len(kinds) :] == list(AGGREGATES)
    known = {one["name"]: one for one in json.loads(succeed("proxies", "--json"))}
    assert known["vkdnw"]["options"]["dtype"] == "float32"
    assert known["ntk"]["direction"] == "lower"
    assert "max_tensors  128" in succeed("proxies", "vkdnw")
    assert json.loads(succeed("proxies", "snip", "--json")) == known["snip"]
    assert "did you mean 'snip'?" in fail("proxies", "snipp")
    assert "pooled_paths (the lower the better)" in known["paths_agg"]["doc"]
    assert "coherence counts 0.5" in succeed("proxies", "uninas_agg")


def test_an_aggregate_is_no_score_of_one_network(good):
    assert "one score alone has no rank" in fail("score", good, "--proxy", "paths_agg")


# -- other formats -------------------------------------------------------------------------------------------


def test_models_of_the_published_toolkit_come_back(tmp_path):
    model, text = tmp_path / "model.json", tmp_path / "net.uni"
    succeed("export", "coatnet", "--to", "uninas-json", "-o", model)
    assert succeed("import", model, "-o", text) == f"wrote {text}\n"
    assert uninas.load(text).cost.params == uninas.load("coatnet").cost.params
    assert succeed("import", model) == text.read_text()


def test_import_says_what_is_wrong(tmp_path):
    path = tmp_path / "model.json"
    assert "error[UNI001]" in fail("import", path)
    path.write_text("{")
    assert "error[UNI050]" in fail("import", path)


def test_export_to_dot(good):
    assert succeed("export", good, "--to", "dot").startswith("digraph")


@pytest.mark.parametrize("form", ["py", "onnx"])
def test_export_to_torch_and_onnx(good, tmp_path, form):
    target = tmp_path / f"net.{form}"
    assert succeed("export", good, "--to", form, "-o", target) == f"wrote {target}\n"
    assert target.stat().st_size > 100


def test_files_that_cannot_be_written_are_named(good, tmp_path):
    assert "error[UNI100]: cannot write" in fail("export", good, "--to", "dot", "-o", tmp_path / "no" / "net.dot")


# -- fast to start -------------------------------------------------------------------------------------------

LISTS_MODULES = """
import sys
from uninas.cli.main import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["check", "{}"], ["fmt", "{}"], ["summary", "{}"], ["render", "{}", "-o", "{}.dot"], ["ops", "conv"]],
    ids=lambda arguments: arguments[0],
)
def test_commands_without_torch_load_nothing_they_do_not_need(good, arguments):
    done = subprocess.run(
        [sys.executable, "-c", LISTS_MODULES, *(argument.format(good) for argument in arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert "uninas" in loaded
    assert not loaded & {"torch", "numpy", "networkx", "matplotlib", "rich", "pygraphviz"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", [["summary", "resnet18"], ["blocks", "--json"]])
def test_output_that_cannot_be_written_is_a_message_and_output_that_is_closed_is_none(command):
    place = [sys.executable, "-m", "uninas", *command]
    full = subprocess.run(["/bin/sh", "-c", '"$@" > /dev/full', "sh", *place], capture_output=True, text=True)
    assert full.returncode == 1 and "No space left on device" in full.stderr and "Traceback" not in full.stderr
    closed = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", *place], capture_output=True, text=True)
    assert closed.returncode == 0 and not closed.stderr
