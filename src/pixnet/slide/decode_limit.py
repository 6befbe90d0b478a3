"""Limit to the memory of an image without tiles, which has to be decoded at once.

The limit is 4 GB, or the value of the environment variable PIXNET_DECODE_LIMIT_GB. Pillow's own guard against images
that declare far too many pixels stays active, with the same limit while PixNet opens an image.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixnet.errors import SlideError

VARIABLE = "PIXNET_DECODE_LIMIT_GB"

_DEFAULT_GB = 4.0
_CHANNELS = 3
# An image is damaged if it declares more bytes than any codec packs into the size of its file, and more than _SMALL.
_LARGEST_COMPRESSION = 2048
_SMALL = 512 << 20

_pillow = threading.RLock()


def decode_limit() -> int:
    """Return the number of bytes that a decoded image without tiles may take."""
    value = os.environ.get(VARIABLE, "").strip()
    try:
        limit_gb = float(value) if value else _DEFAULT_GB
    except ValueError:
        limit_gb = math.nan
    if not (math.isfinite(limit_gb) and limit_gb > 0):
        raise SlideError(f"the environment variable {VARIABLE} must be a positive number of GB, not {value!r}.")
    return int(limit_gb * 2**30)


def check_decoded_size(path: Path, height: int, width: int) -> None:
    """Check that an image of this size in pixels can be decoded at once, and that its file can hold so many pixels."""
    needed, limit, stored = height * width * _CHANNELS, decode_limit(), path.stat().st_size
    if needed > max(_SMALL, _LARGEST_COMPRESSION * stored):
        raise SlideError(
            f"{path}: declares {width} x {height} pixels in {stored} bytes. The image is damaged; copy or download it "
            "again."
        )
    if needed > limit:
        raise SlideError(
            f"{path}: {width} x {height} pixels without tiles would take {needed / 2**30:.1f} GB in memory, but the "
            f"limit is {limit / 2**30:g} GB. Convert the image to a tiled, pyramidal TIFF, or raise the limit with "
            f"the environment variable {VARIABLE}."
        )


@contextmanager
def pillow_limit() -> Iterator[None]:
    """Raise Pillow's own limit to `decode_limit` within a `with` block; a higher limit, or none, stays."""
    from PIL import Image

    with _pillow:
        largest = Image.MAX_IMAGE_PIXELS
        if largest is not None:
            Image.MAX_IMAGE_PIXELS = max(largest, decode_limit() // _CHANNELS)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = largest
