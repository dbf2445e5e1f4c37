"""Whether freed memory stays, counted by the pages that the system has to fill again."""

import subprocess
import sys

import pytest
import tiny

from medmt5 import host_memory

PROGRAM = """
import ctypes, resource, sys
from medmt5.host_memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
size = 64 * 2**20
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
    ctypes.memset(block, 1, size)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again_without_new_pages():
    pages = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, how],
                env=tiny.subprocess_env(),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for how in ("given back", "kept")
    }
    # 64 MiB are 32 huge pages at least; a few faults may come from elsewhere in the process.
    assert pages["kept"] < 16 < 32 <= pages["given back"]


def test_an_accelerators_host_is_left_alone(monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: pytest.fail("called"))
    host_memory.keep_freed_memory()
