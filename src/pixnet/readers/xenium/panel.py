"""The genes that a Xenium run measured, from its own table of counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.formats.declared import check_sizes
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.tenx_matrix import GENE_EXPRESSION, open_tenx_matrix, read_tenx_matrix
from pixnet.readers.xenium.run import Run
from pixnet.readers.xenium.transcripts import Panel
from pixnet.sample.genes import CONTROL, merge_genes

_MOST_FEATURES = 1 << 22


def matrix_path(folder: Path) -> Path | None:
    """Find the counts by cell of a run: the HDF5 file, or else the folder of text files."""
    return find_file(folder, ["cell_feature_matrix.h5", "cell_feature_matrix"])


def read_panel(run: Run) -> tuple[Panel, pd.Index | None]:
    """Read the genes of the run's own table, which include those that were measured but have no transcript.

    Parameters
    ----------
    run
        The run; a note about genes that share a name is added to it.

    Returns
    -------
    panel, ids
        The panel and the genes' ids; an open panel and None if the run has no table.

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
        run.notes.append(f"{merged} genes share a name with another and are counted as one")
    column = {str(symbol): place for place, symbol in enumerate(symbols)}
    others = frozenset(name for name, kind in zip(names, kinds, strict=True) if kind != GENE_EXPRESSION)
    # A folder's list has no names of controls; the names of genes are complete in both.
    return Panel(column, others - column.keys(), closed=True), gene_ids


def _features(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Read names, ids and kinds of the features, without the counts."""
    columns = ("name", "id", "feature_type")
    with open_tenx_matrix(path) as file:
        group = file["matrix/features"]
        check_sizes(str(path), group)
        if max(group[key].size for key in columns) > _MOST_FEATURES:
            raise DataError(f"{path}: is damaged; it declares over {_MOST_FEATURES} features. Copy it again.")
        names, ids, kinds = ([_text(value) for value in group[key][:]] for key in columns)
    if not len(names) == len(ids) == len(kinds):
        raise DataError(
            f"{path}: is damaged; it has {len(names)} names, {len(ids)} ids and {len(kinds)} kinds of features. "
            "Copy it again."
        )
    if GENE_EXPRESSION not in kinds:
        raise DataError(f"{path}: has no feature of the type {GENE_EXPRESSION!r}.")
    return names, ids, kinds


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
