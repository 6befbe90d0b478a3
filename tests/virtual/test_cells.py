from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, spatial

from pixnet.errors import DataError
from pixnet.regions import Squares
from pixnet.virtual import PRESETS, VirtualTissue, spots
from pixnet.virtual.diffusion import diffused_areas


@pytest.mark.parametrize("preset", PRESETS)
def test_centres_keep_their_hard_core(preset):
    tissue = VirtualTissue.generate(preset, 9, 1, 400.0, 400.0)
    populations = tissue.preset.populations
    least = np.array([min(p.spacing_um for p in populations if p.cell == name) for name in tissue.preset.cell_names])
    cells = tissue.cells
    for kind in np.unique(cells.kind):
        xy = cells.xy_um[cells.kind == kind]
        if len(xy) > 1:
            assert spatial.cKDTree(xy).query(xy, k=2)[0][:, 1].min() >= least[kind] - 1e-9


def test_densities_reach_their_targets():
    tissue = VirtualTissue.generate("cortex", 9, 1, 800.0, 800.0)
    preset = tissue.preset
    zone = preset.zone_names.index("upper layers")
    area = (tissue.layout.zone == zone).sum() / 1e6
    x, y = np.floor(tissue.cells.xy_um).astype(int).T
    there = tissue.layout.zone[y, x] == zone
    neurons = there & (tissue.cells.kind == preset.cell_names.index("upper neuron"))
    assert neurons.sum() / area == pytest.approx(1600, rel=0.05)


def test_cells_live_in_their_zones(tissue):
    preset = tissue.preset
    x, y = np.floor(tissue.cells.xy_um).astype(int).T
    allowed = {(p.cell, p.zone) for p in preset.populations}
    placed = {
        (preset.cell_names[k], preset.zone_names[z])
        for k, z in zip(tissue.cells.kind, tissue.layout.zone[y, x], strict=True)
    }
    assert placed <= allowed


def test_footprints_stay_within_their_cells(tissue):
    labels = tissue.labels
    assert labels.min() == 0
    assert labels.max() <= len(tissue.cells)
    rows, cols = np.nonzero(labels)
    owner = labels[rows, cols] - 1
    away = np.hypot(cols + 0.5 - tissue.cells.xy_um[owner, 0], rows + 0.5 - tissue.cells.xy_um[owner, 1])
    assert (away <= tissue.cells.axes_um[owner].max(axis=1) + 1e-9).all()
    opened = np.array([zone.open for zone in tissue.preset.zones])[tissue.layout.zone]
    assert not labels[opened].any()


def test_diffusion_is_a_gaussian_blur_of_the_maps(tissue):
    regions = spots(400, 300, 55, 80)
    rates = np.random.default_rng(0).random(len(tissue.cells) + 1)
    areas = diffused_areas(regions, tissue.grid, tissue.labels, len(rates), 3.0)
    blurred = ndimage.gaussian_filter(rates[tissue.labels], 3.0, mode="reflect")
    np.testing.assert_allclose(areas @ rates, regions.coverage(tissue.grid) @ blurred.ravel(), rtol=1e-9)
    # Regions that cover the tissue keep every molecule in it.
    tiles = Squares.tiling(0, 0, 400, 300, 30.0)
    spread = diffused_areas(tiles, tissue.grid, tissue.labels, len(rates), 5.0)
    owned_um2 = np.bincount(tissue.labels.ravel(), minlength=len(rates))
    np.testing.assert_allclose(np.asarray(spread.sum(axis=0)).ravel(), owned_um2, rtol=1e-9)
    none = diffused_areas(tiles, tissue.grid, tissue.labels, len(rates), 0.0)
    np.testing.assert_allclose(none.sum(axis=1), tiles.coverage(tissue.grid).sum(axis=1), rtol=1e-12)


def test_layouts_of_spots():
    square = spots(1000, 1000)
    assert len(square) == 25
    assert np.allclose(np.unique(square.centers_um[:, 0]), [100, 300, 500, 700, 900])
    bounds = spots(500, 700, 55, 100, hexagonal=True).bounds_um
    assert bounds[:, :2].min() >= 0
    assert bounds[:, 2].max() <= 500
    assert bounds[:, 3].max() <= 700
    xy = spots(1000, 1000, 55, 100, hexagonal=True).centers_um
    gap = spatial.cKDTree(xy).query(xy, k=2)[0][:, 1]
    assert np.allclose(gap, 100)
    with pytest.raises(DataError, match="no spot"):
        spots(80, 80)
    with pytest.raises(DataError, match="above 0"):
        spots(800, 800, -1)
