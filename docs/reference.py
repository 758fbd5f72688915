"""Writes docs/reference/, the pages that are made from the software itself; `make docs` does so first."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import click

import uninas
from uninas.backend import weights
from uninas.cli.main import cli
from uninas.plugins import Registry
from uninas.proxies import entry, proxies
from uninas.ranking import store as ranking_store
from uninas.report import files as report_files
from uninas.scores.aggregate import AGGREGATES
from uninas.search import store as search_store
from uninas.search.strategies import STRATEGIES
from uninas.space import COSTS, MOVES
from uninas.training import run as training_run

FOLDER = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/reference.py. -->\n"
ANYWHERE = "From outside, a plug-in brings more: [Extending](../extending.md).\n"


def ours(registry: Registry[object]) -> list[str]:
    """Names that this package brings, not a plug-in that happens to be installed."""
    return [name for name in registry if registry.owner(name).partition(".")[0] == "uninas"]


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def proxies_page() -> str:
    """Every proxy and aggregate, with its formula, source and options."""
    names = [*sorted(proxies()), *ours(AGGREGATES)]  # type: ignore[arg-type]
    known = [entry(name) for name in names]
    rows = [[f"[`{one['name']}`](#{one['name']})", one["direction"], one["doc"]] for one in known]
    parts = [NOTE, "# Proxies\n", "Scores of untrained networks. `uninas proxies NAME` prints the same.", ANYWHERE,
             table(["proxy", "better", "in short"], rows)]  # fmt: skip
    for one in known:
        better = f"{one['direction'].capitalize()} is better.\n"
        parts += [f"## {one['name']}\n", better, indented_as_code(one["details"])]
        if one["options"]:
            options = [[f"`{name}`", f"`{default}`"] for name, default in one["options"].items()]
            parts.append(table(["option", "default"], options))
    return "\n".join(parts)


def indented_as_code(text: str) -> str:
    """Documentation whose lists and formulas keep their layout."""
    return f"```text\n{text.strip()}\n```\n"


def strategies_page() -> str:
    """Every strategy with its options."""
    parts = [NOTE, "# Strategies\n", "How a search chooses from whom to go on: `uninas search --strategy NAME`, with "
             "`--strategy-option option=value`.", ANYWHERE]  # fmt: skip
    for name in ours(STRATEGIES):  # type: ignore[arg-type]
        kind = STRATEGIES[name]
        parts += [f"## {name}\n", f"{inspect.cleandoc(kind.__doc__ or '')}\n",
                  f"Candidates in flight by default: {kind.ahead}.\n"]  # fmt: skip
        options = [[f"`{key}`", f"{o.default:g}", f"{o.least:g} to {o.most:g}"] for key, o in kind.options.items()]
        parts += [table(["option", "default", "range"], options)] if options else []
    return "\n".join(parts)


def moves_page() -> str:
    """Every kind of move, and the costs that a budget may limit."""
    rows = [
        [f"`{name}`", MOVES[name].doc, {"must": "chains", "may": "chains, if wanted", "": "-"}[MOVES[name].chains],
         ", ".join(f"`{value}`" for value in MOVES[name].values).replace("`*`", "any attribute") or "-"]
        for name in ours(MOVES)  # type: ignore[arg-type]
    ]  # fmt: skip
    costs = ", ".join(f"`{name}`" for name in ours(COSTS))  # type: ignore[arg-type]
    return "\n".join(
        [NOTE, "# Moves and costs\n", "What `moves` in a space may name, with what stands in its braces.", ANYWHERE,
         table(["move", "what it does", "in braces", "values"], rows), "## Costs\n",
         f"A budget may limit these, and a search may have them as objectives: {costs}. FLOPs are 2 x MACs; "
         "activations and peak count elements for one sample; depth is the number of operations on the longest path.\n"]
    )  # fmt: skip


def commands_page() -> str:
    """What every command's --help says."""
    parts = [NOTE, "# Command line\n", "`uninas COMMAND --help` prints the same; all take `--plugin MODULE`.\n"]
    context = click.Context(cli, info_name="uninas", terminal_width=100, max_content_width=100)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, terminal_width=100, max_content_width=100)
        parts += [f"## {name}\n", f"```text\n{command.get_help(inner)}\n```\n"]
    return "\n".join(parts)


def api_page() -> str:
    """Every public name with its signature and documentation."""
    parts = [NOTE, "# Python\n", "Every name that `import uninas` offers. All else may change between versions, but "
             "for what [Extending](../extending.md) shows to plug-ins.\n"]  # fmt: skip
    for name in sorted(uninas.__all__, key=str.lower):
        found = getattr(uninas, name)
        if isinstance(found, str):
            continue
        parts += [
            f"## {name}\n",
            f"```python\n{_signature(name, found)}\n```\n",
            indented_as_code(_documentation(found)),
        ]
    return "\n".join(parts)


def _signature(name: str, found: object) -> str:
    if inspect.ismodule(found):
        return f"uninas.{name}" + ("(subject, path, **options)" if name == "render" else "")
    if not callable(found):
        return f"uninas.{name}"
    text = re.sub(r"<object object at 0x\w+>", "...", str(inspect.signature(found)))
    return f"uninas.{name}{text}"


def _documentation(found: object) -> str:
    text = inspect.getdoc(found) or ""
    return text if not inspect.ismodule(found) else text.partition("\n\n>>>")[0]


def files_page() -> str:
    """What the folders of searches, rankings and trainings hold: what the modules that write them say of themselves."""
    parts = [NOTE, "# Files and databases\n", "Every run is a folder. It may be moved, zipped, and opened on another "
             "machine; a folder of somebody else's is safe to open.\n"]  # fmt: skip
    for title, module in FOLDERS.items():
        text = inspect.cleandoc(module.__doc__ or "")
        parts += [f"## {title}\n", f"{text}\n"]
    return "\n".join(parts)


FOLDERS = {
    "Folder of a search": report_files,
    "Database of a search": search_store,
    "Database of a ranking": ranking_store,
    "Folder of a training": training_run,
    "Weights": weights,
}
"""Headings, and the modules whose documentation stands below them."""


PAGES: dict[str, Callable[[], str]] = {
    "proxies.md": proxies_page,
    "strategies.md": strategies_page,
    "moves.md": moves_page,
    "cli.md": commands_page,
    "files.md": files_page,
    "api.md": api_page,
}


def write(folder: Path = FOLDER) -> None:
    """All pages, into a folder."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"wrote {', '.join(PAGES)} into docs/reference\n")
