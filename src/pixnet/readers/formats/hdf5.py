"""HDF5 files, opened only after a child process has read them without a crash, and the sizes that arrays declare.

HDF5 is written in C and trusts what it reads: a few altered bytes can crash or hang the process. See `hdf5_walk`.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from pixnet.errors import DataError
from pixnet.readers.formats import hdf5_walk

_SECONDS = 6  # of processor time for a small file; usually it takes 0.2
_SECONDS_PER_MB, _MOST_SECONDS = 0.25, 60
_WAIT = 10  # the child may take so many times longer on a slow disk
_CRASHED_ON_WINDOWS = 0xC0000000

_UNPACKS = 1100  # times more than is stored; deflate does not compress further
_SMALL = 1 << 28  # bytes that any array may declare

_verdicts: dict[tuple[str, int, int], str] = {}  # by path, size and time of change: "" if sound


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, or raise `DataError` if HDF5 crashes or hangs on it, or needs far too much memory.

    A file is checked once per process and version. Of a file over 64 MB, only the structure and the first values are
    checked. The caller must handle what h5py raises for a damaged file.
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
    path_here = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "PYTHONPATH": path_here, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", hdf5_walk.__file__, str(path), str(seconds)]
    quiet = subprocess.DEVNULL
    try:
        status = subprocess.run(  # noqa: S603
            command, env=env, timeout=_WAIT * seconds, stdin=quiet, stdout=quiet, stderr=quiet, check=False
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


def check_sizes(name: str, element: Any) -> None:
    """Check that arrays of HDF5 or zarr do not declare far more than the file `name` holds.

    Reading such an array would fill the memory with nothing.
    """
    for array in _arrays(element):
        # A chunk is unpacked completely, and may be larger than the array.
        entries = max(math.prod(array.shape or ()), math.prod(array.chunks or ()))
        declared = entries * array.dtype.itemsize
        stored = array.id.get_storage_size() if isinstance(array, h5py.Dataset) else array.nbytes_stored()
        if declared > max(_UNPACKS * stored, _SMALL):
            raise DataError(
                f"{name}: {array.name} declares {declared >> 20} MB, but only {stored >> 20} MB are stored. "
                "The file is damaged; copy or download it again."
            )


def _arrays(element: Any) -> Iterator[Any]:
    """Yield all arrays of HDF5 or zarr below an element, each once, however a damaged file links its groups."""
    if isinstance(element, h5py.Group):
        datasets: list[Any] = []
        element.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        yield from datasets
    elif hasattr(element, "members"):  # a group of zarr
        yield from (item for _, item in element.members(max_depth=None) if not hasattr(item, "members"))
    else:
        yield element
