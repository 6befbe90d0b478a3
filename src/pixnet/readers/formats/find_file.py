"""Files of a pipeline by their names, which may have a sample's name before them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pixnet.errors import DataError, first_line


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Find the file or folder that has one of the names, with any prefix (`sampleA_`, `GSM1-`).

    Parameters
    ----------
    folder
        The folder to search, without its subfolders.
    names
        Names, preferred ones first. For each, the plain name is preferred to a prefixed one.

    Returns
    -------
    Path or None
        None if there is no such file, or no such folder.

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
