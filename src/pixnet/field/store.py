"""The field on disk: a Zarr 3 group of arrays and attributes; docs/field-format.md describes it.

Nothing else knows the layout. The group's own attributes are written last, so a folder without them is unfinished.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pixnet.errors import FieldError, first_line
from pixnet.field.head import HeadKind, LinearHead
from pixnet.grid import Box, Grid, Lattice

FORMAT_VERSION: Literal[1] = 1
_KEY = "pixnet"
_CHUNK = 128  # side of a chunk, in cells; a chunk holds all channels, for a gene and a region need them all
_CHUNK_BYTES = 4 << 20  # chunks of many channels get shorter sides
_CHUNKS_PER_SHARD = 4  # along a side: few files, and a tile of 2048 px at stride 4 is one shard
_BLOCK_VALUES = 1 << 24  # latent values worked on at a time: 128 MB in float64
_EDGES = ("y", "x")


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SlideFacts(_Strict):
    """Which slide the field was made from: name, file's name, SHA-256, um per pixel and its source, size in pixels."""

    name: str
    file: str | None
    fingerprint: str
    mpp: float = pydantic.Field(gt=0)
    mpp_source: str
    height_px: int = pydantic.Field(gt=0)
    width_px: int = pydantic.Field(gt=0)
    no_data_reads: int = pydantic.Field(ge=0)


class LatticeFacts(_Strict):
    """The lattice of pixels that the field was computed on; see `pixnet.grid.Lattice`."""

    width_um: float = pydantic.Field(gt=0)
    height_um: float = pydantic.Field(gt=0)
    mpp: float = pydantic.Field(gt=0)
    stride: int = pydantic.Field(gt=0)
    halo: int = pydantic.Field(ge=0)
    finest: int = pydantic.Field(gt=0)

    @property
    def grid(self) -> Grid:
        """The grid of the field's cells."""
        return Lattice(self.width_um, self.height_um, self.mpp, self.stride, self.halo).grid(self.finest)


class Attributes(_Strict):
    """Everything about a field that is not an array."""

    format_version: Literal[1] = FORMAT_VERSION
    pixnet_version: str
    pitch_um: float = pydantic.Field(gt=0)
    head: HeadKind
    units: str
    genes: tuple[str, ...]
    scale: tuple[float, ...]
    lattice: LatticeFacts
    slide: SlideFacts
    card: dict[str, Any]
    files: dict[str, int]


@dataclass(frozen=True, eq=False)
class FieldStore:
    """An open store.

    Parameters
    ----------
    path
        The folder.
    attributes
        What it says about itself.
    head
        The linear head.
    latent
        (C, H, W) array on disk; D is `latent * scale[:, None, None]`.
    valid
        (H, W) array on disk: share of each cell that holds data, 0 to 1.
    """

    path: Path
    attributes: Attributes
    head: LinearHead
    latent: zarr.Array[Any]
    valid: zarr.Array[Any]

    @property
    def grid(self) -> Grid:
        """Grid of the cells, in um."""
        return self.attributes.lattice.grid

    @property
    def scale(self) -> NDArray[np.float64]:
        """(C,) latent units per stored unit, powers of two."""
        return np.array(self.attributes.scale)

    def read(self, box: Box) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Give the stored latent values (C, h, w), not scaled, and the valid shares (h, w) of a box of cells.

        Raises
        ------
        FieldError
            If the file's bytes turn out to be damaged.
        """
        window = slice(box.row, box.row + box.height), slice(box.col, box.col + box.width)
        return _values(self.path, self.latent, (slice(None), *window)), _values(self.path, self.valid, window).astype(
            np.float32
        )

    def blocks(self) -> Iterator[Box]:
        """Cut the field into boxes of cells that are cheap to read and small enough to work on."""
        height, width = self.grid.shape
        chunk = self.latent.chunks[1]
        side = max(math.isqrt(_BLOCK_VALUES // (self.head.channels + 1)) // chunk, 1) * chunk
        for row in range(0, height, side):
            for col in range(0, width, side):
                yield Box(row, col, min(side, height - row), min(side, width - col))


def create_arrays(
    path: Path, shape: tuple[int, int], head: LinearHead, dtype: np.dtype[Any]
) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
    """Begin a store: give its empty arrays `latent` and `valid`, with W and b written beside them."""
    channels = head.channels
    side = _CHUNK
    while side > 32 and channels * side**2 * dtype.itemsize > _CHUNK_BYTES:
        side //= 2
    shard = side * _CHUNKS_PER_SHARD
    group = zarr.create_group(path, zarr_format=3)

    def create(name: str, size: tuple[int, ...], kind: Any, chunks: Any, shards: Any, axes: Any) -> zarr.Array[Any]:
        return group.create_array(
            name,
            shape=size,
            dtype=kind,
            chunks=chunks,
            shards=shards,
            dimension_names=axes,
            fill_value=0,
            # A changed byte is then an error and not a wrong number.
            compressors=ZstdCodec(level=1, checksum=True),
        )

    latent = create(
        "latent", (channels, *shape), dtype, (channels, side, side), (channels, shard, shard), ("c", *_EDGES)
    )
    valid = create("valid", shape, np.float16, (side, side), (shard, shard), _EDGES)
    create("W", head.W.shape, np.float32, head.W.shape, None, ("c", "gene"))[:] = head.W
    create("b", head.b.shape, np.float32, head.b.shape, None, ("gene",))[:] = head.b
    return latent, valid


def data_files(path: Path) -> dict[str, int]:
    """Give all files of a store but its top metadata, each with its size in bytes."""
    files = (file for file in path.rglob("*") if file.is_file() and file != path / "zarr.json")
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in sorted(files)}


def finish(path: Path, attributes: Attributes) -> None:
    """Write the attributes, which make the store complete."""
    pitch = attributes.pitch_um
    transforms: list[dict[str, Any]] = [
        {"type": "scale", "scale": [1.0, pitch, pitch]},
        # OME-NGFF places a pixel's centre; the slide's frame begins at its corner.
        {"type": "translation", "translation": [0.0, pitch / 2, pitch / 2]},
    ]
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in _EDGES]
    dataset = {"path": "latent", "coordinateTransformations": transforms}
    multiscales = [{"name": attributes.slide.name, "axes": axes, "datasets": [dataset]}]
    everything: dict[str, Any] = {
        "ome": {"version": "0.5", "multiscales": multiscales},
        _KEY: attributes.model_dump(mode="json"),
    }
    zarr.open_group(path, mode="r+", zarr_format=3).attrs.put(everything)


def open_store(path: Path) -> FieldStore:
    """Open a store and check that it is whole.

    Raises
    ------
    FieldError
        If the folder is missing, no field, unfinished, of another version, or altered.
    """
    if not path.is_dir():
        raise FieldError(f"{path}: there is no such folder. Give the folder that `pixnet predict` wrote.")
    if not (path / "zarr.json").is_file():
        raise FieldError(f"{path} is not an expression field (it has no zarr.json). Predict the slide again.")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        stored = group.attrs.asdict().get(_KEY)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FieldError(f"{path}/zarr.json cannot be read ({first_line(error)}). Predict the slide again.") from None
    if not isinstance(stored, dict):
        raise FieldError(
            f"{path} is not a finished expression field: its metadata are missing. Predict the slide again."
        )
    version = stored.get("format_version")
    if version != FORMAT_VERSION:
        raise FieldError(
            f"{path} has format_version {version!r}, but this pixnet reads {FORMAT_VERSION}. "
            "Use the pixnet that wrote it, or predict the slide again."
        )
    try:
        attributes = Attributes.model_validate(stored)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _altered(path, f"its metadata have a wrong {place} ({first['msg']})") from None
    _check_files(path, attributes.files)
    arrays = {name: _array(path, group, name) for name in ("latent", "valid", "W", "b")}
    _check_shapes(path, attributes, arrays)
    try:
        weights, baseline = (_values(path, arrays[name], ...) for name in ("W", "b"))
        head = LinearHead(attributes.head, attributes.genes, weights, baseline, attributes.units)
    except FieldError as error:
        raise _altered(path, str(error).rstrip(".")) from None
    return FieldStore(path, attributes, head, arrays["latent"], arrays["valid"])


def _check_files(path: Path, files: dict[str, int]) -> None:
    """Compare sizes only: quick for thousands of files; what is inside carries checksums."""
    for name, size in files.items():
        # A name must not lead out of the folder, whoever wrote the list.
        file = path / name
        found = file.stat().st_size if ".." not in Path(name).parts and file.is_file() else None
        if found != size:
            was = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise _altered(path, f"{name} {was}")


def _check_shapes(path: Path, attributes: Attributes, arrays: dict[str, zarr.Array[Any]]) -> None:
    facts = attributes.lattice
    if facts.stride % facts.finest or not math.isclose(attributes.pitch_um, facts.mpp * facts.finest, rel_tol=1e-9):
        raise _altered(path, f"its pitch of {attributes.pitch_um:g} um contradicts its lattice")
    channels, outputs, shape = len(attributes.scale), len(attributes.genes), facts.grid.shape
    expected = {"latent": (channels, *shape), "valid": shape, "W": (channels, outputs), "b": (outputs,)}
    for name, size in expected.items():
        if arrays[name].shape != size:
            raise _altered(path, f"its array {name} is {arrays[name].shape} where {size} is expected")
        if arrays[name].dtype.kind != "f":
            raise _altered(path, f"its array {name} is of {arrays[name].dtype}")
    if not all(scale > 0 for scale in attributes.scale):
        raise _altered(path, "it has a scale that is not positive")


def _array(path: Path, group: zarr.Group, name: str) -> zarr.Array[Any]:
    try:
        array = group[name]
    except (OSError, ValueError, KeyError, TypeError):
        array = None
    if not isinstance(array, zarr.Array):
        raise _altered(path, f"its array {name} is missing or cannot be read")
    return array


def _values(path: Path, array: zarr.Array[Any], window: Any) -> NDArray[Any]:
    try:
        return np.asarray(array[window])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _altered(path, f"its array {array.basename} is damaged ({first_line(error)})") from None


def _altered(path: Path, found: str) -> FieldError:
    return FieldError(f"{path} is incomplete or was altered: {found}. Predict the slide again.")
