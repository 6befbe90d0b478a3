"""Names of genes: one name and one column for each gene, whatever a platform calls it."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from pixnet.errors import DataError, PixNetWarning

if TYPE_CHECKING:
    from pixnet.sample.sample import Sample

CONTROL = re.compile(r"(negcontrol|blank|unassigned|antisense_|deprecatedcodeword|intergenic)", re.IGNORECASE)
"""Start of the names of features that are not genes but controls of an imaging platform."""


def without_version(gene_id: str) -> str:
    """Return an Ensembl id without its version: ENSG00000141736 for ENSG00000141736.15."""
    stem, _, version = gene_id.partition(".")
    return stem if stem.startswith("ENS") and version.isdigit() else gene_id


def merge_genes(
    matrix: sparse.csr_matrix, names: Sequence[str], ids: Sequence[str] | None = None
) -> tuple[sparse.csr_matrix, pd.Index, pd.Index | None, int]:
    """Sum the columns of genes that have the same name.

    An empty symbol is replaced by the gene's Ensembl id, whose version is removed. `matrix` (n, g) may be changed.

    Returns
    -------
    matrix, names, ids, merged
        Counts, names and ids of the remaining genes, in the order of their first columns; each gene has the id of its
        first column. `merged` is the number of columns that were added to others.
    """
    stems = [without_version(str(gene_id)) for gene_id in ids] if ids is not None else None
    labels = [str(name) or (stems[column] if stems else "") for column, name in enumerate(names)]
    if not all(labels):
        raise DataError(f"gene {labels.index('') + 1} of {len(labels)} has neither a name nor an id.")
    new_column, unique = pd.factorize(np.array(labels, dtype=object))
    merged = len(labels) - len(unique)
    if merged:
        columns = new_column.astype(np.int32)[matrix.indices]
        matrix = sparse.csr_matrix((matrix.data, columns, matrix.indptr), shape=(matrix.shape[0], len(unique)))
        matrix.sum_duplicates()
    first_ids = None
    if stems is not None:
        first_ids = pd.Index(stems, dtype=object)[~pd.Series(labels).duplicated().to_numpy()]
    return matrix, pd.Index(unique, dtype=object), first_ids, merged


def join_genes(samples: Sequence[Sample]) -> list[Sample]:
    """Use the same name for each gene in all samples; warn if columns turn out to be the same gene and are summed.

    Genes are matched by Ensembl id where there is one, else by symbol. The name of a gene is its symbol in the first
    sample that has it. A sample whose names do not change is returned itself.
    """
    name_of: dict[str, str] = {}  # Ensembl id -> name
    for sample in samples:
        ids = sample.counts.gene_ids
        for symbol, gene_id in zip(sample.genes, ids if ids is not None else [""] * len(sample.genes), strict=True):
            if gene_id.startswith("ENS"):
                name_of.setdefault(gene_id, symbol)
    joined, sums = [], []
    for sample in samples:
        counts, ids = sample.counts, sample.counts.gene_ids
        if ids is None:
            # A platform that has ids only uses them as names.
            names = [name_of.get(name, name) for name in sample.genes]
        else:
            names = [name_of.get(gene_id, name) for name, gene_id in zip(sample.genes, ids, strict=True)]
        if names == list(sample.genes):
            joined.append(sample)
            continue
        matrix, merged_names, merged_ids, merged = merge_genes(
            counts.matrix.copy(), names, None if ids is None else list(ids)
        )
        if merged:
            sums.append(f"{merged} in {sample.id!r}")
        counts = dataclasses.replace(counts, matrix=matrix, genes=merged_names, gene_ids=merged_ids)
        joined.append(dataclasses.replace(sample, counts=counts))
    if sums:
        warnings.warn(f"columns of the same gene were summed: {', '.join(sums)}.", PixNetWarning, stacklevel=2)
    return joined
