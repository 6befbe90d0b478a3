"""How large an image may be that has to be decoded as a whole, because it has no tiles.

4 GB, unless the environment variable PIXNET_DECODE_LIMIT_GB says otherwise. Pillow's own guard against images that
declare far too many pixels stays in place, moved to the same limit while an image is open here.
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
# What damage declares: more than any codec packs into so few bytes, and more than is taken for granted.
_UNPACKS, _SMALL = 2048, 512 << 20

_pillow = threading.RLock()


def decode_limit() -> int:
    """Give the bytes that an image without tiles may take once it is decoded.

    Raises
    ------
    SlideError
        If the environment variable holds no positive number.
    """
    given = os.environ.get(VARIABLE, "").strip()
    try:
        size = float(given) if given else _DEFAULT_GB
    except ValueError:
        size = math.nan
    if not (math.isfinite(size) and size > 0):
        raise SlideError(f"the environment variable {VARIABLE} must be a positive number of GB, not {given!r}.")
    return int(size * 2**30)


def check_decoded_size(path: Path, height: int, width: int) -> None:
    """Raise SlideError if so many pixels are too many to be decoded at once, or to be in so small a file."""
    needed, limit, stored = height * width * _CHANNELS, decode_limit(), path.stat().st_size
    if needed > max(_SMALL, _UNPACKS * stored):
        raise SlideError(
            f"{path}: declares {width} x {height} pixels in {stored} bytes. The image is damaged; copy or download it "
            "again."
        )
    if needed > limit:
        raise SlideError(
            f"{path}: {width} x {height} pixels without tiles would take {needed / 2**30:.1f} GB in memory, and "
            f"{limit / 2**30:g} GB is the limit. Convert the image to a tiled, pyramidal TIFF, or raise the limit with "
            f"the environment variable {VARIABLE}."
        )


@contextmanager
def pillow_limit() -> Iterator[None]:
    """Let Pillow open and decode what the limit allows, and no more; a larger or lifted limit of its own stays."""
    from PIL import Image

    with _pillow:
        own = Image.MAX_IMAGE_PIXELS
        if own is not None:
            Image.MAX_IMAGE_PIXELS = max(own, decode_limit() // _CHANNELS)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = own
