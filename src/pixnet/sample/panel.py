"""Gene panels: the genes that a model predicts, and their counts in a sample."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.expression import SCALE
from pixnet.sample.genes import gene_columns
from pixnet.sample.sample import enough_counts

if TYPE_CHECKING:
    from pixnet.sample.sample import Sample

RULES = ("top-mean", "highly-variable", "list")

_BINS = 20  # groups of genes of similar mean, as in Macosko et al. 2015
_DETECTED = 0.1  # least share of the regions in which a highly variable gene is seen


@dataclass(frozen=True)
class GenePanel:
    """The genes that a model predicts, in their order: symbols or ids as in the samples, each once.

    `rule` is the one that they were chosen by: "top-mean", "highly-variable" or "list".
    """

    names: tuple[str, ...]
    rule: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        if not self.names:
            raise DataError("The gene panel is empty; name at least one gene.")
        index = pd.Index(self.names, dtype=object)
        repeated = index[index.duplicated()]
        if len(repeated):
            raise DataError(
                f"The gene panel names {repeated[0]!r} more than once ({len(repeated)} repeats in all); "
                "name each gene once."
            )

    def __len__(self) -> int:
        return len(self.names)


def choose_panel(
    samples: Sequence[Sample],
    genes: int | Sequence[str],
    rule: str = "top-mean",
    min_counts: int = 500,
    measured_in: str = "all",
) -> GenePanel:
    """Choose the genes to predict from training samples; test samples must not be among them.

    Parameters
    ----------
    genes
        Number of genes; or their names, which makes the rule "list".
    rule
        "top-mean": the genes of the highest mean raw count over all regions of all samples. This is the rule of ST-Net
        (He et al. 2020), which the paper follows. "highly-variable": the genes of the highest dispersion relative to
        genes of similar mean, as in Macosko et al. 2015 and early versions of Seurat. The dispersion is the logarithm
        of variance over mean of the counts per 10,000. Genes are split into 20 groups of equal size by their mean, and
        the dispersions are standardised within each group. The scores are averaged over samples. Genes that are seen in
        less than a tenth of the regions of a sample are not used.
    min_counts
        Least number of counts over all genes of a region that is used for "highly-variable". For "top-mean" all regions
        are used, because the rule of ST-Net has no such limit.
    measured_in
        "all": choose among the genes that every sample was measured for. "any": choose among the genes that at least
        one sample was measured for; where a sample was not measured for a gene, the gene is masked in training. Genes
        given by name need one sample that was measured for them.

    Raises
    ------
    DataError
        If the rule is unknown, fewer genes can be chosen than requested, or no sample was measured for a named gene.
    """
    if not samples:
        raise DataError("A gene panel needs at least one training sample; none was given.")
    if isinstance(genes, str):
        raise DataError(f"`genes` is the text {genes!r}; give a number or a list of names.")
    if not isinstance(genes, (int, np.integer)):
        panel = GenePanel(tuple(genes), "list")
        _check_measured(samples, panel)
        return panel
    if rule not in RULES or rule == "list":
        advice = "it needs names, not a number" if rule == "list" else f"give one of {', '.join(RULES)}"
        raise DataError(f"the rule {rule!r} cannot choose {genes} genes: {advice}.")
    names = samples[0].genes
    for sample in samples[1:]:
        names = names.intersection(sample.genes) if measured_in == "all" else names.union(sample.genes, sort=False)
    shared = np.array([str(name) for name in names], dtype=object)
    if rule == "top-mean":
        score = _mean_counts(samples, shared)
    else:
        scores = np.array([_dispersion(sample, shared, min_counts) for sample in samples])
        # A sample that was not measured for a gene does not count in its score. A gene that a sample was measured for,
        # but that is rarely seen there, is not usable.
        measured = np.array([sample.genes.get_indexer(names) >= 0 for sample in samples])
        score = np.where(measured, scores, 0.0).sum(axis=0) / measured.sum(axis=0)
    usable = int(np.isfinite(score).sum())
    if usable == 0:
        raise DataError(
            f"the {len(samples)} samples do not share a gene that the rule {rule!r} can choose; check their gene names."
        )
    if not 1 <= genes <= usable:
        raise DataError(f"the rule {rule!r} cannot choose {genes} genes; give a number from 1 to {usable} as `genes`.")
    # Equal scores are sorted by name, so that the order of the samples does not matter.
    order = np.lexsort((shared.astype(str), -np.where(np.isfinite(score), score, -np.inf)))
    return GenePanel(tuple(shared[order[:genes]]), rule)


def panel_counts(sample: Sample, panel: GenePanel) -> NDArray[np.float32]:
    """Return a sample's raw counts of the panel's genes, (n, g), all of which it must have been measured for."""
    _check_measured([sample], panel)
    return np.asarray(measured_counts(sample, panel)[0].toarray(), np.float32)


def measured_counts(sample: Sample, panel: GenePanel) -> tuple[sparse.csr_matrix, NDArray[np.bool_]]:
    """Return a sample's raw counts of the panel's genes, (n, g) CSR, and which genes it was measured for, (g,).

    The counts of a gene that the sample was not measured for are zero and without meaning.
    """
    columns = gene_columns(sample.counts, panel.names)
    measured = np.asarray(columns >= 0, np.bool_)
    matrix = sample.counts.matrix[:, columns[measured]]
    panel_column = np.flatnonzero(measured).astype(matrix.indices.dtype)
    shape = (matrix.shape[0], len(panel))
    return sparse.csr_matrix((matrix.data, panel_column[matrix.indices], matrix.indptr), shape=shape), measured


def _check_measured(samples: Sequence[Sample], panel: GenePanel) -> None:
    measured = np.any([gene_columns(sample.counts, panel.names) >= 0 for sample in samples], axis=0)
    missing = [name for name, known in zip(panel.names, measured, strict=True) if not known]
    if missing:
        known = {str(name).upper(): str(name) for sample in samples for name in sample.genes}
        listed = ", ".join(_with_similar(name, known) for name in missing[:3])
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        who = f"sample {samples[0].id!r} was not" if len(samples) == 1 else f"none of {len(samples)} samples was"
        raise DataError(f"{who} measured for {listed}{rest}. Leave such genes out of the panel.")


def _with_similar(name: str, known: dict[str, str]) -> str:
    similar = [known[match] for match in difflib.get_close_matches(name.upper(), known, n=3)]
    return f"{name!r} (similar: {', '.join(similar)})" if similar else repr(name)


def _mean_counts(samples: Sequence[Sample], names: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean raw count of each gene over all regions of the samples that were measured for it."""
    sums, regions = np.zeros(len(names)), np.zeros(len(names))
    for sample in samples:
        columns = sample.genes.get_indexer(pd.Index(names, dtype=object))
        measured = columns >= 0
        gene_sums = np.asarray(sample.counts.matrix.sum(axis=0, dtype=np.float64)).ravel()
        sums[measured] += gene_sums[columns[measured]]
        regions[measured] += len(sample.counts)
    return np.asarray(sums / regions, np.float64)


def _dispersion(sample: Sample, names: NDArray[Any], min_counts: int) -> NDArray[np.float64]:
    """Return the log dispersion of each gene, standardised among genes of similar mean; NaN for genes rarely seen."""
    enough = enough_counts(sample, min_counts)
    depth = sample.depth[enough]
    score = np.full(len(names), np.nan)
    if len(depth) < 2:
        raise DataError(
            f"sample {sample.id!r} has {len(depth)} regions with at least {min_counts} counts, but 2 are needed to "
            "choose highly variable genes. Lower `min_counts`."
        )
    columns = sample.genes.get_indexer(pd.Index(names, dtype=object))
    measured = np.flatnonzero(columns >= 0)
    matrix = sample.counts.matrix[enough][:, columns[measured]].astype(np.float64)
    matrix = sparse.diags_array(SCALE / np.maximum(depth, 1.0)) @ matrix
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    variance = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel() - mean**2
    seen = np.asarray((matrix > 0).sum(axis=0)).ravel() >= _DETECTED * len(depth)
    usable = np.flatnonzero(seen & (variance > 0))
    log_dispersion = np.log(variance[usable] / mean[usable])
    for group in np.array_split(np.argsort(mean[usable], kind="stable"), _BINS):
        values = log_dispersion[group]
        spread = values.std() if len(values) > 1 else 0.0
        score[measured[usable[group]]] = (values - values.mean()) / spread if spread > 0 else 0.0
    return score
