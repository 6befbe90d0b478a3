"""Check the memory of an image without tiles, which has to be decoded at once, against `memory_limit`.

Pillow's own guard against images that declare far too many pixels stays active, with the same limit while PixNet opens
an image.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixnet.errors import SlideError
from pixnet.safe.budget import Budget, memory_limit

_CHANNELS = 3
# An image is damaged if it declares more bytes than any codec packs into the size of its file, and more than _SMALL.
_LARGEST_COMPRESSION = 2048
_SMALL = 512 << 20

_pillow = threading.RLock()


def check_decoded_size(path: Path, height: int, width: int, bytes_per_px: int = _CHANNELS) -> None:
    """Check that an image of this size in pixels can be decoded at once, and that its file can hold so many pixels.

    `bytes_per_px` are all that decoding takes at its peak.
    """
    needed, stored = height * width * _CHANNELS, path.stat().st_size
    if needed > max(_SMALL, _LARGEST_COMPRESSION * stored):
        raise SlideError(
            f"{path}: declares {width} x {height} pixels in {stored} bytes. The image is damaged; copy or download it "
            "again."
        )
    Budget(path, SlideError).check(
        height * width * bytes_per_px,
        f"{width} x {height} pixels without tiles",
        "convert the image to a tiled, pyramidal TIFF",
    )


@contextmanager
def pillow_limit() -> Iterator[None]:
    """Raise Pillow's own limit to `memory_limit` within a `with` block; a higher limit, or none, stays."""
    from PIL import Image

    with _pillow:
        largest = Image.MAX_IMAGE_PIXELS
        if largest is not None:
            Image.MAX_IMAGE_PIXELS = max(largest, memory_limit() // _CHANNELS)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = largest
