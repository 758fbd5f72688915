"""Plug-ins: the package of docs/extending.md and the pages under it, installed beside this one and used by commands."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers.fresh import fresh

from uninas import UninasError, plugins
from uninas.plugins import Registry

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    page.stem: page.read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "extending.md", *sorted((ROOT / "docs" / "extending").glob("*.md")))
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as an installer leaves it: the files, and the metadata that name its entry point."""
    folder = tmp_path_factory.mktemp("site")
    for name, text in re.findall(
        r"^```\w+\n# ([\w/.]+)\n(.*?)^```$", "\n".join(PAGES.values()), re.MULTILINE | re.DOTALL
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    metadata = folder / "toy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (metadata / "top_level.txt").write_text("toy\n")
    (metadata / "entry_points.txt").write_text("[uninas.plugins]\ntoy = toy\n")
    return folder


def run(site: Path, *command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return fresh(*command, cwd=cwd, PYTHONPATH=os.pathsep.join(map(str, (site, ROOT))), **environment)


def uninas(site: Path, *arguments: str, cwd: Path, **environment: str) -> str:
    done = run(site, "-m", "uninas", *arguments, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_plugin_is_listed_with_all_that_it_brings(site, tmp_path):
    (found,) = json.loads(uninas(site, "plugins", "--json", cwd=tmp_path))
    assert (found["plugin"], found["version"]) == ("toy", "1.0")
    assert found["brings"] == {
        "library": ["toy"], "operation": ["squared_relu"], "executor": ["counting"], "format": ["summary_line"],
        "import rule": ["toy::cut"],
        "scheme of initial weights": ["half_normal"], "cost": ["convolutions"], "move": ["soften"],
        "kind of edit": ["soften"], "proxy": ["weight_spread"], "aggregate": ["spread_agg"], "strategy": ["latest"],
    }  # fmt: skip


# In one process, as importing torch and the package takes longer than most commands.
TOGETHER = """
import json, sys
from contextlib import redirect_stdout
from io import StringIO
from uninas.cli.main import cli
said = []
for command in json.loads(sys.argv[1]):
    print(command, file=sys.stderr)
    with redirect_stdout(StringIO()) as out:
        cli(command, standalone_mode=False)
    said.append(out.getvalue())
print(json.dumps(said))
"""


def together(site: Path, *commands: list[str], cwd: Path) -> list[str]:
    """What each of several commands says."""
    done = run(site, "-c", TOGETHER, json.dumps(commands), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_its_network_its_operation_and_its_proxy_work_in_every_command(site, tmp_path):
    summary, scored, _ = together(
        site, ["summary", "toynet", "--json"], ["score", "toynet", "--proxy", "weight_spread", "--json"],
        ["export", "toynet", "--to", "py", "-o", "net.py"], cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(summary)["params"] > 0 and json.loads(scored)["scores"][0]["value"] > 0
    assert run(site, "-c", "import net, torch; net", cwd=tmp_path).returncode == 0


def test_its_strategy_searches_with_its_proxy_in_worker_processes(site, tmp_path):
    (tmp_path / "mine.uni").write_text(
        "from networks.toynet import toynet\n\nspace mine {\n    start toynet\n"
        "    moves insert 1 { relu }, soften 1\n    budget convolutions <= 20\n}\n"
    )
    uninas(
        site, "search", "mine.uni", "--strategy", "latest", "--proxy", "weight_spread", "-j", "1", "--iterations", "4",
        "--batch-size", "2", "-o", "run", cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(uninas(site, "top", "run", "--json", cwd=tmp_path))
    assert len(found) >= 4
    without = run(ROOT, "-m", "uninas", "resume", "run", "--iterations", "5", cwd=tmp_path)
    assert without.returncode == 1 and "latest" in without.stderr and "Traceback" not in without.stderr
    uninas(site, "resume", "run", "--iterations", "5", cwd=tmp_path)


def test_a_run_by_a_function_goes_on_only_where_the_user_names_it(tmp_path):
    (tmp_path / "mine.py").write_text("def count(module, inputs):\n    return len(list(module.parameters()))\n")
    settings = ("--iterations", "2", "--batch-size", "2", "-j", "0", "-o", "run")
    uninas(tmp_path, "search", "UniNAS", "--start", "coatnet_lean", "--img-size", "32", "--proxy", "mine:count",
           *settings, cwd=tmp_path)  # fmt: skip
    refused = run(tmp_path, "-m", "uninas", "resume", "run", "--iterations", "3", cwd=tmp_path)
    assert refused.returncode == 1 and "--plugin mine" in refused.stderr
    uninas(tmp_path, "resume", "run", "--iterations", "3", "--plugin", "mine", "-j", "1", cwd=tmp_path)


def test_every_command_of_the_pages_works(site, tmp_path):
    commands = [shlex.split(line) for page in PAGES.values()
                for part in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
                for line in part.splitlines()]  # fmt: skip
    assert len(commands) > 8 and {program for program, *_ in commands} == {"uninas"}
    together(site, *(arguments for _, *arguments in commands), cwd=tmp_path)
    assert (tmp_path / "toynet.txt").read_text().startswith("toynet: ")
    assert "squared_relu(threshold=0.5)" in (tmp_path / "cut.uni").read_text()


def test_the_contract_checks_of_the_pages_pass(site):
    tests = sorted(map(str, site.glob("test_*.py")))
    assert len(tests) == 3
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=site)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_ranking_remembers_its_plugins_and_names_what_is_missing(site, tmp_path):
    (tmp_path / "nets.csv").write_text("index,architecture,a\n0,resnet18,1\n1,toynet,2\n")
    rank = ("rank", "--table", "nets.csv", "--datasets", "a:3x32x32:5", "--batch-size", "2", "--bootstrap", "0",
            "--proxy", "params", "-o", "ranks")  # fmt: skip
    uninas(site, *rank, cwd=tmp_path)
    without = run(ROOT, "-m", "uninas", *rank, cwd=tmp_path)
    assert without.returncode == 1 and "the plug-in toy 1.0 is not loaded" in without.stderr
    anyway = run(ROOT, "-m", "uninas", *rank, "--any-version", cwd=tmp_path)
    assert anyway.returncode == 0, anyway.stderr


def test_a_plugin_can_be_named_on_the_command_line_or_in_the_environment(tmp_path):
    (tmp_path / "mine.py").write_text("from uninas.space import COSTS\nCOSTS.add('wires', lambda graph: 1)\n")
    by_option = uninas(tmp_path, "plugins", "--plugin", "mine", "--json", cwd=tmp_path)
    by_variable = uninas(tmp_path, "plugins", "--json", cwd=tmp_path, UNINAS_PLUGINS="mine")
    assert json.loads(by_option) == json.loads(by_variable)
    assert json.loads(by_option)[0]["brings"] == {"cost": ["wires"]}


def test_a_single_function_is_a_proxy(tmp_path):
    (tmp_path / "mine.py").write_text("def count(module, inputs):\n    return len(list(module.parameters()))\n")
    out = uninas(tmp_path, "score", "resnet18", "--proxy", "mine:count", "--img-size", "32", "--json", cwd=tmp_path)
    assert json.loads(out)["scores"][0]["value"] == 62


def test_a_ranking_by_a_function_goes_on_only_where_the_user_names_it(tmp_path):
    (tmp_path / "mine.py").write_text("def count(module, inputs):\n    return len(list(module.parameters()))\n")
    (tmp_path / "nets.csv").write_text("index,architecture,a\n0,resnet18,1\n1,mixed,2\n")
    data = ("--table", "nets.csv", "--datasets", "a:3x32x32:5", "--batch-size", "2")
    uninas(tmp_path, "rank", *data, "--proxy", "mine:count", "--bootstrap", "0", "-o", "ranks", cwd=tmp_path)
    again = ("rank", "--table", "nets.csv", "--resume", "--bootstrap", "0", "-o", "ranks")
    refused = run(tmp_path, "-m", "uninas", *again, cwd=tmp_path)
    assert refused.returncode == 1 and "--plugin mine" in refused.stderr
    uninas(tmp_path, *again, "--plugin", "mine", cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "module", "message"),
    [
        (None, "not_there", r"UNI140.*cannot load the plug-in not_there: ModuleNotFoundError"),
        ("1 / 0", "broken", r"UNI140.*cannot load the plug-in broken: ZeroDivisionError"),
        (None, "no-module", r"UNI140.*expected the name of a module, but got no-module"),
        (
            "from uninas.space import COSTS\nCOSTS.add('params', len)",
            "twice",
            r"UNI011.*named params: one of uninas",
        ),
    ],
)
def test_a_plugin_that_fails_is_an_error_that_names_it(tmp_path, text, module, message):
    if text:
        (tmp_path / f"{module}.py").write_text(text)
    done = run(tmp_path, "-m", "uninas", "plugins", "--plugin", module, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(message, done.stderr)


def test_a_name_is_taken_once_and_both_modules_are_named():
    colours: Registry[int] = Registry("colour of this test")
    colours.add("red", 1, owner="one")
    with pytest.raises(UninasError, match="are named red: one of one, one of other"):
        colours.add("red", 2, owner="other")
    with colours.restored():
        colours.add("blue", 3)
    assert dict(colours) == {"red": 1} and colours.owner("red") == "one"


def test_what_nobody_named_is_not_allowed():
    assert not plugins.allowed("os")
