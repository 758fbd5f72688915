"""What long-running commands share: a polite end, memory, devices for workers, and files that are whole or absent."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import signal
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from uninas.errors import error, shown

MOST_JSON = 64 * 2**20  # bytes of a file


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


def keep_memory() -> None:
    """Let this process keep memory that it has used, instead of giving it back to the system after every large tensor.

    To be given memory anew (and cleared) costs more time than much of what is then done with it. This is for whole
    processes that score, at their beginning: it cannot be undone. Only glibc, the C library of most Linux systems, can
    be told so; elsewhere nothing happens, nor where the environment has settings for glibc's malloc.
    """
    import ctypes

    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no C library by that name, or none that has the function
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from malloc.h


def bars_of_one_process() -> None:
    """Let tqdm guard its progress bars by a lock of this process alone.

    torch.fx asks for a bar, though a silent one, at every run of its interpreter. tqdm then makes a lock for all
    processes: a semaphore of the system, which a worker that is killed leaves behind, with a warning at the end.
    """
    with suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())


def freeze_gc() -> None:
    """Freeze the objects that exist now (`gc.freeze`), so that garbage collection does not look at them again.

    With torch there are 300 000 objects; a worker that scores small networks spends an eighth of its time on them.
    """
    gc.collect()
    gc.freeze()


def manage_memory(limit: float | None) -> None:
    """What a worker does about memory: keep it, or, where there is a limit (bytes), take no more than that.

    More is then an error in the candidate that asks for it; and none is kept, as that takes a third more.
    """
    if not limit:
        keep_memory()
        return
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit), resource.getrlimit(resource.RLIMIT_DATA)[1]))


def own_device(device: str, index: int) -> str:
    """Where worker `index` computes. 'cuda' is any GPU: of several, worker n has the one of that number, in turn."""
    if device != "cuda":
        return device
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{index % count}" if count > 1 else device


def written(path: Path, write: Callable[[Path], object]) -> Path:
    """`path`, after `write` has filled a file beside it that then takes its name. Raises UNI100 where that fails.

    The file beside it is new, of a name that nobody can guess: so in a folder that a stranger has prepared, no link
    of theirs is followed. A link of the name `path` is replaced, not what it leads to. A device (/dev/null) or a pipe
    of that name is written into.
    """
    beside: Path | None = None
    try:
        if _is_device(path):
            write(path)
            return path
        handle, name = tempfile.mkstemp(path.suffix, ".part-", path.parent)
        os.close(handle)
        beside = Path(name)
        write(beside)
        beside.chmod(0o666 & ~_mask())  # as any new file; made so, nobody else could have read it
        beside.replace(path)
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise error("UNI100", f"cannot write {shown(path, 200)}: {shown(why)}") from None
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)
    return path


def _is_device(path: Path) -> bool:
    """Whether there is a device or a pipe of this name; no link is followed."""
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)
    return False


def write_text(path: Path, text: str) -> Path:
    """The same for a text."""
    return written(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def text_of(path: Path, most: int) -> str:
    """The text in a file. Raises ValueError for what may never end, as devices and pipes, and for too many bytes."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("expected a file, but it is a folder or a device")
    if found.st_size > most:
        raise ValueError(f"expected at most {most:,} bytes, but it has {found.st_size:,}")
    return path.read_text(encoding="utf-8")


def read_json(path: Path, code: str, most: int = MOST_JSON) -> Any:
    """The value in a JSON file, which may be a stranger's. Raises an error of this code for what cannot be read."""
    try:
        return json.loads(text_of(path, most))
    except (OSError, ValueError, RecursionError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise error(code, f"cannot read {shown(path, 200)}: {shown(why, 100)}") from None


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as comma-separated values."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _mask() -> int:
    """The umask of the process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
