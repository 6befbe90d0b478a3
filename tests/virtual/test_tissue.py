from __future__ import annotations

import numpy as np
import pytest

from pixnet.errors import DataError
from pixnet.regions import Disks, Polygons, Squares
from pixnet.virtual import PRESETS, VirtualTissue, spots


def picture(tissue):
    height, width = tissue.slide.shape
    pixels, valid = tissue.slide.read(0, 0, tissue.slide.width_um, tissue.slide.height_um, tissue.slide.mpp)
    assert valid.all()
    assert pixels.shape == (height, width, 3)
    return pixels


@pytest.mark.parametrize("preset", PRESETS)
def test_same_seeds_give_the_same_bytes(preset):
    first, second = (VirtualTissue.generate(preset, 5, 2, 250.0, 200.0) for _ in range(2))
    assert first.slide.fingerprint() == second.slide.fingerprint()
    regions = spots(250, 200, 55, 60)
    assert np.array_equal(first.truth(regions), second.truth(regions))
    counted = [t.measure(regions, 4).counts.matrix.toarray() for t in (first, second)]
    assert np.array_equal(*counted)
    assert not np.array_equal(counted[0], first.measure(regions, 5).counts.matrix.toarray())


@pytest.mark.parametrize("preset", PRESETS)
def test_other_seeds_give_another_tissue(preset):
    one, two = (VirtualTissue.generate(preset, seed, 2, 200.0, 200.0) for seed in (1, 2))
    assert one.slide.fingerprint() != two.slide.fingerprint()
    assert one.genes == two.genes == tuple(f"VG{i:03d}" for i in range(1, 201))


def test_the_tissue_does_not_depend_on_the_pictures_resolution(tissue):
    fine = VirtualTissue.generate("breast", 3, 7, 400.0, 300.0, mpp=0.5)
    assert fine.slide.shape == (600, 800)
    assert np.array_equal(fine.labels, tissue.labels)
    regions = spots(400, 300, 55, 100)
    assert np.array_equal(fine.truth(regions), tissue.truth(regions))
    # The two pictures show the same things: block means correlate.
    coarse = picture(tissue).mean(axis=2)
    shrunk = picture(fine).mean(axis=2).reshape(300, 2, 400, 2).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), shrunk.ravel())[0, 1] > 0.5


def test_parts_of_a_partition_add_up(tissue):
    coarse = tissue.truth(Squares.tiling(0, 0, 400, 300, 100.0))
    fine = tissue.truth(Squares.tiling(0, 0, 400, 300, 4.0))
    summed = fine.reshape(3, 25, 4, 25, -1).sum(axis=(1, 3)).reshape(12, -1)
    np.testing.assert_allclose(summed, coarse, rtol=1e-9)
    # Squares off the grid's phase, and a polygon over all, hold the same total.
    shapely = pytest.importorskip("shapely")
    whole = tissue.truth(Polygons([shapely.box(0, 0, 400, 300)]))
    shifted = tissue.truth(Squares.tiling(-3.3, -1.7, 402, 301, 7.1))
    np.testing.assert_allclose(shifted.sum(axis=0), whole[0], rtol=1e-9)
    np.testing.assert_allclose(coarse.sum(axis=0), whole[0], rtol=1e-9)


def test_truth_map_is_the_density_of_truth(tissue):
    density = tissue.truth_map("VG042", 8.0)
    assert density.shape == (38, 50)
    gene = tissue.genes.index("VG042")
    truth = tissue.truth(Squares.tiling(0, 0, 400, 300, 8.0))[:, gene].reshape(38, 50)
    np.testing.assert_allclose(density[:-1], truth[:-1] / 64, rtol=1e-9)
    # Half of each square in the last row is outside.
    np.testing.assert_allclose(density[-1], truth[-1] / 32, rtol=1e-9)


def test_outside_of_the_tissue_there_is_nothing(tissue):
    assert tissue.truth(Disks([[-500.0, -500.0]], 100.0)).sum() == 0


def test_visible_is_the_expectation_over_what_is_hidden(tissue):
    """The mean over redrawn hidden parts must be within its own standard error of the closed form."""
    regions = spots(400, 300, 100, 130)
    draws = np.stack([tissue.redrawn(1000 + seed).truth(regions) for seed in range(150)])
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    score = (draws.mean(axis=0) - tissue.visible(regions)) / error
    # Genes and regions are correlated and skewed, so the bounds are wide for a normal score but far below a wrong
    # mean: a missing s^2 / 2 would shift every score by tens.
    assert abs(score.mean()) < 0.3
    assert np.mean(abs(score) < 3) > 0.97
    assert 0.7 < score.std() < 1.3
    assert not np.allclose(draws[0], draws[1])


def test_redrawing_leaves_picture_and_ceiling_alone(tissue):
    other = tissue.redrawn(99)
    regions = spots(400, 300, 55, 100)
    assert other.slide is tissue.slide
    assert np.array_equal(other.visible(regions), tissue.visible(regions))


def test_counts_follow_poisson_around_the_captured_truth(tissue):
    regions = spots(400, 300, 100, 130)
    expected = 0.05 * tissue.truth(regions)
    counts = np.stack(
        [tissue.measure(regions, seed, capture=0.05, diffusion_um=0.0).counts.matrix.toarray() for seed in range(60)]
    )
    # Sum over draws is Poisson of 60 times the expectation; the squared scores have mean 1 and variance about 2.
    score = (counts.sum(axis=0) - 60 * expected) / np.sqrt(60 * expected)
    assert abs(score.mean()) < 5 / np.sqrt(score.size)
    assert abs((score**2).mean() - 1) < 5 * np.sqrt(3 / score.size)
    dispersion = counts.var(axis=0, ddof=1).sum() / counts.mean(axis=0).sum()
    assert abs(dispersion - 1) < 0.03


def test_measure_makes_a_sample(tissue):
    regions = spots(400, 300, 100, 110)
    sample = tissue.measure(regions, 0)
    assert sample.platform == "virtual"
    assert sample.donor == "breast-donor-7"
    assert len(sample.counts) == len(regions)
    assert tuple(sample.genes) == tissue.genes
    set_depth = tissue.measure(Squares.tiling(0, 0, 400, 300, 50.0), 0, counts_per_um2=0.8)
    assert set_depth.depth.sum() == pytest.approx(0.8 * 400 * 300, rel=0.02)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_spot_of_legacy_st_holds_some_thousand_counts(preset):
    tissue = VirtualTissue.generate(preset, 8, 8, 700.0, 700.0)
    depth = tissue.measure(spots(700, 700, 100, 110), 0).depth
    assert 1500 < np.median(depth) < 8000
    assert np.mean(depth >= 500) > 0.7


@pytest.mark.parametrize(
    "arguments",
    [
        {"preset": "kidney", "seed": 1, "donor_seed": 1},
        {"preset": "breast", "seed": -1, "donor_seed": 1},
        {"preset": "breast", "seed": 1, "donor_seed": 1, "width_um": 20.0},
        {"preset": "breast", "seed": 1, "donor_seed": 1, "mpp": 0.0},
    ],
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(DataError):
        VirtualTissue.generate(**arguments)


def test_bad_measurements_are_named(tissue):
    regions = spots(400, 300, 100, 110)
    with pytest.raises(DataError, match="`capture` is -1"):
        tissue.measure(regions, 0, capture=-1.0)
    with pytest.raises(DataError, match="one of them"):
        tissue.measure(regions, 0, capture=0.1, counts_per_um2=1.0)
    with pytest.raises(DataError, match="VG999"):
        tissue.truth_map("VG999", 8.0)


def test_areas_and_rates_make_the_truth(tissue):
    regions = Disks([[90.0, 80.0], [120.0, 100.0]], [55.0, 20.0])
    areas = tissue.areas(regions)
    assert np.allclose(areas.sum(axis=1), regions.areas_um2)
    assert np.array_equal(areas @ tissue.rates, tissue.truth(regions))
    assert np.array_equal(areas @ tissue.visible_rates, tissue.visible(regions))


def test_diffused_areas_spread_over_more_owners_and_lose_nothing(tissue):
    regions = Squares(0.0, 0.0, 8.0, [10, 12], [10, 9])
    plain, diffused = tissue.areas(regions), tissue.areas(regions, 3.0)
    assert np.allclose(diffused.sum(axis=1), plain.sum(axis=1))
    assert (np.diff(diffused.indptr) >= np.diff(plain.indptr)).all()
    assert diffused.nnz > plain.nnz
