"""Go through an HDF5 file and touch all that a reader could: a program of its own, which `readers.hdf5` runs.

Over a damaged file HDF5 can crash, hang or ask for any amount of memory; then it is this process that ends. What h5py
raises is no matter here, as the reader will meet it again and can say what it means. Only h5py is imported, so that
the start takes a tenth of a second.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import h5py

TOO_MUCH = 3
"""Exit status where memory ran out."""

SMALL = 64 << 20
"""Bytes of a file whose values are read too, not only the first of each dataset."""

_MOST_MEMORY = 1 << 30
_MOST_ADDRESSES = 3 << 29
_MOST_READ = 128 << 20  # bytes of values, unpacked
_SLAB = 4 << 20
_LARGEST_ATTRIBUTE = 1 << 26


def walk(path: str) -> None:
    """Touch each object, link and attribute once, and values as far as they are cheap."""
    left = _MOST_READ
    share = left if os.path.getsize(path) < SMALL else _SLAB
    with h5py.File(path, "r") as file:
        for found in _objects(file):
            for name in _tried(list, found.attrs) or ():
                _tried(_attribute, file, found, name)
            if isinstance(found, h5py.Dataset):
                left -= _tried(_values, found, min(share, left)) or 0
        _tried(file.visititems, lambda name, found: None)


def _objects(file: h5py.File) -> Iterator[Any]:
    """Give each group and dataset once, however a damaged file links them."""
    seen: set[Any] = set()
    waiting: list[Any] = [file]
    while waiting:
        found = waiting.pop()
        key = _tried(_address, found)
        if key is None or key in seen:
            continue
        seen.add(key)
        yield found
        for name in _tried(list, found) or () if isinstance(found, h5py.Group) else ():
            child = _tried(found.__getitem__, name)
            if child is not None:
                waiting.append(child)


def _address(found: Any) -> Any:
    return h5py.h5o.get_info(found.id).addr


def _attribute(file: h5py.File, found: Any, name: str) -> None:
    if h5py.h5a.open(found.id, name.encode("utf-8", "surrogateescape")).get_storage_size() > _LARGEST_ATTRIBUTE:
        raise MemoryError
    value = found.attrs[name]
    if isinstance(value, h5py.Reference) and value:
        file[value]


def _values(dataset: Any, most: int) -> int:
    """Read a dataset from its beginning, as whole chunks and no more than so many bytes; give how many were read."""
    if dataset.chunks:
        dataset.id.get_num_chunks()
    if dataset.shape is None or not dataset.size:
        return 0
    if not dataset.shape:
        dataset[()]
        return int(dataset.dtype.itemsize)
    row = max(1, math.prod(dataset.shape[1:]) * dataset.dtype.itemsize)
    step = dataset.chunks[0] if dataset.chunks else 1
    step *= max(1, _SLAB // (row * step))
    read = 0
    for start in range(0, dataset.shape[0], step):
        if read + row * step > max(most, _SLAB):
            break
        dataset[start : start + step]
        read += row * step
    return read


def _tried(do: Callable[..., Any], *given: Any) -> Any:
    """Give what a call gives, None where it raises."""
    try:
        return do(*given)
    except MemoryError:
        raise
    except Exception as error:  # whatever it is, the reader will meet it in its own process
        if "alloc" in str(error):  # HDF5 ran into the limit, which the reader has not
            raise MemoryError from error
        return None


def _limit(seconds: int) -> None:
    """Bound memory and processor time, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        for kind, most in (("RLIMIT_CORE", 0), ("RLIMIT_CPU", seconds), ("RLIMIT_AS", _MOST_ADDRESSES)):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                resource.setrlimit(getattr(resource, kind), (most, most))


def _peak() -> int:
    """Give the most memory that this program has held, in bytes; 0 where that is not known.

    Not what the system counts for the process: on Linux that begins with the peak of the process that started it.
    """
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as status:
        return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
    return 0


if __name__ == "__main__":
    _limit(int(sys.argv[2]))
    try:
        _tried(walk, sys.argv[1])
        if _peak() > _MOST_MEMORY:
            raise MemoryError
    except MemoryError:
        sys.exit(TOO_MUCH)
