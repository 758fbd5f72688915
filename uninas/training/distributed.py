"""The processes of one training, as torchrun, SLURM, Ray Train and accelerate describe them: in the environment."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from uninas.errors import error, shown
from uninas.proxies.guard import usable_device


@dataclass(frozen=True)
class World:
    """This process among all of a training."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes, in their order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def same_buffers(self, module: nn.Module) -> None:
        """Let all processes evaluate with the mean of their running statistics: each has seen other images."""
        if self.size > 1:
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    self.total(buffer).div_(self.size)
                else:
                    dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str) -> Iterator[World]:
    """The processes that the environment names, connected; without RANK and WORLD_SIZE this one alone.

    On GPUs they speak NCCL and each takes the GPU of its LOCAL_RANK, elsewhere gloo. Raises UninasError when the
    environment is incomplete, or there is no such device.
    """
    place = usable_device(device)
    size = _number("WORLD_SIZE", 1)
    if size <= 1:
        yield World(device=place)
        return
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise error(
                "UNI130",
                f"expected {name} in the environment, because WORLD_SIZE is {size}",
                None,
                "start the processes with torchrun: torchrun --nproc_per_node 2 -m uninas train ...",
            )
    rank = _number("RANK", 0)
    if rank >= size:
        raise error("UNI130", f"expected RANK in the environment below WORLD_SIZE, {size}, but got {rank}")
    if place.type == "cuda":
        place = usable_device(f"cuda:{_number('LOCAL_RANK', rank % torch.cuda.device_count())}")
        torch.cuda.set_device(place)
    try:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo", rank=rank, world_size=size)
    except (RuntimeError, ValueError) as problem:  # torch says so of addresses that do not exist, and of strangers
        raise error("UNI130", f"the {size} processes cannot be connected: {shown(problem, 200)}") from None
    try:
        with warnings.catch_warnings():
            # The first is said of every 1 x 1 kernel, whose layouts are the same in memory. The second is of a name
            # that torch 2.14 changed; older ones do not know the new one.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            yield World(rank, size, place)
    finally:
        dist.destroy_process_group()


def _number(name: str, default: int) -> int:
    """A number of the environment. Raises UninasError for what is none."""
    text = os.environ.get(name, "") or str(default)
    if not (text.isdecimal() and len(text) < 8):
        raise error("UNI130", f"expected {name} in the environment to be a number, but got {shown(text)}")
    return int(text)
