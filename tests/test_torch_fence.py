"""What is private in torch is used in one file, which says why; the versions that were tried are stated."""

import ast
import re
import tomllib
from pathlib import Path

import torch

import uninas
from uninas.proxies.engine import torch_private

SOURCES = Path(uninas.__file__).parent
FENCE = Path(torch_private.__file__)
HIDDEN_ATTRIBUTES = {"_cdata", "_schema", "_orig_mod", "set_fastpath_enabled", "flop_registry"}


def chain(node: ast.AST) -> list[str]:
    """The names of a.b.c, or nothing."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [*reversed(names), ""][:-1] if not isinstance(node, ast.Name) else [node.id, *reversed(names)]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def breaches(path: Path) -> list[str]:
    """Uses of private names of torch in a file, each with its line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [f"{path.name}:{node.lineno} {name}" for name in names if is_private(name)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names if alias.name.startswith("torch") for part in alias.name.split(".")]
            found += [f"{path.name}:{node.lineno} {name}" for name in names if is_private(name)]
        elif isinstance(node, ast.Attribute):
            names = chain(node)
            if names and names[0] in ("torch", "aten") and any(map(is_private, names)):
                found.append(f"{path.name}:{node.lineno} {'.'.join(names)}")
            elif node.attr in HIDDEN_ATTRIBUTES and names[0] != "private":
                found.append(f"{path.name}:{node.lineno} {node.attr}")
    return found


def test_private_names_of_torch_stand_in_one_file():
    assert breaches(FENCE)
    assert not [use for path in SOURCES.rglob("*.py") if path != FENCE for use in breaches(path)]


def test_the_file_says_of_every_name_why_it_is_needed():
    """Each import and each definition has a comment or a docstring next to it that says since when."""
    text = FENCE.read_text(encoding="utf-8")
    assert len(re.findall(r"[Ss]ince (torch |before )?\d", text)) >= 14
    assert {name for name in torch_private.__all__ if not hasattr(torch_private, name)} == set()


def test_the_tried_versions_of_torch_are_stated_with_an_upper_bound():
    project = tomllib.loads((SOURCES.parent / "pyproject.toml").read_text(encoding="utf-8"))
    stated = [need for need in str(project["project"]).split("'") if re.match(r"torch[<>=]", need)]
    assert stated and all(need == "torch>=2.9,<2.15" for need in stated)
    assert (2, 9) <= tuple(map(int, torch.__version__.split(".")[:2])) < (2, 15)
