"""The commands on texts: `uninas check`, `uninas fmt` and `uninas print`, for people and for other programs."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from uninas.cli.main import counted, write, write_file
from uninas.cli.options import json_option, output_option
from uninas.errors import UninasError, error

files_argument = click.argument("files", nargs=-1, type=click.Path(path_type=Path))
stdin_option = click.option(
    "--stdin", metavar="[NAME]", is_flag=False, flag_value="<stdin>", help="Read one text from standard input; "
    "messages call it NAME, and imports are looked up beside it."
)  # fmt: skip


@click.command()
@files_argument
@stdin_option
@click.option("--warnings/--no-warnings", default=True, help="Tell also what is right but unusual.")
@click.option("--strict", is_flag=True, help="Warnings count as mistakes.")
@json_option
def check(files: Sequence[Path], stdin: str | None, warnings: bool, strict: bool, as_json: bool) -> None:
    """Check .uni FILES, or folders of them; print all mistakes, and warnings.

    With --json one object stands for all files: see docs/errors.md.
    """
    from uninas.cli.tables import json_text

    checked = (
        [checked_text(typed(stdin), stdin, [Path(stdin).resolve().parent])]
        if stdin
        else [checked_file(file) for file in every_file(files)]
    )
    for one in checked:
        one["warnings"] = one["warnings"] if warnings or strict else []
        one["ok"] = one["ok"] and not (strict and one["warnings"])
    if as_json:
        click.echo(json_text({"ok": all(one["ok"] for one in checked), "files": [plain(one) for one in checked]}))
    for number, one in enumerate(() if as_json else checked):
        for caution in () if as_json else one["warnings"]:
            click.echo(str(caution), err=True)
        if one["ok"]:
            click.echo(f"ok {one['file']}: {counted(each['kind'] for each in one['definitions'])}")
        elif one["error"]:
            click.echo("\n" * bool(number) + str(one["error"]), err=True)  # an empty line between files
    sys.exit(not all(one["ok"] for one in checked))


def typed(name: str) -> str:
    """What comes on standard input, read as a file is."""
    from uninas.language.parser import read_stream

    return read_stream(sys.stdin.buffer, name).text


def typed_network(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A NET that is - stands for the text on standard input."""
    del context, parameter
    if value != "-":
        return value
    text = typed("<stdin>")
    if "{" not in text:
        raise error("UNI001", "expected a network on standard input, but it has none")
    return text


def checked_file(file: Path) -> dict[str, Any]:
    """What checking a file finds: whether it is right, what it defines, and its problems."""
    from uninas.language.library import load_file

    return _checked(str(file), lambda: load_file(file), [file.parent])


def checked_text(text: str, name: str, roots: Iterable[Path]) -> dict[str, Any]:
    """The same for a text that messages call `name`; imports are looked up in `roots` and the library."""
    from uninas.language.library import load_text

    return _checked(name, lambda: load_text(text, name, roots), roots)


def _checked(name: str, load: Callable[[], Any], roots: Iterable[Path]) -> dict[str, Any]:
    from uninas.language.cautions import cautions
    from uninas.language.elaborate import check_rest, checked
    from uninas.language.parser import Unparsed

    try:
        module = load()
        found = checked(module)
    except Unparsed as broken:
        problem = check_rest(broken, roots)
        return {"file": name, "ok": False, "definitions": [], "error": problem, "warnings": []}
    except UninasError as problem:
        return {"file": name, "ok": False, "definitions": [], "error": problem, "warnings": []}
    definitions = [{"name": one.name.text, "kind": one.kind} for one in module.definitions.values()]
    told = cautions(module, found)
    return {"file": name, "ok": True, "definitions": definitions, "error": None, "warnings": told}


def plain(one: dict[str, Any]) -> dict[str, Any]:
    """The same as JSON has it."""
    problem: UninasError | None = one["error"]
    problems = [diagnostic.as_dict() for diagnostic in problem.diagnostics] if problem else []
    told = [caution.as_dict() for caution in one["warnings"]]
    return {"file": one["file"], "ok": one["ok"], "definitions": one["definitions"], "problems": problems,
            "warnings": told}  # fmt: skip


@click.command()
@files_argument
@stdin_option
@click.option("--check", is_flag=True, help="Only say which files would change; exit status 1 if any would.")
@click.option("--diff", is_flag=True, help="Only show what would change.")
def fmt(files: Sequence[Path], stdin: str | None, check: bool, diff: bool) -> None:
    """Lay out .uni FILES, or folders of them, in the one style.

    Comments and meaning stay. With --stdin the text that is laid out goes to standard output.
    """
    from uninas.language.formatter import format_text

    if stdin:
        before = typed(stdin)
        after = format_text(before, stdin)
        click.echo("".join(_lines(before, after, stdin)) if diff else "" if check else after, nl=False)
        sys.exit(int(check and after != before))
    changed, failed = [], 0
    for file in every_file(files):
        try:
            if format_file(file, write=not (check or diff), diff=diff):
                changed.append(file)
                click.echo(f"{'would lay out' if check or diff else 'laid out'} {file}", err=diff)
        except UninasError as problem:
            click.echo("\n" * failed + str(problem), err=True)  # an empty line between files
            failed = 1
    sys.exit(failed or int(check and bool(changed)))


def format_file(file: Path, *, write: bool, diff: bool) -> bool:
    """Whether the layout of a file changes. Writes it, or prints the difference, when asked."""
    from uninas.language.formatter import format_text
    from uninas.language.parser import read_source

    before = read_source(file).text
    after = format_text(before, str(file))
    if diff:
        click.echo("".join(_lines(before, after, str(file))), nl=False)
    if write and after != before:
        write_file(file, after.encode())
    return after != before


def _lines(before: str, after: str, name: str) -> Iterable[str]:
    return difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, name)


def every_file(paths: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders. Raises UNI001 for a folder that has none, and where nothing is named."""
    if not paths:
        raise click.UsageError("name files or folders, or --stdin NAME")
    found: list[Path] = []
    for path in paths:
        files = sorted(path.rglob("*.uni")) if os.path.isdir(path) else [path]  # noqa: PTH112  # never raises
        if not files:
            raise error("UNI001", f"there is no .uni file in {path}")
        found += files
    return found


@click.command(name="print")
@click.argument("net")
@click.option("--explicit", is_flag=True, help="Write every attribute, in numbers.")
@click.option("--simplify", is_flag=True, help="Leave out what does nothing, such as branches that are zero.")
@output_option
def print_(net: str, explicit: bool, simplify: bool, output: Path | None) -> None:
    """Print NET as text, with everything elaborated."""
    from uninas import dumps, load
    from uninas.graph.simplify import simplified

    graph = load(net)
    write(dumps(simplified(graph) if simplify else graph, explicit=explicit), output)
