"""An image in a Zarr store is read like one in memory, but takes less memory."""

from __future__ import annotations

import copy
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr

from pixnet.errors import SlideError
from pixnet.grid import Box
from pixnet.slide import Slide
from pixnet.slide.pixel_size import PixelSize
from pixnet.slide.zarr import ZarrSource

HEIGHT, WIDTH = 1500, 2300


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.repeat(np.repeat(rng.integers(0, 255, (HEIGHT // 4, WIDTH // 4, 3), np.uint8), 4, 0), 4, 1)


def stored(folder: Path, rgb: np.ndarray, chunks: tuple[int, int, int], alpha: bool = False) -> Slide:
    planes = np.moveaxis(rgb, -1, 0)
    if alpha:
        planes = np.concatenate([planes, np.zeros_like(planes[:1])])
    zarr.create_array(folder / "a", data=np.ascontiguousarray(planes), chunks=chunks)
    return Slide(ZarrSource(folder / "a"), None, "a", PixelSize(0.5))


@pytest.mark.parametrize(
    ("chunks", "alpha"),
    [((3, 256, 256), False), ((1, 700, 901), True), ((3, HEIGHT, WIDTH), False), ((4, 1100, 90), True)],
)
def test_reads_as_from_memory(tmp_path: Path, rgb: np.ndarray, chunks: tuple[int, int, int], alpha: bool) -> None:
    slide, same = stored(tmp_path, rgb, chunks, alpha), Slide.from_array(rgb, 0.5)
    assert slide.shape == same.shape == (HEIGHT, WIDTH)
    for again in (slide, copy.deepcopy(slide)):
        for box, mpp in ((Box(900, 1000, 300, 900), 0.5), (Box(-9, 500, 400, 700), 1.3), (Box(0, 0, 90, 120), 10.0)):
            for ours, theirs in zip(again.read_box(box, mpp), same.read_box(box, mpp), strict=True):
                np.testing.assert_array_equal(ours, theirs)
    # The fingerprint does not depend on how the slide is read.
    assert slide.fingerprint() == same.fingerprint()


def test_a_damaged_chunk_is_without_data_and_counted(tmp_path: Path, rgb: np.ndarray) -> None:
    slide = stored(tmp_path, rgb, (3, 256, 256))
    (tmp_path / "a" / "c" / "0" / "1" / "2").write_bytes(b"no chunk")
    seen, mask = slide.read_box(Box(0, 0, HEIGHT, WIDTH), 0.5)
    assert slide.no_data_reads > 0
    assert not mask[300, 600]
    np.testing.assert_array_equal(seen[mask], rgb[mask])
    assert mask[1024:].all()
    assert len(slide.fingerprint()) == 64


def test_a_store_that_disappears_is_an_error(tmp_path: Path, rgb: np.ndarray) -> None:
    slide = stored(tmp_path, rgb, (3, 256, 256))
    shutil.rmtree(tmp_path / "a")
    for gone in (slide, copy.deepcopy(slide)):  # with an open array, and without one
        with pytest.raises(SlideError, match="no longer there"):
            gone.read_box(Box(0, 0, 100, 100), 0.5)


def test_a_window_takes_the_memory_of_its_chunks(tmp_path: Path) -> None:
    large = zarr.create_array(
        tmp_path / "a", shape=(3, 60_000, 60_000), chunks=(3, 1024, 1024), dtype=np.uint8, fill_value=240
    )
    large[:, 30_000:30_100, 40_000:40_100] = 7
    tracemalloc.start()
    slide = Slide(ZarrSource(tmp_path / "a"), None, "a", PixelSize(0.5))
    seen, _ = slide.read_box(Box(29_990, 39_990, 120, 120), 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (seen == 7).all(axis=2).sum() == 100 * 100
    assert peak < 64 << 20  # of 10.8 GB


def test_other_arrays_and_chunks_over_the_limit_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr.create_array(tmp_path / "float", shape=(3, 10, 10), dtype=np.float32)
    zarr.create_array(tmp_path / "flat", shape=(10, 10), dtype=np.uint8)
    for name in ("float", "flat"):
        with pytest.raises(SlideError, match=rf"{name}: holds .* Give an 8-bit RGB image"):
            ZarrSource(tmp_path / name)
    with pytest.raises(OSError, match="none"):
        ZarrSource(tmp_path / "none")
    zarr.create_array(tmp_path / "one", shape=(3, 800, 800), chunks=(3, 800, 800), dtype=np.uint8)
    zarr.create_array(tmp_path / "many", shape=(3, 800, 800), chunks=(3, 80, 80), dtype=np.uint8)
    monkeypatch.setenv("PIXNET_MEMORY_LIMIT_GB", "0.001")
    with pytest.raises(SlideError, match=r"a chunk of 800 x 800 pixels.*smaller chunks.*PIXNET_MEMORY_LIMIT_GB"):
        ZarrSource(tmp_path / "one")
    assert ZarrSource(tmp_path / "many").levels == ((1.0, (800, 800)),)
