from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixnet import read
from pixnet.errors import DataError
from pixnet.readers.entry import Entry
from pixnet.readers.formats.image_transform import ImageTransform
from pixnet.readers.manifest import read_manifest
from pixnet.readers.platforms import PLATFORMS
from pixnet.regions import Disks, Polygons, Squares
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.virtual import VirtualTissue, spots
from pixnet.virtual.write.dataset import write_legacy_st
from pixnet.virtual.write.hest import write_hest
from pixnet.virtual.write.visium import write_visium
from pixnet.virtual.write.visium_hd import write_visium_hd
from pixnet.virtual.write.xenium import write_xenium

MPP, SCALE, TURN = 0.8, 1.25, math.radians(20.0)


@pytest.fixture(scope="module")
def tissue() -> VirtualTissue:
    return VirtualTissue.generate("breast", 3, 7, 600.0, 500.0, mpp=MPP)


@pytest.fixture(scope="module")
def matrix(tissue: VirtualTissue) -> np.ndarray[Any, Any]:
    """Turns and scales the tissue's image, and shifts it so that nothing is lost."""
    c, s = SCALE * math.cos(TURN), SCALE * math.sin(TURN)
    height, _ = tissue.slide.shape
    return np.array([[c, -s, s * height + 3.0], [s, c, 5.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def scanned(tissue: VirtualTissue, matrix: np.ndarray[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tissue's image as another scan shows it."""
    rgb, _ = tissue.slide.read(0, 0, tissue.slide.width_um, tissue.slide.height_um, MPP)
    height, width = rgb.shape[:2]
    far = onto(np.array([[width, 0], [width, height], [0, height]], float), matrix).max(axis=0)
    back = np.linalg.inv(matrix)[:2].ravel()
    image = Image.fromarray(rgb).transform(
        tuple(np.ceil(far).astype(int).tolist()), Image.Transform.AFFINE, tuple(back), fillcolor=(255, 255, 255)
    )
    path = tmp_path_factory.mktemp("scan") / "scan.png"
    image.save(path)
    return path


def onto(xy: np.ndarray[Any, Any], matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(xy @ matrix[:2, :2].T + matrix[:2, 2])


def hexagons(tissue: VirtualTissue) -> Sample:
    return tissue.measure(spots(600, 500, 55, 100, hexagonal=True), 1)


def legacy(tissue: VirtualTissue, folder: Path) -> dict[str, Any]:
    return dict(write_legacy_st(tissue.measure(spots(600, 500, 55, 100), 1), folder, 100.0))


def visium(tissue: VirtualTissue, folder: Path) -> dict[str, Any]:
    return dict(write_visium(hexagons(tissue), folder))


def visium_hd(tissue: VirtualTissue, folder: Path) -> dict[str, Any]:
    return {**write_visium_hd(tissue, folder, (8, 16), 3.0, 1, mirrored=True), "bin_um": 8.0}


def cells(tissue: VirtualTissue, folder: Path) -> dict[str, Any]:
    return {**write_visium_hd(tissue, folder, (4,), 3.0, 1), "cells": True, "bin_um": None}


def xenium(tissue: VirtualTissue, folder: Path) -> dict[str, Any]:
    return {**write_xenium(tissue, folder / "run", 5), "regions": "nuclei"}


def hest(tissue: VirtualTissue, folder: Path) -> dict[str, Any]:
    return dict(write_hest(hexagons(tissue), folder))


def table(tissue: VirtualTissue, folder: Path) -> dict[str, Any]:
    """Squares in pixels, of an image of its own."""
    sample = tissue.measure(Squares.tiling(50, 50, 550, 450, 50.0), 1)
    return anndata_entry(sample, folder, side_um=50.0)


def table_in_um(tissue: VirtualTissue, folder: Path) -> dict[str, Any]:
    return anndata_entry(hexagons(tissue), folder, diameter_um=55.0, mpp=MPP)


def anndata_entry(sample: Sample, folder: Path, **more: float) -> dict[str, Any]:
    made = sample.to_anndata()
    if "diameter_um" in more:
        del made.obsm["spatial"]
    else:
        made.uns["spatial"] = {"library": {"scalefactors": {"microns_per_pixel": MPP}}}
    made.write_h5ad(folder / "table.h5ad")
    rgb, _ = sample.slide.read(0, 0, sample.slide.width_um, sample.slide.height_um, MPP)
    Image.fromarray(rgb).save(folder / "own.png")
    return {"id": "t", "platform": "anndata", "path": "table.h5ad", "image": "own.png", **more}


def entry_in(folder: Path, values: dict[str, Any]) -> Entry:
    files = {key: folder / values[key] for key in ("path", "image", "counts", "spots") if key in values}
    return PLATFORMS[values["platform"]].entry.model_validate({**values, **files})


WRITERS = [legacy, visium, visium_hd, cells, xenium, hest, table, table_in_um]


@pytest.mark.parametrize("write", WRITERS)
def test_regions_lie_on_another_scan(
    write: Any, tissue: VirtualTissue, matrix: np.ndarray[Any, Any], scanned: Path, tmp_path: Path
) -> None:
    values = write(tissue, tmp_path)
    own = entry_in(tmp_path, values).read()
    given = {"image": scanned, "image_transform": matrix}
    if "mpp" in values:
        given["mpp"] = MPP / SCALE
    again = entry_in(tmp_path, {**values, **given}).read()
    assert again.slide.mpp == pytest.approx(own.slide.mpp / SCALE, rel=1e-9)
    np.testing.assert_array_equal(again.counts.matrix.toarray(), own.counts.matrix.toarray())
    expected = onto(own.regions.centers_um / own.slide.mpp, matrix) * again.slide.mpp
    np.testing.assert_allclose(again.regions.centers_um, expected, atol=0.01)
    assert type(again.regions) is type(own.regions)
    np.testing.assert_allclose(again.regions.areas_um2, own.regions.areas_um2, rtol=1e-6)
    if isinstance(own.regions, Polygons):
        first = own.regions.shapes[0].exterior.coords
        assert isinstance(again.regions, Polygons)
        there = again.regions.shapes[0].exterior.coords
        moved = onto(np.array(first) / own.slide.mpp, matrix) * again.slide.mpp
        np.testing.assert_allclose(sorted(map(tuple, there)), sorted(map(tuple, moved)), atol=0.01)
    if isinstance(own.regions, Disks | Squares):
        assert same_pictures(own, again) > 0.98


def same_pictures(one: Sample, other: Sample) -> float:
    """Correlate the brightness of both slides where the regions are."""

    def brightness(slide: Slide, centres: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.array([slide.read(x - 10, y - 10, 20, 20, 1.0)[0].mean() for x, y in centres])

    some = np.arange(0, len(one.regions), max(1, len(one.regions) // 40))
    pair = [brightness(sample.slide, sample.regions.take(some).centers_um) for sample in (one, other)]
    return float(np.corrcoef(*pair)[0, 1])


def test_a_xenium_run_without_alignment_lies_on_its_morphology_image(
    tissue: VirtualTissue, matrix: np.ndarray[Any, Any], scanned: Path, tmp_path: Path
) -> None:
    values = xenium(tissue, tmp_path)
    own = entry_in(tmp_path, values).read()
    alignment = np.loadtxt(tmp_path / "run/he_imagealignment.csv", delimiter=",")
    (tmp_path / "run/he_imagealignment.csv").unlink()
    to_scan = matrix @ np.linalg.inv(alignment)
    again = entry_in(tmp_path, {**values, "image": scanned, "image_transform": to_scan}).read()
    expected = onto(own.regions.centers_um / own.slide.mpp, matrix) * again.slide.mpp
    np.testing.assert_allclose(again.regions.centers_um, expected, atol=0.01)


def test_a_given_pixel_size_is_that_of_the_given_image(
    tissue: VirtualTissue, matrix: np.ndarray[Any, Any], scanned: Path, tmp_path: Path
) -> None:
    for write in (visium, visium_hd, xenium, table):
        folder = tmp_path / write.__name__
        folder.mkdir()
        values = {**write(tissue, folder), "image": scanned, "image_transform": matrix}
        assert entry_in(folder, {**values, "mpp": 1.01 * MPP / SCALE}).read().slide.mpp == 1.01 * MPP / SCALE
        with pytest.raises(DataError, match=r"um per pixel.* but 0\.8"):
            entry_in(folder, {**values, "mpp": MPP}).read()


def test_a_manifest_names_the_matrix_and_polygons_on_the_given_image(
    tissue: VirtualTissue, matrix: np.ndarray[Any, Any], scanned: Path, tmp_path: Path
) -> None:
    write_visium(hexagons(tissue), tmp_path)
    name = next(path.name for path in tmp_path.iterdir() if path.is_dir())
    np.savetxt(tmp_path / "matrix.csv", matrix, delimiter=",", fmt="%.17g")
    own = read(tmp_path / name)
    # The left half of the section, drawn on the new scan.
    width, height = own.slide.shape[1], own.slide.shape[0]
    corners = onto(np.array([[0, 0], [width / 2, 0], [width / 2, height], [0, height], [0, 0]], float), matrix)
    polygon = {"type": "Polygon", "coordinates": [corners.tolist()]}
    (tmp_path / "half.geojson").write_text(json.dumps(polygon))
    rows = json.dumps(matrix.tolist())
    lines = [
        "[[sample]]",
        'platform = "visium"',
        f"path = {json.dumps(name + '/outs')}",
        f"image = {json.dumps(str(scanned))}",
    ]
    kept = own.regions.centers_um[:, 0] < own.slide.width_um / 2
    assert 0 < kept.sum() < len(kept)
    text = []
    for number, (way, key) in enumerate([('"matrix.csv"', "include"), (rows, "exclude")]):
        text += [*lines, f'id = "{number}"', f"image_transform = {way}", f'{key} = "half.geojson"', ""]
    (tmp_path / "samples.toml").write_text("\n".join(text))
    inside, outside = read_manifest(tmp_path / "samples.toml")
    assert inside.counts.region_names().tolist() == own.counts.region_names()[kept].tolist()
    assert outside.counts.region_names().tolist() == own.counts.region_names()[~kept].tolist()


def test_a_matrix_that_will_not_do_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text("1,0,0\n0,1,0\n")
    with pytest.raises(DataError, match=r"matrix\.csv: must hold a 3 x 3 affine matrix .* Found \(2, 3\)"):
        ImageTransform.read(path)
    path.write_text("1,0,x\n0,1,0\n0,0,1\n")
    with pytest.raises(DataError, match=r"matrix\.csv: is not a matrix of numbers"):
        ImageTransform.read(path)
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        ImageTransform.read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="must hold a 3 x 3 affine matrix"):
        ImageTransform.read(np.zeros((3, 3)))
    with pytest.raises(DataError, match="its last row 0, 0, 1"):
        ImageTransform.read([[1, 0, 0], [0, 1, 0], [1e-5, 0, 1]])
    with pytest.raises(DataError, match="mirrors the image"):
        ImageTransform.read(np.diag([-1.0, 1.0, 1.0]))
    with pytest.raises(DataError, match=r"stretches one direction 1\.05 times"):
        ImageTransform.read(np.diag([1.05, 1.0, 1.0]))
    with pytest.raises(DataError, match=r"stretches one direction 1\.\d+ times"):
        ImageTransform.read([[1, 0.05, 0], [0, 1, 0], [0, 0, 1]])


def test_a_manifest_with_another_kind_of_matrix_is_refused(tmp_path: Path) -> None:
    head = '[[sample]]\nid = "a"\nplatform = "visium"\npath = "outs"\n'
    for value in ("3", "[[1, 0, 0], [0, 1, 0]]", '[[1, 0, "x"], [0, 1, 0], [0, 0, 1]]', "[[1, 0], [0, 1]]"):
        (tmp_path / "samples.toml").write_text(head + f"image_transform = {value}\n")
        with pytest.raises(DataError, match=r"samples\.toml: sample 'a': image_transform.* is not valid"):
            read_manifest(tmp_path / "samples.toml")
    (tmp_path / "samples.toml").write_text(
        '[[sample]]\nid = "a"\nplatform = "spatialdata"\npath = "s.zarr"\nimage_transform = "m.csv"\n'
    )
    with pytest.raises(DataError, match=r"image_transform = 'm\.csv' is not valid"):
        read_manifest(tmp_path / "samples.toml")
