from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import shapely
import zarr

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field import ExpressionField
from pixnet.regions import Disks, LabelMask, Polygons, Regions, Squares

Fields = dict[str, ExpressionField]
BOX = shapely.box(10, 10, 40, 40)
SHAPES: dict[str, Regions] = {
    "disks": Disks(np.random.default_rng(0).uniform(30, 250, (40, 2)), 20.0),
    "squares": Squares.tiling(0, 0, 400, 300, 20.0),
    "polygons": Polygons([BOX] * 4, ["tumour", "tumour", "fat", "µ"], ["b", None, "a", "b"]),
    "labels": LabelMask(np.arange(200).reshape(10, 20) // 7, 10.5, 20.25, 3.3),
    "none": Disks(np.zeros((0, 2)), 20.0),
}


def opened(path: Path) -> anndata.AnnData:
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


def assert_same(found: anndata.AnnData, wanted: anndata.AnnData) -> None:
    assert found.X.dtype == np.float32
    np.testing.assert_array_equal(found.X, wanted.X)
    assert list(found.layers) == list(wanted.layers)
    for name in wanted.layers:
        np.testing.assert_array_equal(found.layers[name], wanted.layers[name])
    for name in ("obs", "var"):
        ours, theirs = getattr(found, name), getattr(wanted, name)
        assert list(ours.index) == list(theirs.index)
        assert list(ours.columns) == list(theirs.columns)
        for column in theirs:
            if isinstance(theirs[column].dtype, pd.CategoricalDtype):
                assert list(ours[column].cat.categories) == list(theirs[column].cat.categories)
                np.testing.assert_array_equal(ours[column].cat.codes, theirs[column].cat.codes)
            else:
                assert ours[column].dtype == theirs[column].dtype
                np.testing.assert_array_equal(ours[column], theirs[column])
    np.testing.assert_array_equal(found.obsm["spatial"], wanted.obsm["spatial"])
    ours, theirs = (json.dumps(table.uns["pixnet"], default=list, sort_keys=True) for table in (found, wanted))
    assert ours == theirs


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
@pytest.mark.parametrize("kind", ["rate", "mean"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_table_on_disk_is_that_of_the_query(
    fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, kind: str, shape: str
) -> None:
    field, regions, out = fields[kind], SHAPES[shape], tmp_path / "new" / f"table.{ending}"
    wanted = field.query(regions, ["GNAS", "ACTB"])
    # Many groups, parts and chunks, none of which is a multiple of another.
    monkeypatch.setattr("pixnet.field.read.query._REGIONS", 70)
    monkeypatch.setattr("pixnet.field.read.integral._VALUES", 30)
    monkeypatch.setattr("pixnet.field.read.table._OBS_ROWS", 20)
    monkeypatch.setattr("pixnet.field.read.table._CHUNK_BYTES", 16)
    told: list[tuple[int, int]] = []
    field.write_table(out, regions, ["GNAS", "ACTB"], progress=lambda *now: told.append(now))
    assert_same(opened(out), wanted)
    assert told[0] == (0, len(regions))
    assert told[-1] == (len(regions), len(regions))
    assert list(out.parent.iterdir()) == [out]


def test_the_table_is_what_anndata_itself_writes(fields: Fields, tmp_path: Path) -> None:
    """Down to the kinds of all columns, as they come back."""
    regions = SHAPES["polygons"]
    for ending, write in (("h5ad", "write_h5ad"), ("zarr", "write_zarr")):
        fields["rate"].write_table(tmp_path / f"ours.{ending}", regions)
        getattr(fields["rate"].query(regions), write)(tmp_path / f"theirs.{ending}")
        ours, theirs = opened(tmp_path / f"ours.{ending}"), opened(tmp_path / f"theirs.{ending}")
        pd.testing.assert_frame_equal(ours.obs, theirs.obs)
        pd.testing.assert_frame_equal(ours.var, theirs.var)
        assert_same(ours, theirs)


def test_a_table_can_be_read_backed(fields: Fields, tmp_path: Path) -> None:
    fields["rate"].write_table(tmp_path / "table.h5ad", SHAPES["squares"])
    backed = anndata.read_h5ad(tmp_path / "table.h5ad", backed="r")
    whole = fields["rate"].query(SHAPES["squares"])
    np.testing.assert_array_equal(backed[40:60, ["ERBB2"]].X, whole[40:60, ["ERBB2"]].X)
    assert backed.file._file["X"].compression == "gzip"
    backed.file.close()


def test_chunks_of_a_large_table_hold_whole_parts(fields: Fields, tmp_path: Path) -> None:
    regions = Squares.tiling(0, 0, 400, 300, 1.0)
    fields["rate"].write_table(tmp_path / "table.zarr", regions)
    group = zarr.open_group(tmp_path / "table.zarr", mode="r")
    assert group["X"].chunks == (65_536, 3)
    assert group["obs/_index"].chunks == (65_536,)
    assert_same(anndata.read_zarr(tmp_path / "table.zarr"), fields["rate"].query(regions))


def test_names_can_be_given(fields: Fields, tmp_path: Path) -> None:
    disks = Disks([[50, 60], [90, 80]], 20)
    fields["sum"].write_table(tmp_path / "table.h5ad", disks, names=["b", "a"])
    assert list(anndata.read_h5ad(tmp_path / "table.h5ad").obs_names) == ["b", "a"]
    for names in (["a"], ["a", "a"]):
        with pytest.raises(FieldError, match="`names` has 1 different names for 2 regions"):
            fields["sum"].write_table(tmp_path / "other.h5ad", disks, names=names)


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_only_a_table_is_overwritten_and_only_when_asked(fields: Fields, tmp_path: Path, ending: str) -> None:
    out, disks = tmp_path / f"table.{ending}", Disks([[50, 60]], 20)
    fields["sum"].write_table(out, disks)
    with pytest.raises(FieldError, match="exists already"):
        fields["sum"].write_table(out, SHAPES["disks"])
    assert opened(out).n_obs == 1
    fields["sum"].write_table(out, SHAPES["disks"], overwrite=True)
    assert opened(out).n_obs == 40
    assert list(tmp_path.iterdir()) == [out]


def test_other_stores_are_never_overwritten(fields: Fields, tmp_path: Path) -> None:
    out = tmp_path / "image.zarr"
    zarr.create_group(out, zarr_format=3).create_array("0", shape=(2,), dtype=float)
    with pytest.raises(FieldError, match="not an AnnData table, so it is not overwritten"):
        fields["sum"].write_table(out, SHAPES["disks"], overwrite=True)
    assert (out / "0" / "zarr.json").is_file()
    inside = fields["sum"].path / "table.h5ad"
    with pytest.raises(FieldError, match="is inside it, or holds it"):
        fields["sum"].write_table(inside, SHAPES["disks"])


def test_what_cannot_be_asked_for_leaves_nothing(fields: Fields, tmp_path: Path) -> None:
    field, disks = fields["rate"], SHAPES["disks"]
    for out, regions, genes, words in (
        ("table.csv", disks, None, "ends in .h5ad or .zarr"),
        (".h5ad", disks, None, "ends in .h5ad or .zarr"),
        ("table.h5ad", disks, ["XYZ"], "no gene 'XYZ'"),
        ("table.zarr", Disks([[5000, 4000]], 20), None, "none of the 1 regions touches"),
    ):
        with pytest.raises(FieldError, match=words):
            field.write_table(tmp_path / out, regions, genes)
    assert not list(tmp_path.iterdir())


def test_regions_without_data_are_told_of(fields: Fields, tmp_path: Path) -> None:
    with pytest.warns(PixNetWarning, match=r"1 of 2 regions lie outside"):
        fields["mean"].write_table(tmp_path / "table.zarr", Disks([[100, 50], [-100, 50]], 20))
    assert np.isnan(anndata.read_zarr(tmp_path / "table.zarr").X[1]).all()


FULL = """
import resource, sys, signal
from pixnet.errors import FieldError
from pixnet.field import ExpressionField
from pixnet.regions import Squares
field = ExpressionField.open(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    field.write_table(sys.argv[2], Squares.tiling(0, 0, 400, 300, 1.0))
except FieldError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("ending", "most"), [("h5ad", 50), ("h5ad", 2000), ("h5ad", 500_000), ("zarr", 300), ("zarr", 100_000)]
)
def test_a_full_disk_leaves_nothing(fields: Fields, tmp_path: Path, ending: str, most: int) -> None:
    # A process that may write no file larger than this fails at the start or in the middle, as on a full disk.
    out = tmp_path / f"table.{ending}"
    call = [sys.executable, "-W", "ignore", "-c", FULL, str(fields["rate"].path), str(out), str(most)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.startswith(f"{out} cannot be written"), done.stderr
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written_is_named(fields: Fields, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FieldError, match="cannot be written"):
        fields["rate"].write_table(tmp_path / "table.h5ad", SHAPES["disks"])
