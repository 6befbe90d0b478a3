"""Label masks in image files, as segmentation programs write them: whole numbers, one for each region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.regions import LabelMask
from pixnet.slide.decode_limit import check_decoded_size, pillow_limit
from pixnet.slide.frame import Frame, Frames

_BEYOND = 1.01  # factor by which a mask may be larger than the slide, besides one of its pixels


def read_label_mask(
    path: str | Path, frames: Frames, labels_mpp: float | None = None, name: str = "the slide"
) -> LabelMask:
    """Read a label mask (TIFF, PNG or npy; 0 is background) of a slide with some frames.

    A mask of the size of the scanned part begins at its corner, any other at that of the canvas. The slide is called
    `name` in messages; pixels of the mask are `labels_mpp` um wide, by default those of the slide. Raises `DataError`
    if the file is not such a mask or of another size than the slide, and `SlideError` if it would take too much memory.
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
    frame = _frame_of(labels.shape, frames, labels_mpp)
    shape, mpp = (frame.height_px, frame.width_px), frame.mpp
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
        mask = LabelMask(
            labels.astype(np.uint8) if labels.dtype == bool else labels, frame.x_um, frame.y_um, labels_mpp or mpp
        )
    except DataError as error:
        raise DataError(f"{path}: {error}.") from error
    if not len(mask):
        raise DataError(f"{path}: has no label, only 0, which is background.")
    return mask


def _frame_of(shape: tuple[int, ...], frames: Frames, labels_mpp: float | None) -> Frame:
    """Return the frame that a mask of `shape` (height, width) is a picture of."""
    bounds, mpp = frames.bounds, labels_mpp or frames.canvas.mpp
    if bounds is None:
        return frames.canvas
    sides = zip(shape, bounds.size_um[::-1], strict=True)
    return bounds if all(abs(part * mpp - full) <= mpp for part, full in sides) else frames.canvas


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
