"""Describe a file by its first bytes, for messages about files that are not images."""

from __future__ import annotations

import re
from pathlib import Path

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "begins like a JPEG, but cannot be opened as one"),
    (b"\x89PNG", "begins like a PNG, but cannot be opened as one"),
    (b"II", "begins like a TIFF, but cannot be opened as one"),
    (b"MM", "begins like a TIFF, but cannot be opened as one"),
    (b"%PDF", "is a PDF document"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, such as an h5ad or a matrix of counts"),
    (b"PAR1", "is a Parquet table"),
    (b"PK\x03\x04", "is a ZIP archive or a document made of one, such as xlsx"),
    (b"\x1f\x8b", "is a gzip archive"),
    (b"ZISRAWFILE", "is a Zeiss CZI, which cannot be read: export it as OME-TIFF"),
    (b"\xd0\xcf\x11\xe0", "is an OLE container, such as a Zeiss ZVI or an old Office document"),
    (b"\x93NUMPY", "is a NumPy array"),
)
_HEAD = 512  # bytes
_SHOWN = 40  # letters
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def describe_content(path: Path) -> str:
    """Return what a file is, as the rest of a sentence: "is text that begins ...", "is a PDF document".

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    # Text comes first, because words can begin with a signature, such as "II" and "MM".
    text = _as_text(head)
    if text is not None and not head.startswith(b"%PDF"):
        line = next((line.strip() for line in text.splitlines() if line.strip()), "")
        return f"is text that begins {line[:_SHOWN]!r}"
    for signature, description in _SIGNATURES:
        if head.startswith(signature):
            return description
    return f"begins with the bytes {head[:8].hex(' ')}, which are not those of a known image format"


def _as_text(head: bytes) -> str | None:
    """Return bytes as text, or None if they are not text."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    for cut in range(4):  # the last letter may be incomplete
        try:
            text = head[: len(head) - cut].decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if _CONTROL.search(text) else text
    return None
