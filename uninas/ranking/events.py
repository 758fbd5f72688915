"""What happens in a ranking, as plain events for whoever watches."""

from __future__ import annotations

from uninas.ranking.run import Ranking
from uninas.ranking.scoring import Outcome
from uninas.runs.progress import Begun, Ended, Step


def begun(ranking: Ranking) -> Begun:
    """The ranking is open; some scores may be there already."""
    s, there = ranking.settings, ranking.total - len(ranking.jobs)
    before = f", {there} of them are there" if there else ""
    greeting = (
        f"scoring {ranking.total} networks ({', '.join(s.names)}) by {', '.join(s.components)} with {s.seeds} "
        f"seed{'s' * (s.seeds > 1)} in {ranking.folder}{before}"
    )
    if ranking.empty:
        greeting += f"; {ranking.empty} rows lack a number and are left out"
    return Begun("start", greeting, ranking.folder, ranking.total, there, s.as_dict())


def scored(ranking: Ranking, done: int, outcome: Outcome) -> Step:
    """A network has been scored on a data set, the `done`th of all."""
    scores = [
        {"seed": s.seed, "proxy": s.proxy, "value": s.value, "reason": s.reason, "failure": s.failure,
         "seconds": round(s.seconds, 4)}
        for s in outcome.scores
    ]  # fmt: skip
    facts = {"line": outcome.job.line, "dataset": outcome.job.dataset, "scores": scores}
    failures = f"  {ranking.failures.total()} scores failed" if ranking.failures else ""
    return Step("network", done, outcome.job.line, f"{done}/{ranking.total}{failures}", failures, facts=facts)


def ended(stopped: str) -> Ended:
    """All is done, or it was stopped."""
    return Ended("", stopped)
