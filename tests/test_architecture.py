"""The house of docs/architecture.md, enforced: who may import whom, no cycles, no torch where none is needed.

All import statements count, also those inside functions and under TYPE_CHECKING: a direction is no less wrong
for being late.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from helpers.commands import HEAVY, PACKAGE, SOURCES, packages_loaded_by

from uninas.language import resources

PAGE = SOURCES.parent / "docs" / "architecture.md"


def table_of(page: str) -> dict[str, set[str]]:
    """The rows of the house: what each module or folder of the package may import besides itself.

    Every room may import the ground, which is the first four rows.
    """
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([^|]*) \|$", page, re.MULTILINE)
    ground = {name for name, _ in rows[:4]}
    above = {name: set(re.findall(r"`(\w+)`", allowed)) for name, allowed in rows}
    return {name: names if name in ground else names | ground for name, names in above.items()}


HOUSE = table_of(PAGE.read_text(encoding="utf-8"))

# Loading one of these makes a command slow to start; only these rooms and modules may do so at their top level.
MAY_LOAD_HEAVY = {"backend", "proxies", "ranking", "report.plots", "runs", "search", "testing", "training"}


# -- reading import statements -------------------------------------------------------------------------------


def modules_of(folder: Path) -> dict[str, Path]:
    """Every module below a package folder by its dotted name: {"uninas.ops": .../ops/__init__.py, ...}."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (folder.name, *path.relative_to(folder).with_suffix("").parts)
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def tree_of(path: Path) -> ast.Module:
    return parsed(path.read_text(encoding="utf-8"), str(path))


@cache
def parsed(text: str, name: str) -> ast.Module:
    return ast.parse(text, filename=name)


def imported(module: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules that one file imports, by name; `from package import submodule` gives the submodule."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in known else base


def imports_within(folder: Path) -> dict[str, set[str]]:
    """Module -> modules of the same package that it imports."""
    known = modules_of(folder)
    inside = f"{folder.name}."
    return {
        module: {name for name in imported(module, path, known) if f"{name}.".startswith(inside) and name != module}
        for module, path in known.items()
    }


def room(module: str) -> str:
    """The row of the table that a module belongs to: "uninas.ops.conv" -> "ops"."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def trespasses(folder: Path, house: dict[str, set[str]]) -> list[str]:
    """Each import that the table does not allow, as a sentence; modules without a row are left out."""
    return [
        f"{module} imports {name}, but {room(module)} may import only: {', '.join(sorted(allowed)) or 'nothing'}"
        for module, names in imports_within(folder).items()
        if (allowed := house.get(room(module))) is not None
        for name in sorted(names)
        if room(name) != room(module) and room(name) not in allowed
    ]


def loaded_at_import(tree: ast.Module) -> Iterator[str]:
    """Packages that importing a file loads: statements outside functions and TYPE_CHECKING blocks."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
        else:
            pending += ast.iter_child_nodes(node)


def loaded_anywhere(tree: ast.Module) -> set[str]:
    """Packages that a file imports, also late."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


# -- the house -----------------------------------------------------------------------------------------------


def test_every_module_has_a_row():
    unlisted = {room(module) for module in modules_of(SOURCES)} - HOUSE.keys()
    assert not unlisted, f"give {sorted(unlisted)} a row in docs/architecture.md"


def test_the_table_points_upwards_only_and_names_what_there_is():
    above: set[str] = set()
    for name, allowed in HOUSE.items():
        assert allowed <= above, f"{name} may import what stands below it: {sorted(allowed - above)}"
        above.add(name)
    assert above == {room(module) for module in modules_of(SOURCES)}


def test_only_the_command_line_imports_click():
    users = {room(m) for m, path in modules_of(SOURCES).items() if "click" in loaded_anywhere(tree_of(path))}
    assert users == {"cli"}


def test_imports_point_in_the_directions_of_the_house():
    assert not trespasses(SOURCES, HOUSE)


def test_every_arrow_of_the_table_is_used():
    used: dict[str, set[str]] = {name: set() for name in HOUSE}
    for module, names in imports_within(SOURCES).items():
        used[room(module)] |= {room(name) for name in names}
    ground = set(list(HOUSE)[:4])
    assert not {name: idle for name, allowed in HOUSE.items() if (idle := allowed - used[name] - ground)}


def test_no_module_takes_part_in_an_import_cycle():
    try:
        TopologicalSorter(imports_within(SOURCES)).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


def test_only_the_torch_side_loads_heavy_packages_when_imported():
    loads = {
        module: HEAVY.intersection(loaded_at_import(tree_of(path)))
        for module, path in modules_of(SOURCES).items()
        if not MAY_LOAD_HEAVY & {room(module), module.removeprefix("uninas.")}
    }
    assert not {module: heavy for module, heavy in loads.items() if heavy}


# -- the checker, checked ------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path):
    """A small package with one file of every way to import."""
    files = {
        "__init__.py": "",
        "a.py": "import os, json",
        "b.py": "from toy import a",
        "c.py": "from toy.b import something\nfrom toy.rooms.inner import x",
        "d.py": "def late():\n    import toy.c\n    import torch",
        "rooms/__init__.py": "from toy.rooms import inner",
        "rooms/inner.py": "from .. import a\nif TYPE_CHECKING:\n    import torch",
    }
    for name, text in files.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path / "toy"


def test_every_way_to_import_is_seen(toy):
    assert imports_within(toy) == {
        "toy": set(),
        "toy.a": set(),
        "toy.b": {"toy.a"},
        "toy.c": {"toy.b", "toy.rooms.inner"},
        "toy.d": {"toy.c"},
        "toy.rooms": {"toy.rooms.inner"},
        "toy.rooms.inner": {"toy.a"},
    }


def test_a_trespass_is_reported_as_a_sentence(toy):
    house = {"__init__": set(), "a": set(), "b": set(), "c": {"b", "rooms"}, "d": {"c"}, "rooms": {"a"}}
    assert trespasses(toy, house) == ["toy.b imports toy.a, but b may import only: nothing"]


@pytest.mark.parametrize(
    ("source", "loaded"),
    [
        ("import torch.fx", {"torch"}),
        ("try:\n    from torch import nn\nexcept ImportError:\n    pass", {"torch"}),
        ("class A:\n    import torch", {"torch"}),
        ("def f():\n    import torch", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", {"typing"}),
        ("from . import torch", set()),
    ],
)
def test_what_importing_a_file_loads(source, loaded):
    assert set(loaded_at_import(ast.parse(source))) == loaded


# -- no torch where none is needed ---------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy():
    assert packages_loaded_by() == {PACKAGE}


@pytest.mark.parametrize("command", ["check", "summary", "ops", "blocks", "report", "view"])
def test_asking_a_torch_free_command_for_help_loads_nothing_heavy(command):
    assert packages_loaded_by(command, "--help") == {PACKAGE}


@pytest.mark.parametrize("command", ["check", "summary"])
def test_a_torch_free_command_on_a_file_loads_nothing_heavy(command, tmp_path):
    network = min((resources.library_root() / "networks").glob("*.uni"))
    copy = tmp_path / network.name  # fmt may write
    copy.write_bytes(network.read_bytes())
    assert packages_loaded_by(command, str(copy)) == {PACKAGE}


@pytest.mark.parametrize("command", ["ops", "blocks"])
def test_listing_the_library_loads_nothing_heavy(command):
    assert packages_loaded_by(command) == {PACKAGE}


@pytest.mark.parametrize("face", sorted(SOURCES.rglob("__init__.py")), ids=lambda face: face.parent.name)
def test_a_room_that_lists_its_modules_lists_those_that_are_there(face):
    text = ast.get_docstring(tree_of(face)) or ""
    lines = [part for line in re.findall(r"^- (.+)$", text, re.MULTILINE) for part in line.split("; ")]
    named = {name for part in lines if ": " in part for name in re.findall(r"`(\w+)`", part.partition(": ")[0])}
    there = {path.stem for path in face.parent.iterdir() if path.suffix in ("", ".py")} - {"__init__", "__pycache__"}
    assert not named or named == there, f"{face} should list {there - named} and not {named - there}"


def test_no_test_replaces_what_is_private():
    """A name with an underscore may go at any time; what tests need to see or to replace is a seam with a name."""
    nodes = [node for path in sorted(Path(__file__).parent.rglob("*.py")) for node in ast.walk(tree_of(path))]
    replaced = [
        ast.unparse(node.args[1])
        for node in nodes
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr" and len(node.args) > 1
    ]
    assert replaced and not [name for name in replaced if re.match(r"'_(?!_)", name)]
