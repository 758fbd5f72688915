"""What long-running commands share: a polite end, devices for workers, and files that are whole or absent."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from uninas.errors import error


@contextmanager
def terminable() -> Iterator[None]:
    """A polite kill (SIGTERM) stops the work as Ctrl-C does: by a KeyboardInterrupt."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def own_device(device: str, index: int) -> str:
    """Where worker `index` computes. 'cuda' is any GPU: of several, worker n has the one of that number, in turn."""
    if device != "cuda":
        return device
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{index % count}" if count > 1 else device


def written(path: Path, write: Callable[[Path], object]) -> Path:
    """`path`, after `write` has filled a file beside it that then takes its name. Raises UNI100 where that fails."""
    beside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(beside)
        beside.replace(path)
    except OSError as problem:
        raise error("UNI100", f"cannot write {path}: {problem.strerror or problem}") from None
    finally:
        beside.unlink(missing_ok=True)
    return path
