"""Settings of the process for steady speed and memory on a CPU.

They affect everything in the process, so only the command line sets them, never the library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8


def let_threads_sleep() -> None:
    """Let idle OpenMP threads sleep soon, unless the environment says otherwise.

    By default they spin while they wait, which slows a shared machine down many times over. Without any spinning they
    would have to be woken up for each of the many short steps of a network, which cost a quarter of the time on two
    cores. OpenMP reads these variables when torch is imported, so call this before.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # GNU's OpenMP: less than a millisecond
        os.environ.setdefault("KMP_BLOCKTIME", "1")  # LLVM's and Intel's, in milliseconds


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP end the process as Ctrl-C does, so that nothing half-written is left behind.

    A second signal ends it at once.
    """

    def stop(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup` ignores SIGHUP
            signal.signal(number, stop)


def keep_freed_memory() -> None:
    """Keep freed memory for the next array, for training; does nothing if the environment configures malloc.

    glibc returns every large array to the system as soon as it is freed. Getting zeroed pages again for the next one
    took a third of a training step. Do not use this where arrays differ in size from one to the next, as in prediction:
    the memory would only grow.
    """
    _set_malloc({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 1 << 30})


def share_freed_memory() -> None:
    """Let all threads share one memory arena, for fields; does nothing if the environment configures malloc.

    glibc gives each thread an arena of its own. Memory freed by a thread that reads or writes would stay there unused:
    a tenth of all memory on slides of many blocks. Arrays below 32 MB, such as the encoder's strips and the decoder's
    maps, reuse freed memory. Larger ones, which differ in size, go back to the system, and so does free memory beyond
    128 MB. With a lower limit, prediction takes up to a tenth longer, because the same pages are requested again.
    """
    _set_malloc({_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 128 << 20})


def _set_malloc(settings: dict[int, int]) -> None:
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):
            for name, value in settings.items():
                libc.mallopt(name, value)
