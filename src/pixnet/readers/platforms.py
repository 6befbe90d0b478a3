"""The platforms that can be read: what a manifest may say of each, and which reader takes it from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pixnet.errors import DataError
from pixnet.sample import Sample

_Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Row = tuple[_Number, _Number, _Number]
_Transform = Annotated[
    Path | tuple[_Row, _Row, _Row],
    BeforeValidator(lambda given: given.tolist() if isinstance(given, np.ndarray) else given),
]


class Entry(BaseModel, ABC):
    """One sample of a manifest: where its files are and what the files do not say themselves.

    Attributes
    ----------
    id, donor, platform
        Name of the sample, the person it is from, and how it was measured.
    image
        The H&E image; None: where the platform puts it.
    mpp
        um per pixel of the image; None if the platform or the image tells it.
    image_transform
        Where the image is not the one that the positions were written for: a 3x3 matrix (three rows of three numbers),
        or the path of a CSV of it, from pixels of that one to pixels of the image; see `ImageTransform`.
    include, exclude
        GeoJSON polygons in pixels of the image. Regions whose centre lies in none of the first, or in one of the
        second (folds, pen marks, inset pictures), are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    donor: str | None = None
    platform: str
    image: Path | None = None
    mpp: _Length | None = None
    image_transform: _Transform | None = None
    include: Path | None = None
    exclude: Path | None = None

    def read(self, mpp_source: str = "manifest") -> Sample:
        """Read the sample; `mpp_source` says where a given `mpp` is from."""
        common: dict[str, Any] = {"id": self.id, "donor": self.donor, "mpp": self.mpp, "mpp_source": mpp_source}
        if self.image_transform is not None:  # not every platform takes one
            common["image_transform"] = self.image_transform
        sample = self._read(common)
        for path, wanted in ((self.include, True), (self.exclude, False)):
            if path is not None:
                sample = _within(sample, path, wanted)
        return sample

    @abstractmethod
    def _read(self, common: dict[str, Any]) -> Sample:
        """Hand the files to the platform's reader; `common` holds what all of them take."""


class LegacyStEntry(Entry):
    """A section on a legacy ST array; see `read_legacy_st`."""

    image: Path
    counts: Path
    spots: Path
    spot_diameter_um: _Length = 100.0
    spot_pitch_um: _Length = 200.0

    def _read(self, common: dict[str, Any]) -> Sample:
        from pixnet.readers.legacy_st import read_legacy_st

        size: dict[str, Any] = {"spot_diameter_um": self.spot_diameter_um, "spot_pitch_um": self.spot_pitch_um}
        return read_legacy_st(self.image, self.counts, self.spots, **size, **common)


class VisiumEntry(Entry):
    """A Space Ranger folder; see `read_visium`."""

    path: Path
    filtered: bool | None = None

    def _read(self, common: dict[str, Any]) -> Sample:
        from pixnet.readers.visium import read_visium

        return read_visium(self.path, image=self.image, filtered=self.filtered, **common)


class VisiumHDEntry(Entry):
    """A Space Ranger folder of Visium HD, as bins or as segmented cells; see `read_visium_hd`."""

    path: Path
    bin_um: _Length | None = None
    cells: bool = False
    filtered: bool | None = None

    def _read(self, common: dict[str, Any]) -> Sample:
        from pixnet.readers.visium_hd import read_visium_hd
        from pixnet.readers.visium_hd.cells import read_visium_hd_cells

        common |= {"image": self.image, "filtered": self.filtered}
        if self.cells:
            return read_visium_hd_cells(self.path, **common)
        return read_visium_hd(self.path, bin_um=self.bin_um, **common)


class XeniumEntry(Entry):
    """A Xenium run, as cells, nuclei or squares of transcripts; see `read_xenium`."""

    path: Path
    alignment: Path | None = None
    regions: Literal["cells", "nuclei"] | _Length = "cells"

    def _read(self, common: dict[str, Any]) -> Sample:
        from pixnet.readers.xenium import read_xenium

        return read_xenium(self.path, image=self.image, alignment=self.alignment, regions=self.regions, **common)


class HestEntry(Entry):
    """A sample of HEST-1k; see `read_hest`."""

    path: Path
    diameter_um: _Length | None = None
    swap_xy: bool = False

    def _read(self, common: dict[str, Any]) -> Sample:
        from pixnet.readers.hest import read_hest

        return read_hest(
            self.path, image=self.image, diameter_um=self.diameter_um, swap_xy=self.swap_xy, **common
        )  # fmt: skip


class AnnDataEntry(Entry):
    """An AnnData with coordinates, and its image; see `read_anndata`."""

    image: Path
    path: Path
    diameter_um: _Length | None = None
    side_um: _Length | None = None
    swap_xy: bool = False
    layer: str | None = None

    def _read(self, common: dict[str, Any]) -> Sample:
        from pixnet.readers.anndata.reader import read_anndata

        size: dict[str, Any] = {"diameter_um": self.diameter_um, "side_um": self.side_um}
        return read_anndata(self.path, self.image, swap_xy=self.swap_xy, layer=self.layer, **size, **common)


class SpatialDataEntry(Entry):
    """A SpatialData store; `table`, `element` (the image) and `region` choose among several; see `read_spatialdata`."""

    path: Path
    image: None = None
    image_transform: None = None
    table: str | None = None
    element: str | None = None
    region: str | None = None
    coordinate_system: str = "global"

    def _read(self, common: dict[str, Any]) -> Sample:
        from pixnet.readers.spatialdata.reader import read_spatialdata

        where: dict[str, Any] = {
            "table": self.table,
            "image": self.element,
            "region": self.region,
            "coordinate_system": self.coordinate_system,
        }
        return read_spatialdata(self.path, **where, **common)


PLATFORMS: dict[str, type[Entry]] = {
    "legacy-st": LegacyStEntry,
    "visium": VisiumEntry,
    "visium-hd": VisiumHDEntry,
    "xenium": XeniumEntry,
    "hest": HestEntry,
    "spatialdata": SpatialDataEntry,
    "anndata": AnnDataEntry,
}
"""What a manifest may say of each platform."""


def _within(sample: Sample, path: Path, wanted: bool) -> Sample:
    """Keep the regions whose centre lies in a file's polygons, or those whose centre does not."""
    import shapely

    from pixnet.regions import Polygons

    area = shapely.union_all(Polygons.from_geojson(path, sample.slide.mpp).shapes)
    shapely.prepare(area)
    inside = np.concatenate(
        [
            shapely.contains_xy(area, sample.regions.take(part).centers_um)
            for part in np.array_split(np.arange(len(sample.regions)), 1 + len(sample.regions) // 1_000_000)
        ]
    )
    if not (inside == wanted).any():
        raise DataError(
            f"{path}: leaves no region of sample {sample.id!r}. Its coordinates must be pixels of the image, x first."
        )
    return sample.take(inside == wanted)
