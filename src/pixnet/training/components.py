"""Components of expression: directions in which the genes of a region vary together by more than counting noise.

Denoised targets are values projected onto them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.expression import RawCounts, normalise
from pixnet.training.targets import Components, Targets

_MOST_COMPONENTS = 50
_MOST_REGIONS = 20_000  # that the components are learned from
_MOST_VALUES = 1 << 24  # of all their genes: fewer regions are used for a panel of many thousand genes
_SIZE_RATIO = 1.5  # largest over smallest median area of the samples that share their components
_FEWEST = 3  # genes and regions below which nothing can be learned


def denoised(targets: Sequence[Targets], seed: int) -> list[Targets]:
    """Project the values of each sample onto the components of all samples with regions of about the same size.

    A component that rises above the noise in spots is lost in the noise of small bins, and bins outnumber spots so far
    that they would decide for both. Samples for which no component is found stay as they are. See `learn_components`.
    """
    area = [float(np.median(target.regions.areas_um2)) for target in targets]
    result = list(targets)
    remaining = list(np.argsort(area, kind="stable"))
    while remaining:
        group = [number for number in remaining if area[number] <= _SIZE_RATIO * area[remaining[0]]]
        remaining = remaining[len(group) :]
        components = learn_components([targets[number] for number in group], seed)
        if components:
            for number in group:
                result[number] = targets[number].denoised(components)
    return result


def learn_components(targets: Sequence[Targets], seed: int) -> Components | None:
    """Find the components of the training regions that rise above the noise; None where nothing can be learned.

    Fair coins split the counts of each region into two halves. The principal components of one half are not noise as
    far as they predict the other half; as many are kept as predict it best (molecular cross-validation, Batson, Royer
    and Webber 2019, bioRxiv 786269; each half predicts the other). Their directions are then taken from all counts. At
    most 20,000 regions and 2^24 values are used. Nothing can be learned if counts are not whole numbers, if there are
    too few genes or regions, or if no component rises above the noise.
    """
    rng = np.random.default_rng([seed, 3])
    most = min(_MOST_REGIONS, _MOST_VALUES // targets[0].panel.shape[1])
    share = min(1.0, most / sum(map(len, targets)))
    centred: list[tuple[NDArray[np.float64], ...]] = []
    for target in targets:
        index = np.sort(rng.choice(len(target), max(1, round(share * len(target))), replace=False))
        counts, total = target.panel[index].toarray(), target.total[index]
        try:
            parts = (normalise(counts, total), *RawCounts.from_counts(counts, total).halves(rng))
        except DataError:
            return None
        centred.append(tuple(v - v.mean(axis=0) for v in (part.astype(np.float64) for part in parts)))
    values, first, second = (np.concatenate(part) for part in zip(*centred, strict=True))

    everywhere = np.all([target.measured[: values.shape[1]] for target in targets], axis=0)
    varies = np.all([np.ptp(part, axis=0) > 0 for part in (values, first, second)], axis=0)
    genes = np.flatnonzero(everywhere & varies)
    if len(genes) < _FEWEST or len(values) < _FEWEST:
        return None
    values, first, second = (part[:, genes] for part in (values, first, second))
    scaled = [part / part.std(axis=0) for part in (first, second)]
    count = int(np.argmin(_errors(*scaled) + _errors(*scaled[::-1])))
    if not count:
        return None
    sd = values.std(axis=0)
    return Components(genes, sd, _principal(values / sd)[:count])


def _principal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the leading principal directions of centred values (n, k), as rows: at most 50, n or k."""
    many_genes = len(values) < values.shape[1]
    squares, vectors = np.linalg.eigh(values @ values.T if many_genes else values.T @ values)
    squares, basis = squares[::-1][:_MOST_COMPONENTS], vectors.T[::-1][: min(_MOST_COMPONENTS, *values.shape)]
    if many_genes:
        # Where no variance is left there is no direction: a row of zeros.
        basis = basis @ values / np.sqrt(np.where(squares > 1e-9 * squares[0], squares, np.inf))[:, None]
    return np.asarray(basis)


def _errors(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared error of one half as predicted by 0, 1, 2, ... components of the other, minus that of none."""
    basis = _principal(known)
    scores, unknown_scores = known @ basis.T, unknown @ basis.T
    # |b - A V V'|^2 = |b|^2 - 2 b V V'A' + |A V|^2, component by component.
    gains = (2.0 * scores * unknown_scores - scores**2).sum(axis=0)
    return np.concatenate([[0.0], -np.cumsum(gains)])
