"""`uninas completion`: what a shell offers while a command is typed: networks, spaces, scores, strategies and runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

MOST = 200  # folders that are looked at for runs

Offer = Callable[[str], Iterator[str]]
"""What may be meant by a word that is not complete."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what lets SHELL complete commands, options, networks, scores and runs.

    Bash: uninas completion bash > ~/.local/share/bash-completion/completions/uninas. Zsh: eval "$(uninas completion
    zsh)" in ~/.zshrc. Fish: uninas completion fish > ~/.config/fish/completions/uninas.fish.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    whole = click.get_current_context().find_root().command
    click.echo(kind(whole, {}, "uninas", "_UNINAS_COMPLETE").source())


def offered(parameter: click.Parameter, command: str) -> Offer | None:
    """What completes a parameter, by its name; None leaves it to click."""
    name = parameter.name or ""
    if name in ("run", "runs", "folder", "folders") or (command, name) == ("evaluate", "run"):
        return runs
    if name in ("net", "nets", "before", "after", "source"):
        return networks
    if name == "space" or (name == "name" and command in ("sample", "mutate", "moves", "apply")):
        return spaces
    if name == "start":
        return starts
    if name in ("proxy", "further", "cheap", "proxies") or (command, name) == ("proxies", "name"):
        return scores
    return {"strategy": strategies, "form": formats if command == "export" else None}.get(name)


def complete(parameter: click.Parameter, command: str) -> None:
    """Let a parameter offer names of ours."""
    offer = offered(parameter, command)
    if offer is None:
        return

    def items(context: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(word) for word in dict.fromkeys(offer(incomplete)) if word.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]

    parameter.shell_complete = items  # type: ignore[method-assign, assignment]


def networks(word: str) -> Iterator[str]:
    """Shipped networks and spaces, and files of texts."""
    from uninas.language.library import shipped

    yield from sorted(shipped())
    yield from _files(word)


def spaces(word: str) -> Iterator[str]:
    """Shipped spaces, and files of texts."""
    from uninas.language.library import shipped

    yield from sorted(name for name, path in shipped().items() if path.parent.name != "networks")
    yield from _files(word)


def starts(word: str) -> Iterator[str]:
    """Networks, and runs."""
    yield from networks(word)
    yield from runs(word)


def scores(word: str) -> Iterator[str]:
    """Proxies, aggregates and costs; behind a comma the next of several."""
    from uninas.scores.names import measures

    before = word[: word.rfind(",") + 1]
    yield from (before + name for name in measures())


def strategies(word: str) -> Iterator[str]:
    """Strategies of a search."""
    from uninas.search.strategies import STRATEGIES

    yield from STRATEGIES


def formats(word: str) -> Iterator[str]:
    """What `uninas export` writes."""
    from uninas.cli.export import FILES, FOLDERS
    from uninas.interop.formats import EXPORTERS

    yield from (*EXPORTERS, *FILES, *FOLDERS)


def runs(word: str) -> Iterator[str]:
    """Folders of runs and trainings below the one that is being typed, and in runs/."""
    from uninas.search.store import FILE
    from uninas.training.recipe import SETTINGS

    typed = Path(word).parent if word and not word.endswith(os.sep) else Path(word or ".")
    for root in dict.fromkeys((typed, Path("runs"))):
        if not root.is_dir():
            continue
        for folder in sorted(root.iterdir())[:MOST]:
            if folder.is_dir() and any((folder / name).is_file() for name in (FILE, SETTINGS)):
                yield str(folder)
            elif folder.is_dir() and root is typed and not folder.name.startswith("."):
                yield f"{folder}{os.sep}"


def _files(word: str) -> Iterator[str]:
    folder = Path(word).parent if word and not word.endswith(os.sep) else Path(word or ".")
    if folder.is_dir():
        yield from (str(path) for path in sorted(folder.glob("*.uni"))[:MOST])
