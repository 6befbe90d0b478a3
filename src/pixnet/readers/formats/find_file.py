"""Files of a pipeline under their own names, or with a sample's name before them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pixnet.errors import DataError, first_line


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Find the file or folder that has one of the names, with any prefix before it (`sampleA_`, `GSM1-`).

    Parameters
    ----------
    folder
        Where to look; what lies deeper is not searched.
    names
        Names, the preferred ones first. For each, the plain name comes before a prefixed one.

    Returns
    -------
    Path or None
        None if there is none, or no such folder.

    Raises
    ------
    DataError
        If several files have the same name behind their prefixes, or the folder cannot be read.
    """
    try:
        present = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: the folder cannot be read ({first_line(error)}).") from error
    for name in names:
        if folder / name in present:
            return folder / name
        # A letter before the name would make it another one: "unfiltered_feature_bc_matrix.h5".
        found = [path for path in present if path.name.endswith(name) and not path.name[: -len(name)][-1].isalnum()]
        if len(found) > 1:
            raise DataError(
                f"{folder}: {found[0].name!r} and {found[1].name!r} could both be meant. "
                "Put the files of each sample into a folder of its own."
            )
        if found:
            return found[0]
    return None
