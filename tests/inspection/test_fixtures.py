"""Real files: each is read, or refused for the right reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
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


def look(path: Path, **options: Any) -> Inspection:
    return inspect(path, **options)[0].inspection


def size(found: Inspection) -> tuple[int, int]:
    """Give the number of regions and genes."""
    value = found.of("depth")[0].value
    return value["regions"], value["genes"]


def blank(path: Path, width: int, height: int) -> Path:
    Image.new("L", (width, height), 255).save(path, compress_level=1)
    return path


def test_legacy_st(fixtures: Path, tmp_path: Path) -> None:
    shutil.copytree(fixtures / "legacy-st-small", tmp_path, dirs_exist_ok=True)
    (tmp_path / "samples.toml").write_text(SMALL)
    found = look(tmp_path / "samples.toml")
    assert size(found) == (282, 10)
    # Its image is a small copy, of which the positions are pixels; three of its spots have no counts.
    assert found.codes == {"coarse", "empty", "near-empty"}


def test_visium(fixtures: Path, tmp_path: Path) -> None:
    folder = fixtures / "visium-v1"
    found = look(folder)
    assert found.codes == {"refused"}
    assert "full-resolution image" in found.of("refused")[0].text
    hires = folder / "spatial/tissue_hires_image.png"
    assert look(folder, image=hires).codes == {"refused", "not-full-resolution"}
    with h5py.File(folder / "filtered_feature_bc_matrix.h5") as file:
        genes, barcodes = (int(side) for side in file["matrix/shape"])
    found = look(folder, image=blank(tmp_path / "blank.png", 13332, 13332))
    assert size(found)[0] == barcodes == 100
    assert size(found)[1] == genes
    # Positions are there for all spots; and on an image without tissue no region can lie on it.
    assert found.codes == {"on-tissue", "one-sided"}


@pytest.mark.parametrize("section", ["section1", "section2"])
def test_visium_layouts(fixtures: Path, tmp_path: Path, section: str) -> None:
    folder = fixtures / "visium-layouts/10xVisium" / section
    assert look(folder).codes == {"refused"}
    with h5py.File(folder / "outs/raw_feature_bc_matrix.h5") as file:
        genes = int(file["matrix/shape"][0])
    found = look(folder, image=blank(tmp_path / "blank.png", 11287, 11757))
    assert size(found)[0] > 0
    assert size(found)[1] <= genes
    # Its few spots lie far apart, which is no wrong pixel size.
    assert found.codes <= {"on-tissue", "one-sided"}, found.summary


def test_visium_hd(fixtures: Path) -> None:
    folder = fixtures / "visium-layouts"
    for path in (folder, folder / "binned_outputs", folder / "binned_outputs/square_002um"):
        found = look(path)
        assert (found.platform, found.codes) == ("visium-hd", {"refused"})
        assert "full-resolution image" in found.of("refused")[0].text
    lowres = folder / "binned_outputs/square_002um/spatial/tissue_lowres_image.png"
    assert look(folder, image=lowres).codes == {"refused", "not-full-resolution"}


def test_a_core_of_xenium_in_hest_is_swapped(fixtures: Path) -> None:
    path = fixtures / "hest-xenium/NCBI858.h5ad"
    without = look(path)
    assert "no pixel size" in without.of("refused")[0].text.replace("states no pixel size", "no pixel size")
    assert without.codes == {"refused", "swapped", "outside", "on-tissue"}
    finding = look(path, mpp=0.5).of("swapped")[0]
    assert (finding.level, "--swap-xy" in finding.advice) == ("error", True)
    mended = inspect(path, mpp=0.5, swap_xy=True)[0]
    assert mended.inspection.of("on-tissue")[0].value["share"] >= 0.97
    assert mended.inspection.status == 0
    assert mended.sample is not None
    assert len(mended.sample.regions) == 200


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
def test_what_is_no_sample_is_told_what_it_is(fixtures: Path, path: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        inspect(fixtures / path)


def test_her2st(shared: Path) -> None:
    found = [each.inspection for each in inspect(shared / "data/her2st/samples.toml")]
    warned = {"C2": {"near-empty"}, "C3": {"near-empty", "one-sided"}, "C4": {"one-sided"}}
    warned["C5"] = warned["C3"]
    assert {each.id: each.codes for each in found} == warned
    assert {each.status for each in found} == {1}
    assert np.array_equal([size(each)[0] for each in found], [187, 180, 184, 181])
