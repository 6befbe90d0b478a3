"""Names of the files that Space Ranger writes for Visium and Visium HD, each behind any prefix (see `find_file`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pixnet.readers.formats.files import find_file

MatrixNames = Mapping[bool, tuple[str, ...]]
MATRICES: MatrixNames = {
    True: ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix"),
    False: ("raw_feature_bc_matrix.h5", "raw_feature_bc_matrix"),
}
"""Names of the filtered and of the raw matrix."""

MATRIX_MARKET = ("matrix.mtx",)

POSITION_FILES = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
"""Names in HD (parquet), Space Ranger 2 to 4, and Space Ranger 1."""

SCALEFACTOR_FILES = ("scalefactors_json.json",)


def find_matrix(folder: Path, filtered: bool | None, names: MatrixNames = MATRICES) -> tuple[Path, bool] | None:
    """Find the filtered or the raw matrix of a folder, and return whether it is the filtered one.

    If `filtered` is None, the raw one is taken only where there is no other.
    """
    for kind in (True, False) if filtered is None else (filtered,):
        path = find_file(folder, names[kind])
        if path is not None:
            return path, kind
    return None
