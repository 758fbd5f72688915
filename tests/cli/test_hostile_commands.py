"""Every option and argument of every command with values that nobody means: a message, never a traceback."""

import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from uninas import create_model
from uninas.cli.main import cli
from uninas.errors import UninasError

TINY = """
block B { out = in -> conv(C, 3) -> relu }
network tiny { input 3 x 8 x 8  stem conv(4, 3)  stage 4 { B }  head global_avg_pool -> linear(3) }
space open { input 3 x 8 x 8  stem conv(4, 3)  stage 4..8 step 4 { B }  head global_avg_pool -> linear(3) }
space moving { start tiny  moves replace 1.0 {relu, gelu} }
"""
VALUES = (
    "", " ", "-1", "0", "nan", "inf", "1e300", "9" * 30, "x", "x=y", "=", ":", "{", "\N{RIGHT-TO-LEFT OVERRIDE}",
    "\x1b[2J", "a" * 300, "/dev/null", "/dev/zero", ".", "no/such/place", "tiny", "[]", "null", "\udcff", "%s", "-",
)  # fmt: skip


def commands():
    """Every command with arguments that it accepts, `{net}` and the like standing for files; None: needs a run."""
    return {
        "apply": ["{net}:tiny"], "moves": ["{net}:tiny"],
        "blocks": [], "check": ["{net}"], "compare": ["{none}", "{none}"], "diff": ["{net}:tiny", "{net}:tiny"],
        "benchmark": ["{net}:tiny"], "evaluate": ["{none}"],
        "export": ["{net}:tiny", "--to", "py"], "fmt": ["--check", "{net}"], "import": ["{json}"],
        "mutate": ["{net}:tiny"], "ops": [], "plugins": [], "print": ["{net}:tiny"], "proxies": [],
        "rank": ["{net}:open", "--table", "{csv}", "-o", "{out}"], "render": ["{net}:tiny", "-o", "{svg}"],
        "report": ["{none}"], "resume": ["{none}"], "sample": ["{net}:open", "--count", "1"],
        "score": ["{net}:tiny", "--proxy", "params", "--batch-size", "1"],
        "search": ["{net}:moving", "-o", "{out}", "--iterations", "1", "--proxy", "params"],
        "enqueue": ["{run}", "{net}:tiny"], "fork": ["{run}", "-o", "{out}"], "merge": ["{run}", "-o", "{out}"],
        "status": ["{run}"], "summary": ["{net}:tiny"], "sweep": ["{sweep}", "--dry", "-o", "{out}"],
        "top": ["{run}"], "train": ["{net}:tiny", "--data", "{npz}", "-o", "{out}"], "view": ["{none}"],
    }  # fmt: skip


@pytest.fixture
def places(tmp_path):
    files = {name: tmp_path / f"x.{name}" for name in ("net", "json", "csv", "svg", "none", "out")}
    files["net"] = tmp_path / "x.uni"
    files["net"].write_text(TINY)
    files["json"].write_text("{}")
    files["csv"].write_text("name,accuracy\n")
    files["sweep"] = tmp_path / "x.yaml"
    files["sweep"].write_text("space: x.uni:moving\nsweep: {seed: [0, 1]}\n")
    files["run"] = tmp_path / "run"
    files["npz"] = tmp_path / "x.npz"
    np.savez(files["npz"], image=np.zeros((10, 3, 8, 8), np.uint8), label=np.arange(10) % 3)
    run(["search", f"{files['net']}:moving", "-o", str(files["run"]), "--iterations", "2", "--proxy", "params"])
    return {name: str(path) for name, path in files.items()}


def run(arguments: list[str]) -> None:
    """Run a command in this process; nothing but a message and an exit status may come out."""
    result = CliRunner().invoke(cli, arguments)
    told = isinstance(result.exception, SystemExit | None)
    assert told and "Traceback" not in result.output, (arguments, repr(result.exception), result.output[-500:])


@pytest.mark.parametrize(
    "name", sorted(set(cli.list_commands(click.Context(cli))) - {"search", "train", "rank", "evaluate", "benchmark"})
)
def test_hostile_values_of_every_option_end_in_a_message(name, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNINAS_PLUGINS", "")  # which --plugin sets, for workers
    command = cli.get_command(click.Context(cli), name)
    usual = [part.format(**places) for part in commands().get(name, [])]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        for value in VALUES:
            if name in ("mutate", "sample") and value == "9" * 30:
                continue  # so many steps are what was asked for
            if isinstance(parameter, click.Option):
                flags = [parameter.opts[-1]] if parameter.is_flag else [parameter.opts[-1], value]
                arguments = [name, *usual, *flags]
            else:
                place = next((n for n, part in enumerate(usual) if not part.startswith("-")), None)
                rest = [part for n, part in enumerate(usual) if n != place]
                arguments = [name, *rest, "--", value]
            run(arguments)
            shutil.rmtree(places["out"], ignore_errors=True)


SOME = {
    ("train", "--set"): ("lr=[", "lr", "=", "=1", "epochs=1e99", "lr=nan", "batch=-1", "x=1", "lr=&a [*a]", "\udcff=1"),
    ("train", "--recipe"): ("", "x", "x.yaml", "/dev/null", "/dev/zero", ".", "a" * 300, "loop.yaml"),
    ("train", "--data"): ("", ".", "/dev/null", "no/such", "a" * 300, "hfds/", "torch/x", "x.uni", "wds/x"),
    ("train", "--weights"): ("no/such", ".", "x.uni", "/dev/null"),
    ("train", "--memory-limit"): ("-1", "x", "9" * 400),
    ("train", "--output"): ("/dev/null", "a" * 300, "x.uni", "."),
    ("evaluate", "--data"): ("", "no/such"),
    ("benchmark", "--img-size"): ("", "\N{SUPERSCRIPT TWO}", "0", "5x", "x5", "9" * 5000, "1x2x3"),
    ("benchmark", "--batch"): ("", ",", "\N{SUPERSCRIPT TWO}", "9" * 5000, "0", "-1"),
    ("benchmark", "--what"): ("", ",", "head"), ("benchmark", "--mode"): ("", "x,plain"),
    ("import", "--input"): ("3x\N{SUPERSCRIPT TWO}x3", "9" * 5000),
    ("rank", "--fit"): ("\N{SUPERSCRIPT TWO}", "9" * 5000),
    ("render", "--candidate"): ("9" * 5000,), ("render", None): ("{run}:" + "9" * 5000, "{run}:\N{SUPERSCRIPT TWO}"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "option"), SOME)
def test_some_hostile_values_of_the_slow_commands_end_in_a_message(name, option, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nclassification: [*b, *b]\n")
    usual = [part.format(**places) for part in commands()[name]]
    for value in SOME[name, option]:
        run([name, *(usual if option else usual[1:]), *([option] if option else []), value.format(**places)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: x\nsweep: {../../up: [1, 2]}", "..-..-up=1"),
        ("sweep: {iterations: [many]}", "iterations=many: to do"),
        ("sweep: {seed: []}", "expected lists of values"), ("sweep: 3", "expected lists of values"), ("[1]", "by name"),
        ("sweep: &a {seed: [*a]}", "no alias"), ("sweep: {start: [a/b, a-b]}", "start=a-b-1: to do"),
        (f"sweep: {{start: [{'x' * 500}, {'y' * 500}]}}", "x: to do"),
        ("sweep: {" + ", ".join(f"{'k' * n}: [1, 2]" for n in range(1, 14)) + "}", "to do"),
    ],
)  # fmt: skip
def test_a_sweep_of_a_stranger_stays_in_its_folder(text, message, tmp_path):
    (tmp_path / "s.yaml").write_text(text)
    result = CliRunner().invoke(cli, ["sweep", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "all"), "--dry"])
    assert message in result.output and isinstance(result.exception, SystemExit | None)
    folders = [line.split(": ")[0] for line in result.stdout.splitlines() if line.endswith("to do")]
    assert len(set(folders)) == len(folders) and all(Path(one).parent == tmp_path / "all" for one in folders)


SEARCH = {
    "--iterations": ("-1", "x"), "--proxy": ("x", "params:x"), "--seed": ("x", "-1"), "--batch-size": ("0", "x"),
    "--output": ("a" * 300, "/dev/null"), "--strategy": ("x", ""), "--option": ("x", "=", "x=y"),
    "--start": ("x", "a" * 300),
    "--config": ("/dev/null", "/dev/zero", "no/such", "a" * 300, "/"),
}  # fmt: skip


PAIRS = [(option, value) for option, values in SEARCH.items() for value in values]


@pytest.mark.parametrize(("option", "value"), PAIRS)
def test_hostile_values_of_a_search_end_in_a_message(option, value, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNINAS_PLUGINS", "")  # which --plugin sets, for workers
    command = cli.get_command(click.Context(cli), "search")
    known = {name for parameter in command.params for name in parameter.opts}
    if option not in known:
        pytest.skip(f"search has no {option}")
    run(["search", *(part.format(**places) for part in commands()["search"]), option, value])


def test_a_full_disk_is_a_message(places):
    for arguments in (["print", "resnet18"], ["export", "resnet18", "--to", "py"], ["summary", "resnet18"]):
        run([*arguments, "-o", "/dev/full"])


# -- without torch ---------------------------------------------------------------------------------------------

BLOCKED = """
import sys
for name in ("torch", "torchvision", "PIL", "onnx", "ray", "timm"):
    sys.modules[name] = None
sys.argv = ["uninas", *sys.argv[1:]]
from uninas.cli.main import main
main()
"""


def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


NEED_TORCH = [
    "proxies", "proxies snip", "score resnet18", "export resnet18 --to py", "rank UniNAS --table x -o y",

]  # fmt: skip


@pytest.mark.parametrize("arguments", NEED_TORCH)
def test_what_needs_torch_says_what_to_install_where_there_is_none(arguments, tmp_path):
    done = without_torch(*arguments.format(out=tmp_path).split())
    assert "Traceback" not in done.stderr, done.stderr[-600:]
    if done.returncode:
        assert "pip install torch" in done.stderr or "rror" in done.stderr
    assert done.returncode == 0 or not arguments.startswith(("score", "export")) or "pip install torch" in done.stderr


@pytest.mark.parametrize("arguments", ["print resnet18", "summary resnet18", "blocks", "ops conv", "check {file}"])
def test_the_rest_needs_no_torch(arguments, places):
    done = without_torch(*arguments.format(file=places["net"]).split())
    assert done.returncode == 0, done.stderr[-600:]


def test_python_says_what_to_install_where_there_is_no_torch():
    program = "import sys; sys.modules['torch'] = None; import uninas\ntry: uninas.create_model('resnet18')\n" \
              "except uninas.UninasError as problem: print(problem)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert "pip install torch" in done.stdout, done.stderr[-600:]


# -- code and weights of others ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hostile_code:takes", "cannot call hostile_code:takes: TypeError"), (":made", "MODULE:CALLABLE"),
        ("hostile_code:fails", "cannot call hostile_code:fails: KeyError"), ("hostile_code:none", "cannot import"),
        ("hostile_code:word", "cannot call hostile_code:word"),
    ],
)  # fmt: skip
def test_a_callable_that_gives_no_module_is_a_message(name, message, tmp_path, monkeypatch):
    (tmp_path / "hostile_code.py").write_text("word = 'x'\ndef takes(x): pass\ndef fails(): raise KeyError('gone')\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = CliRunner().invoke(cli, ["import", name])
    assert isinstance(result.exception, SystemExit) and message in result.output


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({}, "do not say which network"), ({"text": "/etc/passwd"}, "UNI002"), ({"text": "resnet18"}, "UNI002"),
        ({"text": "NET", "classes": "{"}, "the classes in"), ({"text": "NET"}, "do not fit"),
    ],
)  # fmt: skip
def test_weights_of_a_stranger_name_no_file_and_fit_or_are_refused(about, message, places, tmp_path):
    import torch
    from safetensors.torch import save_file

    net = TINY.split("space")[0]
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {k: v.replace("NET", net) for k, v in about.items()})
    with pytest.raises(UninasError, match=message):
        create_model(tmp_path / "w.safetensors")
    words = ["export", f"{places['net']}:tiny", "--to", "hf", "-o", str(tmp_path / "hf")]
    result = CliRunner().invoke(cli, [*words, "--weights", str(tmp_path / "w.safetensors")])
    assert isinstance(result.exception, SystemExit) and not (tmp_path / "hf").exists()


def test_a_folder_of_something_else_keeps_its_readme(places, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("years of work")
    words = ["export", f"{places['net']}:tiny", "--to", "hf", "-o"]
    result = CliRunner().invoke(cli, [*words, str(tmp_path / "mine")])
    assert result.exit_code == 1 and "expected a new folder" in result.output
    assert (tmp_path / "mine" / "README.md").read_text() == "years of work"
    for _ in range(2):  # again into the same one, which is ours
        assert CliRunner().invoke(cli, [*words, str(tmp_path / "hf")]).exit_code == 0
