"""Read everything in an HDF5 file that a reader could: a separate program, which `readers.formats.hdf5` runs.

On a damaged file HDF5 can crash, hang or ask for any amount of memory; then only this process ends. What h5py raises is
ignored here, because the reader will meet it again and can explain it. Only h5py is imported, so that the start takes a
tenth of a second.
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
"""Exit status if memory ran out."""

SMALL = 64 << 20
"""Size in bytes up to which all values of a file are read, not only the first of each dataset."""

_MOST_MEMORY = 1 << 30
_MOST_ADDRESSES = 3 << 29
_MOST_READ = 128 << 20  # bytes of values, decompressed
_SLAB = 4 << 20
_LARGEST_ATTRIBUTE = 1 << 26
_TEXTS = 1 << 14  # read at once
_TEXT_BYTES = 64  # of the object that holds a text


def walk(path: str, limit: int) -> None:
    """Read each object, link and attribute once, and values up to a limit; texts may take `limit` bytes in all."""
    left, texts = _MOST_READ, limit
    share = left if os.path.getsize(path) < SMALL else _SLAB
    with h5py.File(path, "r") as file:
        for item in _objects(file):
            for name in _tried(list, item.attrs) or ():
                _tried(_attribute, file, item, name)
            if not isinstance(item, h5py.Dataset) or _stored_elsewhere(item):
                continue
            if item.dtype.kind == "O" and item.shape:
                texts -= _tried(_texts, item, texts) or 0
            else:
                left -= _tried(_values, item, min(share, left)) or 0
        _tried(file.visititems, lambda name, item: None)


def foreign(file: h5py.File) -> str | None:
    """Return the name of a link or dataset whose content is in another file; None if there is none."""
    found: list[str] = []

    def of_link(name: bytes, link: Any) -> bool | None:
        if link.type not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
            found.append(name.decode("utf-8", "replace"))
        return bool(found) or None

    def of_object(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and _stored_elsewhere(item):
            found.append(name)
        return bool(found) or None

    file.id.links.visit(of_link, info=True)
    if not found:
        file.visititems(of_object)
    return found[0] if found else None


def _stored_elsewhere(dataset: Any) -> bool:
    """Return whether a dataset's values are in other files."""
    properties = dataset.id.get_create_plist()
    return bool(properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count())


def _objects(file: h5py.File) -> Iterator[Any]:
    """Yield each group and dataset once, however a damaged file links them."""
    seen: set[Any] = set()
    waiting: list[Any] = [file]
    while waiting:
        item = waiting.pop()
        key = _tried(_address, item)
        if key is None or key in seen:
            continue
        seen.add(key)
        yield item
        for name in _tried(list, item) or () if isinstance(item, h5py.Group) else ():
            # Other files, which may be devices or pipes, are not opened.
            if not isinstance(_tried(item.get, name, None, False, True), h5py.ExternalLink):
                child = _tried(item.__getitem__, name)
                if child is not None:
                    waiting.append(child)


def _address(item: Any) -> Any:
    return h5py.h5o.get_info(item.id).addr


def _attribute(file: h5py.File, item: Any, name: str) -> None:
    if h5py.h5a.open(item.id, name.encode("utf-8", "surrogateescape")).get_storage_size() > _LARGEST_ATTRIBUTE:
        raise MemoryError
    value = item.attrs[name]
    if isinstance(value, h5py.Reference) and value:
        file[value]


def _values(dataset: Any, most: int) -> int:
    """Read a dataset from its beginning in complete chunks, up to `most` bytes, and return the number of bytes."""
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


def _texts(dataset: Any, limit: int) -> int:
    """Read all texts of a dataset, and return the bytes that they take; MemoryError if it is more than `limit`.

    Any number of them may be one and the same text in the file.
    """
    total = 0
    step = dataset.chunks[0] if dataset.chunks else 1
    step *= max(1, _TEXTS // step)
    for start in range(0, dataset.shape[0], step):
        total += sum(map(_text_bytes, dataset[start : start + step].ravel()))
        if total > limit:
            raise MemoryError
    return total


def _text_bytes(value: Any) -> int:
    return _TEXT_BYTES + (len(value) if isinstance(value, bytes) else int(getattr(value, "nbytes", 0)))


def _tried(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a call, or None if it raises."""
    try:
        return function(*arguments)
    except MemoryError:
        raise
    except Exception as error:  # whatever it is, the reader will meet it in its own process
        if "alloc" in str(error):  # HDF5 ran into the limit, which the reader has not
            raise MemoryError from error
        return None


def _limit(seconds: int) -> None:
    """Limit memory and processor time, if the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        for kind, most in (("RLIMIT_CORE", 0), ("RLIMIT_CPU", seconds), ("RLIMIT_AS", _MOST_ADDRESSES)):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                resource.setrlimit(getattr(resource, kind), (most, most))


def _peak() -> int:
    """Return the peak memory of this program in bytes; 0 if it is not known.

    This is not the peak that the system counts for the process: on Linux that includes the process that started it.
    """
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as status:
        return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
    return 0


if __name__ == "__main__":
    _limit(int(sys.argv[2]))
    try:
        _tried(walk, sys.argv[1], int(sys.argv[3]))
        if _peak() > _MOST_MEMORY:
            raise MemoryError
    except MemoryError:
        sys.exit(TOO_MUCH)
