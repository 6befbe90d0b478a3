"""HDF5 files, opened only once a child process has gone through them unharmed.

HDF5 is written in C and trusts what it reads: a few altered bytes can crash or hang the process. See `hdf5_walk`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py

from pixnet.errors import DataError
from pixnet.readers.formats import hdf5_walk

_SECONDS = 6  # of processor time for a small file; a usual one takes 0.2
_SECONDS_PER_MB, _MOST_SECONDS = 0.25, 60
_WAIT = 10  # times longer than that is waited for a slow disk
_CRASHED_ON_WINDOWS = 0xC0000000

_verdicts: dict[tuple[str, int, int], str] = {}  # by path, size and time of change: "" if sound


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, if HDF5 can be trusted with it.

    A file is gone through once per process and version. Of one over 64 MB only the structure and the first values
    are looked at. What h5py raises over a damaged file is left to the caller.

    Raises
    ------
    DataError
        If HDF5 crashes or hangs over the file, or needs more memory than any structure does.
    OSError
        If there is no such file, or it is no HDF5.
    """
    state = path.stat()
    key = str(path.resolve()), state.st_size, state.st_mtime_ns
    if key not in _verdicts:
        _verdicts[key] = _verdict(path.resolve(), state.st_size)
    if _verdicts[key]:
        raise DataError(f"{path}: the HDF5 file is damaged: {_verdicts[key]}. Copy or download it again.")
    return h5py.File(path, "r")


def _verdict(path: Path, size: int) -> str:
    """Say what HDF5 does wrong over a file; nothing if it comes through."""
    if not sys.executable or getattr(sys, "frozen", False):
        return ""  # there is no Python to start
    seconds = min(_MOST_SECONDS, int(_SECONDS + _SECONDS_PER_MB * (size >> 20)))
    # The child finds h5py where this process does, and needs no threads.
    found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", hdf5_walk.__file__, str(path), str(seconds)]
    quiet = subprocess.DEVNULL
    try:
        status = subprocess.run(  # noqa: S603
            command,
            env={**os.environ, **found},
            timeout=_WAIT * seconds,
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return "HDF5 comes to no end with it"
    except OSError:
        return ""  # no further process can be had
    if status == hdf5_walk.TOO_MUCH:
        return "it asks for more memory than it can need"
    if status < 0 or status >= _CRASHED_ON_WINDOWS:
        return "HDF5 crashes or hangs over it"
    return ""
