"""What happens in a training, as plain events for whoever watches."""

from __future__ import annotations

from uninas.errors import shown
from uninas.runs.progress import Begun, Ended, Step, Watcher
from uninas.training import loop
from uninas.training.run import Session, TrainingRun


def begun(session: Session, done: int = 0) -> Begun:
    """Everything is read and checked; `done` updates are there already."""
    word = "resuming" if done else "training"
    greeting = "\n".join([f"{word} {session.graph.name} in {session.folder}", *session.plan()])
    settings = {name: value for name, value in session.settings.items() if name != "network"}
    return Begun("train", greeting, session.folder, session.updates, done, settings, {"plan": session.plan()})


def ended(run: TrainingRun | None, stopped: str) -> Ended:
    """The training is over; `stopped` says why, when that came before its end."""
    if run is None or stopped:
        return Ended(f"{stopped}: to go on, uninas resume FOLDER" if stopped else "", stopped)
    return Ended("\n".join(said(run)), "", {"outcome": run.outcome, "figures": run.figures})


def said(run: TrainingRun) -> list[str]:
    """How a training ended, in sentences."""
    result = run.result
    if run.outcome == "diverged":
        return [
            f"diverged: the loss of update {result.get('update')} (learning rate {result.get('rate')}) is not finite",
            f"its images are {shown(result.get('images'))}",
            f"the last good checkpoint is {run.folder / 'last.pt'}; try a smaller lr, or a longer warm-up",
        ]
    figures = "  ".join(f"{name} {value:.2f}" for name, value in run.figures.items())
    return [f"{run.outcome} in {run.folder}: {figures}"]


class Told:
    """Passes what the loop says on to a watcher."""

    def __init__(self, watcher: Watcher, every: int = 1):
        self.watcher, self.every = watcher, every

    def __call__(self, event: loop.Step | loop.Row) -> None:
        if isinstance(event, loop.Step):
            state = f"loss {event.loss:.4f}  {event.images_per_second:.0f} images/s  {event.waiting:.0%} waiting"
            line = f"epoch {event.epoch + 1}  update {event.update}/{event.updates}  {state}  rate {event.rate:.3g}"
            scalars = {"loss": event.loss, "rate": event.rate, "images_per_second": event.images_per_second}
            self.done = event.update
            self.watcher.step(Step("update", event.update, event.update, line, state, "", dict(scalars), scalars))
        else:
            figures = {name: value for name, value in event.items() if name != "epoch"}
            text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            remark = f"epoch {event['epoch']:.0f}: {text}"
            scalars = {f"epoch/{name}": value for name, value in figures.items()}
            self.watcher.step(Step("epoch", self.done, self.done, remark, "", remark, dict(event), scalars))
