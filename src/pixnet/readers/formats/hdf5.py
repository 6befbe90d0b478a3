"""HDF5 files: opened once a child process has read them without a crash, and if nothing of theirs is in other files.

HDF5 is written in C and trusts what it reads: a few altered bytes can crash or hang the process. See `hdf5_walk`. Every
HDF5 file that is read is opened here. The sizes that arrays declare are checked here too.
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
from pixnet.safe.budget import Budget, memory_limit

_SECONDS = 6  # of processor time for a small file; usually it takes 0.2
_SECONDS_PER_MB, _MOST_SECONDS = 0.25, 60
_WAIT = 10  # the child may take so many times longer on a slow disk
_CRASHED_ON_WINDOWS = 0xC0000000

_UNPACKS = 1100  # times more than is stored; deflate does not compress further
_SMALL = 1 << 28  # bytes that the arrays of an element may declare
_TEXT = 64  # bytes of a short text as a Python object

# Codecs by the numbers that the HDF Group registers for them.
_FILTERS = {
    4: "szip",
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}

_verdicts: dict[tuple[str, int, int], str] = {}  # by path, size and time of change: "" if sound


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading; the caller must handle what h5py raises for a damaged file.

    A file is checked once per process and version. Of a file over 64 MB, only the structure, all texts and the first
    other values are checked.

    Raises
    ------
    DataError
        If HDF5 crashes or hangs on the file or needs far too much memory, or if a part of its content is in another
        file: behind an external link, in external raw storage, or in the sources of a virtual dataset.
    """
    state = path.stat()
    key = str(path.resolve()), state.st_size, state.st_mtime_ns
    if key not in _verdicts:
        _verdicts[key] = _verdict(path.resolve(), state.st_size)
    if _verdicts[key]:
        raise DataError(f"{path}: the HDF5 file is damaged: {_verdicts[key]}. Copy or download it again.")
    file = h5py.File(path, "r")
    try:
        foreign = hdf5_walk.foreign(file)
    except BaseException:
        file.close()
        raise
    if foreign:
        file.close()
        raise DataError(
            f"{path}: {foreign} is not in this file but in another one, which is not read. Write a file that holds "
            "everything itself, for example with h5repack."
        )
    return file


def _verdict(path: Path, size: int) -> str:
    """Return what HDF5 does wrong on a file; "" if it reads the file."""
    if not sys.executable or getattr(sys, "frozen", False):
        return ""  # there is no Python interpreter to start
    seconds = min(_MOST_SECONDS, int(_SECONDS + _SECONDS_PER_MB * (size >> 20)))
    # The child finds h5py where this process does, and needs no threads.
    path_here = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "PYTHONPATH": path_here, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", hdf5_walk.__file__, str(path), str(seconds), str(memory_limit())]
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


def check_sizes(name: str, element: Any, budget: Budget | None = None) -> None:
    """Check that arrays of HDF5 or zarr do not declare far more than the file `name` holds, each and in sum.

    Reading them would fill the memory with nothing. They stay in memory if a `budget` is given, and are taken from it.
    """
    declared = stored = 0
    for array in _arrays(element):
        if isinstance(array, h5py.Dataset):
            _check_filters(name, array)
        # A chunk is unpacked completely, and may be larger than the array.
        entries = max(math.prod(array.shape or ()), math.prod(array.chunks or ()))
        item = array.dtype.itemsize + (_TEXT if array.dtype.kind in "OT" else 0)
        array_bytes = array.id.get_storage_size() if isinstance(array, h5py.Dataset) else array.nbytes_stored()
        declared += entries * item
        stored += array_bytes
        if entries * item > max(_UNPACKS * array_bytes, _SMALL) or declared > max(_UNPACKS * stored, _SMALL):
            raise DataError(
                f"{name}: {array.name} declares {entries * item >> 20} MB, but only {array_bytes >> 20} MB are stored; "
                f"with the arrays before it, {declared >> 20} MB. The file is damaged; copy or download it again."
            )
    if budget is not None:
        budget.take(declared, getattr(element, "name", "its content"))


def _check_filters(name: str, array: h5py.Dataset) -> None:
    """Check that HDF5 can unpack an array; many codecs are plug-ins that it does not come with."""
    packing = array.id.get_create_plist()
    for number in range(packing.get_nfilters()):
        code, _, _, label = packing.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            codec = _FILTERS.get(code) or label.decode("utf-8", "replace")[:40] or "an unknown codec"
            raise DataError(
                f"{name}: {array.name} is packed with {codec} (HDF5 filter {code}), which needs a plug-in. Install "
                "hdf5plugin (pip install hdf5plugin) and write the file again with gzip; or in Python, import "
                "hdf5plugin before reading."
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
