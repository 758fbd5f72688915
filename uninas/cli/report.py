"""`uninas report` and `uninas view`: options, one call, one print."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click

from uninas.cli.kinds import kind_of
from uninas.cli.options import trust_option

folder_argument = click.argument("run", type=click.Path(path_type=Path))


@click.command()
@folder_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: RUN/report.html]")
@trust_option
def report(run: Path, output: Path | None, trust: bool) -> None:
    """Write the page of RUN, a folder of uninas search, train or rank.

    It is one file that opens without a network: charts, the Pareto front, a table that sorts and filters, and every
    candidate with its text and what changed.
    """
    kind = kind_of([run])
    if kind == "training":
        from uninas.training.page import write_page as write_training

        click.echo(f"wrote {write_training(run, output, trust)}")
        return
    if kind == "ranking":
        from uninas.report.ranking import write_page as write_ranking

        click.echo(f"wrote {write_ranking(run, output)}")
        return
    from uninas.report.page import write_page

    click.echo(f"wrote {write_page(run, output)}")


@click.command()
@folder_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at; this computer alone.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to serve at.  [default: a free one]")
@click.option("--open", "opened", is_flag=True, help="Open it in a browser.")
def view(run: Path, host: str, port: int, opened: bool) -> None:
    """Serve the page of RUN while the run goes on, until Ctrl-C.

    The run is only read. Anyone who can reach --host can see it, so think before giving another one.
    """
    from uninas.report.server import Server

    with Server(run, host, port) as server:
        click.echo(f"the run {run} is at {server.address} (Ctrl-C to end)")
        if server.exposed:
            click.echo(f"warning: whoever can reach this computer sees the run, as it is served at {host}", err=True)
        if opened and not opens(server.address):
            click.echo("no browser could be opened here: open the address yourself", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("")


PATIENCE = 3.0  # seconds in which xdg-open says that it failed


def opens(address: str) -> bool:
    """Whether a browser was asked to show an address. What the program that asks it prints goes nowhere."""
    if sys.platform != "linux":
        return click.launch(address) == 0
    opener = shutil.which("xdg-open")
    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if opener is None or not screen:  # a browser in the terminal would take it from the server
        return False
    nowhere = subprocess.DEVNULL
    asked = subprocess.Popen([opener, address], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    with suppress(subprocess.TimeoutExpired):
        return asked.wait(PATIENCE) == 0
    return True
