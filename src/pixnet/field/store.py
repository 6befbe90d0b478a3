"""The field on disk: a Zarr 3 group of arrays and attributes; docs/field-format.md describes it.

Nothing else knows the layout. The group's own attributes are written last, so a folder without them is unfinished.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pydantic
import zarr
from numpy.typing import NDArray

from pixnet.errors import FieldError, first_line
from pixnet.field.head import HeadKind, LinearHead
from pixnet.grid import Box, Grid, Lattice

FORMAT_VERSION: Literal[2] = 2
KEY = "pixnet"
_BLOCK_VALUES = 1 << 22  # latent values worked on at a time: as float64, what malloc reuses without new pages


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

    format_version: Literal[2] = FORMAT_VERSION
    pixnet_version: str
    pitch_um: float = pydantic.Field(gt=0)
    head: HeadKind
    units: str
    genes: tuple[str, ...]
    scale: tuple[float, ...]
    lattice: LatticeFacts
    slide: SlideFacts
    levels: int = pydantic.Field(gt=0)
    tissue_mask: bool
    seam_error: float | None
    made_from: str
    card: dict[str, Any]
    files: dict[str, int]


class Level(NamedTuple):
    """The arrays of one level of the pyramid, on disk.

    Attributes
    ----------
    latent
        (C, H, W); D is `latent * scale[:, None, None]`.
    valid
        (H, W), share of each cell that is integrated over: holds data and is not background. 0 to 1.
    background
        (H, W), share of each cell that holds data but was left out as background.
    """

    latent: zarr.Array[Any]
    valid: zarr.Array[Any]
    background: zarr.Array[Any]


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
    levels
        The pyramid, finest level first.
    """

    path: Path
    attributes: Attributes
    head: LinearHead
    levels: tuple[Level, ...]

    @property
    def grid(self) -> Grid:
        """Grid of the finest cells, in um."""
        return self.attributes.lattice.grid

    @property
    def scale(self) -> NDArray[np.float64]:
        """(C,) latent units per stored unit, powers of two."""
        return np.array(self.attributes.scale)

    def level_grid(self, level: int) -> Grid:
        """Give the grid of a level's cells, in um."""
        return level_grid(self.grid, level)

    def read(self, box: Box, level: int = 0) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Give the stored latent values (C, h, w), not scaled, and the valid shares (h, w) of a box of cells.

        Raises
        ------
        FieldError
            If the file's bytes turn out to be damaged.
        """
        arrays, window = self.levels[level], _window(box)
        latent = _values(self.path, arrays.latent, (slice(None), *window))
        return latent, _values(self.path, arrays.valid, window).astype(np.float32)

    def read_background(self, box: Box, level: int = 0) -> NDArray[np.float32]:
        """Give the background's shares (h, w) of a box of cells; FieldError as `read`."""
        return _values(self.path, self.levels[level].background, _window(box)).astype(np.float32)

    def blocks(self) -> Iterator[Box]:
        """Cut the field into boxes of cells that are cheap to read and small enough to work on."""
        height, width = self.grid.shape
        chunk = self.levels[0].latent.chunks[1]
        side = max(math.isqrt(_BLOCK_VALUES // (self.head.channels + 1)) // chunk, 1) * chunk
        for row in range(0, height, side):
            for col in range(0, width, side):
                yield Box(row, col, min(side, height - row), min(side, width - col))


def level_grid(finest: Grid, level: int) -> Grid:
    """Give the grid of a level of the pyramid: each cell is four of the level before."""
    height, width = (-(-side // 2**level) for side in finest.shape)
    return Grid(finest.x_um, finest.y_um, finest.pitch_um * 2**level, height, width)


def _window(box: Box) -> tuple[slice, slice]:
    return slice(box.row, box.row + box.height), slice(box.col, box.col + box.width)


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
        stored = group.attrs.asdict().get(KEY)
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
    names = [f"{name}/{level}" for level in range(attributes.levels) for name in Level._fields]
    arrays = {name: _array(path, group, name) for name in ("W", "b", *names)}
    _check_shapes(path, attributes, arrays)
    try:
        weights, baseline = (_values(path, arrays[name], ...) for name in ("W", "b"))
        head = LinearHead(attributes.head, attributes.genes, weights, baseline, attributes.units)
    except FieldError as error:
        raise _altered(path, str(error).rstrip(".")) from None
    levels = (Level(*(arrays[f"{name}/{level}"] for name in Level._fields)) for level in range(attributes.levels))
    return FieldStore(path, attributes, head, tuple(levels))


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
    channels, outputs = len(attributes.scale), len(attributes.genes)
    expected: dict[str, tuple[int, ...]] = {"W": (channels, outputs), "b": (outputs,)}
    for level in range(attributes.levels):
        shape = level_grid(facts.grid, level).shape
        expected |= {f"latent/{level}": (channels, *shape), f"valid/{level}": shape, f"background/{level}": shape}
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
        raise _altered(path, f"its array {array.path} is damaged ({first_line(error)})") from None


def _altered(path: Path, found: str) -> FieldError:
    return FieldError(f"{path} is incomplete or was altered: {found}. Predict the slide again.")
