"""Reading a field from disk: a Zarr 3 group of arrays and attributes, described in docs/reference/field-format.md.

Only this module and `pixnet.field.build.writing` know the layout. The group's own attributes are written last, so a
folder without them is unfinished.
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

from pixnet.digest import digest, file_digest
from pixnet.errors import FieldError, first_line
from pixnet.field.head import HeadKind, LinearHead
from pixnet.grid import Box, Grid, Lattice
from pixnet.safe.zarr_store import check_zarr
from pixnet.slide.frame import Frames, PixelBounds

FORMAT_VERSION: Literal[3] = 3
KEY, SEAL = "pixnet", "sha256"
"""Name of the group's attribute that holds `Attributes`, and name in it of the digest of all attributes."""

_MOST_LEVELS = 32  # the coarsest pixel of so many is larger than any slide
_BLOCK_VALUES = 1 << 22  # latent values of a block; malloc reuses the memory of so many float64 without new pages


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SlideFacts(_Strict):
    """The slide that the field was made from.

    The pixels of `no_data_reads`, the reads that failed, have no data. `bounds_px` is the scanned part of the canvas.
    """

    name: str
    file: str | None
    fingerprint: str
    mpp: float = pydantic.Field(gt=0)
    mpp_source: str
    height_px: int = pydantic.Field(gt=0)
    width_px: int = pydantic.Field(gt=0)
    no_data_reads: int = pydantic.Field(ge=0)
    bounds_px: PixelBounds | None = None

    @property
    def frames(self) -> Frames:
        """The frames that positions on the slide are counted in."""
        return Frames.of(self.mpp, (self.height_px, self.width_px), self.bounds_px)


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
        """The grid of the field's pixels at level 0."""
        return Lattice(self.width_um, self.height_um, self.mpp, self.stride, self.halo).grid(self.finest)


class Attributes(_Strict):
    """Everything about a field that is not an array; see docs/reference/field-format.md."""

    format_version: Literal[2, 3] = FORMAT_VERSION
    pixnet_version: str
    pitch_um: float = pydantic.Field(gt=0)
    head: HeadKind
    units: str
    genes: tuple[str, ...]
    scale: tuple[float, ...]
    lattice: LatticeFacts
    slide: SlideFacts
    levels: int = pydantic.Field(gt=0, le=_MOST_LEVELS)
    tissue_mask: bool
    seam_error: float | None
    made_from: str
    card: dict[str, Any]
    files: dict[str, int]
    # Version 2 had none of the following.
    arrays: dict[str, str] = {}
    sha256: str | None = None


class Level(NamedTuple):
    """The arrays of one level of the pyramid, on disk: latent values (C, H, W), and shares (H, W) from 0 to 1."""

    latent: zarr.Array[Any]  # D is `latent * scale[:, None, None]`
    valid: zarr.Array[Any]  # share that holds data and is not background; integrals cover this part
    background: zarr.Array[Any]  # share that holds data but was left out as background


@dataclass(frozen=True, eq=False)
class FieldStore:
    """An open field on disk; the `levels` of its pyramid begin with the finest."""

    path: Path
    attributes: Attributes
    head: LinearHead
    levels: tuple[Level, ...]

    @property
    def grid(self) -> Grid:
        """Grid of the pixels of level 0, in um."""
        return self.attributes.lattice.grid

    @property
    def scale(self) -> NDArray[np.float64]:
        """Latent units per stored unit, shape (C,), powers of two."""
        return np.array(self.attributes.scale)

    def level_grid(self, level: int) -> Grid:
        """Return the grid of a level's pixels, in um; the field must have the level."""
        levels = len(self.levels)
        if not 0 <= level < levels:
            first, last = self.grid.pitch_um, level_grid(self.grid, levels - 1).pitch_um
            raise FieldError(
                f"{self.path} has no level {level}; it has levels 0 to {levels - 1}, with pixels of {first:g} to "
                f"{last:g} um."
            )
        return level_grid(self.grid, level)

    def read(self, box: Box, level: int = 0) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Read a box of pixels of a level: stored latent values (C, h, w), not scaled, and valid shares (h, w).

        Raises
        ------
        FieldError
            If the bytes on disk are damaged.
        """
        arrays = self.levels[level]
        latent = _values(self.path, arrays.latent, (slice(None), *box.window))
        return latent, _values(self.path, arrays.valid, box.window).astype(np.float32)

    def read_background(self, box: Box) -> NDArray[np.float32]:
        """Read the background's share of each pixel of a box of level 0, (h, w), with the errors of `read`."""
        return _values(self.path, self.levels[0].background, box.window).astype(np.float32)

    def blocks(self) -> Iterator[Box]:
        """Return boxes that cover level 0; each consists of complete chunks and fits in memory as float64."""
        chunk = self.levels[0].latent.chunks[1]
        return self.grid.boxes(max(math.isqrt(_BLOCK_VALUES // (self.head.channels + 1)) // chunk, 1) * chunk)


def level_grid(finest: Grid, level: int) -> Grid:
    """Return the grid of a level of the pyramid, each pixel of which covers four of the level before."""
    height, width = (-(-side // 2**level) for side in finest.shape)
    return Grid(finest.x_um, finest.y_um, finest.pitch_um * 2**level, height, width)


def open_store(path: Path) -> FieldStore:
    """Open a field on disk, and check that it is complete and of this version; see `ExpressionField.open`."""
    if not path.is_dir():
        raise FieldError(f"{path}: no such folder. Give the folder of a predicted field.")
    if not (path / "zarr.json").is_file():
        raise FieldError(f"{path} is not an expression field (it has no zarr.json). Predict the slide again.")
    check_zarr(path, FieldError, "Predict the slide again.")
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
    if version not in (2, FORMAT_VERSION):
        raise FieldError(
            f"{path} has format_version {version!r}, but this pixnet reads 2 and {FORMAT_VERSION}. "
            "Use the pixnet that wrote it, or predict the slide again."
        )
    if not _is_sealed(group.attrs.asdict()):
        raise _altered(path, "its zarr.json has other attributes than were written")
    try:
        attributes = Attributes.model_validate(stored)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _altered(path, f"its metadata have a wrong {place} ({first['msg']})") from None
    _check_files(path, attributes.files)
    for name, written in attributes.arrays.items():
        if not (name in attributes.files and file_digest(path / name) == written):
            raise _altered(path, f"{name} is not as it was written")
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


def _is_sealed(attributes: dict[str, Any]) -> bool:
    """Return whether the attributes of a group are those that their digest was made of; version 2 has none."""
    own = dict(attributes[KEY])
    seal = own.pop(SEAL, None)
    expected = digest({**attributes, KEY: own}) if own["format_version"] == FORMAT_VERSION else None
    return bool(seal == expected)


def _check_files(path: Path, files: dict[str, int]) -> None:
    """Compare the sizes of the files only: this is fast for thousands of them, and the chunks carry checksums."""
    for name, size in files.items():
        # The list may come from anybody: a name must not lead out of the folder.
        file, parts = path / name, Path(name)
        inside = not parts.is_absolute() and ".." not in parts.parts
        actual = file.stat().st_size if inside and file.is_file() else None
        if actual != size:
            problem = "is missing" if actual is None else f"has {actual} bytes instead of {size}"
            raise _altered(path, f"{name} {problem}")


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
            raise _altered(path, f"its array {name} has shape {arrays[name].shape} instead of {size}")
        if arrays[name].dtype.kind != "f":
            raise _altered(path, f"its array {name} has type {arrays[name].dtype}, not a float type")
    if not all(math.frexp(scale)[0] == 0.5 for scale in attributes.scale):
        raise _altered(path, "it has a scale that is not a power of two")


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


def _altered(path: Path, problem: str) -> FieldError:
    return FieldError(f"{path} is incomplete or was altered: {problem}. Predict the slide again.")
