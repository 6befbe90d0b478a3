"""Names of genes: one column for each, whatever a platform calls it."""

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
"""How the name of a feature starts that is no gene but a control of an imaging platform."""


def without_version(gene_id: str) -> str:
    """Strip the version from an Ensembl id: ENSG00000141736.15 becomes ENSG00000141736."""
    stem, _, version = gene_id.partition(".")
    return stem if stem.startswith("ENS") and version.isdigit() else gene_id


def merge_genes(
    matrix: sparse.csr_matrix, names: Sequence[str], ids: Sequence[str] | None = None
) -> tuple[sparse.csr_matrix, pd.Index, pd.Index | None, int]:
    """Sum the columns of genes that have one name.

    Parameters
    ----------
    matrix
        (n, g) counts; may be changed.
    names
        Symbols. An empty one is replaced by the gene's id.
    ids
        Ensembl ids; versions are stripped.

    Returns
    -------
    matrix, names, ids, merged
        The first column of each name stays where it was, with the first id; `merged` columns went into others.

    Raises
    ------
    DataError
        If a gene has neither name nor id.
    """
    stems = [without_version(str(i)) for i in ids] if ids is not None else None
    called = [str(name) or (stems[column] if stems else "") for column, name in enumerate(names)]
    if not all(called):
        raise DataError(f"gene {called.index('') + 1} of {len(called)} has neither a name nor an id.")
    place, unique = pd.factorize(np.array(called, dtype=object))
    merged = len(called) - len(unique)
    if merged:
        matrix = sparse.csr_matrix(
            (matrix.data, place.astype(np.int32)[matrix.indices], matrix.indptr), shape=(matrix.shape[0], len(unique))
        )
        matrix.sum_duplicates()
    kept = pd.Index(stems, dtype=object)[~pd.Series(called).duplicated().to_numpy()] if stems is not None else None
    return matrix, pd.Index(unique, dtype=object), kept, merged


def join_genes(samples: Sequence[Sample]) -> list[Sample]:
    """Call each gene by one name in all samples: joined by Ensembl id where there is one, else by symbol.

    The name is the symbol that the first sample with that gene gives it. Columns of a sample that turn out to be one
    gene are summed, and that is told.

    Returns
    -------
    list of Sample
        The samples themselves where nothing changes.
    """
    name_of: dict[str, str] = {}  # Ensembl id -> name
    for sample in samples:
        ids = sample.counts.gene_ids
        for symbol, gene_id in zip(sample.genes, ids if ids is not None else [""] * len(sample.genes), strict=True):
            if gene_id.startswith("ENS"):
                name_of.setdefault(gene_id, symbol)
    joined, told = [], []
    for sample in samples:
        counts, ids = sample.counts, sample.counts.gene_ids
        if ids is None:
            # A platform that gives ids alone calls its genes by them.
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
            told.append(f"{merged} in {sample.id!r}")
        counts = dataclasses.replace(counts, matrix=matrix, genes=merged_names, gene_ids=merged_ids)
        joined.append(dataclasses.replace(sample, counts=counts))
    if told:
        warnings.warn(f"columns of one gene were summed: {', '.join(told)}.", PixNetWarning, stacklevel=2)
    return joined
