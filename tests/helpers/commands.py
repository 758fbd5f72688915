"""Running commands: in this process, and in a fresh one that says what it loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

import uninas
from uninas.cli.main import cli

PACKAGE = "uninas"
SOURCES = Path(uninas.__file__).parent
HEAVY = {"matplotlib", "onnx", "onnxruntime", "timm", "torch", "torchvision"}

GOOD = """
block Gate { out = in * (in -> sigmoid) }

network small {
    input 3 x 32 x 32
    stem conv(8, stride=2) -> batch_norm -> relu
    stage 8 x 2 { Gate }
    head global_avg_pool -> linear(10)
}
"""


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*arguments: object) -> str:
    """What a refused command says; never on standard output, never a traceback."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.stderr


RUN_AND_REPORT = """
import json, sys
sys.argv = ["uninas", *json.loads(sys.argv[1])]
code = 0
try:
    import uninas
    if sys.argv[1:]:
        from uninas.cli.main import main
        main()
except SystemExit as stop:
    code = stop.code or 0
print()
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def packages_loaded_by(*command: str) -> set[str]:
    """Runs `uninas` with these arguments in a fresh process, with none only `import uninas`.

    Returns which it loaded of this package and the heavy ones.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_REPORT, json.dumps(command)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES.parent)},
    )
    assert done.returncode == 0, done.stderr
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stdout + done.stderr
    return set(loaded) & {PACKAGE, *HEAVY}
