"""Processes that score keep their memory, and what they have loaded."""

import gc
import os
import platform
import stat
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from uninas.errors import UninasError
from uninas.runs.process import freeze_gc, read_json, write_text

FREED = """
import ctypes

from uninas.runs.process import keep_memory

def resident():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4 // 1024

keep_memory()
c = ctypes.CDLL(None)
c.calloc.restype = ctypes.c_void_p
before = resident()
place = c.calloc(1, 256 * 2**20)
ctypes.memset(place, 1, 256 * 2**20)
c.free(ctypes.c_void_p(place))
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
@pytest.mark.parametrize(("setting", "kept"), [({}, 256), ({"MALLOC_MMAP_MAX_": "65536"}, 0)])
def test_memory_that_was_used_is_kept_unless_the_environment_decides(setting, kept):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    result = subprocess.run([sys.executable, "-c", FREED], env=own | setting, capture_output=True, text=True)
    assert int(result.stdout) == pytest.approx(kept, abs=16), result.stderr


def test_what_is_loaded_is_not_looked_at_again_but_new_garbage_is_collected():
    class Node:
        pass

    def circle() -> weakref.ref:
        node = Node()
        node.itself = node
        return weakref.ref(node)

    old = [Node() for _ in range(3)]
    freeze_gc()
    assert gc.get_freeze_count() > len(old)
    assert not any(thing is old for thing in gc.get_objects())
    new = circle()
    gc.collect()
    assert new() is None


def test_a_device_is_written_into_and_not_replaced(tmp_path):
    """As root, a new file could take its name: then /dev/null would be gone for everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "told")
        assert os.read(reader, 10) == b"told" and stat.S_ISFIFO(pipe.lstat().st_mode)
    finally:
        os.close(reader)
    (tmp_path / "link").symlink_to(pipe)
    write_text(tmp_path / "link", "kept")
    assert (tmp_path / "link").read_text() == "kept" and not (tmp_path / "link").is_symlink()


def test_a_file_of_json_that_never_ends_or_is_none_is_a_message(tmp_path):
    for content in (b"[" * 100_000, b"\xff", b"{", b"9" * 5000):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(UninasError, match="cannot read"):
            read_json(tmp_path / "a.json", "UNI070")
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(UninasError, match="cannot read"):
            read_json(path, "UNI070")
    (tmp_path / "a.json").write_text("[1, 2]")
    assert read_json(tmp_path / "a.json", "UNI070", 6) == [1, 2]
    with pytest.raises(UninasError, match="at most 5 bytes"):
        read_json(tmp_path / "a.json", "UNI070", 5)
