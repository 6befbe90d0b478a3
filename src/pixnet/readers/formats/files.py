"""Files of a pipeline: found by their names, which may have a sample's name before them, and read without surprises."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.encoding import decoded
from pixnet.readers.formats.kinds import packing
from pixnet.safe.budget import Budget
from pixnet.safe.documents import parse_json

_MOST_JSON_BYTES = 1 << 20
_TEXT_SHARE = 0.25  # of the memory limit
_PIECE = 16 << 20  # bytes
_GZIP = b"\x1f\x8b"
_HEAD = 512
_READ_GZIPPED = (".csv", ".json", ".mtx", ".tsv")
_PACKED = (".gz", ".tar.gz", ".tgz", ".tar", ".zip", ".bz2", ".xz", ".zst", ".7z", ".rar")


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Find the file or folder in a folder that has one of the names, with any prefix (`sampleA_`, `GSM1-`).

    Names come in the order of preference; for each, the plain name is preferred to a prefixed one, and text that is not
    gzipped to text that is. Returns None if there is no such file or no such folder. Of several files with one name
    behind their prefixes, the one whose prefix all others continue (`GSM1_` of `GSM1_annotated_`) is meant; otherwise
    they are an error.
    """
    present = _present(folder)
    for name in names:
        for ending in ("", ".gz") if name.endswith(_READ_GZIPPED) else ("",):
            found = _of_name(folder, present, name + ending)
            if found is not None:
                return found
    return None


def _present(folder: Path) -> list[Path]:
    """List what is in a folder, without hidden files; nothing if there is no such folder."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: the folder cannot be read ({first_line(error)}). Check its permissions.") from error


def _of_name(folder: Path, present: Sequence[Path], name: str) -> Path | None:
    if folder / name in present:
        return folder / name
    # A letter before the name would make it another one: "unfiltered_feature_bc_matrix.h5".
    matches = [path for path in present if path.name.endswith(name) and not path.name[: -len(name)][-1].isalnum()]
    matches.sort(key=lambda path: len(path.name))
    for other in matches[1:]:
        if not other.name.startswith(matches[0].name[: -len(name)]):
            raise DataError(
                f"{folder}: {matches[0].name!r} and {other.name!r} could both be meant. "
                "Put the files of each sample into a folder of its own."
            )
    return matches[0] if matches else None


def packed_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Find a file or folder of one of the names, with any prefix, that must be unpacked before it can be read."""
    endings = tuple(name + ending for name in names for ending in _PACKED)
    return next((path for path in _present(folder) if path.name.endswith(endings)), None)


def required_file(
    folder: Path, names: Sequence[str], remedy: str = "Copy the complete folder of the pipeline's output."
) -> Path:
    """Find a file as `find_file` does; it is an error if it is not there."""
    path = find_file(folder, names)
    if path is None:
        packed = packed_file(folder, names)
        hint = f"{packed.name} is packed: unpack it there." if packed else remedy
        raise DataError(f"{folder}: {names[0]} not found. {hint}")
    return path


def check_one_sample(files: Mapping[Path, Sequence[str]]) -> None:
    """Check that files, by the names they were found by, have no prefixes of different samples (`S1_`, `S2_`)."""
    prefixes = {path: prefix for path, names in files.items() if (prefix := _prefix(path, names))}
    for (path, prefix), (other, another) in pairwise(prefixes.items()):
        if not (prefix.endswith(another) or another.endswith(prefix)):
            raise DataError(
                f"{path.parent}: {path.name!r} and {other.name!r} have the prefixes of different samples. Put the "
                "files of each sample into a folder of its own."
            )


def _prefix(path: Path, names: Sequence[str]) -> str:
    plain = path.name.removesuffix(".gz")
    lengths = [len(plain) - len(name) for name in names if plain.endswith(name.removesuffix(".gz"))]
    return plain[: min(lengths, default=0)]


def open_plain_or_gzip(path: Path) -> BinaryIO:
    """Open a file for reading that may be gzipped, whatever its name says; what is packed otherwise is an error."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    is_gzip = head.startswith(_GZIP)
    found = "packed twice with gzip" if is_gzip and _start(path).startswith(_GZIP) else packing(head)
    if found:
        raise DataError(f"{path}: is {found}. Unpack it, and give the file in it.")
    return cast("BinaryIO", gzip.open(path, "rb")) if is_gzip else path.open("rb")


def _start(path: Path) -> bytes:
    """Return the first bytes in a gzip file."""
    try:
        with gzip.open(path, "rb") as stream:
            return stream.read(len(_GZIP))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""  # whoever reads it explains


def read_plain_or_gzip(path: Path, most: int | None = None) -> bytes:
    """Read a file that may be gzipped; one that holds over `most` bytes is an error.

    By default it may hold a part of the memory limit, since texts take several times their bytes once they are parsed.
    """
    budget, data = Budget(path, share=_TEXT_SHARE), bytearray()
    try:
        with open_plain_or_gzip(path) as stream:
            while part := stream.read(_PIECE):
                data += part
                if len(data) > (budget.limit if most is None else most):
                    break
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip file is damaged or truncated ({first_line(error)}). Copy it again."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Check its path.") from error
    if most is not None and len(data) > most:
        raise DataError(f"{path}: is larger than {most >> 20} MiB, so it is not a file of this kind.")
    budget.check(len(data), "a text of that size")
    return bytes(data)


def read_json(path: Path, what: str, remedy: str = "Copy it again.") -> dict[str, Any]:
    """Read keys and values from a JSON file, plain or gzipped; messages call them `what`."""
    data = read_plain_or_gzip(path, _MOST_JSON_BYTES)
    try:
        content = parse_json(decoded(path, data), finite=False)  # of what is used, each number is checked
    except ValueError as error:
        raise DataError(f"{path}: is not a JSON file ({first_line(error)}). {remedy}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: does not hold {what}. {remedy}")
    return content


def check_columns(path: Path, present: Iterable[str], columns: Iterable[str], remedy: str) -> None:
    """Check that a table has some columns; the error names the first that is missing, and those that there are."""
    present = list(present)
    missing = [name for name in columns if name not in present]
    if missing:
        listed = ", ".join(map(repr, present[:12]))[:200]
        raise DataError(f"{path}: has no column {missing[0]!r}; found {listed}. {remedy}")
