"""Events for TensorBoard and for Weights & Biases: two optional ways to watch a run, each in a few lines."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from uninas.errors import error
from uninas.search.run import Run
from uninas.search.store import Candidate


class TensorBoard:
    """Writes scalars by candidate number into the folder `tensorboard` of the run."""

    def __init__(self, folder: Path):
        found = _needed("torch.utils.tensorboard", "tensorboard")
        self.writer: Any = found.SummaryWriter(str(folder / "tensorboard"))

    def begin(self, run: Run, iterations: int) -> None:
        self.writer.add_text("settings", "\n".join(f"    {k}: {v}" for k, v in run.plan.as_dict().items()))

    def candidate(self, run: Run, candidate: Candidate) -> None:
        for name, value in scalars(run, candidate).items():
            self.writer.add_scalar(name, value, candidate.number)

    def end(self, run: Run, stopped: str) -> None:
        self.writer.close()


class WeightsAndBiases:
    """Logs the same numbers to a project; where and whether they are sent is up to the settings of wandb."""

    def __init__(self, project: str):
        self.project, self.wandb = project, _needed("wandb", "wandb")
        self.session: Any = None

    def begin(self, run: Run, iterations: int) -> None:
        self.session = self.wandb.init(project=self.project, name=run.folder.name, config=run.plan.as_dict())

    def candidate(self, run: Run, candidate: Candidate) -> None:
        self.session.log({"number": candidate.number, **scalars(run, candidate)})

    def end(self, run: Run, stopped: str) -> None:
        self.session.finish(exit_code=int(stopped == "failed"))


def scalars(run: Run, candidate: Candidate) -> dict[str, float]:
    """What is worth a curve: the score, its parts, the best so far and the costs."""
    found = {"score": candidate.score, "best": run.best.score if run.best else None}
    found |= {f"components/{name}": value for name, value in candidate.components.items()}
    found |= {"params": candidate.params, "flops": candidate.flops, "seconds": candidate.seconds, "failed": run.failed}
    return {name: value for name, value in found.items() if value is not None}


def _needed(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise error(
            "UNI071", f"expected the package {package}", None, f"pip install 'uninas-toolkit[{package}]'"
        ) from None
