"""Boards of coloured squares whose colours depend on what is expressed, and small versions of every baseline."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pixnet.evaluation.baselines import (
    ColourRidgeBaseline,
    HestRidgeBaseline,
    IstarBaseline,
    KnnBaseline,
    MeanBaseline,
    RidgeBaseline,
    StNetBaseline,
)
from pixnet.expression import normalise
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel, panel_counts
from pixnet.slide import Slide

COARSE = 2.0  # um per pixel, for small crops
PANEL = GenePanel(("RED", "BLUE", "FLAT"), "list")
SMALL = {
    "mean": MeanBaseline,
    "colour-ridge": ColourRidgeBaseline,
    "ridge": lambda: RidgeBaseline(COARSE),
    "hest-ridge": lambda: HestRidgeBaseline(COARSE),
    "knn": lambda: KnnBaseline(COARSE),
    "st-net": lambda: StNetBaseline(3.5, most_epochs=4),
    "istar": lambda: IstarBaseline(most_epochs=12, restarts=1),
}


def make_board(seed, side=6):
    """A board of 120-um squares, redder to the eye with more RED and bluer with more BLUE, in log-normalised values."""
    rng = np.random.default_rng(seed)
    level = rng.random((side, side, 2))
    colour = np.stack([80 + 150 * level[..., 0], np.full((side, side), 120), 80 + 150 * level[..., 1]], axis=-1)
    rgb = np.repeat(np.repeat(colour, 60, axis=0), 60, axis=1)
    rgb = np.clip(rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)
    rows, cols = np.divmod(np.arange(side**2), side)
    centres = np.column_stack([cols, rows]) * 120.0 + 60.0
    values = np.column_stack([4.0 + 2.0 * level.reshape(-1, 2), np.full(side**2, 5.0)])
    share = np.expm1(values) / 1e4
    counts = np.round(share * 1e6)
    counts = rng.poisson(np.column_stack([counts, 1e6 - counts.sum(axis=1)]) * 0.02)
    table = anndata.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(index=[f"r{i}" for i in range(side**2)]),
        var=pd.DataFrame(index=[*PANEL.names, "REST"]),
    )
    return Sample(f"s{seed}", Slide.from_array(rgb, 2.0, f"s{seed}"), Disks(centres, 100.0), table)


def observed_values(sample, panel=PANEL):
    return normalise(panel_counts(sample, panel), sample.depth)


@pytest.fixture(scope="session")
def board():
    return make_board


@pytest.fixture(scope="session")
def panel():
    return PANEL


@pytest.fixture(scope="session")
def observed():
    return observed_values


@pytest.fixture(scope="session")
def small():
    """Functions that make a small version of each baseline, by its name."""
    return SMALL


@pytest.fixture(scope="module")
def samples():
    return [make_board(seed) for seed in (1, 2, 3)]


@pytest.fixture(params=list(SMALL))
def name(request):
    return request.param
