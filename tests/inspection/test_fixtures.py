"""Real files are read, or refused for the right reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest
from PIL import Image

from pixnet.errors import DataError
from pixnet.inspection import Inspection, inspect

SMALL = """
[[sample]]
id = "small"
platform = "legacy-st"
image = "image.jpg"
counts = "counts.tsv"
spots = "spots.tsv"
"""


@pytest.fixture
def fixtures(shared: Path) -> Path:
    return shared / "data/fixtures"


def inspect_one(path: Path, **options: Any) -> Inspection:
    return inspect(path, **options)[0].inspection


def size(inspection: Inspection) -> tuple[int, int]:
    """Return the number of regions and of genes."""
    value = inspection.of("depth")[0].value
    return value["regions"], value["genes"]


def blank(path: Path, width: int, height: int) -> Path:
    Image.new("L", (width, height), 255).save(path, compress_level=1)
    return path


def test_legacy_st(fixtures: Path, tmp_path: Path) -> None:
    shutil.copytree(fixtures / "legacy-st-small", tmp_path, dirs_exist_ok=True)
    (tmp_path / "samples.toml").write_text(SMALL)
    inspection = inspect_one(tmp_path / "samples.toml")
    assert size(inspection) == (282, 10)
    # The image is a small copy, and the positions are its pixels; three spots have no counts.
    assert inspection.codes == {"coarse", "empty", "near-empty"}


def test_visium(fixtures: Path, tmp_path: Path) -> None:
    folder = fixtures / "visium-v1"
    inspection = inspect_one(folder)
    assert inspection.codes == {"refused"}
    assert "full-resolution image" in inspection.of("refused")[0].text
    hires = folder / "spatial/tissue_hires_image.png"
    assert inspect_one(folder, image=hires).codes == {"refused", "not-full-resolution"}
    with h5py.File(folder / "filtered_feature_bc_matrix.h5") as file:
        genes, barcodes = (int(side) for side in file["matrix/shape"])
    inspection = inspect_one(folder, image=blank(tmp_path / "blank.png", 13332, 13332))
    assert size(inspection)[0] == barcodes == 100
    assert size(inspection)[1] == genes
    # There are positions for all spots; and the image has no tissue that a region could be on.
    assert inspection.codes == {"on-tissue", "one-sided"}


@pytest.mark.parametrize("section", ["section1", "section2"])
def test_visium_layouts(fixtures: Path, tmp_path: Path, section: str) -> None:
    folder = fixtures / "visium-layouts/10xVisium" / section
    assert inspect_one(folder).codes == {"refused"}
    with h5py.File(folder / "outs/raw_feature_bc_matrix.h5") as file:
        genes = int(file["matrix/shape"][0])
    inspection = inspect_one(folder, image=blank(tmp_path / "blank.png", 11287, 11757))
    assert size(inspection)[0] > 0
    assert size(inspection)[1] <= genes
    # Its few spots are far apart, which must not count as a wrong pixel size.
    assert inspection.codes <= {"on-tissue", "one-sided"}, inspection.summary


def test_visium_hd(fixtures: Path) -> None:
    folder = fixtures / "visium-layouts"
    for path in (folder, folder / "binned_outputs", folder / "binned_outputs/square_002um"):
        inspection = inspect_one(path)
        assert (inspection.platform, inspection.codes) == ("visium-hd", {"refused"})
        assert "full-resolution image" in inspection.of("refused")[0].text
    lowres = folder / "binned_outputs/square_002um/spatial/tissue_lowres_image.png"
    assert inspect_one(folder, image=lowres).codes == {"refused", "not-full-resolution"}


def test_a_core_of_xenium_in_hest_is_swapped(fixtures: Path) -> None:
    path = fixtures / "hest-xenium/NCBI858.h5ad"
    without = inspect_one(path)
    assert "pixel size" in without.of("refused")[0].text
    assert without.codes == {"refused", "swapped", "outside", "on-tissue"}
    finding = inspect_one(path, mpp=0.5).of("swapped")[0]
    assert (finding.level, finding.advice) == ("error", "Use `swap_xy=True`.")
    inspected = inspect(path, mpp=0.5, swap_xy=True)[0]
    assert inspected.inspection.of("on-tissue")[0].value["share"] >= 0.97
    assert inspected.inspection.status == 0
    assert inspected.sample is not None
    assert len(inspected.sample.regions) == 200


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("wsi/CMU-1-Small-Region.svs", "looks like an image"),
        ("wsi/small_dicom.dcm", "none of the known platforms"),
        ("legacy-st-small", "in a manifest"),
        ("hest-xenium", r"NCBI858\.h5ad is from hest"),
        ("visium-layouts/10xVisium", "section1 is from visium"),
    ],
)
def test_a_path_without_a_sample_is_explained(fixtures: Path, path: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        inspect(fixtures / path)


def test_her2st(shared: Path) -> None:
    inspections = [inspected.inspection for inspected in inspect(shared / "data/her2st/samples.toml")]
    codes = {"C2": {"near-empty"}, "C3": {"near-empty", "one-sided"}, "C4": {"one-sided"}}
    codes["C5"] = codes["C3"]
    assert {inspection.id: inspection.codes for inspection in inspections} == codes
    assert {inspection.status for inspection in inspections} == {1}
    assert [size(inspection)[0] for inspection in inspections] == [187, 180, 184, 181]
