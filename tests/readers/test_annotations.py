"""Outlines of other programs are where those programs show them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.annotations import read_annotations
from pixnet.readers.formats.label_image import read_label_mask
from pixnet.slide.frame import Frames

WHOLE = Frames.of(0.5, (1600, 2000))
SCANNED = Frames.of(0.5, (1600, 2000), (600, 400, 800, 600))


def geojson(path: Path, *corners: tuple[float, float], side: float = 40, **properties: object) -> Path:
    features = []
    for left, top in corners:
        ring = [[left, top], [left + side, top], [left + side, top + side], [left, top + side], [left, top]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_qupath_counts_from_the_scanned_part(tmp_path: Path) -> None:
    path = geojson(tmp_path / "qupath.geojson", (700, 520), objectType="annotation")
    with pytest.warns(PixNetWarning, match="as QuPath does: from .* scanned part, x = 300 um and y = 200"):
        polygons = read_annotations(path, SCANNED)
    assert polygons.centers_um.tolist() == [[660, 470]]
    assert polygons.areas_um2.tolist() == [400]
    # On a slide that was scanned as a whole there is nothing to choose.
    assert read_annotations(path, WHOLE).centers_um.tolist() == [[360, 270]]


def test_other_programs_count_from_the_canvas(tmp_path: Path) -> None:
    path = geojson(tmp_path / "other.geojson", (1300, 920), name="a")
    with pytest.warns(PixNetWarning, match="from the whole picture, not the corner of the scanned part"):
        assert read_annotations(path, SCANNED).centers_um.tolist() == [[660, 470]]


def test_the_frame_can_be_given(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", (640, 450), objectType="annotation")
    assert read_annotations(path, SCANNED, "canvas").centers_um.tolist() == [[330, 235]]
    assert read_annotations(path, SCANNED, "bounds").centers_um.tolist() == [[630, 435]]
    assert read_annotations(path, SCANNED, "um").centers_um.tolist() == [[660, 470]]
    with pytest.raises(DataError, match="the slide has no bounds"):
        read_annotations(path, WHOLE, "bounds")


def test_outlines_beyond_the_picture_are_told(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", (100, 100), (1900, 100), (2100, 100))
    with pytest.warns(PixNetWarning, match=r"1 of 3 outlines are beyond the picture of 1000 x 800 um"):
        read_annotations(path, WHOLE)


def test_a_label_mask_of_the_scanned_part_is_on_it(tmp_path: Path) -> None:
    labels = np.zeros((600, 800), np.uint8)
    labels[100:200, 300:320] = 7
    np.save(tmp_path / "mask.npy", labels)
    np.save(tmp_path / "coarse.npy", labels[::4, ::4])
    for mask in (
        read_label_mask(tmp_path / "mask.npy", SCANNED),
        read_label_mask(tmp_path / "coarse.npy", SCANNED, 2.0),
    ):
        assert mask.bounds_um.tolist() == [[450, 250, 460, 300]]
    whole = np.zeros((1600, 2000), np.uint8)
    whole[400:1000, 600:1400] = labels
    np.save(tmp_path / "whole.npy", whole)
    assert read_label_mask(tmp_path / "whole.npy", SCANNED).bounds_um.tolist() == [[450, 250, 460, 300]]
    with pytest.raises(DataError, match="is 800 x 600 pixels, but the slide is 2000 x 1600"):
        read_label_mask(tmp_path / "mask.npy", WHOLE)


SELECTION = """#Selection name: Tumor core
#Area (\u00b5m^2): 8000
X,Y
20,20
120,20
120,100
20,100
"""
SEVERAL = "Selection,X,Y\nA,50,50\nA,60,50\nA,60,60\nB,20,20\nB,40,20\nB,40,40\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a folder of a run whose H&E image is turned by 90 degrees, at 0.5 um per pixel."""
    (tmp_path / "experiment.xenium").write_text('{"pixel_size": 0.25}')
    (tmp_path / "he_image_matrix.csv").write_text("0,2,40\n-2,0,800\n0,0,1\n")
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_a_selection_of_xenium_explorer_is_in_um_of_the_run(run: Path, encoding: str) -> None:
    path = run / "selection.csv"
    path.write_bytes(SELECTION.encode(encoding))
    polygons = read_annotations(path, WHOLE)
    assert (polygons.names, polygons.classes) == (("Tumor core",), ("Tumor core",))
    # The morphology image has x = 2 v + 40 and y = 800 - 2 u for pixels (u, v) of the H&E image.
    x, y = 70 / 0.25, 60 / 0.25
    np.testing.assert_allclose(polygons.centers_um, [[(800 - y) / 2 * 0.5, (x - 40) / 2 * 0.5]])
    np.testing.assert_allclose(polygons.areas_um2, [8000])


def test_several_selections_in_one_file(run: Path) -> None:
    (run / "a.csv").write_text(SEVERAL)
    polygons = read_annotations(run / "a.csv", WHOLE)
    assert polygons.names == ("A", "B")
    np.testing.assert_allclose(polygons.areas_um2, [50, 200])
    with pytest.raises(DataError, match="in um of the Xenium run, so no other frame"):
        read_annotations(run / "a.csv", WHOLE, "um")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("X,Y\n1,2\n3,4\n", "has fewer than three corners"),
        ("X,Y\n", "fewer than three corners"),
        ("X,Y\n1,2\n3,four\n5,6\n", r"line 3 has '3, four' as x and y"),
        ("a,b\n1,2\n", "has no column 'cell_id'"),
    ],
)
def test_selections_that_cannot_be_used(run: Path, content: str, message: str) -> None:
    (run / "a.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_annotations(run / "a.csv", WHOLE)


def test_a_selection_away_from_its_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(SELECTION)
    with pytest.warns(PixNetWarning, match="no alignment matrix .* found, so the run's um are assumed to be those of"):
        assert read_annotations(tmp_path / "a.csv", WHOLE).centers_um.tolist() == [[70, 60]]


def test_two_matrices_cannot_both_be_the_alignment(run: Path) -> None:
    files = run / "other_alignment_files"
    files.mkdir()
    (files / "matrix.csv").write_text("2,0,0\n0,2,0\n0,0,1\n")
    (files / "keypoints.csv").write_text("fixedX,fixedY,alignmentX,alignmentY\n10,10,12,13\n100,20,101,22\n30,9,3,9\n")
    (run / "a.csv").write_text(SELECTION)
    with pytest.raises(DataError, match=r"he_image_matrix\.csv: holds an alignment matrix, and so does .*matrix\.csv"):
        read_annotations(run / "a.csv", WHOLE)
    # The usual name goes before all others.
    (run / "he_imagealignment.csv").write_text("2,0,0\n0,2,0\n0,0,1\n")
    np.testing.assert_allclose(read_annotations(run / "a.csv", WHOLE).centers_um, [[70, 60]])
