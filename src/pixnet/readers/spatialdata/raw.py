"""Positions, image and counts of a SpatialData store as its elements have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixnet.errors import SlideError
from pixnet.readers.anndata.raw import counts_of
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.readers.spatialdata.reader import Choice, Parts, open_parts
from pixnet.slide.pixel_size import PixelSize

if TYPE_CHECKING:
    from pixnet.readers.platforms import SpatialDataEntry


def raw_places(entry: SpatialDataEntry, raw: RawFiles) -> None:
    """Fill in the centres of the shapes, in um of the image; see `RawReader`."""
    parts = _parts(entry)
    raw.slide = parts.slide()
    raw.xy_px = parts.regions()[0].centers_um
    raw.unit = "um"


def raw_counts(entry: SpatialDataEntry) -> RawCounts:
    """Return the counts as written; see `RawReader`."""
    with _parts(entry).counted() as source:
        return counts_of(source, "X")


def _parts(entry: SpatialDataEntry) -> Parts:
    """Find the elements of a store, if possible without the given pixel size, which may be what is wrong."""
    choice: Choice = {"table": entry.table, "image": entry.element, "region": entry.region}
    try:
        return open_parts(entry.path, choice, entry.coordinate_system, None)
    except SlideError:  # the store states none
        return open_parts(entry.path, choice, entry.coordinate_system, PixelSize.given(entry.mpp))
