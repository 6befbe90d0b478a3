"""Frames: the right image, canvas, bounds and levels of a file are found, whatever else the file holds."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from tests.slide.scanned import write_filled_up_pyramid, write_scn

from pixnet.errors import PixNetWarning, SlideError
from pixnet.slide import Slide
from pixnet.slide.frame import Frames
from pixnet.slide.pyramid import LevelFacts, usable_levels

CM = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
TILES = {"tile": (64, 64), "photometric": "rgb"}


def plain(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_positions_of_frames() -> None:
    frames = Frames.of(0.5, (1600, 2000), (600, 400, 800, 600))
    bounds = frames.qupath
    assert bounds == frames.bounds
    assert bounds.size_um == (400, 300)
    np.testing.assert_allclose(bounds.to_um(np.array([[720.0, 540.0]])), [[660, 470]])
    np.testing.assert_allclose(bounds.to_pixels(np.array([[660.0, 470.0]])), [[720, 540]])
    assert bounds.holds(np.array([[299.0, 300.0], [301.0, 300.0], [700.0, 500.0], [701.0, 500.0]])).tolist() == [
        False,
        True,
        True,
        False,
    ]
    assert Frames.of(0.5, (1600, 2000)).qupath.to_um(np.array([[720.0, 540.0]])).tolist() == [[360, 270]]


def test_the_bounds_of_a_scan_are_a_frame_on_the_canvas(tmp_path: Path) -> None:
    rgb = plain(160, 256, 250)
    rgb[100:120, 60:80] = 20
    slide = Slide.open(write_scn(tmp_path / "a.scn", rgb, left=300, top=200, canvas=(640, 800)))
    assert slide.shape == (640, 800)
    assert slide.frames.bounds is not None
    assert (slide.frames.bounds.x_um, slide.frames.bounds.y_um) == (150, 100)
    assert slide.frames.bounds.size_um == (128, 80)
    # What is scanned at (60, 100) of the bounds is at (360, 300) of the canvas.
    dark, mask = slide.read(180, 150, 10, 10, 0.5)
    assert mask.all()
    assert dark.max() < 60
    assert not slide.read(0, 0, 100, 90, 0.5)[1].any()
    assert Slide.from_array(rgb, 0.5).frames.bounds is None


@pytest.mark.parametrize("small_first", [True, False])
def test_the_largest_image_of_an_ome_tiff_is_the_slide(tmp_path: Path, small_first: bool) -> None:
    images = [("macro", plain(150, 200, 90), 16.0), ("slide", plain(600, 800, 160), 0.5)]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for name, pixels, um in images if small_first else images[::-1]:
            metadata = {"axes": "YXS", "Name": name, "PhysicalSizeX": um, "PhysicalSizeY": um}
            tif.write(pixels, metadata=metadata, **TILES)
    if small_first:
        with pytest.warns(PixNetWarning, match=r"of its 2 images, .* image 2 'slide' of 800 x 600 px, not"):
            slide = Slide.open(tmp_path / "a.ome.tif")
    else:
        slide = Slide.open(tmp_path / "a.ome.tif")
    assert (slide.shape, slide.mpp) == ((600, 800), 0.5)
    assert (slide.read(0, 0, 400, 300, 0.5)[0] == 160).all()


@pytest.mark.parametrize("tiled", [True, False])
def test_a_thumbnail_on_the_first_page_is_not_the_slide(tmp_path: Path, tiled: bool) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        thumbnail = TILES if tiled else {"photometric": "rgb"}
        tif.write(plain(192, 256, 90), subfiletype=1, metadata=None, **thumbnail, **CM)
        tif.write(plain(600, 800, 160), metadata=None, **TILES, **CM)
        tif.write(plain(150, 200, 160), subfiletype=1, metadata=None, **TILES)
    with pytest.warns(PixNetWarning, match=r"image 2 of 800 x 600 px, not image 1 of 256 x 192 px"):
        slide = Slide.open(tmp_path / "a.tif")
    assert slide.levels == ((1.0, (600, 800)), (4.0, (150, 200)))
    for um_per_px in (0.5, 2.0):
        assert (slide.read(0, 0, 400, 300, um_per_px)[0] == 160).all()


def test_two_images_of_one_size_are_told(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for value in (90, 160):
            metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
            tif.write(plain(300, 400, value), metadata=metadata, **TILES)
    with pytest.warns(PixNetWarning, match=r"image 1 .*of 400 x 300 px, not image 2 .*of 400 x 300 px"):
        slide = Slide.open(tmp_path / "a.ome.tif")
    assert (slide.read(0, 0, 200, 150, 0.5)[0] == 90).all()


def test_a_small_picture_does_not_stand_for_a_large_image_of_another_kind(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        tif.write(np.zeros((600, 800), np.uint16), photometric="minisblack", metadata={"axes": "YX"})
        tif.write(plain(150, 200, 90), metadata={"axes": "YXS"}, **TILES)
    with pytest.raises(SlideError, match=r"holds uint16 pixels of shape \(600, 800\)"):
        Slide.open(tmp_path / "a.ome.tif", mpp=0.5)


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("size", [(1216, 1088), (1210, 1061)])
def test_landmarks_are_at_their_places_on_levels_filled_up_to_tiles(
    tmp_path: Path, size: tuple[int, int], stated: bool
) -> None:
    base = plain(*size, 250)
    marks = [(64, 96), (608, 544), (1088, 960)]  # y, x of the corners of squares of 64 pixels
    for y, x in marks:
        base[y : y + 64, x : x + 64] = 20
    slide = Slide.open(write_filled_up_pyramid(tmp_path / "a.tif", base, levels=6, stated=stated))
    assert [factor for factor, _ in slide.levels] == [1, 2, 4, 8, 16, 32]
    for um_per_px in (0.5, 0.7, 1.0, 2.0, 3.0, 4.0, 8.0, 16.0):
        rgb, _ = slide.read(0, 0, slide.width_um, slide.height_um, um_per_px)
        ink = 255.0 - rgb.mean(axis=2)
        ink[ink < 10] = 0
        labels, number = ndimage.label(ink)
        assert number == len(marks)
        centres = np.array(ndimage.center_of_mass(ink, labels, range(1, number + 1)))
        expected = (np.array(marks) + 32) * 0.5
        assert np.abs((centres + 0.5) * um_per_px - expected).max() < 0.6 * um_per_px


@pytest.mark.parametrize(
    ("sizes", "tile", "factors"),
    [
        ([(2967, 2220), (741, 555)], 256, [1, 4]),  # rounded down
        ([(2967, 2220), (742, 555)], 256, [1, 4]),  # rounded up
        ([(9000, 6000), (3000, 2000), (1000, 667)], None, [1, 3, 9]),
        ([(3000, 2000), (1200, 800)], None, [1, 2.5]),
        ([(89600, 86016), (45056, 43008), (22528, 21504), (11264, 10752), (5632, 5632), (3072, 3072)], 512, None),
        ([(8192, 8192), (2048, 2048), (512, 512), (512, 512)], 512, [1, 4, 16, 32]),
    ],
)
def test_factors_of_levels(sizes: list[tuple[int, int]], tile: int | None, factors: list[float] | None) -> None:
    expected = [2.0**power for power in range(len(sizes))] if factors is None else factors
    tiles = None if tile is None else (tile, tile)
    index, levels = usable_levels([LevelFacts(size, tiles) for size in sizes])
    assert index == list(range(len(sizes)))
    assert [factor for factor, _ in levels] == expected
    # No level reaches beyond the full resolution.
    for (factor, size), side in itertools.product(levels, range(2)):
        assert (size[side] - 1) * factor < sizes[0][side]


def test_a_level_of_another_shape_is_another_picture() -> None:
    facts = [LevelFacts((6000, 8000)), LevelFacts((1500, 2000)), LevelFacts((600, 400)), LevelFacts((375, 500))]
    index, levels = usable_levels(facts)
    assert index == [0, 1, 3]
    assert [factor for factor, _ in levels] == [1, 4, 16]
