"""Targets of a sample: counts, totals and log-normalised values of the regions with enough counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.expression import SCALE, normalise
from pixnet.regions import Regions
from pixnet.sample.panel import GenePanel, measured_counts
from pixnet.sample.sample import donor_groups

if TYPE_CHECKING:
    from pixnet.sample import Sample


_WHOLE_TRANSCRIPTOME = 0.5  # a sample with less than this share of the most genes in any was measured by a panel
_FEWEST_TO_SPLIT = 4  # regions
_HELD_OUT = 0.25  # of a sample's regions, in one spatial block


@dataclass(frozen=True, eq=False)
class Components:
    """Directions in which log-normalised expression varies from region to region by more than chance.

    A gene's value in one region is mostly counting noise; the genes of a region together are not. So training may learn
    from the values' projection onto the directions that repeat between two halves of the counts.
    """

    genes: NDArray[np.int64]  # columns of the genes measured in all samples that also vary, shape (k,)
    sd: NDArray[np.float64]  # standard deviation of each of these genes within samples, shape (k,)
    basis: NDArray[np.float64]  # orthonormal directions, shape (c, k)

    def __len__(self) -> int:
        return len(self.basis)

    def project(self, values: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return values (n, genes) projected onto the components around the sample's mean of each gene, shape (genes,).

        Genes without a part in the components are returned as they are.
        """
        result = values.copy()
        centre = mean[self.genes]
        scaled = (values[:, self.genes] - centre) / self.sd
        result[:, self.genes] = centre + scaled @ self.basis.T @ self.basis * self.sd
        return result


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of one sample, for its n regions with enough counts.

    Counts stay sparse, and values are computed for the regions of a batch only: a sample may have ten million regions.

    Attributes
    ----------
    sample, regions
        The sample, with all of its regions, and those with enough counts.
    panel
        Counts of the panel's genes, CSR, shape (n, genes). Columns that were not measured hold no information.
    total
        Counts over all genes, shape (n,); over the panel's genes where the sample was measured by a targeted panel.
    measured
        Whether the sample was measured for each output of the head, shape (M,).
    components
        Components that log-normalised values are projected onto; None leaves them as measured. Counts always stay as
        measured.
    centre
        Mean value of each gene, shape (genes,), around which the values are projected.
    """

    sample: Sample
    regions: Regions
    panel: sparse.csr_matrix
    total: NDArray[np.float32]
    measured: NDArray[np.bool_]
    components: Components | None = None
    centre: NDArray[np.float64] | None = None

    @classmethod
    def from_sample(
        cls, sample: Sample, panel: GenePanel, min_counts: int, with_other: bool, most_genes: int | None = None
    ) -> Targets:
        """Take the targets from the regions of a sample with at least `min_counts` counts.

        Parameters
        ----------
        sample, panel
            The sample, and the genes to predict.
        with_other
            Whether the head has one output for all genes outside the panel together.
        most_genes
            Number of genes of the training sample with the most genes; by default this sample's own. A sample with far
            fewer holds no information on the genes outside the panel, and its total is that of the panel.

        Raises
        ------
        DataError
            If no region has enough counts, or the sample was measured for none of the panel's genes.
        """
        counts, measured = measured_counts(sample, panel)
        if not measured.any():
            raise DataError(
                f"sample {sample.id!r}: was measured for none of the {len(panel)} genes, such as {panel.names[0]!r}; "
                "leave the sample out, or check that its genes have the same names as in the other samples."
            )
        depth = sample.depth
        enough = np.flatnonzero(depth >= min_counts)
        if not len(enough):
            raise DataError(
                f"sample {sample.id!r}: no region has {min_counts} counts or more (the most is {depth.max():.0f}); "
                "lower min_counts or leave the sample out."
            )
        all_genes = len(sample.genes) >= _WHOLE_TRANSCRIPTOME * (most_genes or 0)
        counts = counts[enough]
        total = depth[enough] if all_genes else np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        if with_other:
            measured = np.append(measured, all_genes)
        return cls(sample, sample.regions.take(enough), counts, total.astype(np.float32), measured)

    def dense(self, index: NDArray[np.int64] | slice = slice(None)) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return counts (k, M) and log-normalised values (k, genes) of some regions.

        The counts are those of the panel's genes, then of all others together if the head has an output for them. The
        values are log1p of counts per 10,000 of the total, denoised if these targets are.
        """
        counts = np.asarray(self.panel[index].toarray(), np.float32)
        total = self.total[index]
        values = normalise(counts, total)
        if self.components and self.centre is not None:
            values = self.components.project(values, self.centre)
        if len(self.measured) > counts.shape[1]:
            counts = np.concatenate([counts, (total - counts.sum(axis=1))[:, None]], axis=1)
        return counts, values

    def sums(self) -> NDArray[np.float64]:
        """Return the counts of each output summed over all regions, shape (M,)."""
        of_genes = np.asarray(self.panel.sum(axis=0, dtype=np.float64)).ravel()
        if len(self.measured) == len(of_genes):
            return of_genes
        return np.append(of_genes, self.total.sum(dtype=np.float64) - of_genes.sum())

    def denoised(self, components: Components) -> Targets:
        """Return the same targets with their values projected onto components, around their mean."""
        return replace(self, components=components, centre=self.moments()[0] / len(self))

    def moments(self) -> tuple[NDArray[np.float64], ...]:
        """Return the sums over all regions of each gene's log-normalised value and of its square, (genes,) each."""
        values = self.panel.astype(np.float64)
        scale = np.divide(SCALE, self.total, out=np.zeros(len(self), np.float64), where=self.total > 0)
        values.data = np.log1p(values.data * np.repeat(scale, np.diff(values.indptr)))
        squares = values.multiply(values)
        return tuple(np.asarray(part.sum(axis=0), np.float64).ravel() for part in (values, squares))

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Targets:
        """Return the targets of some regions."""
        return replace(self, regions=self.regions.take(index), panel=self.panel[index], total=self.total[index])

    def __len__(self) -> int:
        return len(self.total)


def split(targets: list[Targets], how: str, seed: int) -> tuple[list[Targets], list[Targets]]:
    """Split targets into a training and a validation part; the seed draws what is held out.

    - `"sample"`: all samples of one donor, or one sample where all are of the same donor. See `donor_groups`.
    - `"block"`: a quarter of each sample's regions, those furthest towards a direction.
    - `"auto"`: as `"sample"` for three samples or more, otherwise as `"block"`.
    - `"none"`: nothing.
    """
    rng = np.random.default_rng([seed, 1])
    if how == "auto":
        how = "sample" if len(targets) >= 3 else "block"
    if how == "none":
        return targets, []
    if how == "sample" and len(targets) > 1:
        groups = donor_groups([target.sample.donor for target in targets])
        held_out = groups == rng.integers(groups.max() + 1)
        pairs = list(zip(targets, held_out, strict=True))
        return [target for target, out in pairs if not out], [target for target, out in pairs if out]
    training, validation = [], []
    for target in targets:
        if len(target) < _FEWEST_TO_SPLIT:
            training.append(target)
            continue
        angle = rng.uniform(0.0, 2.0 * np.pi)
        along = target.regions.centers_um @ np.array([np.cos(angle), np.sin(angle)])
        block = along > np.quantile(along, 1.0 - _HELD_OUT)
        training.append(target.take(~block))
        validation.append(target.take(block))
    return training, validation
