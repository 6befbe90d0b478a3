"""What kind of file something is by its first bytes, for messages about files that are not of the kind expected."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from pathlib import Path

_HEAD = 512

PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ\x00": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
}
"""First bytes of what must be unpacked before it can be read; gzip is read as it is."""

_KINDS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"PAR1": "a parquet file",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"II+\x00": "a TIFF image",
    b"MM\x00+": "a TIFF image",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"RDX": "a file of R (save it as a table there)",
    b"X\n\x00\x00": "a file of R (save it as a table there)",
    b"version https://git-lfs": "a pointer of Git LFS and not the file itself (fetch it with git lfs pull)",
    b"<!doctype html": "a web page (the download may have failed)",
    b"<html": "a web page (the download may have failed)",
    b"<?xml": "an XML file",
}
_GZIPPED = ", packed with gzip"
_EXCEL = b"xl/"
_AT = {257: (b"ustar", "a tar archive"), 128: (b"DICM", "a DICOM file")}


def packing(head: bytes) -> str | None:
    """Return what must be unpacked first, in words, by its first bytes; None if it is nothing of that kind."""
    if head.startswith(b"PK\x03\x04") and (_EXCEL in head or b"[Content_Types]" in head):
        return "an Excel file (save it as text: TSV or CSV)"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((words for magic, words in PACKED.items() if head.startswith(magic)), None)


def is_packed(kind: str) -> bool:
    """Return whether a kind, in words, is one that must be unpacked."""
    return kind in PACKED.values() or kind in ("a gzip file", "a tar archive") or kind.endswith(_GZIPPED)


def kind_of_bytes(head: bytes) -> str | None:
    """Return the kind of a file in words, such as "an HDF5 file", by its first bytes; None if it is not known."""
    for place, (magic, words) in _AT.items():
        if head[place : place + len(magic)] == magic:
            return words
    plain = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    known = (words for magic, words in _KINDS.items() if head.startswith(magic) or plain.startswith(magic))
    return packing(head) or next(known, None)


def kind_of_file(path: Path) -> str | None:
    """Return the kind of a file in words by its first bytes; None if it is not known or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if not head:
        return "an empty file"
    kind = kind_of_bytes(head)
    if kind == "a gzip file":
        with suppress(OSError, EOFError, zlib.error), gzip.open(path, "rb") as stream:
            inner = kind_of_bytes(stream.read(_HEAD))
            return kind if inner is None else inner if "of R" in inner else inner + _GZIPPED
    if kind is None and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "a text file"
    return kind
