"""Label masks in image files, as segmentation programs write them: whole numbers, one for each region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.regions import LabelMask
from pixnet.slide.decode_limit import check_decoded_size, pillow_limit

_BEYOND = 1.01  # factor by which a mask may be larger than the slide, besides one of its pixels


def read_label_mask(
    path: str | Path, shape: tuple[int, int], mpp: float, labels_mpp: float | None = None, name: str = "the slide"
) -> LabelMask:
    """Read a label mask (TIFF, PNG or npy; 0 is background) that begins at the top-left corner of a slide.

    The slide has `shape` (height, width) full-resolution pixels of `mpp` um, and is called `name` in messages; pixels
    of the mask are `labels_mpp` um wide, by default those of the slide. Raises `DataError` if the file is not such a
    mask or of another size than the slide, and `SlideError` if it would take too much memory.
    """
    path = Path(path)
    try:
        labels = _read(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({first_line(error)}). Give the path of a TIFF, PNG or npy file."
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, EOFError, SyntaxError, RuntimeError) as error:
        raise DataError(f"{path}: is not a TIFF, PNG or npy file that can be read ({first_line(error)}).") from error
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise DataError(
            f"{path}: has {labels.dtype} of shape {labels.shape}; a label mask must be one plane of whole numbers."
        )
    height, width = labels.shape
    size = f"{path}: is {width} x {height} pixels, but {name} is {shape[1]} x {shape[0]}"
    if labels_mpp is None:
        if labels.shape != shape:
            raise DataError(f"{size}; give a mask of that size, or its pixel size as `labels_mpp`.")
    elif any(n * labels_mpp > _BEYOND * side * mpp + labels_mpp for n, side in zip(labels.shape, shape, strict=True)):
        raise DataError(
            f"{size}: at {labels_mpp:g} um per pixel the mask is {width * labels_mpp:.0f} x {height * labels_mpp:.0f} "
            f"um and reaches beyond the slide of {shape[1] * mpp:.0f} x {shape[0] * mpp:.0f} um. Give its right um per "
            "pixel."
        )
    try:
        mask = LabelMask(labels.astype(np.uint8) if labels.dtype == bool else labels, 0.0, 0.0, labels_mpp or mpp)
    except DataError as error:
        raise DataError(f"{path}: {error}.") from error
    if not len(mask):
        raise DataError(f"{path}: has no label, only 0, which is background.")
    return mask


def _read(path: Path) -> NDArray[Any]:
    """Read a file of any of the formats, by its ending."""
    ending = path.suffix.lower()
    if ending == ".npy":
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    if ending in (".tif", ".tiff"):
        import tifffile

        with tifffile.TiffFile(path) as file:
            series = file.series[0].levels[0]
            if len(series.shape) == 2:
                check_decoded_size(path, *series.shape)
            return np.asarray(series.asarray())
    from PIL import Image

    with pillow_limit(), Image.open(path) as image:
        check_decoded_size(path, image.height, image.width)
        return np.asarray(image)
