"""Regions that are scored across scales, and what is trained on."""

from __future__ import annotations

import numpy as np
import pytest

from pixnet.demo.regions import (
    CELL,
    MARGIN_UM,
    TRAINING_SEEDS,
    ScaleSettings,
    region_points,
    regions_by_size,
    training_sample,
)
from pixnet.errors import DataError
from pixnet.regions import Disks, Squares
from pixnet.virtual import TEST_SEEDS, VirtualTissue


@pytest.fixture(scope="module")
def tissue() -> VirtualTissue:
    return VirtualTissue.generate("breast", 3, 7, 300.0, 260.0)


def test_training_slides_and_donors_are_not_among_the_frozen_test_ones() -> None:
    for pairs in TEST_SEEDS.values():
        for which in (0, 1):
            assert not {pair[which] for pair in pairs} & {pair[which] for pair in TRAINING_SEEDS}


def test_places_are_on_tissue_and_all_regions_are_centred_there(tissue: VirtualTissue) -> None:
    sets = regions_by_size(tissue, 50)
    cells = sets.pop(CELL)
    centers = sets["100-µm disk"].centers_um
    assert len(np.unique(centers, axis=0)) == 50
    x, y = centers.astype(int).T
    assert not any(tissue.preset.zones[zone].open for zone in tissue.layout.zone[y, x])
    for name, regions in sets.items():
        assert np.allclose(regions.centers_um, centers), name
    areas = [float(regions.areas_um2[0]) for regions in sets.values()]
    assert areas == pytest.approx([4.0, 64.0, 256.0, np.pi * 27.5**2, np.pi * 2500.0])
    for points in (centers, cells.centers_um):
        assert (points >= MARGIN_UM).all()
        assert (points <= np.array([300.0, 260.0]) - MARGIN_UM).all()


def test_whole_cells_are_those_of_the_section(tissue: VirtualTissue) -> None:
    cells = regions_by_size(tissue, 20)[CELL]
    owned = tissue.areas(cells)
    assert len(cells) == 20
    assert (np.diff(owned.indptr) == 1).all()
    pixels = np.bincount(tissue.labels.ravel())
    assert np.array_equal(owned.data, pixels[owned.indices])


def test_two_sets_of_points_are_enough_for_all_sizes(tissue: VirtualTissue) -> None:
    points = region_points(regions_by_size(tissue, 30))
    assert {name: table.shape for name, table in points.items()} == {"places": (30, 2), "cells": (30, 2)}


def test_the_seed_chooses_the_places(tissue: VirtualTissue) -> None:
    first, again, other = (regions_by_size(tissue, 30, seed)["100-µm disk"].centers_um for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_training_regions_are_spots_or_bins_and_slides_take_turns() -> None:
    settings = ScaleSettings("breast", (100.0, 55.0, 16.0), training=((3, 7),), test=((4, 8),), side_um=260.0)
    tissue = settings.draw((3, 7))
    samples = [training_sample(settings, tissue, number) for number in range(4)]
    assert [type(sample.regions) for sample in samples] == [Disks, Disks, Squares, Disks]
    assert [float(np.sqrt(s.regions.areas_um2[0])) for s in samples] == pytest.approx(
        [np.sqrt(np.pi) * 50, np.sqrt(np.pi) * 27.5, 16.0, np.sqrt(np.pi) * 50]
    )
    assert settings.name == "breast-100+55+16um"


def test_min_counts_follows_the_smallest_region() -> None:
    limits = [ScaleSettings("colon", sizes).min_counts for sizes in ((100.0,), (55.0,), (100.0, 55.0), (2.0,))]
    assert limits == [500, 151, 151, 1]


def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(DataError, match="no virtual tissue 'liver'"):
        ScaleSettings("liver", (100.0,))
    with pytest.raises(DataError, match="sizes from 1 to 200"):
        ScaleSettings("breast", ())
    with pytest.raises(DataError, match="donor 7 is among"):
        ScaleSettings("breast", (100.0,), training=((3, 7),), test=((4, 7),))
    with pytest.raises(DataError, match="no room"):
        regions_by_size(VirtualTissue.generate("breast", 3, 7, 110.0, 110.0), 10)
