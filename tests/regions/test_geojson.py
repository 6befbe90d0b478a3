"""GeoJSON is read as the standard library reads it, for any size of chunks, and in little memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixnet.errors import DataError
from pixnet.regions import geojson
from pixnet.regions.geojson import Outlines, read_features

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
FEATURES = st.lists(VALUES, max_size=5)
MEMBERS = st.dictionaries(st.text(max_size=3), VALUES, max_size=3)


def ring(x: float, y: float, corners: int = 24) -> list[list[float]]:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = np.round(np.column_stack([x + 9 * np.cos(angle), y + 9 * np.sin(angle)]), 3).tolist()
    return [*points, points[0]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(MEMBERS, FEATURES, MEMBERS, st.sampled_from([None, 1]), st.integers(1, 40), st.booleans())
def test_the_size_of_chunks_does_not_change_the_features(
    tmp_path: Path, before: Any, features: Any, after: Any, indent: int | None, chunk: int, ascii_only: bool
) -> None:
    path = tmp_path / "a.geojson"
    collection = {**before, "features": features, **{key: value for key, value in after.items() if key not in before}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geojson, "_CHUNK", chunk)
        for content, expected in ((collection, features), (features, features), (before, [before])):
            path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only) + "\n", encoding="utf-8")
            assert list(read_features(path)) == expected


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_a_truncated_or_continued_text_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(geojson, "_CHUNK", chunk)
    path = tmp_path / "a.geojson"
    whole = json.dumps({"type": "FeatureCollection", "features": [{"a": [1.5, -2e-3]}, {"b": "x\\y\u00e9"}], "c": 12})
    assert json.loads(whole)
    for text in [whole[:end] for end in range(len(whole))] + [whole + "}", whole + " 1", whole.replace("1.5", "1,,5")]:
        path.write_text(text)
        with pytest.raises(DataError, match=r"a\.geojson is not GeoJSON: .* at character \d+\. Export or copy"):
            list(read_features(path))


def test_a_damaged_feature_is_reported_before_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text('{"features": [{"a": 1}, {"b": !}, ' + '{"c": 2}, ' * 1_000_000 + "{}]}")
    tracemalloc.start()
    with pytest.raises(DataError, match=r"Expecting value at character 30"):
        list(read_features(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_many_features_take_the_memory_of_their_corners(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    one = json.dumps({"properties": {"cell_id": 1}, "geometry": {"type": "Polygon", "coordinates": [ring(50, 60)]}})
    path.write_text('{"features": [' + ", ".join([one] * 20_000) + "]}")
    tracemalloc.start()
    outlines = Outlines()
    for feature in read_features(path):
        outlines.add(feature["geometry"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 16 bytes for each corner, twice while the array grows, and some chunks of text.
    assert peak < 2 * 20_000 * 25 * 16 + (6 << 20)
    assert len(outlines) == 20_000


def test_outlines_are_the_polygons_that_shapely_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "_PART", 3)
    hole = [ring(0, 0), [[x / 3, y / 3] for x, y in ring(0, 0)]]
    given_: list[dict[str, Any]] = [
        {"type": "Polygon", "coordinates": hole},
        {"type": "MultiPolygon", "coordinates": [hole, [ring(30, 5)]]},
        {"type": "Polygon", "coordinates": [[[0, 0, 7], [4, 0, 7], [4, 4, 7]]]},
        {"type": "Polygon", "coordinates": []},
        {"type": "MultiPolygon", "coordinates": [[ring(9, 9)]]},
        {"type": "MultiPolygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [ring(-5, 2)]},
    ]
    outlines = Outlines()
    for geometry in given_:
        outlines.add(geometry)
    made = outlines.shapes(lambda xy: xy * 2)
    for shape, geometry in zip(made, given_, strict=True):
        expected = shapely.transform(shapely.geometry.shape(geometry), lambda xy: xy * 2)
        assert shape.is_empty == expected.is_empty
        assert expected.is_empty or shapely.equals_exact(shapely.force_2d(expected), shape)
    for bad in ([[[0, 0], [1, 1]]], [[[0, 0], [1, 1], [0, 0]]], [[["1", "2"]] * 4], [[[True, False]] * 4], [5], None):
        with pytest.raises((ValueError, TypeError)):
            outlines.add({"type": "Polygon", "coordinates": bad})
    assert len(outlines) == len(given_)
