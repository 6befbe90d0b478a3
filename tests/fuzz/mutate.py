"""Damage to files, as by a bad disk, a broken transfer or an editor, drawn from a seed."""

from __future__ import annotations

import gzip
import random
import re
import zlib
from collections.abc import Callable

_NUMBERS = [
    b"",
    b"-1",
    b"0",
    b"1e999",
    b"nan",
    b"99999999999999999999",
    b"2147483648",
    b"0.0001",
    b"1e7",
    b'"',
    b"[",
    b"\0",
]
_WORDS = [b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0"]
_PNG = b"\x89PNG\r\n\x1a\n"
_EDGE = 4096  # bytes at either end, where most formats have their headers


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return a damaged copy of a file's content.

    In half of all cases, damage to a gzip file affects its decompressed content, and a PNG gets valid checksums.
    """
    if data[:2] == b"\x1f\x8b" and draw.random() < 0.5:
        return gzip.compress(mutate(gzip.decompress(data), draw), 1)
    if data[:8] == _PNG and draw.random() < 0.5:
        return _with_sums(_damaged(data, draw))
    return _damaged(data, draw)


def _damaged(data: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(1 + (draw.random() < 0.3)):
        if damaged:
            draw.choice(_DAMAGES)(damaged, draw)
    return bytes(damaged)


def _with_sums(data: bytes) -> bytes:
    """Correct the checksums of a PNG, so that the damage is not found by them alone."""
    corrected, start = bytearray(data), 8
    while start + 12 <= len(corrected):
        size = int.from_bytes(corrected[start : start + 4], "big")
        end = start + 8 + size
        if end + 4 > len(corrected):
            break
        corrected[end : end + 4] = zlib.crc32(corrected[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return bytes(corrected)


def _place(data: bytearray, draw: random.Random) -> int:
    """Draw a position; two times out of three it is near either end."""
    kind = draw.randrange(3)
    edge = min(_EDGE, len(data))
    return draw.randrange(len(data)) if kind == 0 else draw.randrange(edge) - (edge if kind == 1 else 0) % len(data)


def _run(data: bytearray, draw: random.Random) -> slice:
    start = _place(data, draw) % len(data)
    return slice(start, start + min(1 << draw.randrange(13), len(data) - start))


def _flip_bytes(data: bytearray, draw: random.Random) -> None:
    for _ in range(1 << draw.randrange(6)):
        data[_place(data, draw)] = draw.randrange(256)


def _flip_bits(data: bytearray, draw: random.Random) -> None:
    for _ in range(1 << draw.randrange(6)):
        data[_place(data, draw)] ^= 1 << draw.randrange(8)


def _truncate(data: bytearray, draw: random.Random) -> None:
    del data[_place(data, draw) % len(data) :]


def _zero(data: bytearray, draw: random.Random) -> None:
    run = _run(data, draw)
    data[run] = bytes(run.stop - run.start)


def _repeat(data: bytearray, draw: random.Random) -> None:
    run = _run(data, draw)
    data[run.stop : run.stop] = data[run]


def _remove(data: bytearray, draw: random.Random) -> None:
    del data[_run(data, draw)]


def _swap(data: bytearray, draw: random.Random) -> None:
    first, second = _run(data, draw), _run(data, draw)
    size = min(first.stop - first.start, second.stop - second.start)
    first, second = (slice(run.start, run.start + size) for run in (first, second))
    data[first], data[second] = data[second], data[first]


def _word(data: bytearray, draw: random.Random) -> None:
    word = draw.choice(_WORDS)
    start = _place(data, draw) % len(data)
    data[start : start + len(word)] = word


def _number(data: bytearray, draw: random.Random) -> None:
    """Replace a number that is written as text."""
    numbers = [match.span() for match in re.finditer(rb"\d[\d.]*", bytes(data[: 1 << 16]))]
    if numbers:
        start, end = draw.choice(numbers)
        data[start:end] = draw.choice(_NUMBERS)


_DAMAGES: list[Callable[[bytearray, random.Random], None]] = [
    _flip_bytes,
    _flip_bits,
    _truncate,
    _zero,
    _repeat,
    _remove,
    _swap,
    _word,
    _number,
]
