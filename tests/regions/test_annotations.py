"""Annotations of other programs are read whatever their spelling, packing and encoding; one odd one costs no other."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pixnet.errors import DataError, PixNetWarning
from pixnet.regions import Polygons
from pixnet.regions.annotations import class_of, is_from_qupath


def square(left: float, top: float, side: float) -> dict[str, Any]:
    right, bottom = left + side, top + side
    return {
        "type": "Polygon",
        "coordinates": [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]],
    }


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def written(path: Path, *features: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"classification": {"name": "Stroma", "colorRGB": -377282}}, "Stroma"),
        ({"classification": {"names": ["Tumor", "Positive"], "color": [200, 0, 0]}}, "Tumor: Positive"),
        ({"classification": {"names": ["Tumor"]}}, "Tumor"),
        ({"classification": "Stroma"}, "Stroma"),
        ({"classification": '{ "name": "Tumor", "color": [ 200, 0, 0 ] }'}, "Tumor"),
        ({"classification": '{"names": ["Tumor", "Positive"]}'}, "Tumor: Positive"),
        ({"classification": "{'name': 'Stroma', 'color': [0, 200, 0]}"}, "Stroma"),
        ({"classification": "{curly}"}, "{curly}"),
        ({"class": "Fat"}, "Fat"),
        ({"pathClass": {"name": "Fat"}}, "Fat"),
        ({"classification": None}, None),
        ({"classification": {}}, None),
        ({"classification": {"names": []}}, None),
        ({}, None),
    ],
)
def test_the_class_of_a_feature(properties: dict[str, Any], expected: str | None, tmp_path: Path) -> None:
    assert class_of(properties) == expected
    polygons = Polygons.from_geojson(written(tmp_path / "a.geojson", feature(square(0, 0, 9), **properties)), 1.0)
    assert polygons.classes == (expected,)
    assert polygons.names == (expected or "region 1",)


def test_what_is_not_a_polygon_is_left_out_and_named(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[10, 10], [90, 90]]}
    both = {"type": "GeometryCollection", "geometries": [square(300, 0, 10), line, square(320, 0, 10)]}
    path = written(
        tmp_path / "a.geojson",
        feature(square(20, 20, 10), classification={"name": "Tumor"}),
        feature(line, name="ruler"),
        feature({"type": "MultiPoint", "coordinates": [[15, 15], [30, 31]]}, classification={"name": "Immune cells"}),
        feature({"type": "Point", "coordinates": [15, 15]}),
        feature(None),
        None,
        feature({"type": "Polygon", "coordinates": [[[0, 0], [float("nan"), 1], [5, 5], [0, 0]]]}, name="broken"),
        feature({"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [9, 9], [0, 0]]]}, name="flat"),
        feature({"type": "Polygon", "coordinates": [[[0, 0], [5, 5]]]}),
        feature({"type": "Polygon", "coordinates": []}),
        feature(both, name="both"),
        feature(square(60, 20, 20), classification={"name": "Stroma"}),
    )
    with pytest.warns(PixNetWarning) as caught:
        polygons = Polygons.from_geojson(path, 0.5)
    assert polygons.names == ("Tumor", "both", "Stroma")
    assert polygons.areas_um2.tolist() == [25, 50, 100]
    (message,) = [str(warning.message) for warning in caught]
    assert re.search(
        r"a\.geojson: 9 of 12 features are left out: 1 of type LineString, 1 of type MultiPoint, 1 of type Point, "
        r"2 without a geometry, .*1 that has a coordinate that is not finite, 1 that has no area.*'ruler'",
        message,
    )


PACKED = ["a.geojson.gz", "a.gz", "a.zip", "a.geojson"]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_packing_and_encoding_change_nothing(tmp_path: Path, name: str, encoding: str) -> None:
    features = {"features": [feature(square(0, 0, 4), name="Müller-Zellen"), feature(square(9, 0, 4), name="b")]}
    data = json.dumps(features, ensure_ascii=False).encode(encoding)
    path = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/._regions.geojson", b"\0\1")
            archive.writestr("export/regions.geojson", data)
            archive.writestr("export/readme.txt", b"hello")
    else:
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    polygons = Polygons.from_geojson(path, 1.0)
    assert polygons.names == ("Müller-Zellen", "b")
    assert polygons.areas_um2.tolist() == [16, 16]


def test_archives_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    data = gzip.compress(json.dumps(feature(square(0, 0, 4))).encode())
    (tmp_path / "cut.geojson.gz").write_bytes(data[:-12])
    with pytest.raises(DataError, match=r"cut\.geojson\.gz: cannot be unpacked"):
        Polygons.from_geojson(tmp_path / "cut.geojson.gz", 1.0)
    for names, found in ((["a.geojson", "b.geojson"], "2 files"), (["a.txt"], "0 files")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "{}")
        with pytest.raises(DataError, match=rf"is a ZIP archive with {found} of the kind \.geojson or \.json"):
            Polygons.from_geojson(tmp_path / "a.zip", 1.0)
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:40])
    with pytest.raises(DataError, match=r"a\.zip: cannot be unpacked"):
        Polygons.from_geojson(tmp_path / "a.zip", 1.0)


def test_an_origin_moves_all_positions(tmp_path: Path) -> None:
    path = written(tmp_path / "a.geojson", feature(square(700, 520, 40)))
    assert Polygons.from_geojson(path, 0.5, (300, 200)).centers_um.tolist() == [[660, 470]]


def test_files_of_qupath_are_known_by_their_objects(tmp_path: Path) -> None:
    new = feature(square(0, 0, 4), objectType="annotation")
    old = {**feature(square(0, 0, 4), isLocked=False), "id": "PathAnnotationObject"}
    other = feature(square(0, 0, 4), cell_id=3)
    for name, content, expected in (("new", new, True), ("old", old, True), ("other", other, False)):
        assert is_from_qupath(written(tmp_path / f"{name}.geojson", content)) == expected
    assert not is_from_qupath(written(tmp_path / "bare.geojson", square(0, 0, 4)))


def test_cells_of_an_impossible_size_show_a_wrong_unit(tmp_path: Path) -> None:
    cells = [feature(square(20 * n, 0, 9.0), cell_id=n) for n in range(12)]
    path = written(tmp_path / "cells.geojson", *cells)
    assert len(Polygons.from_geojson(path, 1.0)) == 12
    with pytest.warns(PixNetWarning, match=r"12 cells would be 2\.2 um wide, but cells are 2\.5 to 80 um wide"):
        Polygons.from_geojson(path, 0.2125)
