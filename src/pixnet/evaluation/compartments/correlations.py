"""Correlations of genes with stains: between regions as measured, and inside regions as predicted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.evaluation.held_out import Floats
from pixnet.expression import correlation
from pixnet.regions.blocks import block_of
from pixnet.scoring.bootstrap import RESAMPLES, interval, number_of_blocks


class Between(NamedTuple):
    """Partial correlations between regions, with the ends of their 95 % intervals, (g, k) each."""

    r: Floats
    low: Floats
    high: Floats

    @property
    def clear(self) -> NDArray[np.bool_]:
        """Whether the interval excludes zero."""
        return np.asarray((self.low > 0) | (self.high < 0))


def within(values: ArrayLike, stains: ArrayLike, region: NDArray[np.integer]) -> Floats:
    """Return the correlation of predicted values (p, g) with stains (p, k) inside regions, (g, k).

    The mean of each region is subtracted from both, so that only differences inside regions count. `region` (p,) says
    which region a pixel is in. Pixels without a prediction are left out. 0 where a gene does not vary inside regions.
    """
    table, shown = np.asarray(values, np.float64), np.asarray(stains, np.float64)
    known = np.isfinite(table).all(axis=1)
    table, shown, numbers = table[known], shown[known], np.unique(region[known], return_inverse=True)[1]
    inside, stain = (_less_means(part, numbers) for part in (table, shown))
    # What is left of a map that is constant in each region is rounding.
    inside[:, inside.std(axis=0) <= 1e-6 * np.abs(table).max(axis=0, initial=0.0)] = 0.0
    return np.stack([correlation(inside, np.repeat(column[:, None], inside.shape[1], axis=1)) for column in stain.T], 1)


def between(measured: ArrayLike, stains: ArrayLike, total: ArrayLike, centers_um: Floats, seed: int = 0) -> Between:
    """Return the partial correlation of measured values (n, g) with stains (n, k) over regions, given their depth.

    A quadratic in log(1 + total counts) is taken off both, as in `correlation_given_depth`: measured logarithms rise
    with the depth, and the depth rises with the number of nuclei. Intervals are over redrawn spatial blocks of the
    regions, whose centres are (n, 2).
    """
    values, shown = np.asarray(measured, np.float64), np.asarray(stains, np.float64)
    depth = np.log1p(np.asarray(total, np.float64))
    terms = np.stack([np.ones_like(depth), depth - depth.mean(), (depth - depth.mean()) ** 2], axis=1)
    block = block_of(centers_um, number_of_blocks(len(values)))
    number, rng = int(block.max()) + 1, np.random.default_rng(seed)
    r = _partial(values, shown, terms, np.ones(len(values)))
    draws = np.empty((RESAMPLES, *r.shape))
    for draw in draws:
        times = rng.multinomial(number, np.full(number, 1.0 / number)).astype(np.float64)
        draw[...] = _partial(values, shown, terms, times[block])
    ends = np.array([[interval(draws[:, gene, stain], r[gene, stain]) for stain in range(r.shape[1])]
                     for gene in range(len(r))])  # fmt: skip
    return Between(r, ends[..., 0], ends[..., 1])


def _partial(values: Floats, stains: Floats, terms: Floats, weights: Floats) -> Floats:
    """Return the weighted partial correlations of columns of values with columns of stains, given the terms."""
    root = np.sqrt(weights)[:, None]
    basis = np.linalg.qr(root * terms)[0]
    left = []
    for table in (values, stains):
        scaled = root * (table - table.mean(axis=0))
        rest = scaled - basis @ (basis.T @ scaled)
        norm = np.sqrt((rest**2).sum(axis=0))
        some = norm > 1e-6 * np.sqrt((scaled**2).sum(axis=0))
        left.append(np.divide(rest, norm, out=np.zeros_like(rest), where=some))
    return np.asarray(left[0].T @ left[1])


def _less_means(table: Floats, region: NDArray[np.integer]) -> Floats:
    adding = sparse.csr_array((np.ones(len(region)), (region, np.arange(len(region)))))
    means = np.asarray(adding @ table) / np.bincount(region)[:, None]
    return np.asarray(table - means[region])
