"""Text files as other programs write and people send them: packed or not, and in any of the usual encodings."""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TextIO, cast

from pixnet.errors import DataError, first_line

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_OLDER = "pixnet-older-encoding"


def _as_older_encoding(error: UnicodeError) -> tuple[str, int]:
    """Decode the bytes that are not UTF-8 as Windows does in Western languages."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(_OLDER, _as_older_encoding)


@contextmanager
def open_text(path: Path, endings: Sequence[str]) -> Iterator[TextIO]:
    """Open a text file that may be packed by gzip or be the only one in a ZIP archive with one of some endings.

    The text may be UTF-8 with or without a byte order mark, UTF-16, or partly of an older Western encoding. DataError
    is raised if the file cannot be read, is damaged, or is an archive without just one such file.
    """
    try:
        with ExitStack() as files:
            file = files.enter_context(path.open("rb"))
            head = file.read(4)
            file.seek(0)
            stream: IO[bytes] = file
            if head[:2] == b"\x1f\x8b":
                stream = files.enter_context(cast("IO[bytes]", gzip.GzipFile(fileobj=file)))
            elif head == b"PK\x03\x04":
                archive = files.enter_context(zipfile.ZipFile(file))
                stream = files.enter_context(archive.open(_only_member(path, archive, endings)))
            buffered = io.BufferedReader(cast("io.RawIOBase", stream))
            yield io.TextIOWrapper(buffered, encoding=_encoding(buffered.peek(4)), errors=_OLDER)
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        if isinstance(error, RecursionError):
            raise
        raise DataError(f"{path}: cannot be unpacked ({first_line(error)}). Copy it again, or unpack it.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _only_member(path: Path, archive: zipfile.ZipFile, endings: Sequence[str]) -> zipfile.ZipInfo:
    """Return the file in an archive that has one of the endings; macOS adds hidden ones, which do not count."""
    members = [
        member
        for member in archive.infolist()
        if member.filename.lower().endswith(tuple(endings)) and not _is_hidden(member.filename)
    ]
    if len(members) != 1:
        listed = ", ".join(repr(member.filename[:60]) for member in members[:5]) or "none"
        raise DataError(
            f"{path}: is a ZIP archive with {len(members)} files of the kind {' or '.join(endings)} ({listed}). Unpack "
            "it, and give one file."
        )
    return members[0]


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _encoding(head: bytes) -> str:
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    # Text begins with a letter, sign or space of ASCII, of which UTF-16 makes one byte and a zero.
    if len(head) >= 2 and 0 in head[:2] and any(head[:2]):
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return "utf-8"
