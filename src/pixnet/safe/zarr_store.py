"""Check a Zarr store, version 2 or 3, before anything in it is decoded.

Codecs are found by their names in a registry that any package can add to, and some of them run what they decode. Others
unpack a few bytes to any number. So the codecs that may be used are listed here, and the size that every chunk unpacks
to is read from its header, or counted without keeping it.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixnet.errors import PixNetError, first_line
from pixnet.safe.budget import memory_limit
from pixnet.safe.documents import parse_json, read_bytes

_COMPRESSORS = ("gzip", "zlib", "zstd", "blosc", "lz4")
_FILTERS_V2 = ("vlen-utf8", "vlen-bytes", "shuffle", "delta")
_CODECS_V3 = ("bytes", "transpose", "vlen-utf8", "vlen-bytes", "crc32c", "gzip", "zstd", "blosc")
_SHARDS = "sharding_indexed"
_INDEX = (["bytes", "crc32c"], ["bytes"])  # of the codecs of a shard's index
_METADATA = (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json")
_SLACK = 16 << 20  # bytes that any chunk may unpack to
_TEXTS = 16  # part of the memory limit that a chunk of texts may unpack to: as Python objects they take more
_PART = 1 << 16
_ABSENT = 2**64 - 1  # offset of an inner chunk that a shard does not have


class _Chunks(NamedTuple):
    """What the metadata of an array say about its chunks."""

    compressor: str | None
    most: float  # bytes that a chunk may unpack to
    texts: int = 0  # number of texts in a chunk; 0 if it holds numbers
    inner: int = 0  # number of chunks in a shard; 0 if there are no shards
    index_at_end: bool = True
    index_bytes: int = 0


def check_zarr(path: Path, error: type[PixNetError], remedy: str = "Write or copy the store again.") -> None:
    """Check the metadata of all groups and arrays below a folder, and the sizes of all chunks.

    `remedy` is what the user can do about a store that is refused.

    Raises
    ------
    error
        If metadata cannot be read, an array has a codec that is not known to be harmless, a chunk would unpack to far
        more than its array declares or the memory limit allows, or a link leads out of the folder.
    """
    root = path.resolve()
    kinds: dict[str, list[_Chunks]] = {}
    for folder, folders, files in os.walk(os.path.normpath(path)):
        here = Path(folder)
        inherited = kinds.get(os.path.dirname(folder), ())
        known = kinds.setdefault(folder, [])
        known.extend(inherited)
        for name in (*folders, *files):
            entry = here / name
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise error(f"{entry}: is a link to something outside of {path}. Copy the files themselves there.")
        for name in _METADATA:
            if name not in files:
                continue
            try:
                document = parse_json(read_bytes(here / name, error), finite=False)
                for place, array in _arrays(document, name):
                    kinds.setdefault(os.path.normpath(os.path.join(folder, place)), []).append(_chunks(array))
            except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as problem:
                reason = first_line(problem)
                raise error(f"{here / name}: is not metadata that can be trusted ({reason}). {remedy}") from problem
        for chunks in dict.fromkeys(known):
            for name in files:
                if name not in _METADATA and not name.startswith("."):
                    finding = _chunk_problem(here / name, chunks)
                    if finding:
                        raise error(f"{here / name}: {finding}. {remedy}")


def _arrays(document: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the metadata of each array that a document describes: its own, or consolidated ones."""
    if not isinstance(document, dict):
        raise TypeError("it does not hold keys and values")
    if name == ".zarray" or (name == "zarr.json" and document.get("node_type") == "array"):
        yield ".", document
    elif name == ".zmetadata":
        for place, node in document["metadata"].items():
            if place.split("/")[-1] == ".zarray":
                yield place.removesuffix(".zarray"), node
    elif name == "zarr.json" and document.get("consolidated_metadata") is not None:
        for place, node in document["consolidated_metadata"]["metadata"].items():
            if node.get("node_type") == "array":
                yield place, node


def _chunks(array: dict[str, Any]) -> _Chunks:
    """Return what the metadata of an array say of its chunks; ValueError if a codec is not allowed."""
    shape = _sides(array["shape"], 0)
    if array.get("zarr_format") == 2:
        sides, item = _sides(array["chunks"], 1), _item_bytes(array["dtype"])
        filters = [str(entry["id"]) for entry in array.get("filters") or ()]
        compressor = array.get("compressor")
        compressors = [] if compressor is None else [str(compressor["id"])]
        _allowed(filters, _FILTERS_V2)
        _allowed(compressors, _COMPRESSORS)
        chunks = _packed(sides, item, compressors, filters)
    else:
        sides, item = _sides(array["chunk_grid"]["configuration"]["chunk_shape"], 1), _item_bytes(array["data_type"])
        chunks = _chunks_v3(sides, item, array["codecs"])
    if len(shape) != len(sides):
        raise ValueError(f"chunks of shape {sides} do not fit an array of shape {shape}")
    return chunks


def _chunks_v3(sides: list[int], item: int, entries: list[Any], nested: bool = False) -> _Chunks:
    names = [_codec(entry)[0] for entry in entries]
    if names[-1:] == [_SHARDS] and not nested and len(names) == 1:
        configuration = _codec(entries[0])[1]
        inner_sides = _sides(configuration["chunk_shape"], 1)
        index = [_codec(entry)[0] for entry in configuration["index_codecs"]]
        if len(inner_sides) != len(sides) or any(side % part for side, part in zip(sides, inner_sides, strict=True)):
            raise ValueError(f"inner chunks of shape {inner_sides} do not fit shards of shape {sides}")
        if index not in _INDEX:
            raise ValueError(f"the codecs {index} of a shard's index are not among those that are read")
        inner = math.prod(sides) // math.prod(inner_sides)
        _most(sides, item, False)  # a complete shard is in memory too
        chunks = _chunks_v3(inner_sides, item, configuration["codecs"], nested=True)
        at_end = configuration.get("index_location", "end") == "end"
        return chunks._replace(inner=inner, index_at_end=at_end, index_bytes=16 * inner + 4 * (len(index) - 1))
    _allowed(names, _CODECS_V3)
    compressors = [name for name in names if name in _COMPRESSORS]
    if len(compressors) > 1:
        raise ValueError(f"an array is packed more than once, by {' and '.join(compressors)}")
    return _packed(sides, item, compressors, names)


def _packed(sides: list[int], item: int, compressors: list[str], others: list[str]) -> _Chunks:
    is_text = any(name.startswith("vlen") for name in others)
    texts = math.prod(sides) if is_text else 0
    return _Chunks(compressors[0] if compressors else None, _most(sides, item, is_text), texts)


def _codec(entry: Any) -> tuple[str, dict[str, Any]]:
    return (entry, {}) if isinstance(entry, str) else (str(entry["name"]), entry.get("configuration") or {})


def _allowed(names: list[str], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"the codec {name[:40]!r} is not among those that are read: {', '.join(known)}")


def _sides(values: Any, least: int) -> list[int]:
    if not isinstance(values, list) or not all(type(side) is int and side >= least for side in values):
        raise ValueError(f"{str(values)[:40]} is not a shape")
    return values


def _item_bytes(kind: Any) -> int:
    """Return the bytes of a value by the type that the metadata state; 8 for texts, which are stored as pointers."""
    if isinstance(kind, dict):
        configuration = kind.get("configuration") or {}
        return max(8, int(configuration.get("length_bytes", 8)))
    try:
        return np.dtype([tuple(field) for field in kind] if isinstance(kind, list) else kind).itemsize or 1
    except (TypeError, ValueError):
        return 8


def _most(sides: list[int], item: int, is_text: bool) -> float:
    """Return the bytes that a chunk may unpack to; ValueError if its array alone exceeds the memory limit."""
    declared, limit = math.prod(sides) * item, memory_limit()
    if declared > limit:
        raise ValueError(f"a chunk of shape {sides} takes {declared / 2**30:.1f} GB, over {limit / 2**30:g} GB")
    return limit / _TEXTS if is_text else max(2 * declared, _SLACK)


def _chunk_problem(path: Path, chunks: _Chunks) -> str:
    """Return what is wrong with a chunk, or with one in a shard; "" if it unpacks to no more than it may."""
    if not path.is_file():
        return "is not a regular file"
    size = path.stat().st_size
    if size > chunks.most * max(chunks.inner, 1) + chunks.index_bytes + _SLACK:
        return f"has {size} bytes, more than its array declares"
    with path.open("rb") as file:
        for start, length in _parts(file, size, chunks):
            if _unpacked(file, start, length, chunks) > chunks.most:
                return f"a chunk unpacks to over {chunks.most / 2**20:.0f} MB, more than its array declares"
            if chunks.texts and _texts(file, start, length, chunks) > chunks.texts:
                return "a chunk holds more texts than its array declares"
    return ""


def _parts(file: Any, size: int, chunks: _Chunks) -> Iterator[tuple[int, int]]:
    """Yield start and length of the chunk, or of each chunk in a shard; those outside the file are left to zarr."""
    if not chunks.inner:
        yield 0, size
        return
    file.seek(max(size - chunks.index_bytes, 0) if chunks.index_at_end else 0)
    index = file.read(16 * chunks.inner)
    for start, length in struct.iter_unpack("<QQ", index[: len(index) // 16 * 16]):
        if start != _ABSENT and start + length <= size:
            yield start, length


def _unpacked(file: Any, start: int, length: int, chunks: _Chunks) -> float:
    """Return the bytes that a chunk unpacks to, or more than it may once that is sure."""
    if chunks.compressor is None:
        return length
    file.seek(start)
    if chunks.compressor in ("gzip", "zlib"):
        return _inflated(file, length, chunks.most)
    head = file.read(min(length, 18))
    if chunks.compressor == "blosc":
        return int.from_bytes(head[4:8], "little")
    if chunks.compressor == "lz4":
        return int.from_bytes(head[:4], "little")
    stated = _zstd_size(head)
    return _zstd_streamed(head + file.read(length - len(head)), chunks.most) if stated is None else stated


def _texts(file: Any, start: int, length: int, chunks: _Chunks) -> int:
    """Return the number of texts that a chunk states at its beginning; memory for them is asked for at once."""
    import numcodecs

    file.seek(start)
    data = file.read(length)
    try:
        codec = numcodecs.get_codec({"id": chunks.compressor}) if chunks.compressor else None
        return int.from_bytes(bytes(codec.decode(data)[:4] if codec else data[:4]), "little")
    except Exception:  # noqa: BLE001 - damaged: whoever reads it will meet it
        return 0


def _inflated(file: Any, length: int, most: float) -> float:
    """Return the bytes that gzip or zlib data unpack to, without keeping them; it stops beyond `most`."""
    total, inflate = 0, zlib.decompressobj(47)
    while length and total <= most:
        data = file.read(min(_PART, length))
        length -= _PART if len(data) == _PART else length
        while data and total <= most:
            try:
                total += len(inflate.decompress(data, _SLACK))
            except zlib.error:
                return total  # damaged: whoever reads it will meet it
            data = inflate.unconsumed_tail
            if inflate.eof:
                data, inflate = inflate.unused_data, zlib.decompressobj(47)
    return total


def _zstd_size(head: bytes) -> int | None:
    """Return the size that the header of a Zstandard frame (RFC 8878) states; None if it states none."""
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        return 0  # damaged: whoever reads it will meet it
    descriptor = head[4]
    is_single, size_flag = descriptor >> 5 & 1, descriptor >> 6
    if not size_flag and not is_single:
        return None
    start = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    field = head[start : start + (1, 2, 4, 8)[size_flag]]
    return int.from_bytes(field, "little") + (256 if size_flag == 1 else 0)


def _zstd_streamed(data: bytes, most: float) -> float:
    import pyarrow as pa

    total = 0
    try:
        with pa.input_stream(pa.py_buffer(data), compression="zstd") as stream:
            while total <= most and (part := stream.read(_SLACK)):
                total += len(part)
    except (OSError, pa.ArrowException):
        pass  # damaged: whoever reads it will meet it
    return total
