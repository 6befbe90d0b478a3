"""Names of genes: one name and one column for each gene, whatever a platform calls it."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError, PixNetWarning, counted

if TYPE_CHECKING:
    from pixnet.sample.counts import Counts
    from pixnet.sample.sample import Sample

CONTROL = re.compile(r"(negcontrol|blank|unassigned|antisense_|deprecatedcodeword|intergenic|__)", re.IGNORECASE)
"""Start of the names of features that are not genes: controls of an imaging platform, and what a pipeline could not
assign (`__ambiguous[...]`, `__no_feature`)."""

_GENOME = re.compile(r"(?:GRC[a-z]|hg|mm|rn)\d+_+")
"""Start of names and ids in a reference of several species, and in many of one."""

ENSEMBL = re.compile(rf"(?:{_GENOME.pattern})?(ENS[A-Z]+\d+)(?:\.\d+)?(?:_PAR_Y)?", re.IGNORECASE)
"""An Ensembl id, perhaps with its version, its genome, and GENCODE's mark of a second copy on the Y chromosome."""


def without_version(gene_id: str) -> str:
    """Return an Ensembl id without its version: ENSG00000141736 for ENSG00000141736.15."""
    match = ENSEMBL.fullmatch(gene_id)
    return match[1].upper() if match else gene_id


def without_genome(names: Sequence[str]) -> list[str]:
    """Return names of genes without the name of the genome that all of them begin with (`GRCh38_ERBB2`)."""
    genomes = {match[0] if (match := _GENOME.match(name)) else "" for name in names}
    return [name.removeprefix(next(iter(genomes))) for name in names] if len(genomes) == 1 else list(names)


def merge_genes(
    matrix: sparse.csr_matrix, names: Sequence[str], ids: Sequence[str] | None = None
) -> tuple[sparse.csr_matrix, pd.Index, pd.Index | None, list[str]]:
    """Sum the columns of genes that have the same name.

    An empty symbol is replaced by the gene's Ensembl id, whose version is removed, and so is the genome that all begin
    with; a column that has neither is left out. `matrix` (n, g) may be changed.

    Returns
    -------
    matrix, names, ids, notes
        Counts, names and ids of the remaining genes, in the order of their first columns; each gene has the id of its
        first column. `notes` says how many columns were summed or left out.
    """
    stems = [without_version(str(gene_id)) for gene_id in ids] if ids is not None else [""] * len(names)
    symbols = without_genome([str(name) for name in names])
    labels = [symbol or stem for symbol, stem in zip(symbols, stems, strict=True)]
    notes = []
    named = np.flatnonzero([bool(label) for label in labels])
    if len(named) < len(labels):
        if not len(named):
            raise DataError(f"none of its {len(labels)} genes has a name or an id.")
        notes.append(f"{counted(len(labels) - len(named), 'columns')} without a name or an id of the gene left out")
        matrix = matrix[:, named]
        labels, stems = [labels[column] for column in named], [stems[column] for column in named]
    new_column, unique = pd.factorize(np.array(labels, dtype=object))
    merged = len(labels) - len(unique)
    if merged:
        notes.append(f"{counted(merged, 'columns')} added to others of the same gene")
        columns = new_column.astype(np.int32)[matrix.indices]
        matrix = sparse.csr_matrix((matrix.data, columns, matrix.indptr), shape=(matrix.shape[0], len(unique)))
        matrix.sum_duplicates()
    first_ids = None
    if ids is not None:
        first_ids = pd.Index(stems, dtype=object)[~pd.Series(labels).duplicated().to_numpy()]
    return matrix, pd.Index(unique, dtype=object), first_ids, notes


def without_controls(
    matrix: sparse.csr_matrix, names: Sequence[str], ids: Sequence[str] | None = None
) -> tuple[sparse.csr_matrix, list[str], list[str] | None, list[str]]:
    """Leave out the columns that are not genes by their names; returns matrix, names, ids and a note on them."""
    genes = [column for column, name in enumerate(names) if not CONTROL.match(name)]
    if not genes:
        raise DataError(f"has no genes; all of its {len(names)} columns are controls.")
    if len(genes) == len(names):
        return matrix, list(names), None if ids is None else list(ids), []
    notes = [f"{counted(len(names) - len(genes), 'columns of controls')} left out"]
    kept = [names[column] for column in genes]
    return matrix[:, genes], kept, None if ids is None else [ids[column] for column in genes], notes


def gene_columns(counts: Counts, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the column of each gene, by its name or else by its Ensembl id of any version; -1 where there is none."""
    columns = np.asarray(counts.genes.get_indexer(pd.Index(names, dtype=object)), np.int64)
    if (columns < 0).any():
        ids = counts.genes if counts.gene_ids is None else counts.gene_ids
        place = {without_version(str(gene_id)): column for column, gene_id in enumerate(ids)}
        for row in np.flatnonzero(columns < 0).tolist():
            name = str(names[row])
            columns[row] = place.get(without_version(name), -1) if ENSEMBL.fullmatch(name) else -1
    return columns


def join_genes(samples: Sequence[Sample]) -> list[Sample]:
    """Use the same name for each gene in all samples; warn if columns turn out to be the same gene and are summed.

    Genes are matched by Ensembl id of any version where there is one, else by symbol. The name of a gene is its symbol
    in the first sample that has one, else the id as the first sample has it. A sample whose names do not change is
    returned itself.
    """
    name_of: dict[str, str] = {}  # Ensembl id without its version -> name
    for sample in sorted(samples, key=lambda sample: sample.counts.gene_ids is None):
        for symbol, gene_id in zip(sample.genes, _ids(sample), strict=True):
            if ENSEMBL.fullmatch(gene_id):
                name_of.setdefault(without_version(gene_id), symbol)
    joined, sums = [], []
    for sample in samples:
        counts, ids = sample.counts, sample.counts.gene_ids
        genes = zip(sample.genes, _ids(sample), strict=True)
        names = [name_of.get(without_version(gene_id), name) for name, gene_id in genes]
        if names == list(sample.genes):
            joined.append(sample)
            continue
        matrix, merged_names, merged_ids, _ = merge_genes(
            counts.matrix.copy(), names, None if ids is None else list(ids)
        )
        if len(merged_names) < len(names):
            sums.append(f"{len(names) - len(merged_names)} in {sample.id!r}")
        counts = dataclasses.replace(counts, matrix=matrix, genes=merged_names, gene_ids=merged_ids)
        joined.append(dataclasses.replace(sample, counts=counts))
    if sums:
        warnings.warn(f"columns of the same gene were summed: {', '.join(sums)}.", PixNetWarning, stacklevel=2)
    return joined


def _ids(sample: Sample) -> list[str]:
    """Return the Ensembl id of each gene; a platform that has ids only uses them as names."""
    ids = sample.counts.gene_ids
    return [str(gene_id) for gene_id in (sample.genes if ids is None else ids)]
