"""What a sample asks of the network: counts, totals and log-normalised values of its usable regions."""

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
    from pixnet.training.components import Components


_WHOLE = 0.5  # a sample measured for less than this share of the widest one's genes saw a targeted panel


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of one sample, for its n regions with enough counts.

    Sparse and by number until a batch asks for them: a sample may have ten million regions.

    Attributes
    ----------
    sample
        The sample, all of its regions.
    regions
        Those with enough counts.
    panel
        (n, genes) CSR, counts of the panel's genes; what stands in columns that were not measured means nothing.
    total
        (n,), counts over all genes; of a sample that was measured for few, over those of the panel.
    measured
        (M,), whether the sample was measured for each output of the head.
    components
        Those that log-normalised values are projected onto; None leaves them as measured. Counts always stay so.
    centre
        (genes,) values around which they are projected.
    """

    sample: Sample
    regions: Regions
    panel: sparse.csr_matrix
    total: NDArray[np.float32]
    measured: NDArray[np.bool_]
    components: Components | None = None
    centre: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls, sample: Sample, panel: GenePanel, min_counts: int, with_other: bool, widest: int | None = None
    ) -> Targets:
        """Take the targets from a sample.

        Parameters
        ----------
        sample
            The sample.
        panel
            Genes to predict.
        min_counts
            Regions with fewer counts are left out.
        with_other
            Whether the head has an output for all genes outside the panel together.
        widest
            Genes of the training sample that was measured for most; of this sample by default. A sample that was
            measured for far fewer knows nothing of the genes outside the panel, and its total is that of the panel.

        Raises
        ------
        DataError
            If no region has enough counts, or the sample was measured for no gene of the panel.
        """
        counts, measured = measured_counts(sample, panel)
        if not measured.any():
            raise DataError(
                f"sample {sample.id!r}: was measured for none of the {len(panel)} genes, such as {panel.names[0]!r}; "
                "leave it out, or see that its genes are called as in the other samples."
            )
        depth = sample.depth
        enough = np.flatnonzero(depth >= min_counts)
        if not len(enough):
            raise DataError(
                f"sample {sample.id!r}: no region has {min_counts} counts or more (the most is {depth.max():.0f}); "
                "lower min_counts or leave the sample out."
            )
        whole = len(sample.genes) >= _WHOLE * (widest or 0)
        counts = counts[enough]
        total = depth[enough] if whole else np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        if with_other:
            measured = np.append(measured, whole)
        return cls(sample, sample.regions.take(enough), counts, total.astype(np.float32), measured)

    def dense(self, index: NDArray[np.int64] | slice = slice(None)) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give counts and log-normalised values of some regions.

        Returns
        -------
        counts
            (k, M): of the panel's genes, then of all others together if the head has an output for them.
        values
            (k, genes): log1p of counts per 10,000 of the total, denoised if these targets are.
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
        """Give the sum of each column of the counts over all regions, (M,)."""
        of_gene = np.asarray(self.panel.sum(axis=0, dtype=np.float64)).ravel()
        if len(self.measured) == len(of_gene):
            return of_gene
        return np.append(of_gene, self.total.sum(dtype=np.float64) - of_gene.sum())

    def denoised(self, components: Components) -> Targets:
        """Give the same targets with their values projected onto components, around their mean."""
        return replace(self, components=components, centre=self.moments()[0] / len(self))

    def moments(self) -> tuple[NDArray[np.float64], ...]:
        """Give the sums over all regions of each gene's log-normalised values and of their squares, each (genes,)."""
        values = self.panel.astype(np.float64)
        scale = np.divide(SCALE, self.total, out=np.zeros(len(self), np.float64), where=self.total > 0)
        values.data = np.log1p(values.data * np.repeat(scale, np.diff(values.indptr)))
        squares = values.multiply(values)
        return tuple(np.asarray(part.sum(axis=0), np.float64).ravel() for part in (values, squares))

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Targets:
        """Give the targets of some regions."""
        return replace(self, regions=self.regions.take(index), panel=self.panel[index], total=self.total[index])

    def __len__(self) -> int:
        return len(self.total)


def split(targets: list[Targets], how: str, seed: int) -> tuple[list[Targets], list[Targets]]:
    """Part training from validation.

    Parameters
    ----------
    targets
        One for each training sample.
    how
        `"sample"`: all samples of one donor, or one sample where all are of one donor, drawn by the seed; see
        `donor_groups`. `"block"`: in every sample the quarter of the regions that lies furthest towards one side, the
        side drawn by the seed. `"auto"`: `"sample"` from three samples on.
        `"none"`: nothing to validate on.
    seed
        Seed of the draw.

    Returns
    -------
    training, validation
    """
    rng = np.random.default_rng([seed, 1])
    if how == "auto":
        how = "sample" if len(targets) >= 3 else "block"
    if how == "none":
        return targets, []
    if how == "sample" and len(targets) > 1:
        groups = donor_groups([target.sample.donor for target in targets])
        held = groups == rng.integers(groups.max() + 1)
        parts = [[t for t, out in zip(targets, held, strict=True) if out == side] for side in (False, True)]
        return parts[0], parts[1]
    training, validation = [], []
    for target in targets:
        if len(target) < 4:
            training.append(target)  # too few to part
            continue
        angle = rng.uniform(0.0, 2.0 * np.pi)
        along = target.regions.centers_um @ np.array([np.cos(angle), np.sin(angle)])
        block = along > np.quantile(along, 0.75)
        training.append(target.take(~block))
        validation.append(target.take(block))
    return training, validation
