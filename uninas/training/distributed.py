"""The processes of one training, as torchrun, SLURM, Ray Train and accelerate describe them: in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from uninas.errors import error


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
        """Let all processes evaluate with the running statistics of the first."""
        if self.size > 1:
            for buffer in module.buffers():
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
    place = _device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
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
    rank = int(os.environ["RANK"])
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank % torch.cuda.device_count())))
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", rank=rank, world_size=size)
    try:
        yield World(rank, size, place)
    finally:
        dist.destroy_process_group()


def _device(name: str) -> torch.device:
    from uninas.proxies.guard import usable_device

    return usable_device(name)
