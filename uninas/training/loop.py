"""The loop: updates of weights, one after another, that can be stopped and resumed anywhere without a trace.

An update is a group of `recipe.batch` images. The group is cut into `parts` of equal size; each process takes every
so-manieth part, and adds up the gradients of its parts. So two processes of one part each compute what one process
with two parts does, up to rounding. What is random depends on the seed, the epoch, the update and the part alone.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from uninas.backend.groups import parameter_groups
from uninas.errors import error
from uninas.training.distributed import World
from uninas.training.recipe import Recipe
from uninas.training.schedule import learning_rate
from uninas.training.seeds import generator, seed_of
from uninas.training.task import Task

Row = dict[str, float]
"""The figures of an epoch."""


class Diverged(Exception):
    """A loss or gradient that is not finite, with where it happened."""

    def __init__(self, update: int, rate: float, images: list[int]):
        super().__init__(f"the loss of update {update} is not finite")
        self.update, self.rate, self.images = update, rate, images


@dataclass(frozen=True)
class Step:
    """What happened in an update, for who watches."""

    epoch: int
    update: int
    updates: int
    loss: float
    rate: float
    images_per_second: float
    waiting: float
    """The part of the time that went by waiting for data, from 0 to 1."""


Watch = Callable[[Step | Row], None]


@dataclass
class Clock:
    """Where the time of an epoch goes. None of it decides anything."""

    began: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    images: int = 0

    def speed(self) -> tuple[float, float]:
        """Images per second, and the part of the time that was waiting."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        return self.images / seconds, self.waited / seconds


class _Loss(nn.Module):
    """The model with its loss, so that processes meet in one forward pass."""

    def __init__(self, task: Task, module: nn.Module):
        super().__init__()
        self.module = module
        self.loss = task.loss

    def forward(self, batch: Any) -> Tensor:
        return self.loss(self.module, batch)


class Trainer:
    """The state of a training: weights, optimiser, number of the update, and the figures so far."""

    def __init__(self, task: Task, module: nn.Module, recipe: Recipe, *, world: World, seed: int, parts: int,
                 precision: str = "fp32"):  # fmt: skip
        self.task, self.recipe, self.world, self.seed, self.parts = task, recipe, world, seed, parts
        self.group = min(recipe.batch, len(task))
        self.per_epoch = len(task) // self.group
        if parts % world.size or not 1 <= parts <= self.group:
            raise error("UNI130", f"expected the {self.group} images of an update in equal parts for "
                        f"{world.size} processes, but got {parts} parts", None,
                        "choose --per-step so that batch / (processes x per-step) is a whole number")  # fmt: skip
        if recipe.batch_norm == "sync" and world.size > 1 and world.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        self.module = _channels_last(module.to(world.device))
        self.optimizer = _optimizer(recipe, self.module)
        self.update = 0
        self.rows: list[Row] = []
        self.loss = 0.0  # summed over the updates of this epoch
        self.bf16 = precision == "bf16"
        self.average = _average(recipe, self.module)
        whole: nn.Module = _Loss(task, self.module)
        if world.size > 1:
            whole = DistributedDataParallel(whole, broadcast_buffers=False)
        self.whole = whole

    @property
    def updates(self) -> int:
        """Number of batches."""
        return self.recipe.epochs * self.per_epoch

    @property
    def epoch(self) -> int:
        """The one that is going on."""
        return self.update // self.per_epoch

    # ---- the state ---------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The state from which `restore` goes on."""
        return {
            "update": self.update,
            "rows": self.rows,
            "loss": self.loss,
            "weights": self.task.weights(self.module),
            "average": self.task.weights(self.average.module) if self.average else None,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.update, self.rows, self.loss = state["update"], list(state["rows"]), state["loss"]
        self.task.load(self.module, state["weights"])
        if self.average:
            self.task.load(self.average.module, state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    # ---- training ----------------------------------------------------------------------------------------------

    def run(self, watch: Watch | None = None, save: Callable[[], None] | None = None, every: float = 600) -> None:
        """Train to the end. `save` is called after every epoch, and after an update when `every` seconds have passed.

        SIGINT and SIGTERM stop after the update that is going on, with a last save, by a KeyboardInterrupt. Raises
        Diverged.
        """
        save = save or (lambda: None)
        saved = time.monotonic()
        with stoppable() as stop, _own_randomness(self.world.device):
            while self.update < self.updates:
                epoch, clock = self.epoch, Clock()
                self.whole.train()
                if self.recipe.batch_norm == "frozen":
                    _freeze(self.module)
                for loss, rate in self.steps(epoch, clock):
                    if watch:
                        watch(Step(epoch, self.update, self.updates, loss, rate, *clock.speed()))
                    over = self.update % self.per_epoch == 0
                    if not over and (stop() or time.monotonic() - saved > every):
                        save()
                        saved = time.monotonic()
                        if stop():
                            raise KeyboardInterrupt
                self.rows.append(self.row(epoch, clock))
                self.loss = 0.0
                if watch:
                    watch(self.rows[-1])
                save()
                saved = time.monotonic()
                if stop():
                    raise KeyboardInterrupt

    def steps(self, epoch: int, clock: Clock) -> Iterator[tuple[float, float]]:
        """The updates of an epoch that are still to come, each with its loss and learning rate."""
        drawn = torch.randperm(len(self.task), generator=generator(self.seed, "order", epoch))
        order = self.task.ordered(drawn, self.group)
        groups = order[: self.per_epoch * self.group].reshape(self.per_epoch, self.group)
        todo = groups[self.update % self.per_epoch :]
        cut = [[part.tolist() for part in group.tensor_split(self.parts)] for group in todo]
        mine = [group[self.world.rank :: self.world.size] for group in cut]
        batches = self.task.batches([part for group in mine for part in group], epoch, self.seed, self.world)
        try:
            for group in mine:
                rate = learning_rate(self.recipe, self.update, self.per_epoch)
                for each in self.optimizer.param_groups:
                    each["lr"] = rate
                loss = self.step(group, batches, clock)
                if not math.isfinite(loss):
                    raise Diverged(self.update, rate, todo[0].tolist())
                todo = todo[1:]
                self.loss += loss
                self.update += 1
                clock.images += self.group
                yield loss, rate
        finally:
            close = getattr(batches, "close", None)
            if close:
                close()

    def step(self, group: list[list[int]], batches: Iterator[Any], clock: Clock) -> float:
        """One update by the gradients of all parts; returns the loss, NaN when it or the gradient is not finite."""
        total = torch.zeros((), dtype=torch.float64, device=self.world.device)
        for number, part in enumerate(group):
            began = time.perf_counter()
            batch = next(batches)
            clock.waited += time.perf_counter() - began
            place = number * self.world.size + self.world.rank
            torch.manual_seed(seed_of(self.seed, "step", self.update, place))
            last = number == len(group) - 1
            alone = isinstance(self.whole, DistributedDataParallel) and not last
            with self.whole.no_sync() if alone else nullcontext():  # type: ignore[operator]
                with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
                    loss = self.whole(batch) * (len(part) / self.group)
                (loss * self.world.size).backward()  # processes average their gradients
            total += loss.detach()
        value = self.world.total(total).item()
        parameters = [each for each in self.module.parameters() if each.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip or math.inf).item()
        if math.isfinite(value) and math.isfinite(norm):
            self.optimizer.step()
            if self.average:
                self.average.update(self.module, self.update)
        self.optimizer.zero_grad()
        return value if math.isfinite(norm) else math.nan

    def row(self, epoch: int, clock: Clock) -> Row:
        """The figures of an epoch that is over, with those of the test when it is time for one."""
        speed, waiting = clock.speed()
        row = {
            "epoch": epoch + 1.0,
            "loss": self.loss / self.per_epoch,
            "rate": learning_rate(self.recipe, self.update - 1, self.per_epoch),
            "images_per_second": speed,
            "waiting": waiting,
        }
        if self.world.device.type == "cuda":
            row["memory"] = float(torch.cuda.max_memory_allocated(self.world.device))
        every = self.recipe.evaluate_every
        if self.update == self.updates or (every and (epoch + 1) % every == 0):
            row |= self.evaluate()
        return row

    def evaluate(self) -> dict[str, float]:
        """Figures on the test images, of the averaged weights where there are any."""
        module = self.average.module if self.average else self.module
        self.world.same_buffers(module)
        module.eval()
        try:
            with torch.inference_mode(), torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
                return self.task.evaluate(module, self.world)
        finally:
            module.train()

    def weights(self) -> dict[str, Tensor]:
        """What was trained: the averaged weights where there are any."""
        return self.task.weights(self.average.module if self.average else self.module)


def _channels_last(module: nn.Module) -> nn.Module:
    """The module with its kernels laid out channels last, which is faster; stacked ones have an axis more and stay."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def _freeze(module: nn.Module) -> None:
    """Let batch norms use the statistics that they have, and leave those alone."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


def _optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    groups = parameter_groups(module, recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return torch.optim.AdamW(groups, recipe.lr)


def _average(recipe: Recipe, module: nn.Module) -> Any:
    """timm's moving average of the weights; None where the recipe has none."""
    if not recipe.ema:
        return None
    try:
        from timm.utils.model_ema import ModelEmaV3
    except ImportError:
        raise missing("a moving average of the weights") from None
    return ModelEmaV3(module, decay=recipe.ema)


def missing(what: str) -> Exception:
    """The error for what needs the extra."""
    return error("UNI130", f"{what} needs packages that are not installed", None, "pip install 'uninas-toolkit[train]'")


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Yields a question: whether somebody has asked to stop, by Ctrl-C or a polite kill. A second one stops at once."""
    asked = False

    def stop(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield lambda: False
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """torch's own generators, which dropout draws from, are afterwards as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
