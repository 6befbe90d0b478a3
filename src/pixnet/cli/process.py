"""Settings of the whole process that make numerical work on a CPU steady; the command line's alone to choose."""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def let_threads_sleep() -> None:
    """Let idle threads of OpenMP sleep, unless the environment says otherwise.

    Those that wait by spinning slow a shared machine down many times over. Read when torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> None:
    """Keep freed memory for the next array while training, unless the environment sets malloc otherwise.

    glibc hands every large array back to the system as soon as it is freed: getting its pages anew, zeroed, took a
    third of a training step. Where arrays differ in size from one to the next, as in prediction, the memory would
    only grow.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
