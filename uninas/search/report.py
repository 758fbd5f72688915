"""What remains of a run: the best architecture as text and picture, a table, a plot, and a page that shows them all.

Files appear whole or not at all: each is written beside its place and then moved there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from uninas.printer import dumps
from uninas.render import render
from uninas.report import write_page
from uninas.search.run import Run


def write_report(run: Run) -> list[Path]:
    """Write all files of the report into the folder of the run; without a score, only the table. Returns the paths."""
    written = [_write(run.folder / "candidates.csv", lambda path: path.write_text(table(run), encoding="utf-8"))]
    if run.best is None:
        return written
    graph = run.graph(run.best)
    written.append(_write(run.folder / "best.uni", lambda path: path.write_text(_best_text(run), encoding="utf-8")))
    written.append(_write(run.folder / "best.svg", lambda path: render(graph, path)))
    for kind in ("svg", "png"):
        written.append(_write(run.folder / f"score_vs_params.{kind}", lambda path: plot(run, path)))
    return [*written, write_page(run.folder)]


def table(run: Run) -> str:
    """All candidates as comma-separated values, one row each."""
    candidates = list(run.store)
    components = sorted({name for candidate in candidates for name in candidate.components})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["number", "parent", "score", "params", "flops", "operations", *components, "rejected", "seconds", "seed",
         "failure", "edit", "key"]
    )  # fmt: skip
    for c in candidates:
        writer.writerow(
            [c.number, c.parent, c.score, c.params, c.flops, c.operations,
             *(c.components.get(name) for name in components), sum(c.refused.values()), f"{c.seconds:.3f}", c.seed,
             c.failure, c.edit, c.key]
        )  # fmt: skip
    return out.getvalue()


def plot(run: Run, path: Path) -> None:
    """Score against parameters, coloured by when a candidate came; the start and the best are marked."""
    import matplotlib as mpl
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    scored = [(c.params / 1e6, c.score, c.number) for c in run.store if c.score is not None]
    params, scores, numbers = zip(*scored, strict=True)
    with mpl.rc_context({"svg.hashsalt": "uninas", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot()
        dots = axes.scatter(params, scores, c=numbers, cmap="viridis", s=18)
        marked = {"start": scored[0], "best": next(row for row in scored if run.best and row[2] == run.best.number)}
        for (name, (x, y, _)), marker in zip(marked.items(), "s*", strict=True):
            label = f"{name} ({y:.4g})"
            axes.scatter([x], [y], marker=marker, s=140, facecolors="none", edgecolors="crimson", label=label)
        axes.set(xlabel="parameters (millions)", ylabel=run.plan.settings.proxy)
        axes.legend()
        axes.grid(alpha=0.3)
        figure.colorbar(dots, label="candidate")
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _summary(run: Run) -> str:
    assert run.best is not None
    return (
        f"{len(run) - 1} candidates from {run.plan.start.name}; {run.rejected} moves rejected, {run.failed} candidates "
        f"failed. The best is number {run.best.number}: {run.plan.settings.proxy} {run.best.score:.6g}, "
        f"{run.best.params:,} parameters, {run.best.flops:,} FLOPs (2 x MACs)."
    )


def _best_text(run: Run) -> str:
    assert run.best is not None
    return f"# {_summary(run)}\n{dumps(run.graph(run.best))}"


def _write(path: Path, write: Callable[[Path], object]) -> Path:
    beside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
