"""Targets in the regions of a virtual slide: the truth, what an assay would measure, and the best prediction of both.

The best predictor knows every cell's type, outline, niche and donor, and nothing that the image does not show. Its
prediction of expected counts is `VirtualTissue.visible`. That of a log-normalised value is the expectation of the
*logarithm*, which is below the logarithm of the expectation: here, the mean over redraws of everything hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.expression import SCALE, log_expectation, normalise
from pixnet.regions import Regions
from pixnet.virtual.tissue import VirtualTissue

Arrays = dict[str, NDArray[np.float32]]
Floats = NDArray[np.float64]

TRUTH = "truth"
MEASURED = "measured"
TARGETS = (TRUTH, MEASURED)
"""Noise-free expected counts; and the counts of an assay, with its capture, diffusion and noise."""

KINDS = ("counts", "log")
"""Counts of the region; and log(1 + counts per 10,000 of all its counts)."""

REDRAWS = 32
_MOST_PER_UM2 = 1000.0  # counts; the densest assays come to some tens
_HIDDEN_SEED = 700_000  # far from the seed of any slide


def target_arrays(
    tissue: VirtualTissue, sets: Mapping[str, Regions], genes: Sequence[str], seed: int, redraws: int = REDRAWS
) -> Arrays:
    """Return targets and best predictions for the regions to predict on a slide (see `regions_by_size`).

    Parameters
    ----------
    genes
        Genes of the panel.
    seed
        Seed of the measurement; all sizes are measured with the same capture.
    redraws
        How often the hidden part is drawn again for the expected logarithm.

    Returns
    -------
    dict
        By `NAME|WHAT`: `truth` and `measured` (n, g) counts, `truth-total` and `measured-total` (n,) over all genes;
        `best-truth`, `best-truth-log`, `best-measured`, `best-measured-log` (n, g); `centers` (n, 2), `areas` (n,).
    """
    columns = np.array([tissue.genes.index(gene) for gene in genes])
    areas: dict[str, tuple[sparse.csr_array, sparse.csr_array]] = {}
    arrays: dict[str, Floats] = {}
    capture = 1.0
    for name, regions in sets.items():
        measured = tissue.measure(regions, seed)
        capture = float(measured.counts.notes["capture"])
        owned, diffused = tissue.areas(regions), tissue.areas(regions, measured.counts.notes["diffusion_um"])
        areas[name] = owned, diffused
        truth = np.asarray(owned @ tissue.rates)
        arrays |= {
            f"{name}|truth": truth[:, columns],
            f"{name}|truth-total": truth.sum(axis=1),
            f"{name}|measured": measured.counts.matrix.toarray()[:, columns],
            f"{name}|measured-total": measured.depth,
            f"{name}|best-truth": (owned @ tissue.visible_rates)[:, columns],
            f"{name}|best-measured": capture * (diffused @ tissue.visible_rates)[:, columns],
            f"{name}|centers": regions.centers_um,
            f"{name}|areas": regions.areas_um2,
        }
    arrays |= _expected_logs(tissue, areas, columns, capture, redraws)
    return {key: np.asarray(table, np.float32) for key, table in arrays.items()}


def _expected_logs(
    tissue: VirtualTissue,
    areas: Mapping[str, tuple[sparse.csr_array, sparse.csr_array]],
    columns: NDArray[np.int64],
    capture: float,
    redraws: int,
) -> dict[str, Floats]:
    """Average the log-normalised truth, and the expected log-normalised measurement, over redraws of what is hidden."""
    sums: dict[str, Floats] = {}
    for number in range(redraws):
        rates = tissue.redrawn(_HIDDEN_SEED + number).rates
        for name, (owned, diffused) in areas.items():
            truth, expected = np.asarray(owned @ rates), capture * np.asarray(diffused @ rates)
            total = expected.sum(axis=1)
            share = expected[:, columns] / np.maximum(total, 1e-12)[:, None]
            for key, table in (
                (f"{name}|best-truth-log", normalise(truth, truth.sum(axis=1))[:, columns].astype(np.float64)),
                # Over Poisson counts at the expected total: the total's own noise adds next to nothing.
                (f"{name}|best-measured-log", log_expectation(share, total)),
            ):
                sums[key] = sums.get(key, 0.0) + table / redraws
    return sums


@dataclass(frozen=True)
class Targets:
    """The targets of one slide, read from the arrays of `target_arrays`."""

    arrays: Mapping[str, NDArray[np.float32]]

    @property
    def names(self) -> list[str]:
        """Names of the regions' sizes."""
        return [key.removesuffix("|areas") for key in self.arrays if key.endswith("|areas")]

    def observed(self, name: str, target: str, kind: str) -> NDArray[np.float32]:
        """Return a target, (n, g)."""
        counts = self.arrays[f"{name}|{target}"]
        return counts if kind == "counts" else normalise(counts, self.arrays[f"{name}|{target}-total"])

    def best(self, name: str, target: str, kind: str) -> NDArray[np.float32]:
        """Return the best possible prediction of a target, (n, g)."""
        return self.arrays[f"{name}|best-{target}" + ("-log" if kind == "log" else "")]

    def centers_um(self, name: str) -> Floats:
        """Return the centres of the regions in um, (n, 2)."""
        return self.arrays[f"{name}|centers"].astype(np.float64)

    def predicted(
        self, arrays: Mapping[str, NDArray[np.float32]], name: str, points: str, target: str, kind: str
    ) -> NDArray[np.float32]:
        """Return what a method predicts for a target, (n, g), from the arrays of `predict_field` or `predict_baseline`.

        `name` is that of the regions' size, and `points` that of the points that they are centred on.
        """
        stem = name if f"{name}|log" in arrays else points
        logs = arrays[f"{stem}|log"]
        if kind == "counts":
            counts = arrays.get(f"{stem}|counts")
            areas = self.arrays[f"{name}|areas"]
            return expected_counts(logs, arrays[f"{stem}|density"], areas) if counts is None else counts
        return arrays.get(f"{stem}|measured-log", logs) if target == MEASURED else logs


def expected_counts(
    logs: NDArray[np.float32], density: NDArray[np.float32], areas: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the expected counts of n regions, share x density x area, (n, g).

    `logs` are log(1 + counts per 10,000 of the region), (n, g), `density` is log(1 + counts over all genes per 10,000
    um^2), and `areas` are in um^2, (n,) each. A regression may predict values far outside of the possible range, and
    its counts would overflow a float: a share is at most 1, a density at most 1,000 counts per um^2.
    """
    share = np.expm1(np.minimum(logs.astype(np.float64), np.log1p(SCALE))) / SCALE
    # Two values below zero would make counts above it.
    per_um2 = np.expm1(np.clip(density.astype(np.float64), 0.0, np.log1p(SCALE * _MOST_PER_UM2))) / SCALE
    return np.asarray(share * (per_um2 * areas)[:, None], np.float32)
