from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pixnet.errors import FieldError
from pixnet.field import ExpressionField
from pixnet.field.export import images
from pixnet.regions import Disks

Fields = dict[str, ExpressionField]
NAMES = {"ome-zarr": "a.zarr", "ome-tiff": "a.ome.tif", "spatialdata": "b.zarr", "geojson": "a.geojson", "csv": "a.csv"}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:contextlib", "ignore::FutureWarning")


@pytest.mark.parametrize(
    ("name", "to", "options", "words"),
    [
        (
            "a.zarr",
            "ome-zar",
            {},
            "format 'ome-zar' is not known; the formats are ome-zarr, ome-tiff, .*, csv",
        ),
        ("a.tif", "ome-tiff", {}, r"ends in \.ome\.tif or \.ome\.tiff"),
        (".zarr", "ome-zarr", {}, "ends in"),
        ("a.zarr", "ome-zarr", {"level": 9}, "no level 9; it has levels 0 to 2"),
        ("a.csv", "csv", {"level": 1}, "`level` is the level of the pyramid for an image"),
        ("a.zarr", "ome-zarr", {"grid_um": 50.0}, "ome-zarr holds images"),
        ("a.ome.tif", "ome-tiff", {"regions": Disks([[300, 500]], 20)}, "ome-tiff holds images"),
        ("a.csv", "csv", {"regions": Disks([[300, 500]], 20), "grid_um": 50.0}, "choose one"),
        ("a.csv", "csv", {"regions": Disks([[9000, 500]], 20)}, "none of the 1 regions touches the slide"),
        ("a.zarr", "ome-zarr", {"genes": ["Erbb2"]}, "no gene 'Erbb2'; the nearest of its 3 are ERBB2"),
        ("a.csv", "csv", {"regions": Disks(np.zeros((0, 2)), 20)}, "no regions to export"),
        ("a.csv", "csv", {"genes": ["GNAS", "GNAS"]}, "named twice"),
        ("a.csv", "csv", {"genes": []}, "name at least one"),
    ],
)
def test_what_makes_no_sense_is_refused(
    patchy_fields: Fields, tmp_path: Path, name: str, to: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(FieldError, match=words):
        patchy_fields["rate"].export(tmp_path / name, to, **({"genes": ["GNAS"]} | options))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", NAMES)
def test_an_export_is_replaced_only_when_asked(patchy_fields: Fields, tmp_path: Path, to: str) -> None:
    out = tmp_path / "new" / NAMES[to]
    field = patchy_fields["mean"]
    field.export(out, to, "GNAS")
    with pytest.raises(FieldError, match="exists already"):
        field.export(out, to, "ACTB")
    before = sorted(path.relative_to(out.parent) for path in out.parent.rglob("*"))
    field.export(out, to, ["ACTB"], overwrite=True)
    assert sorted(path.relative_to(out.parent) for path in out.parent.rglob("*")) == before
    assert [path.name for path in out.parent.iterdir()] == [NAMES[to]]


@pytest.mark.parametrize("to", NAMES)
def test_what_is_no_export_is_never_replaced(patchy_fields: Fields, tmp_path: Path, to: str) -> None:
    out = tmp_path / NAMES[to]
    out.mkdir()
    (out / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(FieldError, match="so it is not overwritten"):
        patchy_fields["mean"].export(out, to, "GNAS", overwrite=True)
    assert (out / "cat.jpg").read_bytes() == b"cat"
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_takes_no_files_place(patchy_fields: Fields, tmp_path: Path) -> None:
    (tmp_path / "a.zarr").write_text("good")
    with pytest.raises(FieldError, match=r"is not an export \(a Zarr store\), so it is not overwritten"):
        patchy_fields["mean"].export(tmp_path / "a.zarr", "ome-zarr", "GNAS", overwrite=True)
    assert (tmp_path / "a.zarr").read_text() == "good"


@pytest.mark.parametrize("to", NAMES)
def test_a_failed_export_leaves_what_was_there(patchy_fields: Fields, tmp_path: Path, to: str) -> None:
    field = ExpressionField.open(shutil.copytree(patchy_fields["mean"].path, tmp_path / "field"))
    out = tmp_path / NAMES[to]
    field.export(out, to, "GNAS")
    before = {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()}
    for shard in (field.path / "latent/0/c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(FieldError, match="latent/0 is damaged"):
        field.export(out, to, "GNAS", overwrite=True)
    assert {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["field", out.name])


def test_a_place_that_cannot_be_written_is_named(patchy_fields: Fields, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FieldError, match=r"a\.csv cannot be written"):
        patchy_fields["mean"].export(tmp_path / "file" / "a.csv", "csv", "GNAS")


@pytest.mark.parametrize("to", NAMES)
def test_progress_runs_from_none_to_all(patchy_fields: Fields, tmp_path: Path, to: str) -> None:
    told: list[tuple[int, int]] = []
    patchy_fields["mean"].export(
        tmp_path / NAMES[to], to, "GNAS", progress=lambda done, total: told.append((done, total))
    )
    assert told[0] == (0, told[-1][1])
    assert told[-1][0] == told[-1][1] > 0
    assert told == sorted(told)


def test_many_genes_are_made_some_at_a_time(
    patchy_fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = patchy_fields["rate"]
    monkeypatch.setattr(images, "_GENES", 2)
    field.export(tmp_path / "a.zarr", "ome-zarr", field.gene_names)
    found = zarr.open_group(tmp_path / "a.zarr", mode="r")["0"]
    wanted = field.genes(field.gene_names)
    np.testing.assert_allclose(found[:], wanted, rtol=1e-6)
