from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from tests.field.conftest import GENES, MPP, Build, picture

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field import ExpressionField
from pixnet.field import store as store_module
from pixnet.regions import Disks, LabelMask, Polygons, Regions, Squares
from pixnet.slide import Slide

Fields = dict[str, ExpressionField]
KINDS = ("rate", "mean", "sum")


def directly(field: ExpressionField, regions: Regions) -> NDArray[np.float64]:
    """Integrate the map of every output, the long way round."""
    latent, valid = field.read()
    maps = np.einsum("chw,cm->hwm", latent.astype(float), field.W.astype(float)) + field.b
    areas = regions.coverage(field.grid) * valid.ravel()[None, :].astype(float)
    sums = areas @ maps.reshape(-1, maps.shape[2])
    return sums / areas.sum(axis=1)[:, None] if field.head.kind == "mean" else sums


def close(found: NDArray[np.float32], wanted: NDArray[np.float64], share: float = 1e-6) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=share * np.abs(wanted).max())


SHAPES: dict[str, Regions] = {
    "disks": Disks([[50, 60], [200.3, 150.7], [5, 5], [398, 299]], [100, 55, 30, 20]),
    "squares": Squares.tiling(13, 7, 390, 290, 16.0),
    "tilted": Squares(150, 20, 9.0, [0, 1, 2, 3], [0, 5, 9, 2], angle_deg=30),
    "polygons": Polygons([shapely.Point(200, 100).buffer(60).difference(shapely.Point(200, 100).buffer(20))]),
    "labels": LabelMask(np.arange(200).reshape(10, 20) // 7, 10.5, 20.25, 3.3),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_region_is_the_integral_of_the_map(
    fields: Fields, monkeypatch: pytest.MonkeyPatch, kind: str, shape: str
) -> None:
    # One chunk, few areas and few regions at a time, so that regions cross blocks, batches and groups.
    monkeypatch.setattr(store_module, "_BLOCK_VALUES", 1)
    monkeypatch.setattr("pixnet.field.read.integral._ENTRIES", 500)
    monkeypatch.setattr("pixnet.field.read.query._REGIONS", 7)
    regions = SHAPES[shape]
    assert len(list(fields[kind]._store.blocks())) > 1
    table = fields[kind].query(regions)
    close(table.X, directly(fields[kind], regions)[:, : len(GENES)])


def in_eights(x_um: NDArray[np.float64], y_um: NDArray[np.float64], across: int) -> NDArray[np.int64]:
    return (y_um // 8).astype(np.int64) * across + (x_um // 8).astype(np.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_small_squares_add_up_to_the_large_ones(fields: Fields, kind: str) -> None:
    large = Squares.tiling(0, 0, 320, 240, 8.0)
    small = Squares.tiling(0, 0, 320, 240, 2.0)
    whole, parts = fields[kind].query(large), fields[kind].query(small)
    owner = in_eights(*small.centers_um.T, 40)
    gather = sparse.csr_array((np.ones(len(small)), (owner, np.arange(len(small)))), shape=(len(large), len(small)))
    area = parts.obs["valid_area_um2"].to_numpy()
    if kind == "mean":
        together = gather @ (parts.X * area[:, None]) / (gather @ area)[:, None]
    else:
        together = gather @ parts.X.astype(np.float64)
    close(whole.X, together, 1e-5)


@settings(max_examples=25, deadline=None)
@example(x=20.0, y=20.0, diameter=54.0, angle=0.0, shift=-0.375, kind="mean")
@given(
    x=st.floats(20, 330),
    y=st.floats(20, 250),
    diameter=st.floats(1, 80),
    angle=st.floats(0, np.pi),
    shift=st.floats(-0.4, 0.4),
    kind=st.sampled_from(KINDS),
)
def test_a_cut_through_any_shape_gives_parts_that_add_up(
    fields: Fields, x: float, y: float, diameter: float, angle: float, shift: float, kind: str
) -> None:
    whole = shapely.Point(x, y).buffer(diameter / 2)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    corner = np.array([x, y]) + shift * diameter * across
    ends = [
        corner - 200 * along,
        corner + 200 * along,
        corner + 200 * (along + across),
        corner + 200 * (across - along),
    ]
    half = shapely.Polygon(ends)
    parts = [whole.intersection(half), whole.difference(half)]
    with warnings.catch_warnings(record=True, action="always", category=PixNetWarning) as told:
        table = fields[kind].query(Polygons([whole, *parts]))
    area = table.obs["valid_area_um2"].to_numpy()
    assert len(told) == (not area.all())  # a part may lie beyond the slide
    values, weight = table.X.astype(np.float64), np.ones(3)
    if kind == "mean":
        weight = area
        values = np.where(area[:, None] > 0, values * area[:, None], 0.0)
    close(values[1:].sum(axis=0) / weight[0], values[0] / weight[0], 1e-5)


def test_a_uniform_field_knows_its_areas(build: Build) -> None:
    field = build("rate", latent=lambda images: np.ones((5, *(n // 4 - 16 for n in images.near.shape[:2])), np.float32))
    table = field.query(Disks([[100, 100], [0, 150]], 40), ["ERBB2", "other"])
    area = np.pi * 20**2
    np.testing.assert_allclose(table.obs["valid_area_um2"], [area, area / 2], rtol=1e-9)
    np.testing.assert_allclose(table.obs["area_um2"], area)
    np.testing.assert_allclose(table.obs["no_data_share"], [0, 0.5], atol=1e-9)
    density = field.W.sum(axis=0) + field.b
    np.testing.assert_allclose(table.X, np.outer([area, area / 2], density[[1, 3]]), rtol=1e-6)
    share = np.log1p(1e4 * density[[1, 3]] / density.sum())
    np.testing.assert_allclose(table.layers["log1p"], np.stack([share, share]), rtol=1e-6)


def test_the_table_says_what_it_holds(fields: Fields, slide: Slide, tmp_path: Path) -> None:
    regions = Disks([[100, 50], [60.5, 200]], 55)
    for kind, field in fields.items():
        table = field.query(regions, ["GNAS", "ACTB"])
        assert list(table.var_names) == ["GNAS", "ACTB"]
        assert list(table.obs_names) == ["0", "1"]
        assert list(table.obs.columns) == [
        "x_um", "y_um", "area_um2", "valid_area_um2", "background_share", "no_data_share",
    ]  # fmt: skip
        np.testing.assert_array_equal(table.obs[["x_um", "y_um"]], regions.centers_um)
        np.testing.assert_array_equal(table.obsm["spatial"], regions.centers_um / slide.mpp)
        assert table.X.dtype == np.float32
        assert ("log1p" in table.layers) == (kind == "rate")
        assert table.uns["pixnet"]["head"] == kind
        assert table.uns["pixnet"]["model"]["encoder"] == "none"
        table.write_h5ad(tmp_path / f"{kind}.h5ad")
        again = anndata.read_h5ad(tmp_path / f"{kind}.h5ad")
        np.testing.assert_array_equal(again.X, table.X)
        assert again.uns["pixnet"]["units"] == table.uns["pixnet"]["units"]


def test_genes_are_all_but_the_rest_unless_asked_for(fields: Fields) -> None:
    disks = Disks([[100, 50]], 55)
    assert fields["rate"].gene_names == GENES
    assert tuple(fields["rate"].query(disks).var_names) == GENES
    assert tuple(fields["mean"].query(disks).var_names) == GENES
    assert list(fields["rate"].query(disks, "other").var_names) == ["other"]
    # The share is of all outputs, whichever are asked for.
    every = fields["rate"].query(disks)
    np.testing.assert_array_equal(fields["rate"].query(disks, ["GNAS"]).layers["log1p"], every.layers["log1p"][:, 2:])


def test_log1p_is_of_counts_per_ten_thousand(fields: Fields) -> None:
    squares = Squares.tiling(0, 0, 300, 200, 20.0)
    table = fields["rate"].query(squares, [*GENES, "other"])
    counts = table.X.astype(np.float64)
    wanted = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(table.layers["log1p"], wanted, rtol=1e-5)


def test_unknown_genes_name_the_nearest(fields: Fields) -> None:
    with pytest.raises(FieldError, match=r"no gene 'Erbb2'; the nearest of its 3 are ERBB2"):
        fields["rate"].query(Disks([[100, 50]], 55), ["Erbb2"])
    with pytest.raises(FieldError, match="none of its 3 genes"):
        fields["rate"].query(Disks([[100, 50]], 55), ["XYZ123"])
    with pytest.raises(FieldError, match="named twice"):
        fields["rate"].query(Disks([[100, 50]], 55), ["GNAS", "GNAS"])


def test_regions_outside_are_counted(fields: Fields) -> None:
    disks = Disks([[100, 50], [-100, 50], [1000, 2000]], 55)
    for kind, field in fields.items():
        with pytest.warns(PixNetWarning, match=r"2 of 3 regions lie outside") as caught:
            table = field.query(disks)
        assert len(caught) == 1
        assert np.isfinite(table.X[0]).all()
        assert np.isnan(table.X[1:]).all() if kind == "mean" else not table.X[1:].any()
        if kind == "rate":
            assert np.isnan(table.layers["log1p"][1:]).all()
        np.testing.assert_array_equal(table.obs["valid_area_um2"][1:], 0)
        np.testing.assert_array_equal(table.obs["no_data_share"][1:], 1)


def test_regions_that_all_miss_the_slide_are_refused(fields: Fields) -> None:
    with pytest.raises(FieldError, match=r"none of the 2 regions touches .* in the unit \(um or pixels\)"):
        fields["rate"].query(Disks([[5000, 4000], [6000, 4000]], 55))


def test_no_regions_give_an_empty_table(fields: Fields) -> None:
    assert fields["rate"].query(Disks(np.zeros((0, 2)), 55)).shape == (0, 3)


def test_names_of_regions_are_kept_and_made_unique(fields: Fields) -> None:
    box = shapely.box(10, 10, 40, 40)
    table = fields["mean"].query(Polygons([box] * 4, ["tumour", "tumour", "fat", "tumour-1"]))
    assert list(table.obs_names) == ["tumour", "tumour-2", "fat", "tumour-1"]
    table = fields["mean"].query(LabelMask(np.array([[3, 8], [8, 0]]), 20, 20, 10))
    assert list(table.obs_names) == ["3", "8"]


def test_no_data_takes_no_part(build: Build, holed: Slide) -> None:
    """The hole runs from x = 100 to 150 um; the rest must count as if the region ended there."""
    for kind in KINDS:
        field = build(kind, on=holed)
        inside = field.query(Polygons([shapely.box(80, 20, 120, 60), shapely.box(80, 20, 100, 60)]))
        np.testing.assert_allclose(inside.obs["valid_area_um2"], [800, 800], rtol=1e-6)
        np.testing.assert_allclose(inside.obs["no_data_share"], [0.5, 0], atol=1e-6)
        np.testing.assert_allclose(inside.X[0], inside.X[1], rtol=1e-6)
        with pytest.warns(PixNetWarning, match="1 of 2 regions .* no data"):
            field.query(Disks([[125, 50], [50, 50]], 20))


@pytest.mark.parametrize("kind", ["rate", "mean", "sum"])
def test_parts_make_up_the_table(fields: Fields, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    regions = Squares.tiling(0, 0, 400, 300, side_um=20)
    whole = fields[kind].query(regions, ["GNAS", "ACTB"], expected_log=True)
    # Smaller pieces of work than any real one, at every step.
    monkeypatch.setattr("pixnet.field.read.query._REGIONS", 70)
    monkeypatch.setattr("pixnet.field.read.integral._VALUES", 30)
    monkeypatch.setattr("pixnet.field.read.integral._ROWS", 1)
    parts = list(fields[kind].query_parts(regions, ["GNAS", "ACTB"], expected_log=True))
    assert len(parts) == 4 * 9 + 3  # 300 regions in groups of 70, each 8 at a time
    assert [part.rows.start for part in parts[1:]] == [part.rows.stop for part in parts[:-1]]
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), whole.X)
    pd.testing.assert_frame_equal(pd.concat([part.obs for part in parts]), whole.obs)
    assert set(whole.layers) == ({"log1p", "log1p_expected"} if kind == "rate" else set())
    for name, layer in whole.layers.items():
        np.testing.assert_array_equal(np.concatenate([part.layers[name] for part in parts]), layer)


def test_background_takes_no_part_and_is_told_of(build: Build) -> None:
    rgb = np.full((600, 1200, 3), 243, np.uint8)
    rgb[:, 600:] = picture(600, 600)
    field = build(on=Slide.from_array(rgb, MPP), tissue_mask=True)
    table = field.query(Polygons([shapely.box(0, 100, 300, 200), shapely.box(300, 100, 600, 200)]))
    shares = table.obs[["background_share", "no_data_share"]].to_numpy()
    # Pixels of 2 um; glass counts as tissue within a margin only.
    valid = field.read()[1][50:100, :150].sum() * 4
    assert 100 * 16 <= valid <= 100 * 48
    np.testing.assert_allclose(shares, [[1 - valid / 30_000, 0], [0, 0]], atol=1e-9)
    np.testing.assert_allclose(table.obs["valid_area_um2"], [valid, 30_000])
