"""The entry of a sample in a manifest: what all platforms have in common."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pixnet.errors import DataError
from pixnet.sample import Sample
from pixnet.slide.frame import Frames
from pixnet.slide.pixel_size import PixelSize

if TYPE_CHECKING:
    from pixnet.regions import Polygons

Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A positive length in um."""

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Row = tuple[_Number, _Number, _Number]
_Transform = Annotated[
    Path | tuple[_Row, _Row, _Row],
    BeforeValidator(lambda given: given.tolist() if isinstance(given, np.ndarray) else given),
]
_MANIFEST_ONLY = {"platform", "include", "exclude"}
_AT_ONCE = 1_000_000  # regions whose centres are tested at once


class Entry(BaseModel):
    """One sample of a manifest: where its files are, and what the files do not state.

    A platform's entry adds the options of its reader, under the same names.

    Attributes
    ----------
    reader
        Module and name of the platform's reader, imported when a sample is read.
    id, donor, platform
        Name of the sample, the person it is from, and how it was measured.
    image
        The H&E image; None for the place where the platform puts it.
    mpp
        um per pixel of the image; None if the platform's files or the image state it.
    image_transform
        Only for an image that is not the one the positions were written for: a 3x3 matrix (three rows of three
        numbers), or the path of a CSV file of it, from pixels of that image to pixels of `image`; see
        `ImageTransform`.
    include, exclude
        Outlines on the image; see `read_annotations`. Only regions whose centre is inside `include` and not inside
        `exclude` (folds, pen marks, inset pictures) are used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: ClassVar[str]

    id: str = Field(min_length=1)
    donor: str | None = None
    platform: str
    image: Path | None = None
    mpp: Length | None = None
    image_transform: _Transform | None = None
    include: Path | None = None
    exclude: Path | None = None

    def read(self, source: str = "manifest") -> Sample:
        """Read the sample.

        Parameters
        ----------
        source
            Where a given `mpp` is from; see `PixelSize`.

        Raises
        ------
        DataError, SlideError
            As in the platform's reader; also if the polygons leave no region.
        """
        reader, options = self._reader_options()
        if self.mpp is not None:
            options["mpp"] = PixelSize(self.mpp, source)
        sample: Sample = pkgutil.resolve_name(reader)(**options)
        if self.include is not None:
            sample = self._select(sample, self.include, inside=True)
        if self.exclude is not None:
            sample = self._select(sample, self.exclude, inside=False)
        return sample

    def outlines(self, path: Path, frames: Frames) -> Polygons:
        """Read a file of outlines, `include` or `exclude`, on the sample's slide."""
        from pixnet.readers.annotations import read_annotations

        return read_annotations(path, frames)

    def _reader_options(self) -> tuple[str, dict[str, Any]]:
        """Return the name of the platform's reader, and its options: all fields that are not the manifest's own."""
        return self.reader, {key: value for key, value in self if key not in _MANIFEST_ONLY}

    def _select(self, sample: Sample, path: Path, inside: bool) -> Sample:
        """Return the regions whose centre is inside the outlines of a file, or those whose centre is not."""
        import shapely

        area = shapely.union_all(self.outlines(path, sample.slide.frames).shapes)
        shapely.prepare(area)
        parts = np.array_split(np.arange(len(sample.regions)), 1 + len(sample.regions) // _AT_ONCE)
        within = np.concatenate([shapely.contains_xy(area, sample.regions.take(part).centers_um) for part in parts])
        selected = within == inside
        if not selected.any():
            raise DataError(
                f"{path}: leaves no region of sample {sample.id!r}. Its coordinates must be pixels of the image, x "
                "first."
            )
        return sample.take(selected)
