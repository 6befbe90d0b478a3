"""The genes that a Xenium run measured, by its own table of counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.declared import check_sizes
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.hdf5 import open_hdf5
from pixnet.readers.formats.tenx_matrix import GENE_EXPRESSION, read_tenx_matrix
from pixnet.readers.xenium.run import Run
from pixnet.readers.xenium.transcripts import Panel
from pixnet.sample.genes import CONTROL, merge_genes

_MOST_FEATURES = 1 << 22


def matrix_path(folder: Path) -> Path | None:
    """Find the counts by cell of a run: the HDF5 file, else the folder of text files."""
    return find_file(folder, ["cell_feature_matrix.h5", "cell_feature_matrix"])


def read_panel(run: Run) -> tuple[Panel, pd.Index | None]:
    """Read the genes of the run's own table, so that one without a transcript is known to be measured.

    Parameters
    ----------
    run
        The run; it is told of genes that share a name.

    Returns
    -------
    panel, ids
        An open panel and no ids if the run has no table.

    Raises
    ------
    DataError
        If the table is damaged.
    """
    path = matrix_path(run.folder)
    if path is None:
        return Panel(), None
    if path.is_dir():
        table = read_tenx_matrix(path)
        names, ids, kinds = table.names, table.ids, [GENE_EXPRESSION] * len(table.names)
    else:
        names, ids, kinds = _features(path)
    genes = [i for i, kind in enumerate(kinds) if kind == GENE_EXPRESSION and not CONTROL.match(names[i])]
    _, symbols, gene_ids, merged = merge_genes(
        sparse.csr_matrix(np.zeros((0, len(genes)), np.float32)), [names[i] for i in genes], [ids[i] for i in genes]
    )
    if merged:
        run.told.append(f"{merged} genes share a name with another and are counted as one")
    column = {str(symbol): place for place, symbol in enumerate(symbols)}
    others = frozenset(name for name, kind in zip(names, kinds, strict=True) if kind != GENE_EXPRESSION)
    # The list of a folder has lost the names of its controls; those of genes are complete in both.
    return Panel(column, others - column.keys(), closed=True), gene_ids


def _features(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Read names, ids and kinds of the features, without the counts."""
    try:
        with open_hdf5(path) as file:
            group = file["matrix/features"]
            check_sizes(str(path), group)
            if max(group[key].size for key in ("name", "id", "feature_type")) > _MOST_FEATURES:
                raise DataError(f"{path}: is damaged; it declares over {_MOST_FEATURES} features.")
            texts = [
                [
                    value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                    for value in group[key][:]
                ]
                for key in ("name", "id", "feature_type")
            ]
    except OSError as error:
        raise DataError(f"{path}: cannot be read as HDF5 ({first_line(error)}). Copy it again.") from error
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        raise DataError(f"{path}: is no 10x matrix, or damaged ({first_line(error)}).") from error
    names, ids, kinds = texts
    if not len(names) == len(ids) == len(kinds):
        raise DataError(f"{path}: is damaged; it has {len(names)} names, {len(ids)} ids, {len(kinds)} kinds.")
    if GENE_EXPRESSION not in kinds:
        raise DataError(f"{path}: holds no feature of the type {GENE_EXPRESSION!r}.")
    return names, ids, kinds
