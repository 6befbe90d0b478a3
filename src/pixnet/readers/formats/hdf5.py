"""HDF5 files, opened only after a child process has read them without a crash.

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

_SECONDS = 6  # of processor time for a small file; usually it takes 0.2
_SECONDS_PER_MB, _MOST_SECONDS = 0.25, 60
_WAIT = 10  # the child may take so many times longer on a slow disk
_CRASHED_ON_WINDOWS = 0xC0000000

_verdicts: dict[tuple[str, int, int], str] = {}  # by path, size and time of change: "" if sound


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, if it is safe to do so.

    A file is checked once per process and version. Of a file over 64 MB, only the structure and the first values are
    checked. The caller must handle what h5py raises for a damaged file.

    Raises
    ------
    DataError
        If HDF5 crashes or hangs on the file, or needs more memory than any structure does.
    OSError
        If there is no such file, or it is not an HDF5 file.
    """
    state = path.stat()
    key = str(path.resolve()), state.st_size, state.st_mtime_ns
    if key not in _verdicts:
        _verdicts[key] = _verdict(path.resolve(), state.st_size)
    if _verdicts[key]:
        raise DataError(f"{path}: the HDF5 file is damaged: {_verdicts[key]}. Copy or download it again.")
    return h5py.File(path, "r")


def _verdict(path: Path, size: int) -> str:
    """Return what HDF5 does wrong on a file; "" if it reads the file."""
    if not sys.executable or getattr(sys, "frozen", False):
        return ""  # there is no Python interpreter to start
    seconds = min(_MOST_SECONDS, int(_SECONDS + _SECONDS_PER_MB * (size >> 20)))
    # The child finds h5py where this process does, and needs no threads.
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", hdf5_walk.__file__, str(path), str(seconds)]
    quiet = subprocess.DEVNULL
    try:
        status = subprocess.run(  # noqa: S603
            command,
            env={**os.environ, **variables},
            timeout=_WAIT * seconds,
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return "HDF5 does not finish reading it"
    except OSError:
        return ""  # no further process can be started
    if status == hdf5_walk.TOO_MUCH:
        return "it asks for more memory than it can need"
    if status < 0 or status >= _CRASHED_ON_WINDOWS:
        return "HDF5 crashes or hangs on it"
    return ""
