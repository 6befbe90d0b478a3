"""Zarr stores that were made to run code, to read other files or to fill the memory."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from numcodecs import Zstd
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from pixnet.errors import DataError
from pixnet.readers import read_anndata
from pixnet.safe.budget import VARIABLE
from pixnet.safe.zarr_store import check_zarr


def table(path: Path, version: int) -> Path:
    obs = pd.DataFrame({"kind": pd.Categorical(["a", "b", "a"])}, index=["one", "two", "three"])
    with anndata.settings.override(zarr_write_format=version):
        anndata.AnnData(np.ones((3, 2), np.float32), obs=obs).write_zarr(path)
    return path


def array(path: Path, **options: Any) -> Path:
    group = zarr.open_group(path, mode="w")
    group.create_array("x", shape=(64, 64), dtype="f4", **options)[:] = np.random.default_rng(1).random((64, 64))
    return path


def bomb(megabytes: int) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(pack.compress(bytes(1 << 20)) for _ in range(megabytes)) + pack.flush()


@pytest.mark.parametrize("version", [2, 3])
def test_tables_that_anndata_writes_pass(tmp_path: Path, version: int) -> None:
    check_zarr(table(tmp_path / "a.zarr", version), DataError)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (32, 32), "compressors": GzipCodec()},
        {"chunks": (32, 32), "compressors": BloscCodec()},
        {"chunks": (16, 16), "shards": (32, 32), "compressors": ZstdCodec(checksum=True)},
        {"chunks": (32, 32), "compressors": None},
    ],
)
def test_arrays_of_usual_codecs_pass(tmp_path: Path, options: dict[str, Any]) -> None:
    check_zarr(array(tmp_path / "a.zarr", **options), DataError)


def test_a_pickle_in_a_chain_of_filters_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str, str]]:
            return Path.write_text, (tmp_path / "ran", "")  # type: ignore[return-value]

    store = table(tmp_path / "a.zarr", 2)
    metadata = store / "obs" / "_index" / ".zarray"
    facts = json.loads(metadata.read_text())
    facts["filters"], facts["compressor"] = [{"id": "vlen-utf8"}, {"id": "pickle"}], None
    metadata.write_text(json.dumps(facts))
    (store / "obs" / "_index" / "0").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DataError, match="the codec 'pickle' is not among those that are read"):
        read_anndata(store, tmp_path / "a.png")
    assert not (tmp_path / "ran").exists()


def test_consolidated_metadata_are_checked_too(tmp_path: Path) -> None:
    store = table(tmp_path / "a.zarr", 2)
    metadata = store / ".zmetadata"
    facts = json.loads(metadata.read_text())
    facts["metadata"]["obs/_index/.zarray"]["filters"] = [{"id": "pickle"}]
    metadata.write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"\.zmetadata: .*the codec 'pickle'"):
        check_zarr(store, DataError)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("codecs",), [{"name": "numcodecs.pickle"}]),
        (("codecs",), [{"name": "bytes"}, {"name": "gzip"}, {"name": "gzip"}]),
        (("chunk_grid", "configuration", "chunk_shape"), [0, 64]),
        (("chunk_grid", "configuration", "chunk_shape"), [64]),
        (("chunk_grid", "configuration", "chunk_shape"), [1 << 20, 1 << 20]),
        (("shape",), "many"),
    ],
)
def test_metadata_of_an_array_that_are_refused(tmp_path: Path, place: tuple[str, ...], value: Any) -> None:
    metadata = array(tmp_path / "a.zarr") / "x" / "zarr.json"
    facts = json.loads(metadata.read_text())
    inner = facts
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    metadata.write_text(json.dumps(facts))
    with pytest.raises(DataError, match="is not metadata that can be trusted"):
        check_zarr(tmp_path / "a.zarr", DataError)


def test_metadata_that_are_nested_without_end(tmp_path: Path) -> None:
    (array(tmp_path / "a.zarr") / "zarr.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        check_zarr(tmp_path / "a.zarr", DataError)


@pytest.mark.parametrize(
    ("codec", "content"),
    [
        (GzipCodec(), bomb(40)),
        (ZstdCodec(), Zstd().encode(bytes(40 << 20))),
        (BloscCodec(), b"\2\1\1\4" + (1 << 30).to_bytes(4, "little") + bytes(8)),
    ],
)
def test_a_chunk_that_unpacks_to_more_than_its_array_declares(tmp_path: Path, codec: Any, content: bytes) -> None:
    store = array(tmp_path / "a.zarr", compressors=codec)
    (store / "x" / "c" / "0" / "0").write_bytes(content)
    with pytest.raises(DataError, match="unpacks to over 16 MB, more than its array declares"):
        check_zarr(store, DataError)


def test_a_chunk_in_a_shard_that_unpacks_to_more(tmp_path: Path) -> None:
    store = array(tmp_path / "a.zarr", chunks=(32, 32), shards=(64, 64), compressors=GzipCodec())
    content = bomb(40)
    index = np.array([[0, len(content)]] * 4, "<u8").tobytes()
    (store / "x" / "c" / "0" / "0").write_bytes(content + index + bytes(4))
    with pytest.raises(DataError, match="unpacks to over 16 MB"):
        check_zarr(store, DataError)


def test_a_chunk_that_states_more_texts_than_there_are(tmp_path: Path) -> None:
    store = table(tmp_path / "a.zarr", 3)
    (store / "obs" / "_index" / "c" / "0").write_bytes(Zstd().encode((1 << 31).to_bytes(4, "little") + bytes(8)))
    with pytest.raises(DataError, match="holds more texts than its array declares"):
        check_zarr(store, DataError)


def test_a_link_that_leads_out_of_the_store(tmp_path: Path) -> None:
    store = array(tmp_path / "a.zarr")
    (tmp_path / "secret").write_bytes(b"secret")
    (store / "x" / "c" / "0" / "0").unlink()
    (store / "x" / "c" / "0" / "0").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="is a link to something outside"):
        check_zarr(store, DataError)


def test_the_memory_limit_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = array(tmp_path / "a.zarr")
    monkeypatch.setenv(VARIABLE, "0.00001")
    with pytest.raises(DataError, match="a chunk of shape"):
        check_zarr(store, DataError)
