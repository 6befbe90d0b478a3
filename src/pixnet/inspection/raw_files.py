"""Positions, image and counts as a sample's files have them, so that the refusal of a reader can be explained."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pixnet.errors import PixNetError
from pixnet.readers.entry import Entry
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.platforms import PLATFORMS
from pixnet.readers.raw import MOST_PLACES, RawCounts, RawFiles

_T = TypeVar("_T")


def raw_files(entry: Entry, was_read: bool = False) -> RawFiles:
    """Read positions as they are written, and find the image; what cannot be read stays None.

    Parameters
    ----------
    entry
        The sample's entry in a manifest.
    was_read
        Whether the reader could use the files: then a SpatialData store, whose shapes would be read twice, is left
        alone.
    """
    raw = RawFiles(image=entry.image)
    platform = PLATFORMS[entry.platform]
    if not (was_read and platform.slow_places):
        attempt(partial(platform.raw.raw_places, entry, raw))
    if entry.image_transform is not None:
        attempt(partial(_onto_image, entry.image_transform, raw))
    if raw.xy_px is not None and len(raw.xy_px) > MOST_PLACES:
        raw.xy_px = raw.xy_px[:: len(raw.xy_px) // MOST_PLACES]
    return raw


def raw_counts(entry: Entry) -> RawCounts | None:
    """Read the table of counts as it is written, with its genes; None if it cannot be read.

    Parameters
    ----------
    entry
        The sample's entry in a manifest.
    """
    return attempt(partial(PLATFORMS[entry.platform].raw.raw_counts, entry))


def attempt(read: Callable[[], _T]) -> _T | None:
    """Return what a function reads, or None if a file is damaged or missing."""
    try:
        return read()
    except (PixNetError, OSError, ValueError, LookupError, TypeError, EOFError, zlib.error):
        # The reader has already reported what is wrong with the file.
        return None


def _onto_image(given: GivenTransform, raw: RawFiles) -> None:
    """Bring positions that were written for another image onto the given one."""
    transform = ImageTransform.read(given)
    raw.pictures.clear()  # they are of the other image
    if raw.unit == "px" and raw.xy_px is not None:
        raw.xy_px = transform.points(raw.xy_px)
        raw.pitch_px = None if raw.pitch_px is None else raw.pitch_px * transform.scale
