"""Positions and image of a Visium HD capture area as its files have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.pitch import pitch
from pixnet.readers.formats.tenx_spatial import POSITION_FILES, full_resolution_sizes
from pixnet.readers.raw import MOST_PLACES, Places, RawCounts, RawFiles
from pixnet.readers.visium_hd.files import DEFAULT_BIN_UM, bin_folders, full_resolution_image, read_spatial

if TYPE_CHECKING:
    from pixnet.readers.platforms import VisiumHDEntry

_NEIGHBOURS = 20_000  # places that a pitch is measured from; rows of the file are mostly neighbours


def raw_places(entry: VisiumHDEntry, raw: RawFiles) -> None:
    """Fill in the bins under tissue; see `RawReader`."""
    # The largest bins: they are where the small ones are, and few.
    sizes = bin_folders(entry.path)
    size, folder = max(sizes.items())
    raw.spatial, _ = read_spatial(folder, size)
    raw.pictures.update(full_resolution_sizes(raw.spatial))
    positions = find_file(raw.spatial, POSITION_FILES[:1])
    if positions is not None:
        first, raw.xy_px = _read_places(positions)
        measured = pitch(first)
        # Reported for the bins that the sample is read at.
        bin_um = entry.bin_um or (size if entry.path in sizes.values() or entry.cells else DEFAULT_BIN_UM)
        raw.pitch_px = None if measured is None else measured * bin_um / size
        raw.pitch_um = bin_um
    raw.image = full_resolution_image(entry.path, folder, entry.image)


def raw_counts(entry: VisiumHDEntry) -> RawCounts | None:
    """Return None: millions of bins are not read a second time."""
    return None


def _read_places(path: Path) -> tuple[Places, Places]:
    """Return the first places under tissue, which are neighbours, and a sample of all; never all of ten million."""
    import pyarrow.parquet as pq

    x, y = "pxl_col_in_fullres", "pxl_row_in_fullres"
    first, sample = np.empty((0, 2)), []
    with pq.ParquetFile(path) as file:
        step = max(1, file.metadata.num_rows // MOST_PLACES)
        for batch in file.iter_batches(1 << 18, columns=["in_tissue", x, y]):
            table = batch.to_pandas()
            places = table.loc[table["in_tissue"] == 1, [x, y]].to_numpy(np.float64)
            if len(first) < _NEIGHBOURS:
                first = np.concatenate([first, places])[:_NEIGHBOURS]
            sample.append(places[::step])
    return first, np.concatenate(sample)
