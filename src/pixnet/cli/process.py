"""Settings of the whole process that make numerical work on a CPU steady; the command line's alone to choose."""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8


def let_threads_sleep() -> None:
    """Let idle threads of OpenMP sleep soon, unless the environment says otherwise.

    By default they spin while they wait, which slows a shared machine down many times over. Not to spin at all would
    have them woken up for each of the many short steps of a network: on two cores a quarter of the time. Read when
    torch is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # of GNU's OpenMP: less than a millisecond
        os.environ.setdefault("KMP_BLOCKTIME", "1")  # of LLVM's and Intel's: milliseconds


def keep_freed_memory() -> None:
    """Keep freed memory for the next array while training, unless the environment sets malloc otherwise.

    glibc hands every large array back to the system as soon as it is freed: getting its pages anew, zeroed, took a
    third of a training step. Where arrays differ in size from one to the next, as in prediction, the memory would
    only grow.
    """
    _set_malloc({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 1 << 30})


def share_freed_memory() -> None:
    """Let all threads take memory from one place, unless the environment sets malloc otherwise.

    For all that writes or reads fields. glibc gives each thread a place of its own. What a thread that reads or writes
    has freed would lie there idle: on slides of many blocks a tenth of all memory. Arrays below 32 MB, such as the
    encoder's strips and the decoder's maps, come from what was freed before; larger ones, which differ in size, go back
    to the system, and so does what is free beyond 128 MB. With less, predicting takes up to a tenth longer, for the
    same pages are asked for anew.
    """
    _set_malloc({_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 128 << 20})


def _set_malloc(settings: dict[int, int]) -> None:
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):
            for name, value in settings.items():
                libc.mallopt(name, value)
