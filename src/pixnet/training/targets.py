"""What a sample asks of the network: counts, totals and log-normalised values of its usable regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.expression import GenePanel, enough_counts, normalise, panel_counts

if TYPE_CHECKING:
    from pixnet.sample import Sample


@dataclass(frozen=True)
class Targets:
    """The targets of one sample, for its n regions with enough counts.

    Attributes
    ----------
    sample
        The sample, regions with too few counts left out.
    counts
        (n, M), the panel's genes, then all others pooled if the head has an output for them.
    total
        (n,), counts over all genes.
    values
        (n, genes), log1p of counts per 10,000.
    """

    sample: Sample
    counts: NDArray[np.float32]
    total: NDArray[np.float32]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, sample: Sample, panel: GenePanel, min_counts: int, with_other: bool) -> Targets:
        """Take the targets from a sample."""
        enough = enough_counts(sample, min_counts)
        if not enough.any():
            raise DataError(
                f"sample {sample.id!r}: no region has {min_counts} counts or more (the most is "
                f"{sample.depth.max():.0f}); lower min_counts or leave the sample out."
            )
        sample = sample.take(enough)
        counts = panel_counts(sample, panel)
        total = sample.depth.astype(np.float32)
        values = normalise(counts, total)
        if with_other:
            other = total - counts.sum(axis=1)
            counts = np.concatenate([counts, other[:, None]], axis=1)
        return cls(sample, counts, total, values)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Targets:
        """Give the targets of some regions."""
        return Targets(self.sample.take(index), self.counts[index], self.total[index], self.values[index])

    def __len__(self) -> int:
        return len(self.total)


def split(targets: list[Targets], how: str, seed: int) -> tuple[list[Targets], list[Targets]]:
    """Part training from validation.

    Parameters
    ----------
    targets
        One for each training sample.
    how
        `"sample"`: one whole sample, drawn by the seed. `"block"`: in every sample the quarter of the regions that
        lies furthest towards one side, the side drawn by the seed. `"auto"`: `"sample"` from three samples on.
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
        held = int(rng.integers(len(targets)))
        return [t for i, t in enumerate(targets) if i != held], [targets[held]]
    training, validation = [], []
    for target in targets:
        if len(target) < 4:
            training.append(target)  # too few to part
            continue
        angle = rng.uniform(0.0, 2.0 * np.pi)
        along = target.sample.regions.centers_um @ np.array([np.cos(angle), np.sin(angle)])
        block = along > np.quantile(along, 0.75)
        training.append(target.take(~block))
        validation.append(target.take(block))
    return training, validation
