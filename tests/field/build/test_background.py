from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.field.conftest import FINEST, MPP, STRIDE, Build, lattice_of, picture

from pixnet.errors import FieldError
from pixnet.field.build.background import Background
from pixnet.field.build.tile import TileImages
from pixnet.grid import Box
from pixnet.slide import Slide


@pytest.fixture
def island() -> Slide:
    """Return white glass, 900 x 1201 px, with tissue from x = 300 to 420 um and y = 150 to 260 um."""
    rgb = np.full((900, 1201, 3), 242, np.uint8)
    rgb[300:520, 600:840] = (180, 90, 160)
    return Slide.from_array(rgb, MPP, name="island")


def test_tissue_and_a_margin_are_kept(island: Slide) -> None:
    lattice = lattice_of(island)
    grid = lattice.grid(FINEST)
    tissue = Background(island, lattice, FINEST).tissue(Box(0, 0, grid.height, grid.width))
    rows, cols = np.flatnonzero(tissue.any(1)), np.flatnonzero(tissue.any(0))
    found = np.array([rows[0], rows[-1] + 1, cols[0], cols[-1] + 1]) * grid.pitch_um
    np.testing.assert_allclose(found, [150 - 32, 260 + 32, 300 - 32, 420 + 32], atol=STRIDE * MPP)
    assert tissue[int(150 / 2) : int(260 / 2), int(300 / 2) : int(420 / 2)].all()


def test_a_gap_within_the_tissue_is_kept_and_a_wide_one_is_not() -> None:
    rgb = np.full((600, 2400, 3), (180, 90, 160), np.uint8)
    rgb[:, 400:600] = 242  # 100 um
    rgb[:, 1200:2000] = 242  # 400 um
    slide = Slide.from_array(rgb, MPP)
    tissue = Background(slide, lattice_of(slide), FINEST).tissue(Box(0, 0, 4, 600))[0]
    assert tissue[: 1200 // FINEST].all()
    assert not tissue[1400 // FINEST : 1800 // FINEST].any()


@pytest.mark.parametrize("core", [128, 256, 1216])
def test_no_cut_into_blocks_changes_what_is_left_out(build: Build, island: Slide, core: int) -> None:
    seen: list[int] = []
    from tests.field.conftest import latent

    def counting(images: TileImages) -> np.ndarray:
        seen.append(1)
        return latent(images)

    field = build(on=island, core=core, tissue_mask=True, dtype="float32", latent=counting)
    whole = build(on=island, core=640, tissue_mask=True, dtype="float32")
    for one, other in zip(field.read(), whole.read(), strict=True):
        np.testing.assert_array_equal(one, other)
    level, expected = field._store.levels[0], whole._store.levels[0]
    np.testing.assert_array_equal(level.background[:], expected.background[:])
    # Blocks of bare glass were never computed.
    side = core // FINEST
    valid = field.read()[1]
    starts = [(row, col) for row in range(0, valid.shape[0], side) for col in range(0, valid.shape[1], side)]
    assert len(seen) == sum(bool(valid[row : row + side, col : col + side].any()) for row, col in starts)
    assert core == 1216 or len(seen) < len(starts) / 2


def test_data_background_and_the_rest_make_up_each_pixel(build: Build, island: Slide) -> None:
    field = build(on=island, tissue_mask=True)
    valid, background = field.read()[1], np.asarray(field._store.levels[0].background[:])
    height, width = field.grid.shape
    down = np.clip(900 - FINEST * np.arange(height), 0, FINEST) / FINEST
    across = np.clip(1201 - FINEST * np.arange(width), 0, FINEST) / FINEST
    np.testing.assert_allclose(valid + background, down[:, None] * across, atol=1e-3)
    assert not (field.read()[0][:, valid == 0]).any()
    assert not ((valid > 0) & (background > 0)).any()


def test_without_the_mask_nothing_is_background(build: Build, island: Slide) -> None:
    assert not build(on=island)._store.levels[0].background[:].any()


def test_a_slide_without_tissue_is_refused_with_the_way_out(build: Build, tmp_path: Path) -> None:
    glass = Slide.from_array(np.full((300, 300, 3), 243, np.uint8), MPP, name="glass")
    with pytest.raises(FieldError, match=r"glass shows no tissue.*`tissue_mask=False`"):
        build(on=glass, tissue_mask=True, out=tmp_path / "field")
    assert not list(tmp_path.iterdir())


def test_each_level_keeps_the_integral_of_the_one_before(build: Build) -> None:
    slide = Slide.from_array(picture(1501, 2307), MPP, name="large")
    field = build(on=slide, core=512, dtype="float32")
    store = field._store
    assert [store.level_grid(level).shape for level in range(len(store.levels))] == [(376, 580), (188, 290), (94, 145)]
    sums = []
    for number, level in enumerate(store.levels):
        area = store.level_grid(number).pixel_area_um2 * np.asarray(level.valid[:], np.float64)
        sums.append([area.sum(), *(np.asarray(level.latent[:], np.float64) * area).sum(axis=(1, 2))])
    np.testing.assert_allclose(sums[1:], [sums[0]] * (len(sums) - 1), rtol=1e-3)
    # A pixel of level 1 is the mean of its four.
    fine, coarse = np.asarray(store.levels[0].latent[:]), np.asarray(store.levels[1].latent[:])
    np.testing.assert_allclose(coarse[:, 3, 5], fine[:, 6:8, 10:12].mean(axis=(1, 2)), rtol=1e-6)
