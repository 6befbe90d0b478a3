"""Denoised targets: values projected onto the components of expression that stand above the counting noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.expression import RawCounts, normalise
from pixnet.training.components import Components
from pixnet.training.targets import Targets

_MOST = 50  # components that are tried
_REGIONS = 20_000  # regions that the components are learned from, at most
_VALUES = 1 << 24  # values of all their genes, at most: fewer regions of a panel of many thousand genes
_ALIKE = 1.5  # times as large as the smallest of a group a sample's regions may be
_FEWEST = 3  # genes and regions below which there is nothing to tell together


def denoised(targets: Sequence[Targets], seed: int) -> list[Targets]:
    """Project the values of each sample onto the components of all samples with regions of about its size.

    What stands above the noise in spots drowns in it in small bins, and bins are so many more that they would decide
    for both. See `learn_components`; samples of which nothing can be told stay as they are.
    """
    area = [float(np.median(target.regions.areas_um2)) for target in targets]
    result = list(targets)
    left = list(np.argsort(area, kind="stable"))
    while left:
        alike = [number for number in left if area[number] <= _ALIKE * area[left[0]]]
        left = left[len(alike) :]
        components = learn_components([targets[number] for number in alike], seed)
        for number in alike if components else ():
            result[number] = targets[number].denoised(components)
    return result


def learn_components(targets: Sequence[Targets], seed: int) -> Components | None:
    """Find the components of the training regions that stand above the noise.

    The counts of each region are thrown into two halves by fair coins. Principal components of one half, as many as
    predict the other half best, are what is not noise (molecular cross-validation, Batson, Royer and Webber 2019,
    bioRxiv 786269; both halves take both parts). Their directions are then taken from the whole counts.

    Parameters
    ----------
    targets
        One for each training sample.
    seed
        Of the coins, and of which regions are used where there are more than 20,000 or 2^24 values.

    Returns
    -------
    Components or None
        None where nothing can be told: counts that are not whole numbers, too few genes or regions, or no component
        above the noise.
    """
    rng = np.random.default_rng([seed, 3])
    most = min(_REGIONS, _VALUES // targets[0].panel.shape[1])
    share = min(1.0, most / sum(map(len, targets)))
    halves: list[tuple[NDArray[np.float64], ...]] = []
    for target in targets:
        index = np.sort(rng.choice(len(target), max(1, round(share * len(target))), replace=False))
        counts, total = target.panel[index].toarray(), target.total[index]
        try:
            parts = (normalise(counts, total), *RawCounts.from_counts(counts, total).halves(rng))
        except DataError:
            return None
        halves.append(tuple(v - v.mean(axis=0) for v in (part.astype(np.float64) for part in parts)))
    whole, first, second = (np.concatenate(part) for part in zip(*halves, strict=True))

    everywhere = np.all([target.measured[: whole.shape[1]] for target in targets], axis=0)
    varies = np.all([np.ptp(part, axis=0) > 0 for part in (whole, first, second)], axis=0)
    genes = np.flatnonzero(everywhere & varies)
    if len(genes) < _FEWEST or len(whole) < _FEWEST:
        return None
    whole, first, second = (part[:, genes] for part in (whole, first, second))
    scaled = [part / part.std(axis=0) for part in (first, second)]
    count = int(np.argmin(_errors(*scaled) + _errors(*scaled[::-1])))
    if not count:
        return None
    sd = whole.std(axis=0)
    return Components(genes, sd, _principal(whole / sd)[:count])


def _principal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the leading principal directions of centred values (n, k), as rows: 50, or as many as there can be."""
    many_genes = len(values) < values.shape[1]
    squares, vectors = np.linalg.eigh(values @ values.T if many_genes else values.T @ values)
    squares, basis = squares[::-1][:_MOST], vectors.T[::-1][: min(_MOST, *values.shape)]
    if many_genes:
        # Where nothing varies any more there is no direction: a row of zeros.
        basis = basis @ values / np.sqrt(np.where(squares > 1e-9 * squares[0], squares, np.inf))[:, None]
    return np.asarray(basis)


def _errors(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the squared error of one half as predicted by 0, 1, 2, ... components of the other."""
    basis = _principal(known)
    scores, theirs = known @ basis.T, unknown @ basis.T
    # |b - A V V'|^2 = |b|^2 - 2 b V V'A' + |A V|^2, component by component.
    gains = (2.0 * scores * theirs - scores**2).sum(axis=0)
    return np.concatenate([[0.0], -np.cumsum(gains)])
