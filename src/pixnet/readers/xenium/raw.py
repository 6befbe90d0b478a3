"""Positions, image and counts of a Xenium run as its files have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pixnet.readers.formats.affine import moved
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.image_transform import ImageTransform
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.readers.xenium.panel import matrix_path
from pixnet.readers.xenium.run import he_image, place_run, run_folder
from pixnet.readers.xenium.tables import parquet_batches
from pixnet.slide import Slide

if TYPE_CHECKING:
    from pixnet.readers.platforms import XeniumEntry


def raw_places(entry: XeniumEntry, raw: RawFiles) -> None:
    """Fill in the centres of the cells, in um of the slide; see `RawReader`."""
    folder = run_folder(entry.path)
    # Without the given pixel size, which may be what is wrong.
    run = place_run(folder, entry.image, entry.alignment, None, ImageTransform.read(entry.image_transform))
    cells = find_file(folder, ["cells.parquet"])
    if cells is not None:
        x, y = "x_centroid", "y_centroid"
        centres = [np.column_stack([batch[x], batch[y]]) for batch in parquet_batches(cells, [x, y], [])]
        raw.xy_px = moved(np.concatenate(centres), run.to_slide)
        raw.unit = "um"
        raw.slide = run.slide
    run_image = he_image(folder)
    if entry.image is not None and entry.alignment is None and run_image is not None:
        # The run's alignment is for the run's own image.
        raw.pictures[run_image.name] = Slide.open(run_image, mpp=1.0).shape


def raw_counts(entry: XeniumEntry) -> RawCounts | None:
    """Return the counts by cell as written; see `RawReader`."""
    path = matrix_path(run_folder(entry.path))
    if path is None:
        return None
    counts = read_tenx_matrix(path)
    return counts.matrix, counts.names
