"""What is seen while a run goes on: a bar on a terminal, plain lines in a pipe, or one JSON object per line.

A run says what happens as plain events, and watchers show them; so a watcher knows nothing of searches or rankings.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from uninas.errors import error, visible


@dataclass(frozen=True)
class Begun:
    """A run is open; `done` of `total` steps are there already."""

    name: str
    """Of the event, for machines."""
    greeting: str
    folder: Path
    total: int
    done: int
    settings: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is told to machines."""


@dataclass(frozen=True)
class Step:
    """Something has been scored and stored; `done` of the total are now."""

    name: str
    done: int
    number: int
    line: str
    """For people, without what is left of the time."""
    state: str
    """How far it is, beside a bar."""
    remark: str = ""
    """What a person should read even where there is a bar."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    """What is worth a curve."""


@dataclass(frozen=True)
class Ended:
    """The run is over; `stopped` says why ('failed', 'interrupted'), when that came before its end."""

    farewell: str
    stopped: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Watcher(Protocol):
    """Is told what happens in a run."""

    def begun(self, event: Begun) -> None:
        """The run is open."""

    def step(self, event: Step) -> None:
        """A step is done."""

    def ended(self, event: Ended) -> None:
        """The work has ended."""


class Several:
    """Tells several watchers."""

    def __init__(self, watchers: Sequence[Watcher]):
        self.watchers = watchers

    def begun(self, event: Begun) -> None:
        for watcher in self.watchers:
            watcher.begun(event)

    def step(self, event: Step) -> None:
        for watcher in self.watchers:
            watcher.step(event)

    def ended(self, event: Ended) -> None:
        for watcher in self.watchers:
            watcher.ended(event)


class Clock:
    """Time left, from the pace since this process began."""

    def __init__(self, event: Begun):
        self.began, self.first, self.total = time.monotonic(), event.done, event.total

    def left(self, done: int) -> float | None:
        """Seconds, or None before the first step."""
        steps = done - self.first
        return (time.monotonic() - self.began) / steps * max(0, self.total - done) if steps > 0 else None


class JsonEvents:
    """One JSON object per line, for machines."""

    def begun(self, event: Begun) -> None:
        self.clock = Clock(event)
        say_event(event.name, folder=str(event.folder), total=event.total, done=event.done,
                  settings=dict(event.settings), **event.facts)  # fmt: skip

    def step(self, event: Step) -> None:
        say_event(event.name, done=event.done, **event.facts, seconds_left=self.clock.left(event.done))

    def ended(self, event: Ended) -> None:
        say_event("end", stopped=event.stopped, **event.facts)


class Lines:
    """A line for every step, or only one every so many seconds."""

    def __init__(self, every: float = 0.0):
        self.every = every

    def begun(self, event: Begun) -> None:
        self.clock, self.total, self.said = Clock(event), event.total, time.monotonic()
        say(event.greeting)

    def step(self, event: Step) -> None:
        now = time.monotonic()
        if now - self.said >= self.every or event.done >= self.total:
            self.said = now
            say(f"{event.line}  left {duration(self.clock.left(event.done))}")

    def ended(self, event: Ended) -> None:
        if event.farewell:
            say(event.farewell)


class Bar:
    """A progress bar; remarks are listed above it."""

    def begun(self, event: Begun) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        say(event.greeting)
        self.bar = Progress(
            BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}", markup=False),
            TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self.task = self.bar.add_task("", total=event.total, completed=event.done)
        self.bar.start()

    def step(self, event: Step) -> None:
        if event.remark:
            self.bar.console.print(visible(event.remark), markup=False, highlight=False)
        self.bar.update(self.task, completed=event.done, description=visible(event.state))

    def ended(self, event: Ended) -> None:
        self.bar.stop()
        if event.farewell:
            say(event.farewell)


class TensorBoard:
    """Writes scalars by number into the folder `tensorboard` of the run."""

    def __init__(self, folder: Path):
        found = _needed("torch.utils.tensorboard", "tensorboard")
        place = folder / "tensorboard"
        if place.is_symlink():  # it would lead out of the folder
            raise error("UNI070", f"expected a folder, but {place} is a link", None, "move it away")
        self.writer: Any = found.SummaryWriter(str(place))

    def begun(self, event: Begun) -> None:
        self.writer.add_text("settings", "\n".join(f"    {k}: {v}" for k, v in event.settings.items()))

    def step(self, event: Step) -> None:
        for name, value in event.scalars.items():
            self.writer.add_scalar(name, value, event.number)

    def ended(self, event: Ended) -> None:
        self.writer.close()


class WeightsAndBiases:
    """Logs the same numbers to a project; where and whether they are sent is up to the settings of wandb.

    `session` says what wandb called the run when it was begun, so that it goes on there; `keep` remembers it.
    """

    def __init__(self, project: str, session: str = "", keep: Callable[[str], None] = lambda session: None):
        self.project, self.wandb, self.session, self.keep = project, _needed("wandb", "wandb"), session, keep
        self.run: Any = None

    def begun(self, event: Begun) -> None:
        known = {"id": self.session, "resume": "allow"} if self.session else {}
        self.run = self.wandb.init(project=self.project, name=event.folder.name, config=dict(event.settings), **known)
        self.keep(str(self.run.id))

    def step(self, event: Step) -> None:
        self.run.log({"number": event.number, **event.scalars})

    def ended(self, event: Ended) -> None:
        self.run.finish(exit_code=int(event.stopped == "failed"))


def watcher_for(as_json: bool, every: float = 0.0, further: Sequence[Watcher] = ()) -> Watcher:
    """The one for where standard output goes, with further ones beside it."""
    on_screen = sys.stdout is not None and sys.stdout.isatty()
    first: Watcher = JsonEvents() if as_json else Bar() if on_screen else Lines(every)
    return Several([first, *further])


def loggers(
    folder: Path, tensorboard: bool, project: str | None, session: object = "",
    keep: Callable[[str], None] = lambda session: None,
) -> list[Watcher]:  # fmt: skip
    """The watchers that write curves for other programs, see `WeightsAndBiases`."""
    found: list[Watcher] = [TensorBoard(folder)] if tensorboard else []
    if project:
        found.append(WeightsAndBiases(project, session if isinstance(session, str) else "", keep))
    return found


@contextmanager
def watched(watcher: Watcher, begun: Begun, end: Any) -> Iterator[Watcher]:
    """Begin and end the watching of a run, however it ends; Ctrl-C passes through. `end(stopped)` gives the event."""
    watcher.begun(begun)
    stopped = "failed"
    try:
        yield watcher
        stopped = ""
    except KeyboardInterrupt:
        stopped = "interrupted"
        raise
    finally:
        watcher.ended(end(stopped))


# ---- saying it -------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A line on standard output, without what could command a terminal; nothing where there is none."""
    _write(visible(text))


def say_event(event: str, **facts: Any) -> None:
    """An event as one line of JSON."""
    _write(json.dumps({"event": event, **facts}, allow_nan=False, default=str))


def _write(line: str) -> None:
    if sys.stdout is not None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def number(value: float | None) -> str:
    """With as many digits as a person can use."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10_000 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """h:mm:ss, or m:ss below an hour. Clocks may have been set back: what is negative is no time at all.

    >>> duration(3725), duration(61.4), duration(-5), duration(None)
    ('1:02:05', '1:01', '0:00', '?')
    """
    if seconds is None or seconds != seconds or seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _needed(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise error(
            "UNI071", f"expected the package {package}", None, f"pip install 'uninas-toolkit[{package}]'"
        ) from None
