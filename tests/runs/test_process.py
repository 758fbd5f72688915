"""Processes that score keep their memory, and what they have loaded."""

import gc
import os
import platform
import subprocess
import sys
import weakref

import pytest

from uninas.runs.process import freeze_gc

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
    try:
        freeze_gc()
        assert gc.get_freeze_count() > len(old)
        assert not any(thing is old for thing in gc.get_objects())
        new = circle()
        gc.collect()
        assert new() is None
    finally:
        gc.unfreeze()
