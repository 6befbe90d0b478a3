from __future__ import annotations

import shutil
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray
from tests.field.conftest import GENES

from pixnet.errors import FieldError
from pixnet.field import ExpressionField
from pixnet.field.read import maps
from pixnet.regions import Squares

KINDS = ("rate", "mean", "sum")
WEIGHTS = {"GNAS": 2.0, "ACTB": -0.5}
Fields = dict[str, ExpressionField]


def cells_of(field: ExpressionField, level: int, rows: slice, cols: slice) -> Squares:
    """Return pixels of a level as regions."""
    row, col = np.mgrid[rows, cols]
    return Squares(0.0, 0.0, field.level_grid(level).pitch_um, row.ravel(), col.ravel())


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_genes_map_is_what_its_pixels_are_queried_as(patchy_fields: Fields, kind: str, log: bool, level: int) -> None:
    field = patchy_fields[kind]
    first = round(420 / field.level_grid(level).pitch_um)
    rows, cols = slice(first, first + 15), slice(10, 40)  # where all is valid
    table = field.query(cells_of(field, level, rows, cols), ["ERBB2"])
    rate, area = kind == "rate", table.obs["valid_area_um2"].to_numpy()
    shares = rate and log
    wanted = table.layers["log1p"][:, 0] if shares else table.X[:, 0] / (1 if kind == "mean" else area)
    found = field.gene("ERBB2", level, log)
    assert found.dtype == np.float32
    assert found.shape == field.level_grid(level).shape
    assert found.attrs["units"] == ("log1p of counts per 10,000" if shares else field.units)
    # A coarser level is stored in float16 once more.
    np.testing.assert_allclose(found[rows, cols].to_numpy().ravel(), wanted, rtol=2e-3 if level else 1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_map_is_empty_where_there_is_no_data_or_background(patchy_fields: Fields, level: int) -> None:
    field = patchy_fields["mean"]
    found = field.gene("GNAS", level)
    valid = np.asarray(field._store.levels[level].valid[:])
    np.testing.assert_array_equal(np.isnan(found), valid == 0)
    assert np.isnan(found.sel(x=slice(104, 146), y=slice(64, 396))).all()
    assert np.isnan(found.sel(x=slice(900, 1150))).all()
    assert np.isfinite(found.sel(x=slice(200, 780), y=slice(0, 740))).all()


def test_coordinates_are_the_pixels_centres_in_um(patchy_fields: Fields) -> None:
    field = patchy_fields["rate"]
    assert field.levels == 3
    for level in range(3):
        found, pitch = field.gene("ACTB", level), 2.0 * 2**level
        np.testing.assert_allclose(found.x, (np.arange(found.sizes["x"]) + 0.5) * pitch)
        np.testing.assert_allclose(found.y, (np.arange(found.sizes["y"]) + 0.5) * pitch)
        assert (found.x.attrs["units"], found.attrs["pitch_um"], found.attrs["level"]) == ("um", pitch, level)
        assert (found.name, found.attrs["slide"]) == ("ACTB", field.attributes.slide.name)


def test_several_genes_are_their_maps_together(patchy_fields: Fields) -> None:
    field = patchy_fields["rate"]
    found = field.genes(["GNAS", "ACTB"], level=1)
    assert found.dims == ("gene", "y", "x")
    assert found.gene.values.tolist() == ["GNAS", "ACTB"]
    for name in ("GNAS", "ACTB"):
        xarray.testing.assert_allclose(found.sel(gene=name, drop=True), field.gene(name, level=1), rtol=1e-6)


def test_nothing_is_read_before_it_is_computed(patchy_fields: Fields, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(patchy_fields["rate"].path, tmp_path / "field"))
    field = ExpressionField.open(copied)
    found = field.genes(GENES)
    assert isinstance(found.data, dask.array.Array)
    shard = next(file for file in (copied / "latent/0/c").rglob("*") if file.is_file())
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(FieldError, match="latent/0 is damaged"):
        found.compute()


def test_each_task_reads_one_shard(patchy_fields: Fields, monkeypatch: pytest.MonkeyPatch) -> None:
    field = patchy_fields["rate"]
    level = field._store.levels[0]
    shard = level.latent.shards[1]
    assert field.genes(GENES).data.chunksize == (3, shard, shard)
    monkeypatch.setattr(maps, "_BLOCK_VALUES", 8 * 64**2)
    few = field.genes(GENES)
    assert few.data.chunksize[1] < shard
    assert shard % few.data.chunksize[1] == 0
    assert few.data.chunksize[1] % level.latent.chunks[1] == 0
    monkeypatch.setattr(maps, "_GENES", 2)
    fewer = field.genes(GENES)
    assert fewer.data.numblocks[0] == 2
    monkeypatch.undo()
    whole = field.genes(GENES)
    xarray.testing.assert_allclose(few, whole, rtol=1e-5)
    xarray.testing.assert_allclose(fewer, whole, rtol=1e-5)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_the_weighted_sum_of_the_genes_maps(patchy_fields: Fields, kind: str, log: bool) -> None:
    field = patchy_fields[kind]
    found = field.score(WEIGHTS, level=1, log=log)
    genes = field.genes(list(WEIGHTS), level=1, log=log)
    wanted = np.tensordot(list(WEIGHTS.values()), genes.astype(np.float64), axes=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert found.dims == ("y", "x")
    assert (found.name, found.attrs["units"]) == ("score", f"weighted sum of {genes.attrs['units']}")


def test_a_score_costs_one_gene(patchy_fields: Fields) -> None:
    store = patchy_fields["rate"]._store
    assert maps.score_readout(store, WEIGHTS, log=False).loadings.shape == (store.head.channels, 1)


def test_a_score_of_very_many_genes_is_made_in_parts(patchy_fields: Fields, monkeypatch: pytest.MonkeyPatch) -> None:
    field = patchy_fields["rate"]
    weights = {"ACTB": 1.0, "GNAS": -1.0, "ERBB2": 0.25}
    whole = field.score(weights, log=True).compute()
    monkeypatch.setattr(maps, "_GENES", 2)
    xarray.testing.assert_allclose(field.score(weights, log=True), whole, rtol=1e-5)


def test_what_the_field_has_not_got_is_refused(patchy_fields: Fields) -> None:
    field = patchy_fields["rate"]
    with pytest.raises(FieldError, match=r"no gene 'Erbb2'; the nearest of its 3 are ERBB2"):
        field.gene("Erbb2")
    with pytest.raises(FieldError, match=r"no gene 'XYZ'"):
        field.score({"XYZ": 1.0})
    with pytest.raises(FieldError, match="named twice"):
        field.genes(["GNAS", "GNAS"])
    for nothing in ([], {}):
        with pytest.raises(FieldError, match="name at least one"):
            field.genes(nothing) if isinstance(nothing, list) else field.score(nothing)
    for level in (3, -1):
        with pytest.raises(FieldError, match=rf"no level {level}; it has levels 0 to 2, with pixels of 2 to 8 um"):
            field.gene("GNAS", level)
    with pytest.raises(FieldError, match="no level 3"):
        field.level_grid(3)
    with pytest.raises(FieldError, match="'GNAS' has the weight nan"):
        field.score({"GNAS": float("nan")})


def test_the_pooled_rest_may_be_asked_for(patchy_fields: Fields) -> None:
    assert patchy_fields["rate"].gene("other", level=2).name == "other"
