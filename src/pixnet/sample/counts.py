"""What was counted in each region: a sparse table that costs nothing but its entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError

_CHUNK = 1 << 24  # entries checked at a time


@dataclass(frozen=True, eq=False)
class Counts:
    """Raw counts of regions.

    An AnnData gives every row a name. Ten million bins have none but their place in the lattice, so here names may be
    absent; `Sample.to_anndata` makes the table that other packages know.

    Parameters
    ----------
    matrix
        (n, g) whole numbers from 0 upwards, dense or sparse; kept as float32 CSR.
    genes
        The g gene names, each once.
    gene_ids
        The genes' Ensembl ids, where they are known; an empty text for a gene that has none.
    names
        Names of the n regions, each once; None: regions are called by their number.
    obs
        What else is known of each region, one row each.
    notes
        What else is known of the table as a whole.

    Raises
    ------
    DataError
        If the parts differ in length, a name occurs twice, or an entry is negative, fractional or not finite.
    """

    matrix: sparse.csr_matrix
    genes: pd.Index
    gene_ids: pd.Index | None = None
    names: pd.Index | None = None
    obs: pd.DataFrame | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        matrix = sparse.csr_matrix(self.matrix)
        put(self, "genes", pd.Index(self.genes, dtype=object))
        rows, columns = matrix.shape
        for name, length in (("gene_ids", columns), ("names", rows)):
            given = getattr(self, name)
            if given is not None:
                put(self, name, pd.Index(given, dtype=object))
                if len(given) != length:
                    raise DataError(f"the table of counts is {rows} x {columns}; {name} has {len(given)}.")
        if len(self.genes) != columns:
            raise DataError(f"the table of counts has {columns} columns for {len(self.genes)} genes.")
        if self.obs is not None and len(self.obs) != rows:
            raise DataError(f"the table of counts has {rows} rows; obs has {len(self.obs)}.")
        _check_unique(self.genes, "gene")
        if self.names is not None:
            _check_unique(self.names, "region")
        put(self, "matrix", self._checked(matrix))

    @classmethod
    def of(cls, table: anndata.AnnData) -> Counts:
        """Take the raw counts from an AnnData whose `X` holds them; shares nothing that its owner may change.

        A column `gene_ids` of `var` gives the Ensembl ids.
        """
        if table.X is None:
            raise DataError("the table of counts has no X. Put the raw counts there.")
        ids = pd.Index(table.var["gene_ids"].astype(str)) if "gene_ids" in table.var else None
        matrix = sparse.csr_matrix(table.X, copy=True)
        return cls(matrix, table.var_names, ids, table.obs_names, table.obs.copy(), dict(table.uns))

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of regions and of genes."""
        return len(self), len(self.genes)

    @property
    def total(self) -> NDArray[np.float64]:
        """(n,) counts of each region over all genes."""
        return np.asarray(self.matrix.sum(axis=1, dtype=np.float64), np.float64).ravel()

    def name(self, row: int) -> str:
        """Give the name of a region."""
        return str(row if self.names is None else self.names[row])

    def region_names(self) -> pd.Index:
        """Give the names of all regions, made up from their numbers if they have none."""
        return pd.Index([str(row) for row in range(len(self))], dtype=object) if self.names is None else self.names

    def take(self, rows: NDArray[Any]) -> Counts:
        """Give the counts of some regions, by whole-number index or boolean mask."""
        names = None if self.names is None else self.names[rows]
        obs = None if self.obs is None else self.obs.iloc[rows]
        return Counts(self.matrix[rows], self.genes, self.gene_ids, names, obs, self.notes)

    def _checked(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        for start in range(0, len(matrix.data), _CHUNK):
            part = matrix.data[start : start + _CHUNK]
            with np.errstate(invalid="ignore"):
                good = np.isfinite(part) & (part >= 0) & (part == np.floor(part))
            if not good.all():
                first = start + int(np.argmin(good))
                row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
                gene = self.genes[matrix.indices[first]]
                raise DataError(
                    f"region {self.name(row)!r} has {matrix.data[first]:g} of gene {str(gene)!r} "
                    f"({(~good).sum()} such values). Give raw counts: whole numbers from 0 upwards."
                )
        return matrix.astype(np.float32, copy=False)


def _check_unique(names: pd.Index, kind: str) -> None:
    twice = names[names.duplicated()]
    if len(twice):
        raise DataError(
            f"the {kind} {str(twice[0])!r} occurs more than once ({len(twice)} repeated names in all). "
            f"Give each {kind} one name."
        )
