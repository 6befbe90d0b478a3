from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Node, Reader

from pixnet.errors import FieldError
from pixnet.field import ExpressionField

Fields = dict[str, ExpressionField]
CHOSEN = ["GNAS", "ERBB2"]


def opened(path: Path) -> Node:
    location = parse_url(path)
    assert location is not None
    (node,) = Reader(location)()
    return node


@pytest.mark.parametrize("first", [0, 1])
def test_every_level_is_read_again_with_its_place(patchy_fields: Fields, tmp_path: Path, first: int) -> None:
    field = patchy_fields["rate"]
    field.export(tmp_path / "maps.zarr", "ome-zarr", CHOSEN, level=first or None)
    node = opened(tmp_path / "maps.zarr")
    assert len(node.data) == field.levels - first
    places = node.metadata["coordinateTransformations"]
    for level, (found, (scale, translation)) in enumerate(zip(node.data, places, strict=True), first):
        wanted = field.genes(CHOSEN, level)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.compute(), wanted, rtol=1e-6)
        for axis, coordinate in ((1, wanted.y), (2, wanted.x)):
            centers = translation["translation"][axis] + scale["scale"][axis] * np.arange(found.shape[axis])
            np.testing.assert_allclose(centers, coordinate)


def test_axes_channels_and_facts_are_named(patchy_fields: Fields, tmp_path: Path) -> None:
    field = patchy_fields["rate"]
    field.export(tmp_path / "maps.zarr", "ome-zarr", CHOSEN, log=True)
    node = opened(tmp_path / "maps.zarr")
    assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "y", "x"]
    assert [axis.get("unit") for axis in node.metadata["axes"]] == [None, "micrometer", "micrometer"]
    assert node.metadata["channel_names"] == CHOSEN
    assert node.metadata["visible"] == [True, True]
    for (start, end), values in zip(node.metadata["contrast_limits"], node.data[-1].compute(), strict=True):
        assert start <= np.nanquantile(values, 0.5) < end <= np.nanmax(values)
    facts = zarr.open_group(tmp_path / "maps.zarr", mode="r").attrs["pixnet_export"]
    assert facts["units"] == "log1p of counts per 10,000"
    assert facts["slide_fingerprint"] == field.attributes.slide.fingerprint
    np.testing.assert_allclose(node.data[0].compute(), field.genes(CHOSEN, log=True), rtol=1e-6)


def test_chunks_without_data_are_not_written(patchy_fields: Fields, tmp_path: Path) -> None:
    """Of 580 columns of pixels the last 68 lie in chunks of their own, and hold glass alone."""
    patchy_fields["mean"].export(tmp_path / "maps.zarr", "ome-zarr", "ACTB")
    found = sorted(
        str(file.relative_to(tmp_path / "maps.zarr/0/c")) for file in (tmp_path / "maps.zarr/0/c").rglob("*")
    )
    assert "0/0/0" in found
    assert "0/0/1" not in found


def test_a_gene_that_is_nowhere_still_has_a_range(patchy_fields: Fields, tmp_path: Path) -> None:
    field = ExpressionField.open(patchy_fields["rate"].path)
    silent = field.gene_names.index("ACTB")
    field.W[:, silent], field.b[silent] = 0, 0
    field.export(tmp_path / "maps.zarr", "ome-zarr", "ACTB")
    (limits,) = opened(tmp_path / "maps.zarr").metadata["contrast_limits"]
    assert list(limits) == [0.0, 1.0]


def test_the_field_itself_and_other_fields_are_never_overwritten(patchy_fields: Fields, tmp_path: Path) -> None:
    field, other = patchy_fields["rate"], patchy_fields["mean"]
    for place in (field.path, field.path / "maps.zarr"):
        with pytest.raises(FieldError, match="is inside it, or holds it"):
            field.export(place, "ome-zarr", "ACTB", overwrite=True)
    with pytest.raises(FieldError, match="not an export"):
        field.export(other.path, "ome-zarr", "ACTB", overwrite=True)
    assert ExpressionField.open(other.path).gene_names == other.gene_names
