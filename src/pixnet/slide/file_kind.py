"""What a file holds by its first bytes, in words: for whoever gave another file than they meant to."""

from __future__ import annotations

import re
from pathlib import Path

_BEGINS: tuple[tuple[bytes, str], ...] = (
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
    (b"\x93NUMPY", "is an array of NumPy"),
)
_LOOKED_AT = 512
_SHOWN = 40
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def looks_like(path: Path) -> str:
    """Say what a file is, to stand behind its name: "is text that begins ...", "is a PDF document".

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
    # Letters that happen to be a signature: "II" and "MM" begin words, too.
    text = _as_text(head)
    if text is not None and not head.startswith(b"%PDF"):
        line = next((line.strip() for line in text.splitlines() if line.strip()), "")
        return f"is text that begins {line[:_SHOWN]!r}"
    for magic, kind in _BEGINS:
        if head.startswith(magic):
            return kind
    return f"begins with the bytes {head[:8].hex(' ')}, as no known kind of image does"


def _as_text(head: bytes) -> str | None:
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    for cut in range(4):  # the last letter may not be whole
        try:
            text = head[: len(head) - cut].decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if _CONTROL.search(text) else text
    return None
