"""Files of a pipeline: found by their names, which may have a sample's name before them, and read without surprises."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from pixnet.errors import DataError, first_line

_MOST_JSON_BYTES = 1 << 20


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Find the file or folder in a folder that has one of the names, with any prefix (`sampleA_`, `GSM1-`).

    Names come in the order of preference; for each, the plain name is preferred to a prefixed one. Returns None if
    there is no such file or no such folder. Several files with one name behind their prefixes are an error.
    """
    try:
        present = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: the folder cannot be read ({first_line(error)}). Check its permissions.") from error
    for name in names:
        if folder / name in present:
            return folder / name
        # A letter before the name would make it another one: "unfiltered_feature_bc_matrix.h5".
        matches = [path for path in present if path.name.endswith(name) and not path.name[: -len(name)][-1].isalnum()]
        if len(matches) > 1:
            raise DataError(
                f"{folder}: {matches[0].name!r} and {matches[1].name!r} could both be meant. "
                "Put the files of each sample into a folder of its own."
            )
        if matches:
            return matches[0]
    return None


def required_file(
    folder: Path, names: Sequence[str], remedy: str = "Copy the complete folder of the pipeline's output."
) -> Path:
    """Find a file as `find_file` does; it is an error if it is not there."""
    path = find_file(folder, names)
    if path is None:
        raise DataError(f"{folder}: {names[0]} not found. {remedy}")
    return path


def open_plain_or_gzip(path: Path) -> BinaryIO:
    """Open a file for reading that may be gzipped, whatever its name says."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path, "rb")) if is_gzip else path.open("rb")


def read_plain_or_gzip(path: Path, most: int | None = None) -> bytes:
    """Read a file that may be gzipped; one that holds over `most` bytes is an error."""
    try:
        with open_plain_or_gzip(path) as stream:
            data = stream.read(-1 if most is None else most + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip file is damaged or truncated ({first_line(error)}). Copy it again."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Check its path.") from error
    if most is not None and len(data) > most:
        raise DataError(f"{path}: is larger than {most >> 20} MiB, so it is not a file of this kind.")
    return data


def read_json(path: Path, what: str, remedy: str = "Copy it again.") -> dict[str, Any]:
    """Read keys and values from a JSON file, plain or gzipped; messages call them `what`."""
    data = read_plain_or_gzip(path, _MOST_JSON_BYTES)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
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
