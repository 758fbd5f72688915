"""What is seen while networks are scored: a bar on a terminal, plain lines in a pipe, or one JSON object per line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from uninas.runs.progress import say

if TYPE_CHECKING:
    from uninas.ranking.run import Ranking
    from uninas.ranking.scoring import Outcome

EVERY = 30.0  # seconds between lines


class Watcher(Protocol):
    """Is told what happens."""

    def begin(self, ranking: Ranking) -> None:
        """The ranking is open; some scores may be there already."""

    def outcome(self, done: int, ranking: Ranking, outcome: Outcome) -> None:
        """A network has been scored on a data set, the `done`th of `ranking.total`."""

    def end(self) -> None:
        """All is done, or it was stopped."""


class JsonEvents:
    """One JSON object per line, for machines."""

    def begin(self, ranking: Ranking) -> None:
        done = ranking.total - len(ranking.jobs)
        self.say("start", folder=str(ranking.folder), total=ranking.total, done=done,
                 settings=ranking.settings.as_dict())  # fmt: skip

    def outcome(self, done: int, ranking: Ranking, outcome: Outcome) -> None:
        scores = [
            {"seed": s.seed, "proxy": s.proxy, "value": s.value, "failure": s.failure, "seconds": round(s.seconds, 4)}
            for s in outcome.scores
        ]
        self.say("network", done=done, line=outcome.job.line, dataset=outcome.job.dataset, scores=scores)

    def end(self) -> None:
        self.say("end")

    @staticmethod
    def say(event: str, **facts: Any) -> None:
        """Print one event."""
        say(json.dumps({"event": event, **facts}, allow_nan=False))


class Lines:
    """A line now and then."""

    def begin(self, ranking: Ranking) -> None:
        say(greeting(ranking))
        self.began = self.said = time.monotonic()
        self.before = ranking.total - len(ranking.jobs)

    def outcome(self, done: int, ranking: Ranking, outcome: Outcome) -> None:
        now = time.monotonic()
        if now - self.said >= EVERY or done == ranking.total:
            self.said = now
            left = (now - self.began) / (done - self.before) * (ranking.total - done)
            say(f"{done}/{ranking.total}  {timedelta(seconds=round(left))} left{failures(ranking)}")

    def end(self) -> None:
        pass


class Bar:
    """A bar on a terminal."""

    def begin(self, ranking: Ranking) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        say(greeting(ranking))
        self.bar = Progress(BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn(),
                            TextColumn("{task.description}"))  # fmt: skip
        before = ranking.total - len(ranking.jobs)
        self.task = self.bar.add_task("", total=ranking.total, completed=before)
        self.bar.start()

    def outcome(self, done: int, ranking: Ranking, outcome: Outcome) -> None:
        self.bar.update(self.task, completed=done, description=failures(ranking))

    def end(self) -> None:
        self.bar.stop()


@contextmanager
def watched(watcher: Watcher, ranking: Ranking) -> Iterator[None]:
    """Begin and end the watching, however it ends."""
    watcher.begin(ranking)
    try:
        yield
    finally:
        watcher.end()


def greeting(ranking: Ranking) -> str:
    """What is about to happen."""
    s, there = ranking.settings, ranking.total - len(ranking.jobs)
    before = f", {there} of them are there" if there else ""
    return (
        f"scoring {ranking.total} networks ({', '.join(s.names)}) by {', '.join(s.components)} with {s.seeds} "
        f"seed{'s' * (s.seeds > 1)} in {ranking.folder}{before}"
    )


def failures(ranking: Ranking) -> str:
    """How many scores failed, or nothing."""
    return f"  {ranking.failures.total()} scores failed" if ranking.failures else ""
