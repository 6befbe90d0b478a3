from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from PIL import Image

from pixnet.errors import DataError, PixNetWarning, SlideError
from pixnet.readers.hest import read_hest
from pixnet.regions import Disks, Polygons, Squares
from pixnet.sample import Sample
from pixnet.slide.pixel_size import PixelSize
from pixnet.virtual import VirtualTissue, spots
from pixnet.virtual.write.hest import write_hest


@pytest.fixture(scope="module")
def tissue() -> VirtualTissue:
    return VirtualTissue.generate("breast", 3, 7, 700.0, 600.0, mpp=0.9)


@pytest.fixture(scope="module")
def written(tissue: VirtualTissue, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sample]:
    folder = tmp_path_factory.mktemp("hest")
    sample = tissue.measure(spots(700, 600, 55, 100, hexagonal=True), 1)
    write_hest(sample, folder)
    return folder, sample


def copied(folder: Path, to: Path, **changes: Any) -> Path:
    """Copy a data set of one sample, and change its metadata; None removes an entry."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    path = next((to / "metadata").glob("*.json"))
    metadata = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in metadata.items() if value is not None}))
    return to


def check_same(again: Sample, sample: Sample) -> None:
    assert list(again.genes) == list(sample.genes)
    np.testing.assert_array_equal(again.counts.matrix.toarray(), sample.counts.matrix.toarray())
    np.testing.assert_allclose(again.regions.centers_um, sample.regions.centers_um, atol=0.01)
    np.testing.assert_allclose(again.regions.areas_um2, sample.regions.areas_um2, rtol=1e-6)
    for um_per_px, off in ((sample.slide.mpp, 0.0), (4 * sample.slide.mpp, 1.0)):
        one, two = (slide.read(0, 0, 600, 500, um_per_px)[0].astype(int) for slide in (again.slide, sample.slide))
        assert np.abs(one - two).mean() <= off


def test_spots_read_back(written: tuple[Path, Sample]) -> None:
    folder, sample = written
    again = read_hest(folder)
    check_same(again, sample)
    assert isinstance(again.regions, Disks)
    assert (again.id, again.donor, again.platform) == (sample.id, sample.donor, "hest")
    assert again.slide.mpp == 0.9
    assert again.slide.mpp_source == "pixel_size_um_estimated"
    assert len(again.slide.levels) > 1
    assert again.counts.notes["technology"] == "visium"


@pytest.mark.parametrize(("side", "angle", "technology"), [(100.0, 0.0, "Xenium"), (16.0, 3.0, "Visium HD")])
def test_squares_read_back(tissue: VirtualTissue, tmp_path: Path, side: float, angle: float, technology: str) -> None:
    rows, cols = np.divmod(np.arange(24), 6)
    keep = np.arange(24) != 7  # empty squares are left out
    sample = tissue.measure(Squares(41.3, 12.7, side, rows[keep], cols[keep], angle), 1)
    entry = write_hest(sample, tmp_path)
    assert json.loads((tmp_path / "metadata" / f"{sample.id}.json").read_text())["st_technology"] == technology
    again = read_hest(tmp_path / entry["path"])
    check_same(again, sample)
    assert isinstance(again.regions, Squares)
    assert again.regions.side_um == pytest.approx(side)
    np.testing.assert_allclose(again.regions.bounds_um, sample.regions.bounds_um, atol=1e-6)
    if angle == 0:
        assert again.regions.angle_deg == 0


def test_a_lattice_that_contradicts_the_metadata_is_told(tissue: VirtualTissue, tmp_path: Path) -> None:
    sample = tissue.measure(Squares.tiling(50, 50, 400, 400, 58.39), 1)
    write_hest(sample, tmp_path)
    folder = copied(tmp_path, tmp_path / "changed", inter_spot_dist=None)
    with pytest.warns(PixNetWarning, match=r"squares are 58.4 um apart, not 100") as told:
        again = read_hest(folder)
    assert sum(warning.category is PixNetWarning for warning in told) == 1
    check_same(again, sample)


def test_several_samples_are_chosen_by_id(tissue: VirtualTissue, tmp_path: Path) -> None:
    samples = [tissue.measure(spots(700, 600, 55, 100), seed) for seed in (1, 2)]
    entries = [write_hest(sample, tmp_path) for sample in samples]
    with pytest.raises(DataError, match=f"it has 2: {samples[0].id}, {samples[1].id}. Choose one with `id`"):
        read_hest(tmp_path)
    with pytest.raises(DataError, match="has no sample 'other'"):
        read_hest(tmp_path, id="other")
    assert read_hest(tmp_path, id=samples[1].id).depth.sum() == samples[1].depth.sum()
    assert read_hest(tmp_path / "st", id=samples[1].id).depth.sum() == samples[1].depth.sum()
    named = read_hest(tmp_path / entries[0]["path"], id="other", donor="X")
    assert (named.id, named.donor, named.depth.sum()) == ("other", "X", samples[0].depth.sum())


def test_files_may_lie_beside_each_other(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder, sample = written
    for path in folder.glob("*/*"):
        shutil.copy(path, tmp_path / path.name)
    check_same(read_hest(tmp_path), sample)
    check_same(read_hest(tmp_path / f"{sample.id}.h5ad"), sample)


def test_pixel_sizes_come_in_order(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder, sample = written
    assert read_hest(folder, mpp=0.91).slide.mpp_source == "argument"
    assert read_hest(folder, mpp=PixelSize(0.91, "manifest")).slide.mpp_source == "manifest"
    own = copied(folder, tmp_path / "own", pixel_size_um_estimated=None)
    assert read_hest(own).slide.mpp == pytest.approx(0.9, rel=1e-4)
    assert read_hest(own).slide.mpp_source == "TIFF resolution"
    pixels, _ = sample.slide.read(0, 0, sample.slide.width_um, sample.slide.height_um, 0.9)
    image = tmp_path / "slide.png"
    Image.fromarray(pixels).save(image)
    embedded = copied(folder, tmp_path / "embedded", pixel_size_um_estimated=None, pixel_size_um_embedded=0.9)
    assert read_hest(embedded, image=image).slide.mpp_source == "pixel_size_um_embedded"
    none = copied(folder, tmp_path / "none", pixel_size_um_estimated=None, pixel_size_um_embedded=float("nan"))
    with pytest.raises(SlideError, match=r"no pixel size.*as `mpp`"):
        read_hest(none, image=image)


def test_a_pixel_size_that_contradicts_the_pitch_is_refused(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder, _ = written
    with pytest.raises(DataError, match=r"spots are 111.1 px apart.*0.9 um per pixel, but 0.5 was given \(argument\)"):
        read_hest(folder, mpp=0.5)
    folder = copied(folder, tmp_path / "changed", pixel_size_um_estimated=0.8)
    with pytest.raises(DataError, match=r"0.8 was given \(pixel_size_um_estimated\)"):
        read_hest(folder)


def test_a_small_copy_of_the_slide_is_refused(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder, sample = written
    Image.fromarray(sample.slide.thumbnail(200)[0]).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"is 200 x 171 px, but the positions refer to a slide of 778 x 667 px"):
        read_hest(folder, image=tmp_path / "small.png")


def test_sizes_follow_from_the_metadata(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder, _ = written
    assert set(read_hest(folder, diameter_um=30.0).regions.diameters_um) == {30.0}
    cases: list[tuple[dict[str, Any], float]] = [
        ({"spot_diameter": None}, 55.0),
        ({"spot_diameter": 65.0}, 65.0),
        ({"spot_diameter": None, "st_technology": "Spatial Transcriptomics"}, 100.0),
        ({"cell_diameter": 20}, 18.0),
    ]
    for number, (changes, diameter) in enumerate(cases):
        regions = read_hest(copied(folder, tmp_path / str(number), **changes)).regions
        assert isinstance(regions, Disks)
        np.testing.assert_allclose(regions.diameters_um, diameter)
    with pytest.raises(DataError, match=r"technology and spot diameter are not known.*Give `diameter_um`"):
        read_hest(copied(folder, tmp_path / "unknown", spot_diameter=None, st_technology=None))
    with pytest.raises(DataError, match="do not tile squares"):
        read_hest(copied(folder, tmp_path / "cells", st_technology="Xenium"))
    with pytest.raises(DataError, match=r"`diameter_um` must be a positive number"):
        read_hest(folder, diameter_um=-1)


def test_patients_of_two_studies_are_two_donors(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder, _ = written
    changed = copied(folder, tmp_path / "a", patient="Patient 1", dataset_title="Some atlas")
    assert read_hest(changed).donor == "Patient 1, Some atlas"
    assert read_hest(copied(folder, tmp_path / "b", patient=float("nan"), dataset_title="Some atlas")).donor is None


def test_control_probes_are_left_out_and_told(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder, sample = written
    folder = copied(folder, tmp_path)
    path = next((folder / "st").glob("*.h5ad"))
    table = anndata.read_h5ad(path)
    names = list(table.var_names)
    names[:4] = ["NegControlProbe_00042", "BLANK_0013", "antisense_KRT5", "UnassignedCodeword_1"]
    table.var_names = names
    table.write_h5ad(path)
    with pytest.warns(PixNetWarning, match="4 columns of controls left out") as told:
        again = read_hest(folder)
    assert sum(warning.category is PixNetWarning for warning in told) == 1
    assert list(again.genes) == list(sample.genes[4:])


def test_what_is_missing_or_damaged_is_named(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder, sample = written
    with pytest.raises(DataError, match="does not exist"):
        read_hest(tmp_path / "nowhere")
    with pytest.raises(DataError, match="h5ad file not found"):
        read_hest(tmp_path)
    bare = copied(folder, tmp_path / "bare")
    next((bare / "wsis").iterdir()).unlink()
    with pytest.raises(DataError, match=r"slide .*\.tif not found in .*wsis.*`image`"):
        read_hest(bare)
    for text in ("{", "[1]", "\xff", "[" * 100_000):
        (bare / "metadata" / f"{sample.id}.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=r"\.json: (is not a JSON file|does not hold a table|.*is not UTF-8)"):
            read_hest(bare, image=folder / "wsis" / f"{sample.id}.tif")


def test_what_cannot_be_written_is_named(tissue: VirtualTissue, tmp_path: Path) -> None:
    import shapely

    sample = tissue.measure(Polygons([shapely.box(100, 100, 200, 200)]), 1)
    with pytest.raises(DataError, match="not disks of one size or squares"):
        write_hest(sample, tmp_path)


def test_a_real_core(shared: Path) -> None:
    folder = shared / "data" / "fixtures" / "hest-xenium"
    with pytest.raises(SlideError, match=r"no pixel size.*as `mpp`"):
        read_hest(folder)
    with pytest.raises(DataError, match=r"16 of 200 regions lie outside.*swap_xy"):
        read_hest(folder, mpp=1.0)
    sample = read_hest(folder, mpp=0.5, swap_xy=True)
    assert sample.id == "NCBI858"
    assert sample.counts.shape == (200, 338)
    assert sample.counts.matrix.sum() == 45623
    np.testing.assert_allclose(sample.regions.centers_um[0], [999.445214 / 2, 536.366438 / 2], atol=1e-4)
    np.testing.assert_allclose(sample.regions.areas_um2, np.pi * 5.0**2)


def test_a_truncated_table_is_refused(written: tuple[Path, Sample], tmp_path: Path) -> None:
    folder = copied(written[0], tmp_path)
    path = next((folder / "st").glob("*.h5ad"))
    whole = path.read_bytes()
    for part in (0, 7, 600, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:part])
        with pytest.raises(DataError, match="cannot be read"):
            read_hest(folder)
