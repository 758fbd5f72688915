"""What is seen while a run goes on: a bar on a terminal, plain lines in a pipe, or one JSON object per line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from uninas.mutate import record
from uninas.runs.progress import duration, number, say
from uninas.search.run import Run
from uninas.search.store import Candidate


class Watcher(Protocol):
    """Is told what happens in a run."""

    def begin(self, run: Run, iterations: int) -> None:
        """The run is open; some candidates may be there already."""

    def candidate(self, run: Run, candidate: Candidate) -> None:
        """A candidate has been scored and stored."""

    def end(self, run: Run, stopped: str) -> None:
        """The run is over; `stopped` says why, when it came before its end."""


class Several:
    """Tells several watchers."""

    def __init__(self, watchers: Sequence[Watcher]):
        self.watchers = watchers

    def begin(self, run: Run, iterations: int) -> None:
        for watcher in self.watchers:
            watcher.begin(run, iterations)

    def candidate(self, run: Run, candidate: Candidate) -> None:
        for watcher in self.watchers:
            watcher.candidate(run, candidate)

    def end(self, run: Run, stopped: str) -> None:
        for watcher in self.watchers:
            watcher.end(run, stopped)


class Clock:
    """Time left, from the pace since this process began."""

    def __init__(self, run: Run, iterations: int):
        self.began, self.first, self.last = time.monotonic(), len(run), iterations + 1

    def left(self, run: Run) -> float | None:
        """Seconds, or None before the first candidate."""
        done = len(run) - self.first
        return (time.monotonic() - self.began) / done * (self.last - len(run)) if done else None


class JsonEvents:
    """One JSON object per line, for machines."""

    def begin(self, run: Run, iterations: int) -> None:
        self.clock = Clock(run, iterations)
        event = "resume" if run.resumed else "start"
        self.say(event, folder=str(run.folder), iterations=iterations, done=run.resumed, settings=run.plan.as_dict())

    def candidate(self, run: Run, candidate: Candidate) -> None:
        self.say(
            "candidate",
            number=candidate.number,
            parent=candidate.parent,
            edit=record(candidate.edit) if candidate.edit else None,
            score=candidate.score,
            components=dict(candidate.components),
            rung=candidate.rung,
            reason=candidate.reason,
            failure=candidate.failure,
            worker=candidate.worker,
            params=candidate.params,
            flops=candidate.flops,
            seconds=round(candidate.seconds, 3),
            best=run.best.score if run.best else None,
            accepted=len(run) - 1,
            rejected=run.rejected,
            failed=run.failed,
            seconds_left=self.clock.left(run),
        )

    def end(self, run: Run, stopped: str) -> None:
        best = run.best
        self.say("end", stopped=stopped, candidates=len(run), best=best and best.number, score=best and best.score)

    @staticmethod
    def say(event: str, **values: Any) -> None:
        say(json.dumps({"event": event, **values}))


class Lines:
    """One line per candidate."""

    def begin(self, run: Run, iterations: int) -> None:
        self.clock, self.iterations = Clock(run, iterations), iterations
        say(_greeting(run, iterations))

    def candidate(self, run: Run, candidate: Candidate) -> None:
        left = self.clock.left(run)
        place = str(candidate.number).rjust(len(str(self.iterations)))
        say(
            f"{place}/{self.iterations}  score {_shown(candidate)}  {_state(run)}"
            f"  {candidate.params / 1e6:.2f} M params  {candidate.flops / 1e9:.2f} GFLOPs  {candidate.seconds:.1f} s"
            f"  left {duration(left)}  {candidate.edit or 'the start'}"
        )

    def end(self, run: Run, stopped: str) -> None:
        say(_farewell(run, stopped))


class Bar:
    """A progress bar; candidates that failed are listed above it."""

    def begin(self, run: Run, iterations: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        say(_greeting(run, iterations))
        self.bar = Progress(
            BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"), TextColumn("left"),
            TimeRemainingColumn(),
        )  # fmt: skip
        self.task = self.bar.add_task("", total=iterations, completed=max(0, len(run) - 1))
        self.bar.start()

    def candidate(self, run: Run, candidate: Candidate) -> None:
        if candidate.failure:
            self.bar.console.print(f"{candidate.number}: {candidate.edit}: {candidate.failure}", markup=False)
        self.bar.update(self.task, completed=len(run) - 1, description=_state(run))

    def end(self, run: Run, stopped: str) -> None:
        self.bar.stop()
        say(_farewell(run, stopped))


@contextmanager
def watched(watcher: Watcher, run: Run, iterations: int) -> Iterator[Watcher]:
    """Begin and end the watching of a run, however it ends; Ctrl-C passes through."""
    watcher.begin(run, iterations)
    stopped = "failed"
    try:
        yield watcher
        stopped = ""
    except KeyboardInterrupt:
        stopped = "interrupted"
        raise
    finally:
        watcher.end(run, stopped)


def _greeting(run: Run, iterations: int) -> str:
    if run.resumed:
        return f"resuming {run.folder}: {max(0, run.resumed - 1)} of {iterations} candidates are there"
    return f"searching {iterations} candidates from {run.plan.start.name} in {run.folder}"


def _farewell(run: Run, stopped: str) -> str:
    done = f"{max(0, len(run) - 1)} candidates, {run.rejected} moves rejected, {run.failed} failed"
    best = f"; best score {_shown(run.best)} is number {run.best.number}" if run.best else ""
    again = f"\n{stopped}: to go on, uninas resume {run.folder}" if stopped else ""
    why = run.search.exhausted
    end = f"\nno further candidate was found: {why.diagnostics[0].message}" if why else ""
    return f"{done}{best}{end}{again}"


def _state(run: Run) -> str:
    best = f"best {_shown(run.best)}" if run.best else "no score yet"
    failed = f"  failed {run.failed}" if run.failed else ""
    return f"{best}  accepted {len(run) - 1}  rejected {run.rejected}{failed}"


def _shown(candidate: Candidate) -> str:
    return "failed" if candidate.score is None else number(candidate.score)
