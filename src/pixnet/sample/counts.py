"""The counts of each region, as a sparse table that stores nothing but its entries."""

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

    An AnnData has a name for every row. Ten million bins have no names, only positions in their lattice, so names are
    optional here. `Sample.to_anndata` returns the table that other packages use.

    Parameters
    ----------
    matrix
        Counts, whole numbers of 0 or more, shape (n, g), dense or sparse; stored as float32 CSR.
    genes, gene_ids
        Names of the g genes, each once, and their Ensembl ids, if known; an empty text for a gene without one.
    names
        Names of the n regions, each once. If None, regions are named by their number.
    obs, notes
        Other facts about the regions, one row for each, and about the table.

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
        set_field = object.__setattr__
        matrix = sparse.csr_matrix(self.matrix)
        set_field(self, "genes", pd.Index(self.genes, dtype=object))
        rows, columns = matrix.shape
        for name, length in (("gene_ids", columns), ("names", rows)):
            labels = getattr(self, name)
            if labels is not None:
                set_field(self, name, pd.Index(labels, dtype=object))
                if len(labels) != length:
                    raise DataError(f"the table of counts is {rows} x {columns}, but {name} has {len(labels)} entries.")
        if len(self.genes) != columns:
            raise DataError(f"the table of counts has {columns} columns for {len(self.genes)} genes.")
        if self.obs is not None and len(self.obs) != rows:
            raise DataError(f"the table of counts has {rows} rows, but obs has {len(self.obs)}.")
        _check_unique(self.genes, "gene")
        if self.names is not None:
            _check_unique(self.names, "region")
        set_field(self, "matrix", self._checked(matrix))

    @classmethod
    def from_anndata(cls, table: anndata.AnnData) -> Counts:
        """Copy the raw counts of an AnnData: `X`, and Ensembl ids from the column `gene_ids` of `var`, if there is one.

        DataError is raised if there is no `X`, or if it does not hold raw counts.
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
        """Counts of each region over all genes, shape (n,)."""
        return np.asarray(self.matrix.sum(axis=1, dtype=np.float64), np.float64).ravel()

    def name(self, row: int) -> str:
        """Return the name of a region, or its number if regions have no names."""
        return str(row if self.names is None else self.names[row])

    def region_names(self) -> pd.Index:
        """Return the names of all regions, or their numbers if they have no names."""
        return pd.Index([str(row) for row in range(len(self))], dtype=object) if self.names is None else self.names

    def take(self, rows: NDArray[Any]) -> Counts:
        """Return the counts of some regions, chosen by an integer index or a boolean mask."""
        names = None if self.names is None else self.names[rows]
        obs = None if self.obs is None else self.obs.iloc[rows]
        return Counts(self.matrix[rows], self.genes, self.gene_ids, names, obs, self.notes)

    def _checked(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        for start in range(0, len(matrix.data), _CHUNK):
            part = matrix.data[start : start + _CHUNK]
            with np.errstate(invalid="ignore"):
                valid = np.isfinite(part) & (part >= 0) & (part == np.floor(part))
            if not valid.all():
                first = start + int(np.argmin(valid))
                row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
                gene = self.genes[matrix.indices[first]]
                raise DataError(
                    f"region {self.name(row)!r} has {matrix.data[first]:g} counts of gene {str(gene)!r} "
                    f"({(~valid).sum()} such values). Give raw counts: whole numbers of 0 or more."
                )
        return matrix.astype(np.float32, copy=False)


def _check_unique(names: pd.Index, kind: str) -> None:
    repeated = names[names.duplicated()]
    if len(repeated):
        raise DataError(
            f"the {kind} {str(repeated[0])!r} occurs more than once ({len(repeated)} repeated names in all). "
            f"Give each {kind} its own name."
        )
