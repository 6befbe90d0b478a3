"""Raw counts and gene names of an AnnData, whichever of its matrices and columns hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.anndata.source import TableSource
from pixnet.readers.common import errors_of
from pixnet.sample.counts import Counts
from pixnet.sample.genes import CONTROL, merge_genes

_SYMBOLS = ("gene_symbols", "gene_symbol", "gene_name", "feature_name", "symbol")
_IDS = ("gene_ids", "gene_id", "ensembl_id", "feature_id")
_CHUNK = 1 << 24  # entries checked at a time


def table_counts(source: TableSource, layer: str | None = None) -> Counts:
    """Read the raw counts of a table; genes of one name are summed, and control probes left out.

    They are in `layer`, or else in the first of "X", "counts" and "raw" that holds raw counts. The error names layers
    that do. `notes` gets `counts_from`, `genes_merged` and `controls_dropped`.
    """
    key, matrix = _raw_counts(source, layer)
    var, obs = source.genes(key), source.obs()
    if matrix.shape != (len(obs), len(var)):
        raise DataError(
            f"{source.name}: {key} is {matrix.shape[0]} x {matrix.shape[1]}, but there are {len(obs)} rows of obs and "
            f"{len(var)} of var. The file may be damaged."
        )
    names, ids = gene_names(var)
    is_gene = np.array([CONTROL.match(gene) is None for gene in names], bool)
    if not is_gene.any():
        raise DataError(f"{source.name}: has no genes; all of its {len(names)} columns are control probes.")
    if not is_gene.all():
        matrix = matrix[:, np.flatnonzero(is_gene)]
        names = list(compress(names, is_gene))
        ids = None if ids is None else list(compress(ids, is_gene))
    with errors_of(source.name):
        matrix, genes, gene_ids, merged = merge_genes(matrix, names, ids)
        notes = {"counts_from": key, "genes_merged": merged, "controls_dropped": int((~is_gene).sum())}
        frame = obs.reset_index(drop=True)
        return Counts(matrix, genes, gene_ids, pd.Index(obs.index.astype(str)), frame, notes)


def _raw_counts(source: TableSource, layer: str | None) -> tuple[str, sparse.csr_matrix]:
    """Find the matrix that holds raw counts, and return its key with it."""
    if layer is not None and not source.has(layer):
        raise DataError(f"{source.name}: has no layer {layer!r}. {_layer_advice(source.layers())}")
    candidates = [key for key in ("X", "counts", "raw") if source.has(key)] if layer is None else [layer]
    finding = ""
    for key in candidates:
        matrix = source.matrix(key)
        value = _first_fraction(matrix)
        if value is None:
            return key, matrix
        finding = finding or f"{key} holds {value:g}"
    layers = [key for key in source.layers() if key not in candidates and _first_fraction(source.matrix(key)) is None]
    raise DataError(
        f"{source.name}: has no raw counts ({finding or 'there is no X'}), which are whole numbers from 0 upwards. "
        + _layer_advice(layers, " with whole numbers")
    )


def _layer_advice(layers: Sequence[str], kind: str = "") -> str:
    if not layers:
        return f"There is no layer{kind}; give the table that the pipeline counted."
    return f"Layers{kind}: {', '.join(map(repr, layers[:10]))}. Choose one with `layer`."


def _first_fraction(matrix: sparse.csr_matrix) -> float | None:
    """Return the first entry that is not a count: a fraction, negative or not finite; None if all are counts."""
    for start in range(0, len(matrix.data), _CHUNK):
        part = matrix.data[start : start + _CHUNK]
        with np.errstate(invalid="ignore"):
            good = np.isfinite(part) & (part >= 0) & (part == np.floor(part))
        if not good.all():
            return float(part[np.argmin(good)])
    return None


def gene_names(var: pd.DataFrame) -> tuple[list[str], list[str] | None]:
    """Return symbols and Ensembl ids of genes, whichever of the two the rows are named by."""
    index = [str(name) for name in var.index]
    columns = {key: _texts(var[key]) for key in (*_SYMBOLS, *_IDS) if key in var}
    by_id = bool(index) and sum(name.startswith("ENS") for name in index) > len(index) / 2
    if by_id:
        symbols = next((columns[key] for key in _SYMBOLS if key in columns), None)
        # A gene without a symbol is named by its id.
        return (index, index) if symbols is None else (symbols, index)
    return index, next((columns[key] for key in _IDS if key in columns), None)


def _texts(column: pd.Series[Any]) -> list[str]:
    return ["" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]


def with_notes(counts: Counts, **notes: Any) -> Counts:
    """Return the same counts with more notes."""
    return Counts(counts.matrix, counts.genes, counts.gene_ids, counts.names, counts.obs, {**counts.notes, **notes})


def dropped(notes: Mapping[str, Any]) -> list[str]:
    """Return what `table_counts` merged and left out, in words."""
    lines = []
    if notes["genes_merged"]:
        lines.append(f"{notes['genes_merged']} columns were added to others of the same gene")
    if notes["controls_dropped"]:
        lines.append(f"{notes['controls_dropped']} control probes were left out")
    return lines
