"""What happens in a search, as plain events for whoever watches."""

from __future__ import annotations

from uninas.mutate import record
from uninas.runs.progress import Begun, Ended, Step, number
from uninas.search.candidate import Candidate
from uninas.search.run import Run
from uninas.search.store import origin


def begun(run: Run, iterations: int) -> Begun:
    """The run is open; some candidates may be there already."""
    there = max(0, run.resumed - 1)
    if run.resumed:
        greeting = f"resuming {run.folder}: {there} of {iterations} candidates are there"
    else:
        greeting = f"searching {iterations} candidates from {run.plan.start.name} in {run.folder}"
    facts = {"iterations": iterations}
    name = "resume" if run.resumed else "start"
    return Begun(name, greeting, run.folder, iterations, there, run.plan.as_dict(), facts)


def scored(run: Run, iterations: int, candidate: Candidate) -> Step:
    """A candidate has been scored and stored."""
    done = max(0, len(run) - 1)
    place = str(candidate.number).rjust(len(str(iterations)))
    line = (
        f"{place}/{iterations}  score {_shown(candidate)}  {_state(run)}  {candidate.params / 1e6:.2f} M params"
        f"  {candidate.flops / 1e9:.2f} GFLOPs  {candidate.seconds:.1f} s  {candidate.edit or origin(candidate)}"
    )
    facts = {
        "number": candidate.number,
        "parent": candidate.parent,
        "edit": record(candidate.edit) if candidate.edit else None,
        "score": candidate.score,
        "components": dict(candidate.components),
        "rung": candidate.rung,
        "reason": candidate.reason,
        "failure": candidate.failure,
        "worker": candidate.worker,
        "params": candidate.params,
        "flops": candidate.flops,
        "seconds": round(candidate.seconds, 3),
        "best": run.best.score if run.best else None,
        "accepted": len(run) - 1,
        "rejected": run.rejected,
        "failed": run.failed,
    }
    remark = f"{candidate.number}: {candidate.edit}: {candidate.failure}" if candidate.failure else ""
    return Step("candidate", done, candidate.number, line, _state(run), remark, facts, _scalars(run, candidate))


def ended(run: Run, stopped: str) -> Ended:
    """The run is over; `stopped` says why, when it came before its end."""
    best, why = run.best, run.search.exhausted
    farewell = [f"{max(0, len(run) - 1)} candidates, {run.rejected} moves rejected, {run.failed} failed"]
    farewell[0] += f"; best score {_shown(best)} is number {best.number}" if best else ""
    farewell += [f"no further candidate was found: {why.diagnostics[0].message}"] if why else []
    farewell += [f"{stopped}: to go on, uninas resume {run.folder}"] if stopped else []
    facts = {"candidates": len(run), "best": best and best.number, "score": best and best.score}
    return Ended("\n".join(farewell), stopped, facts)


def _scalars(run: Run, candidate: Candidate) -> dict[str, float]:
    """What is worth a curve: the score, its parts, the best so far and the costs."""
    found = {"score": candidate.score, "best": run.best.score if run.best else None}
    found |= {f"components/{name}": value for name, value in candidate.components.items()}
    found |= {"params": candidate.params, "flops": candidate.flops, "seconds": candidate.seconds, "failed": run.failed}
    return {name: value for name, value in found.items() if value is not None}


def _state(run: Run) -> str:
    best = f"best {_shown(run.best)}" if run.best else "no score yet"
    failed = f"  failed {run.failed}" if run.failed else ""
    return f"{best}  accepted {len(run) - 1}  rejected {run.rejected}{failed}"


def _shown(candidate: Candidate) -> str:
    return "failed" if candidate.score is None else number(candidate.score)
