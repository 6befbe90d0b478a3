"""Inputs that were made to harm rather than damaged: models and fields sealed again after the damage, and bombs."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OLD = Path(__file__).resolve().parents[1] / "goldens" / "old"


def make_model(folder: Path) -> None:
    shutil.copytree(OLD / "model", folder / "model")


def make_field(folder: Path) -> None:
    shutil.copytree(OLD / "field", folder / "field")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def read_model(folder: Path) -> None:
    """Load a model whose hashes were written again, as somebody who alters it on purpose could."""
    from pixnet.digest import digest
    from pixnet.model import PixNet

    path = folder / "model" / "card.json"
    card = _json(path)
    if isinstance(card, dict):
        card["weights_sha256"] = hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()
        card.pop("card_sha256", None)
        card["card_sha256"] = digest(card)
        path.unlink()  # a link to the intact input
        path.write_text(json.dumps(card))
    model = PixNet.load(folder / "model")
    assert all(bool(value.isfinite().all()) for value in model.network.state_dict().values())
    assert len(model.genes) > 0
    json.dumps(model.card, allow_nan=False).encode()


def read_field(folder: Path) -> None:
    from pixnet.field import ExpressionField
    from pixnet.regions import Squares

    field = ExpressionField.open(folder / "field")
    lattice = field.attributes.lattice
    table = field.query(Squares.tiling(0, 0, min(lattice.width_um, 200), min(lattice.height_um, 200), 50.0))
    assert np.isfinite(table.X).all()
    assert np.isfinite(table.layers["log1p"]).all()
    json.dumps(field.card, allow_nan=False).encode()


def _packed(part: bytes, times: int) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(pack.compress(part) for _ in range(times)) + pack.flush()


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    parts = (
        chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0])),
        chunk(b"IDAT", zlib.compress(bytes(3 << 20))),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + bytes(3 << 20)


def _columns(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for group in ("obs", "var"):
            made = file.create_group(group)
            made.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "c0"})
            made.attrs["column-order"] = [f"c{number}" for number in range(300)]
            for number in range(300):
                made.create_dataset(f"c{number}", (32 << 20,), "f8", chunks=(1 << 17,), compression="gzip")
                made[f"c{number}"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _store(path: Path) -> None:
    import zarr

    codec = zarr.codecs.GzipCodec()
    group = zarr.open_group(path, mode="w")
    group.create_array("obs", shape=(8,), chunks=(8,), dtype="f4", compressors=codec)[:] = 1
    (path / "obs" / "c" / "0").write_bytes(_packed(bytes(1 << 20), 500))


_INTACT = b"none"


def make_bombs(folder: Path) -> None:
    (folder / "choice.txt").write_bytes(_INTACT)
    (folder / "a.tsv.gz").write_bytes(_packed(b"0\t" * (1 << 19), 1100))
    head = b"%%MatrixMarket matrix coordinate integer general\n9 9 1000000000\n"
    (folder / "a.mtx.gz").write_bytes(gzip.compress(head))
    (folder / "a.json").write_bytes(_packed(b"[" * (1 << 20), 1000))
    points = np.random.default_rng(1).random((20_000, 2)) * 1000
    geometry = {"type": "Polygon", "coordinates": [[*points.tolist(), points[0].tolist()]]}
    (folder / "tangled.geojson").write_text(json.dumps(geometry))
    (folder / "deep.geojson").write_text("[" * 1_000_000)
    (folder / "a.png").write_bytes(_png(40_000, 40_000))
    _columns(folder / "a.h5ad")
    _store(folder / "a.zarr")


def _table(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from pixnet.readers.anndata.source import open_table

        with open_table(folder / name) as table:
            table.obs()

    return read


def _polygons(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from pixnet.regions import Polygons

        Polygons.from_geojson(folder / name, 1.0)

    return read


def _text(folder: Path) -> None:
    from pixnet.readers.formats.count_table import read_counts

    read_counts(folder / "a.tsv.gz")


def _matrix(folder: Path) -> None:
    from pixnet.readers.formats.matrix_market import read_matrix_market

    read_matrix_market(folder / "a.mtx.gz", (9, 9))


def _document(folder: Path) -> None:
    from pixnet.readers.formats.files import read_json

    read_json(folder / "a.json", "anything")


def _picture(folder: Path) -> None:
    import pixnet

    pixnet.Slide.open(folder / "a.png", mpp=1.0).thumbnail(64)


BOMBS: dict[str, Callable[[Path], None]] = {
    "text": _text,
    "matrix": _matrix,
    "JSON": _document,
    "tangled": _polygons("tangled.geojson"),
    "deep": _polygons("deep.geojson"),
    "h5ad": _table("a.h5ad"),
    "zarr": _table("a.zarr"),
    "picture": _picture,
}


def read_bomb(folder: Path) -> None:
    """Read the bomb that the damaged text chooses; it must be refused."""
    chosen = (folder / "choice.txt").read_bytes()
    if chosen != _INTACT:
        name = list(BOMBS)[zlib.crc32(chosen) % len(BOMBS)]
        BOMBS[name](folder)
        raise AssertionError(f"the bomb {name} was read")
