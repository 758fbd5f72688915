"""What a user installs: the wheel holds all it needs, works anywhere, and asks for what it imports."""

import ast
import configparser
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from uninas.language import resources
from uninas.version import __version__

# Packages that a module imports without our asking for them, and why that is safe.
# Only Pygments itself loads the lexer, and only `uninas lsp` its server, after it has looked for the extra.
BROUGHT_BY_THE_CALLER = {"language/highlight.py": {"pygments"}, "lsp/server.py": {"lsprotocol", "pygls"}}


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """A wheel built from a copy, with rubbish beside the sources that must not get in."""
    place = tmp_path_factory.mktemp("build")
    copy = place / "copy"
    copy.mkdir()
    for folder in ("uninas", "grammar", "spaces"):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(root / file, copy)
    (copy / "spaces" / "__pycache__").mkdir()
    (copy / "spaces" / "__pycache__" / "left.pyc").write_bytes(b"")
    (copy / "tests").mkdir()
    (copy / "tests" / "test_left.py").write_text("")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(place / "dist"), cwd=copy)
    (built,) = (place / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    """The wheel laid out as an installer would, far from the checkout."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Runs this Python in another folder, `path` before all that is installed; returns what it prints."""
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_below(folder: Path) -> set[PurePosixPath]:
    return {
        PurePosixPath(path.relative_to(folder).as_posix())
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_is_named_after_the_distribution_and_its_one_version(wheel):
    assert wheel.name == f"uninas_toolkit-{__version__}-py3-none-any.whl"


def test_the_wheel_holds_the_package_the_grammar_and_the_library_and_nothing_else(wheel, root):
    expected = {"uninas" / file for file in files_below(root / "uninas")}
    expected |= {"uninas/_grammar" / file for file in files_below(root / "grammar")}
    expected |= {"uninas/_spaces" / file for file in files_below(root / "spaces")}
    held = {PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()}
    held = {file for file in held if not file.parts[0].endswith(".dist-info")}
    assert held == expected
    assert PurePosixPath("uninas/py.typed") in held
    assert PurePosixPath("uninas/_grammar/uninas.lark") in held


def test_the_wheel_announces_the_command_and_the_lexer(unpacked):
    (file,) = unpacked.glob("*.dist-info/entry_points.txt")
    entry_points = configparser.ConfigParser()
    entry_points.read(file)
    assert entry_points["console_scripts"]["uninas"] == "uninas.cli.main:main"
    assert entry_points["pygments.lexers"]["uninas"] == "uninas.language.highlight:UniLexer"


def test_the_grammar_and_the_library_are_found_in_a_checkout(root):
    assert resources.grammar_text() == (root / "grammar" / "uninas.lark").read_text(encoding="utf-8")
    assert resources.library_root() == root / "spaces"


def test_the_grammar_and_the_library_are_found_in_a_wheel(unpacked, tmp_path):
    show = "from uninas.language import resources as r; print(r.library_root()); print(r.grammar_text(), end='')"
    library, _, grammar = run("-c", show, cwd=tmp_path, path=unpacked).partition("\n")
    assert Path(library) == (unpacked / "uninas" / "_spaces").resolve()
    assert grammar == resources.grammar_text()


def test_the_wheel_checks_a_file_far_from_the_checkout(unpacked, tmp_path):
    network = min((resources.library_root() / "networks").glob("*.uni"))
    copy = tmp_path / network.name
    copy.write_bytes(network.read_bytes())
    assert "Traceback" not in run("-m", "uninas", "check", str(copy), cwd=tmp_path, path=unpacked)


def test_the_package_imports_only_what_it_asks_for(root):
    """Else `make demo`, which installs no extra, would miss a package that a developer happens to have."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    distributions = {requirement.partition(">=")[0] for requirement in project["dependencies"]}
    asked_for = {"yaml" if name == "pyyaml" else name for name in distributions}
    assert {"torch", "numpy", "lark"} <= asked_for
    missing = {}
    for path in (root / "uninas").rglob("*.py"):
        brought = BROUGHT_BY_THE_CALLER.get(path.relative_to(root / "uninas").as_posix(), set())
        allowed = asked_for | {"uninas"} | sys.stdlib_module_names | brought
        # A statement in a function may import an extra: it names what is missing when the time comes.
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        names = {name for statement in tree.body for name in imported_by(statement)}
        if names - allowed:
            missing[path.name] = names - allowed
    assert not missing


def imported_by(statement: ast.stmt) -> set[str]:
    """The top-level packages that one statement of a module imports by absolute name."""
    if isinstance(statement, ast.Import):
        return {alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.ImportFrom) and not statement.level:
        return {(statement.module or "").partition(".")[0]}
    return set()
