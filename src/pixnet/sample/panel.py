"""Gene panels: which genes a model predicts, and where they are in a sample's table."""

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
from pixnet.sample.sample import enough_counts

if TYPE_CHECKING:
    from pixnet.sample.sample import Sample

RULES = ("top-mean", "highly-variable", "list")

_BINS = 20  # groups of genes of similar mean, as in Macosko et al. 2015
_DETECTED = 0.1  # share of the regions in which a highly variable gene must be seen at least once


@dataclass(frozen=True)
class GenePanel:
    """The genes that a model predicts, in their order.

    Parameters
    ----------
    names
        Gene symbols or ids, as in the samples.
    rule
        How they were chosen: "top-mean", "highly-variable" or "list".

    Raises
    ------
    DataError
        If there is no gene, or one occurs twice.
    """

    names: tuple[str, ...]
    rule: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        if not self.names:
            raise DataError("The gene panel is empty; name at least one gene.")
        seen: set[str] = set()
        twice = [name for name in self.names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        if twice:
            raise DataError(
                f"The gene panel names {twice[0]!r} more than once ({len(twice)} repeats in all); name each gene once."
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
    """Choose the genes to predict. Whoever calls gives the training samples only.

    Parameters
    ----------
    samples
        The training samples.
    genes
        How many; or their names, which makes the rule "list".
    rule
        "top-mean": the highest mean raw count over all regions of all samples, the rule of ST-Net (He et al. 2020),
        which the paper follows. "highly-variable": the highest dispersion (variance over mean of the counts per
        10,000, in logarithms) relative to genes of similar mean, as in Macosko et al. 2015 and early Seurat: genes
        fall into 20 groups of equal size by their mean, and within each the log dispersions are standardised; the
        scores are averaged over samples. Genes seen in less than a tenth of the regions of a sample do not count.
    min_counts
        Regions with fewer counts over all genes do not count for "highly-variable". For "top-mean" they do: ST-Net's
        rule has no such limit.
    measured_in
        "all": only genes that every sample was measured for. "any": those of a single one too; where a sample was not
        measured for a gene, it is masked in training. Named genes need one sample that was measured for them.

    Raises
    ------
    DataError
        If the rule is unknown, if fewer genes can be chosen than asked for, or if a named gene is in no sample.
    """
    if not samples:
        raise DataError("A gene panel needs at least one training sample; none was given.")
    if isinstance(genes, str):
        raise DataError(f"genes: {genes!r} is one text; give a number or a list of names.")
    if not isinstance(genes, (int, np.integer)):
        panel = GenePanel(tuple(genes), "list")
        _check_measured(samples, panel)
        return panel
    if rule not in RULES or rule == "list":
        advice = "it needs names, not a number" if rule == "list" else f"give one of {', '.join(RULES)}"
        raise DataError(f"rule {rule!r} cannot choose {genes} genes: {advice}.")
    names = samples[0].genes
    for sample in samples[1:]:
        names = names.intersection(sample.genes) if measured_in == "all" else names.union(sample.genes, sort=False)
    shared = np.array([str(name) for name in names], dtype=object)
    if rule == "top-mean":
        score = _mean_counts(samples, shared)
    else:
        scores = np.array([_dispersion(sample, shared, min_counts) for sample in samples])
        # A gene that a sample was not measured for has no say there; one that it hardly saw counts against it.
        measured = np.array([sample.genes.get_indexer(names) >= 0 for sample in samples])
        score = np.where(measured, scores, 0.0).sum(axis=0) / measured.sum(axis=0)
    usable = int(np.isfinite(score).sum())
    if usable == 0:
        raise DataError(f"{len(samples)} samples share no gene that {rule!r} could choose; check their gene names.")
    if not 1 <= genes <= usable:
        raise DataError(f"genes: {genes} were asked for by the rule {rule!r}; give a number from 1 to {usable}.")
    # Equal scores are put in the order of the names, so that the order of the samples does not matter.
    order = np.lexsort((shared.astype(str), -np.where(np.isfinite(score), score, -np.inf)))
    return GenePanel(tuple(shared[order[:genes]]), rule)


def panel_counts(sample: Sample, panel: GenePanel) -> NDArray[np.float32]:
    """Give a sample's raw counts of the panel's genes, (n, g), in the panel's order.

    Raises
    ------
    DataError
        If the sample lacks a gene of the panel.
    """
    _check_measured([sample], panel)
    return np.asarray(measured_counts(sample, panel)[0].toarray(), np.float32)


def measured_counts(sample: Sample, panel: GenePanel) -> tuple[sparse.csr_matrix, NDArray[np.bool_]]:
    """Give a sample's raw counts of the panel's genes, (n, g) CSR, and which of these it was measured for, (g,).

    The counts of a gene that it was not measured for are zero, and mean nothing.
    """
    columns = sample.genes.get_indexer(pd.Index(panel.names, dtype=object))
    measured = np.asarray(columns >= 0, np.bool_)
    found = sample.counts.matrix[:, columns[measured]]
    place = np.flatnonzero(measured).astype(found.indices.dtype)
    shape = (found.shape[0], len(panel))
    return sparse.csr_matrix((found.data, place[found.indices], found.indptr), shape=shape), measured


def _check_measured(samples: Sequence[Sample], panel: GenePanel) -> None:
    """Refuse a panel with a gene that none of the samples was measured for."""
    missing = [name for name in panel.names if not any(name in sample.genes for sample in samples)]
    if missing:
        known = {str(name).upper(): str(name) for sample in samples for name in sample.genes}
        told = [_with_nearest(name, known) for name in missing[:3]]
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        who = f"sample {samples[0].id!r}: was not" if len(samples) == 1 else f"none of {len(samples)} samples was"
        raise DataError(f"{who} measured for {', '.join(told)}{rest}. Leave such genes out of the panel.")


def _with_nearest(name: str, known: dict[str, str]) -> str:
    nearest = [known[match] for match in difflib.get_close_matches(name.upper(), known, n=3)]
    return f"{name!r} (nearest: {', '.join(nearest)})" if nearest else repr(name)


def _mean_counts(samples: Sequence[Sample], names: NDArray[Any]) -> NDArray[np.float64]:
    """Mean raw count of each gene over all regions of the samples that were measured for it."""
    sums, regions = np.zeros(len(names)), np.zeros(len(names))
    for sample in samples:
        columns = sample.genes.get_indexer(pd.Index(names, dtype=object))
        measured = columns >= 0
        of_gene = np.asarray(sample.counts.matrix.sum(axis=0, dtype=np.float64)).ravel()
        sums[measured] += of_gene[columns[measured]]
        regions[measured] += len(sample.counts)
    return np.asarray(sums / regions, np.float64)


def _dispersion(sample: Sample, names: NDArray[Any], min_counts: int) -> NDArray[np.float64]:
    """Log dispersion of each gene, standardised among genes of similar mean; NaN for genes that are hardly seen."""
    enough = enough_counts(sample, min_counts)
    depth = sample.depth[enough]
    score = np.full(len(names), np.nan)
    if len(depth) < 2:
        raise DataError(f"sample {sample.id!r}: has {len(depth)} regions of {min_counts} counts; lower min_counts.")
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
