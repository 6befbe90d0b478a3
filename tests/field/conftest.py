"""A slide, a network-like function and heads that the tests of the field share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pixnet.field import BuildOptions, ExpressionField, LatentSource, LinearHead, build_field
from pixnet.field.build.tile import TileImages
from pixnet.grid import Lattice
from pixnet.slide import Slide

MPP = 0.5
FINEST = 4
STRIDE = 16
HALO = 32
ZOOM = 2
FAR_HALO = 24
CHANNELS = 5
GENES = ("ACTB", "ERBB2", "GNAS")
# Channels of very different size, as a network's may be.
SIZES = np.array([1e-6, 1e-2, 1.0, 50.0, 1e7])


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Return smooth waves with noise."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([120 + 70 * np.sin(x / a + y / b) for a, b in ((31, 47), (83, 19), (57, 101))], axis=-1)
    return (waves + np.random.default_rng(0).integers(0, 30, waves.shape)).astype(np.uint8)


def latent(images: TileImages) -> NDArray[np.float32]:
    """Return sums over windows that reach into the halos, for each pixel of the core: whole numbers, so exact."""
    rgb = images.near
    sums = np.zeros((rgb.shape[0] + 1, rgb.shape[1] + 1, 3), np.int64)
    sums[1:, 1:] = rgb.astype(np.int64).cumsum(0).cumsum(1)
    top = np.arange(HALO, rgb.shape[0] - HALO, FINEST)
    left = np.arange(HALO, rgb.shape[1] - HALO, FINEST)

    def window(reach: int) -> NDArray[np.int64]:
        y0, y1, x0, x1 = top - reach, top + FINEST + reach, left - reach, left + FINEST + reach
        return sums[y1][:, x1] - sums[y0][:, x1] - sums[y1][:, x0] + sums[y0][:, x0]

    near, far = window(0) / (255 * FINEST**2), window(HALO) / (255 * (FINEST + 2 * HALO) ** 2)
    channels = np.stack([near[..., 0], near[..., 1] * far[..., 0], far[..., 1], near[..., 2], furthest(images)])
    return (channels * SIZES[:, None, None]).astype(np.float32)


def furthest(images: TileImages) -> NDArray[np.float64]:
    """Return the sum of the corners of the window in the far image, for each pixel of the core."""
    assert images.far is not None
    red = images.far[..., 0].astype(np.int64)
    pixel, reach = FINEST // ZOOM, 2 * FAR_HALO
    height, width = red.shape[0] - reach, red.shape[1] - reach
    corners = (red[r : r + height : pixel, c : c + width : pixel] for r in (0, reach) for c in (0, reach))
    return np.asarray(sum(corners) / (4 * 255))


def make_head(kind: Any) -> LinearHead:
    """Return a head to which each channel matters."""
    rng = np.random.default_rng(1)
    genes = (*GENES, "other") if kind == "rate" else GENES
    weight = rng.uniform(0.1, 1, (CHANNELS, len(genes))) / SIZES[:, None]
    if kind != "rate":
        weight *= rng.choice([-1, 1], weight.shape)
    return LinearHead(kind, genes, weight, rng.uniform(0, 0.3, len(genes)), "units of the test")


def lattice_of(slide: Slide) -> Lattice:
    return Lattice(slide.width_um, slide.height_um, MPP, STRIDE, HALO, ZOOM, FAR_HALO)


def source_of(slide: Slide, **given: Any) -> LatentSource:
    arguments: dict[str, Any] = {"finest": FINEST, "latent": latent, "head": make_head("rate")}
    arguments["card"] = {"encoder": "none", "samples": ["A", "B"]}
    return LatentSource(lattice_of(slide), **(arguments | given))


Build = Callable[..., ExpressionField]


@pytest.fixture(scope="session")
def slide() -> Slide:
    """Return a slide of 301 x 401.5 um, so that the last pixels of the field are partly outside."""
    return Slide.from_array(picture(602, 803), MPP, name="waves")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory, slide: Slide) -> Build:
    """Build a field in a new folder; anything of `LatentSource` and `BuildOptions` may be given, and `out`."""
    names = {field.name for field in fields_of(BuildOptions)}

    def build(kind: str = "rate", on: Slide = slide, out: Path | None = None, **given: Any) -> ExpressionField:
        options = {"core": 256, "tissue_mask": False} | {name: given.pop(name) for name in names & given.keys()}
        source = source_of(on, **({"head": make_head(kind)} | given))
        out = out or tmp_path_factory.mktemp("field") / "field.zarr"
        return build_field(on, source, out, BuildOptions(**options))

    return build


@pytest.fixture(scope="session")
def fields(build: Build) -> dict[str, ExpressionField]:
    """Return one field of each kind of head, of the same slide."""
    return {kind: build(kind) for kind in ("rate", "mean", "sum")}


@pytest.fixture(scope="session")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    """Return a slide that is transparent, so without data, from x = 100 um to 150 um."""
    rgb = picture(320, 480)
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    alpha[:, 200:300] = 0
    path: Path = tmp_path_factory.mktemp("slide") / "holed.png"
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(path)
    return Slide.open(path, mpp=MPP)


@pytest.fixture(scope="session")
def patchy(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    """Return a slide of 1153.5 x 750.5 um: glass from x = 800 um, no data at x = 100 to 150 and y = 60 to 400 um."""
    rgb = picture(1501, 2307)
    rgb[:, 1600:] = 242
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    alpha[120:800, 200:300] = 0
    path: Path = tmp_path_factory.mktemp("slide") / "patchy.png"
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(path)
    return Slide.open(path, mpp=MPP)


@pytest.fixture(scope="session")
def patchy_fields(build: Build, patchy: Slide) -> dict[str, ExpressionField]:
    """Return one field of each kind of head, of three levels, with background and without data in places."""
    return {kind: build(kind, on=patchy, core=1024, tissue_mask=True) for kind in ("rate", "mean", "sum")}
