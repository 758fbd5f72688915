"""What a shell offers while a command is typed, asked as a shell asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import succeed
from helpers.reports import searched

ROOT = Path(__file__).resolve().parents[2]


def offered(line: str, folder: Path) -> list[str]:
    """The words that Bash gets for a line that ends at the cursor."""
    words = line.split(" ")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "_UNINAS_COMPLETE": "bash_complete", "COMP_WORDS": line,
                   "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    code = "from uninas.cli.main import cli; cli(prog_name='uninas')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return [found.partition(",")[2] for found in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("here")
    (made / "runs").mkdir()
    searched(made / "runs" / "first")
    (made / "mine.uni").write_text("block A { out = in -> relu }")
    return made


def test_commands_networks_scores_strategies_and_runs_are_offered(folder):
    assert {"search", "score"} <= set(offered("uninas s", folder))
    assert "resnet50" in offered("uninas summary resnet5", folder)
    assert offered("uninas render mi", folder)[-1] == "mine.uni"
    assert "UniNAS" in offered("uninas search Uni", folder) and "coatnet" not in offered("uninas search ", folder)
    assert offered("uninas search UniNAS --strategy evo", folder) == ["evolution"]
    assert "jacov,naswot" in offered("uninas score resnet18 --proxy jacov,nas", folder)
    assert offered("uninas top runs/f", folder) == ["runs/first"] and "runs/first" in offered("uninas status ", folder)
    assert "hf" in offered("uninas export resnet18 --to ", folder)


def test_the_names_of_proxies_are_known_without_loading_them():
    from uninas.proxies.base import PROXIES
    from uninas.scores.names import SHIPPED

    assert sorted(SHIPPED) == sorted(name for name in PROXIES if PROXIES.owner(name).startswith("uninas."))


def test_no_completion_loads_torch(folder):
    """Somebody waits for each."""
    asked = (
        "import sys\nfrom uninas.cli import completion as c\n"
        "for offer in (c.networks, c.spaces, c.starts, c.scores, c.strategies, c.formats, c.runs):\n"
        "    assert list(offer('')), offer\n"
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.check_output([sys.executable, "-c", asked], env=environment, cwd=folder, text=True)
    assert said == "False\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell):
    assert "_UNINAS_COMPLETE" in succeed("completion", shell)
