from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixnet.digest import digest
from pixnet.errors import FieldError
from pixnet.field import ExpressionField
from pixnet.regions import Squares


@pytest.fixture
def copied(fields: dict[str, ExpressionField], tmp_path: Path) -> Path:
    return Path(shutil.copytree(fields["rate"].path, tmp_path / "field.zarr"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def seal(content: dict[str, Any]) -> None:
    """Put the digest of the attributes right, so that only what they say can be wrong."""
    facts(content).pop("sha256", None)
    facts(content)["sha256"] = digest(content["attributes"])


def shard_of(path: Path, array: str) -> Path:
    return next(file for file in sorted((path / array / "c").rglob("*")) if file.is_file())


def test_a_reopened_field_gives_the_same_answers(fields: dict[str, ExpressionField]) -> None:
    squares = Squares.tiling(0, 0, 300, 200, 8.0)
    for kind, field in fields.items():
        again = ExpressionField.open(str(field.path))
        np.testing.assert_array_equal(again.query(squares).X, field.query(squares).X)
        assert again.head.kind == kind
        assert (again.gene_names, again.units, again.card) == (field.gene_names, field.units, field.card)
        np.testing.assert_array_equal(again.W, field.W)
        np.testing.assert_array_equal(again.b, field.b)


def test_a_folder_that_was_moved_still_opens(copied: Path) -> None:
    ExpressionField.open(copied.rename(copied.with_name("elsewhere")))


def test_missing_or_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match="no such folder"):
        ExpressionField.open(tmp_path / "nothing")
    with pytest.raises(FieldError, match="not an expression field"):
        ExpressionField.open(tmp_path)


def test_an_unfinished_store_is_refused(copied: Path) -> None:
    edit(copied / "zarr.json", lambda content: content["attributes"].clear())
    with pytest.raises(FieldError, match="not a finished expression field"):
        ExpressionField.open(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"zarr_format": 3, "node_type": "array"}', "\x00\xff"])
def test_damaged_metadata_are_refused(copied: Path, text: str) -> None:
    (copied / "zarr.json").write_text(text)
    with pytest.raises(FieldError, match="Predict the slide again"):
        ExpressionField.open(copied)


@pytest.mark.parametrize("name", ["latent", "valid", "W", "b"])
def test_a_missing_array_is_named(copied: Path, name: str) -> None:
    shutil.rmtree(copied / name)
    with pytest.raises(FieldError, match=f"{name}.* is missing"):
        ExpressionField.open(copied)


def test_a_shard_that_is_missing_or_short_is_refused(copied: Path) -> None:
    shard = shard_of(copied, "latent/0")
    data = shard.read_bytes()
    shard.write_bytes(data[:-100])
    with pytest.raises(FieldError, match=f"{len(data) - 100} bytes instead of {len(data)}"):
        ExpressionField.open(copied)
    shard.unlink()
    with pytest.raises(FieldError, match="is missing"):
        ExpressionField.open(copied)


@pytest.mark.parametrize("name", ["latent/0", "valid/0", "W", "b"])
@pytest.mark.parametrize("at", [0.05, 0.5, 0.95])
def test_a_changed_byte_is_an_error_and_not_a_wrong_number(copied: Path, name: str, at: float) -> None:
    shard = shard_of(copied, name)
    data = bytearray(shard.read_bytes())
    data[int(len(data) * at)] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(FieldError, match=rf"array {name} is damaged|/{name}/c/.* a chunk"):
        ExpressionField.open(copied).query(Squares.tiling(0, 0, 400, 300, 50.0))


def facts(content: dict[str, Any]) -> dict[str, Any]:
    return content["attributes"]["pixnet"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: facts(c).update(format_version=4), "format_version 4"),
        (lambda c: facts(c).pop("format_version"), "format_version None"),
        (lambda c: facts(c).pop("lattice"), "wrong lattice"),
        (lambda c: facts(c).update(surprise=1), "wrong surprise"),
        (lambda c: facts(c)["slide"].update(mpp="coarse"), r"wrong slide\.mpp"),
        (lambda c: facts(c).update(pitch_um=4.0), "contradicts its lattice"),
        (lambda c: facts(c)["lattice"].update(width_um=800.0), "instead of"),
        (lambda c: facts(c)["genes"].append("more"), "instead of"),
        (lambda c: facts(c)["genes"].reverse(), "last output"),
        (lambda c: facts(c)["scale"].pop(), "instead of"),
        (lambda c: facts(c)["scale"].__setitem__(0, 0.0), "not a power of two"),
        (lambda c: facts(c).update(head="median"), "wrong head"),
        (lambda c: facts(c)["files"].update({"../../secret": 3}), "is missing"),
        (lambda c: facts(c)["files"].update({"/etc/passwd": Path("/etc/passwd").stat().st_size}), "is missing"),
    ],
)
def test_metadata_that_contradict_the_arrays_are_refused(
    copied: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(copied / "zarr.json", lambda content: (change(content), seal(content)))
    with pytest.raises(FieldError, match=words):
        ExpressionField.open(copied)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: facts(c)["scale"].__setitem__(0, 2 * facts(c)["scale"][0]),
        lambda c: facts(c)["genes"].__setitem__(0, "ACTA"),
        lambda c: facts(c)["slide"].update(mpp=0.25),
        lambda c: facts(c).update(units="counts"),
        lambda c: c["attributes"]["ome"].update(version="0.4"),
        lambda c: facts(c).pop("sha256"),
        lambda c: facts(c).update(format_version=2),
    ],
)
def test_metadata_that_were_altered_are_refused(copied: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(copied / "zarr.json", change)
    with pytest.raises(FieldError, match="other attributes than were written"):
        ExpressionField.open(copied)


def test_no_flipped_bit_of_the_metadata_is_believed(copied: Path) -> None:
    path = copied / "zarr.json"
    written, attributes = path.read_bytes(), ExpressionField.open(copied).attributes
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(written), 200, replace=False):
        content = bytearray(written)
        content[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(content)
        with contextlib.suppress(FieldError):
            assert ExpressionField.open(copied).attributes == attributes


def test_array_metadata_that_were_altered_are_refused(copied: Path) -> None:
    path = copied / "latent" / "0" / "zarr.json"
    path.write_text(path.read_text().replace("float16", "float32"))
    edit(
        copied / "zarr.json", lambda c: (facts(c)["files"].update({"latent/0/zarr.json": path.stat().st_size}), seal(c))
    )
    with pytest.raises(FieldError, match=r"latent/0/zarr.json is not as it was written"):
        ExpressionField.open(copied)


def test_array_metadata_that_contradict_are_refused(copied: Path) -> None:
    edit(copied / "latent" / "zarr.json", lambda content: content.update(shape=[5, 10, 10]))
    with pytest.raises(FieldError, match="latent"):
        ExpressionField.open(copied)


def test_the_field_needs_no_torch(fields: dict[str, ExpressionField]) -> None:
    code = (
        "import sys, pixnet.field as f; from pixnet.regions import Disks;"
        "f.ExpressionField.open(sys.argv[1]).query(Disks([[100, 100]], 50));"
        "sys.exit('torch' in sys.modules or 'pixnet.network' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(fields["rate"].path)], check=True)  # noqa: S603
