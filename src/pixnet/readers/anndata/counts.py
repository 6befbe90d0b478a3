"""Raw counts and gene names of an AnnData, whichever of its matrices and columns hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError, counted
from pixnet.readers.anndata.source import TableSource
from pixnet.readers.common import errors_of, left_out
from pixnet.readers.formats.flags import letters
from pixnet.sample.counts import Counts
from pixnet.sample.genes import ENSEMBL, merge_genes, without_controls, without_version

_CHUNK = 1 << 24  # entries checked at a time
_COUNTS = ("counts", "raw_counts", "raw_count", "count", "umi_counts", "umi", "umis", "raw")
"""Names of layers of raw counts, in any case, in the order of preference."""

_SYMBOLS = ("gene_symbols", "gene_symbol", "gene_name", "feature_name", "symbol", "symbols", "gene_short_name")
"""Names of columns of symbols that are preferred, if several columns could hold them; others are told by content."""

_IDS = ("gene_ids", "gene_id", "ensembl_id", "feature_id")
"""Names of columns of ids that are not Ensembl's, which are told by content."""

_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9.@/_-]{0,40}")
_PAIR = re.compile(rf"({ENSEMBL.pattern})[_|:;-]([A-Za-z][^_|:; ]*)".replace("(ENS", "(?:ENS"), re.IGNORECASE)
_ACCESSION = re.compile(r"(?:NM|NR|XM|XR|NP|XP|CCDS|HGNC)[_:]?\d+(?:\.\d+)?|[OPQ]\d[A-Z0-9]{3}\d")
_MOST, _WORDS, _DISTINCT = 0.5, 0.9, 0.8  # shares of the rows


def table_counts(
    source: TableSource, layer: str | None = None, rows: NDArray[np.int64] | None = None
) -> tuple[Counts, NDArray[np.int64], list[str]]:
    """Read the raw counts of rows of a table, by default of all; genes of one name are summed, and controls left out.

    They are in `layer`, or else in the first of "X", the layer of counts by its name, and "raw" that holds raw counts,
    or else in the only layer that does. The error names layers that do.

    Returns
    -------
    counts, rows, notes
        Counts with the note `counts_from`, the rows of the table that they are of, and what was summed or left out.
    """
    obs = source.obs()
    key, matrix = _raw_counts(source, layer)
    var = source.genes(key)
    if matrix.shape != (len(obs), len(var)):
        raise DataError(
            f"{source.name}: {key} is {matrix.shape[0]} x {matrix.shape[1]}, but there are {len(obs)} rows of obs and "
            f"{len(var)} of var. They do not belong together; write the table again with anndata."
        )
    rows = np.arange(len(obs)) if rows is None else rows
    matrix = matrix if len(rows) == len(obs) else matrix[rows]
    complete = _complete(matrix)
    odd = {"rows with counts that are no numbers": obs.index[rows[~complete]]}
    if not complete.all():
        rows, matrix = rows[complete], matrix[np.flatnonzero(complete)]
    notes = left_out(odd, len(rows))
    with errors_of(source.name):
        matrix, names, ids, controls = without_controls(matrix, *gene_names(var))
        matrix, genes, gene_ids, merged = merge_genes(matrix, names, ids)
        labels, renamed = _row_names(obs.index[rows])
        frame = obs.iloc[rows].reset_index(drop=True)
        counts = Counts(matrix, genes, gene_ids, labels, frame, {"counts_from": key})
    return counts, rows, [*notes, *controls, *merged, *renamed]


def _row_names(index: pd.Index) -> tuple[pd.Index, list[str]]:
    """Return names of rows as texts, each once: a number follows the name of a row that repeats another's."""
    names = pd.Index(index.astype(str), dtype=object)
    again = pd.Series(names).groupby(names.to_numpy(), sort=False).cumcount().to_numpy()
    if not again.any():
        return names, []
    unique = [f"{name}-{number}" if number else name for name, number in zip(names, again, strict=True)]
    if len(set(unique)) < len(unique):
        unique = [str(row) for row in range(len(names))]
    return pd.Index(unique, dtype=object), [f"{counted((again > 0).sum(), 'rows')} named like another got a number"]


def _raw_counts(source: TableSource, layer: str | None) -> tuple[str, sparse.csr_matrix]:
    """Find the matrix that holds raw counts, and return its key with it."""
    if layer is not None and not source.has(layer):
        raise DataError(f"{source.name}: has no layer {layer!r}. {_layer_advice(source.layers())}")
    present = {letters(key): key for key in reversed(source.layers())}
    named = [present[letters(name)] for name in _COUNTS if letters(name) in present]
    candidates = [key for key in dict.fromkeys(["X", *named, "raw"]) if source.has(key)] if layer is None else [layer]
    finding = ""
    for key in candidates:
        matrix = source.matrix(key)
        value = _first_fraction(matrix)
        if value is None:
            return key, matrix
        finding = finding or f"{key} holds {value:g}"
    layers = [key for key in source.layers() if key not in candidates and _first_fraction(source.matrix(key)) is None]
    # A layer of zeros and ones may only say where a gene was seen.
    if layer is None and len(layers) == 1 and (matrix := source.matrix(layers[0])).data.max(initial=0) > 1:
        return layers[0], matrix
    raise DataError(
        f"{source.name}: has no raw counts ({finding or 'there is no X'}), which are whole numbers from 0 upwards. "
        + _layer_advice(layers, " with whole numbers")
    )


def _layer_advice(layers: Sequence[str], kind: str = "") -> str:
    if not layers:
        return f"There is no layer{kind}; give the table that the pipeline counted."
    return f"Layers{kind}: {', '.join(map(repr, layers[:10]))}. Choose one with `layer`."


def _first_fraction(matrix: sparse.csr_matrix) -> float | None:
    """Return the first entry that is not a count: a fraction or negative; None if all are counts.

    Entries that are not finite do not count, unless most rows have one.
    """
    for start in range(0, len(matrix.data), _CHUNK):
        part = matrix.data[start : start + _CHUNK]
        with np.errstate(invalid="ignore"):
            good = ~np.isfinite(part) | ((part >= 0) & (part == np.floor(part)))
        if not good.all():
            return float(part[np.argmin(good)])
    complete = _complete(matrix)
    if 2 * np.count_nonzero(~complete) > len(complete):
        return float(matrix.data[np.argmin(np.isfinite(matrix.data))])
    return None


def _complete(matrix: sparse.csr_matrix) -> NDArray[np.bool_]:
    """Return which rows have finite counts only."""
    complete = np.ones(matrix.shape[0], bool)
    for start in range(0, len(matrix.data), _CHUNK):
        odd = start + np.flatnonzero(~np.isfinite(matrix.data[start : start + _CHUNK]))
        complete[np.searchsorted(matrix.indptr, odd, side="right") - 1] = False
    return complete


def gene_names(var: pd.DataFrame) -> tuple[list[str], list[str] | None]:
    """Return symbols and Ensembl ids of genes, whichever columns or names of the rows hold them.

    Both are recognised by their content. Of several columns of symbols, one of a usual name is taken; names of rows
    that are neither ids nor numbers are symbols.
    """
    index = [str(name) for name in var.index]
    pairs = [_PAIR.fullmatch(name) for name in index]
    if pairs and all(pairs):
        return [pair[2] for pair in pairs if pair], [without_version(pair[1]) for pair in pairs if pair]
    columns = {str(key): _texts(var[key]) for key in var if not pd.api.types.is_numeric_dtype(var[key])}
    if _share(ENSEMBL, index) > _MOST:
        ids: list[str] | None = [without_version(name) for name in index]
    else:
        other = next((columns[key] for key in _IDS if key in columns), None)
        ids = next((texts for texts in columns.values() if _share(ENSEMBL, texts) > _MOST), other)
        if index and not all(name.isdecimal() for name in index):
            return index, ids
    symbols = _symbols(columns)
    if symbols is not None:
        return symbols, ids  # a gene without a symbol is named by its id
    return (index if ids is None else [without_version(name) for name in ids]), ids


def _symbols(columns: Mapping[str, list[str]]) -> list[str] | None:
    """Return the column of symbols; None if there is none."""
    found = {letters(key): texts for key, texts in columns.items() if _are_words(texts)}
    usual = next((found[letters(key)] for key in _SYMBOLS if letters(key) in found), None)
    if usual is not None:
        return usual
    distinct = {key: texts for key, texts in found.items() if len(set(texts)) > _DISTINCT * len(texts)}
    # Of several, some may be names of another data base.
    telling = (texts for word in ("symbol", "name", "gene", "") for key, texts in distinct.items() if word in key)
    return next(telling, None)


def _are_words(texts: list[str]) -> bool:
    """Return whether most texts, apart from empty ones, are words as symbols are, and no ids or accessions."""
    named = [text for text in texts if text]
    return _share(_SYMBOL, named) > _WORDS and max(_share(ENSEMBL, named), _share(_ACCESSION, named)) <= _MOST


def _share(pattern: re.Pattern[str], texts: list[str]) -> float:
    return sum(pattern.fullmatch(text) is not None for text in texts) / max(1, len(texts))


def _texts(column: pd.Series[Any]) -> list[str]:
    return ["" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]


def with_notes(counts: Counts, **notes: Any) -> Counts:
    """Return the same counts with more notes."""
    return Counts(counts.matrix, counts.genes, counts.gene_ids, counts.names, counts.obs, {**counts.notes, **notes})
