"""Names of samples, genes and classes as names of files, and names of files as text.

A name may be anything: an absolute path, `..`, 300 letters, or nothing. A file's name on Linux may be any bytes.
"""

from __future__ import annotations

import hashlib
import os
import re

_UNSAFE = re.compile(r"[^\w .()+,=@\[\]-]|^[ .-]|[ .]$", re.ASCII)
_LETTER = re.compile(r"[^\W\d_]")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # devices on Windows
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_LONGEST = 120  # bytes; most file systems take 255, and endings are added


def file_name(name: str) -> str:
    """Return the name of a file for the name of a thing; other names give other files.

    Letters, digits and most signs stay. What could lead elsewhere, or what some system does not allow in a file's name,
    becomes `%` and two hexadecimal digits for each byte, as in a URL. Of a long name the beginning and a hash are left.
    """
    escaped = _UNSAFE.sub(lambda match: match[0] if _LETTER.fullmatch(match[0]) else _escaped(match[0]), name)
    if _RESERVED.match(escaped) or not escaped:
        escaped = _escaped(name[:1]) + escaped[1:] if escaped else "%"
    encoded = escaped.encode("utf-8")
    if len(encoded) <= _LONGEST:
        return escaped
    beginning = encoded[: _LONGEST // 2].decode("utf-8", "ignore")
    return f"{beginning}%{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def as_text(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that every file format can hold: bytes that are not UTF-8 are written as `\xff`."""
    return _NOT_TEXT.sub(_shown, os.fspath(path))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    # Python represents the byte 0xff of a path as U+DCFF.
    return f"\\x{code & 0xFF:02x}" if code < 0x80 or 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
