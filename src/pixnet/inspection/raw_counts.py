"""The table of counts as the files have it before a reader judges it."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pixnet.inspection.raw_files import attempt, outs_of, parts_of, table_of
from pixnet.readers.platforms import (
    AnnDataEntry,
    Entry,
    HestEntry,
    LegacyStEntry,
    SpatialDataEntry,
    VisiumEntry,
    XeniumEntry,
)

Counted = tuple[sparse.csr_matrix, list[str]]

_MATRICES = ("filtered_feature_bc_matrix.h5", "raw_feature_bc_matrix.h5")


def raw_counts(entry: Entry) -> Counted | None:
    """Read the table of counts as it is written, with its genes; None if there is none to be had."""
    for kind, read in _COUNTS.items():
        if isinstance(entry, kind):
            return attempt(partial(read, entry))
    return None


def _legacy_counts(entry: LegacyStEntry) -> Counted:
    data = entry.counts.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    table = pd.read_csv(io.StringIO(text), sep="\t", skiprows=1, header=None, index_col=0)
    # Read apart from the rest: pandas would rename a gene that comes twice.
    genes = text.split("\n", 1)[0].rstrip("\r").split("\t")[-table.shape[1] :]
    return sparse.csr_matrix(table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)), genes


def _visium_counts(entry: VisiumEntry) -> Counted:
    from pixnet.readers.formats.find_file import find_file
    from pixnet.readers.formats.tenx_matrix import read_tenx_matrix

    outs = outs_of(entry.path)
    folders = [name.removesuffix(".h5") for name in _MATRICES]
    found = read_tenx_matrix(find_file(outs, [*_MATRICES, *folders]) or outs)
    return found.matrix, found.names


def _table_counts(entry: HestEntry | AnnDataEntry) -> Counted:
    from pixnet.readers.anndata.counts import gene_names
    from pixnet.readers.anndata.source import open_table

    layer = getattr(entry, "layer", None) or "X"
    with open_table(table_of(entry)) as source:
        return source.matrix(layer), gene_names(source.genes(layer))[0]


def _xenium_counts(entry: XeniumEntry) -> Counted | None:
    from pixnet.readers.formats.tenx_matrix import read_tenx_matrix
    from pixnet.readers.xenium.panel import matrix_path
    from pixnet.readers.xenium.run import run_folder

    path = matrix_path(run_folder(entry.path))
    if path is None:
        return None
    found = read_tenx_matrix(path)
    return found.matrix, found.names


def _store_counts(entry: SpatialDataEntry) -> Counted:
    from pixnet.readers.anndata.counts import gene_names

    with parts_of(entry).counted() as source:
        return source.matrix("X"), gene_names(source.genes("X"))[0]


_COUNTS: dict[type[Entry], Callable[[Any], Counted | None]] = {
    LegacyStEntry: _legacy_counts,
    VisiumEntry: _visium_counts,
    HestEntry: _table_counts,
    AnnDataEntry: _table_counts,
    XeniumEntry: _xenium_counts,
    SpatialDataEntry: _store_counts,
}
