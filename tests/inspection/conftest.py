from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.virtual import VirtualTissue, spots, write_hest, write_legacy_st, write_visium

WIDTH, HEIGHT = 900, 700
LEFT, TOP = 700, 60


def on_canvas(tissue: VirtualTissue, regions: Disks, blur_um: float = 0.0) -> Sample:
    """Put a tissue and its measured regions near a corner of a larger, empty slide."""
    measured = tissue.measure(regions, 1)
    mpp = tissue.slide.mpp
    rgb = np.full((round(1150 / mpp), round(1700 / mpp), 3), 245, np.uint8)
    pixels, _ = tissue.slide.read(0, 0, WIDTH, HEIGHT, mpp)
    if blur_um:
        pixels = ndimage.gaussian_filter(pixels, (blur_um / mpp, blur_um / mpp, 0))
    top, left = round(TOP / mpp), round(LEFT / mpp)
    rgb[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    moved = Disks(regions.centers_um + np.array([LEFT, TOP]), regions.diameters_um)
    counts = dataclasses.replace(
        measured.counts, names=np.array([f"S{row}" for row in range(len(moved))], dtype=object)
    )
    return Sample("V", Slide.from_array(rgb, mpp, "V"), moved, counts, "D", "virtual")


@pytest.fixture(scope="session")
def canvas() -> Callable[..., Sample]:
    """Return the function that puts a tissue on an empty slide."""
    return on_canvas


@pytest.fixture(scope="session")
def tissue() -> VirtualTissue:
    return VirtualTissue.generate("breast", 3, 7, WIDTH, HEIGHT)


@pytest.fixture(scope="session")
def sample(tissue: VirtualTissue) -> Sample:
    return on_canvas(tissue, spots(WIDTH, HEIGHT, 55, 100, hexagonal=True))


@pytest.fixture(scope="session")
def written(sample: Sample, tissue: VirtualTissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sample as Visium, HEST and legacy ST; tests only read it."""
    folder = tmp_path_factory.mktemp("written")
    write_visium(sample, folder / "visium", 2)
    write_hest(sample, folder / "hest")
    legacy = on_canvas(tissue, spots(WIDTH, HEIGHT, 100, 120))
    write_legacy_st(legacy, folder / "legacy", 120.0)
    return folder


@pytest.fixture
def spoil(written: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies the sample of one platform, so that a test can spoil it."""

    def copied(platform: str) -> Path:
        return Path(shutil.copytree(written / platform, tmp_path / platform))

    return copied
