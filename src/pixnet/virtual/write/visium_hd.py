"""Write a virtual tissue as Space Ranger writes Visium HD: bins of several sizes, segmented cells, and the image.

The smallest bins are measured once; larger bins and cells are sums of them, as in a real run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.regions import Squares
from pixnet.slide import Slide
from pixnet.virtual.tissue import VirtualTissue
from pixnet.virtual.transcripts import main_parts, windows_of
from pixnet.virtual.write.parts import Entry, write_pyramid, write_tenx_matrix, write_thumbnails

_AT_ONCE = 50_000  # bins measured at once; limits the memory to about 100 MB for 250 genes
_THUMBNAILS = {"hires": 6000, "lowres": 600}  # pixels of the longer side
_FIDUCIAL_UM = 330.0
_ROW_GROUP = 1 << 20


@dataclass(frozen=True)
class _Area:
    """A capture area: a turned lattice of the smallest bins, row by row, without gaps, and their counts.

    If it is mirrored, column c of the lattice is column `shape[1] - 1 - c` in the files.
    """

    tissue: VirtualTissue
    bins: Squares
    shape: tuple[int, int]
    counts: sparse.csr_matrix
    mirrored: bool

    def pixels(self, row: NDArray[Any], col: NDArray[Any]) -> NDArray[np.float64]:
        """Return x and y in pixels of places on the lattice, (n, 2); rows and columns may have fractions."""
        turn = math.radians(self.bins.angle_deg)
        across = np.asarray(col) * self.bins.side_um
        down = np.asarray(row) * self.bins.side_um
        x = self.bins.x_um + math.cos(turn) * across - math.sin(turn) * down
        y = self.bins.y_um + math.sin(turn) * across + math.cos(turn) * down
        return np.stack([x, y], axis=-1) / self.tissue.slide.mpp


def write_visium_hd(
    tissue: VirtualTissue,
    folder: str | Path,
    bin_sizes: Sequence[int] = (2, 8, 16),
    angle_deg: float = 1.0,
    seed: int = 0,
    *,
    mirrored: bool = False,
) -> Entry:
    """Write a tissue as `ID/outs` of Space Ranger, with the full-resolution image beside it as `ID/ID.tif`.

    The capture area is the largest turned rectangle in the middle of the slide that consists of complete bins of every
    size. All of it is under tissue. A cell is the set of the smallest bins whose centres are in the cell.

    Parameters
    ----------
    tissue, folder, seed
        Tissue, folder to write to, and seed of the run.
    bin_sizes
        Sides of the bins in whole um, all of them multiples of the smallest.
    angle_deg, mirrored
        Angle of the lattice against the image, from x towards y, in degrees; and whether columns are counted against x,
        as the instrument does for some images.

    Raises
    ------
    DataError
        If the sizes are not such numbers, or if no bin of the largest size fits on the slide.
    """
    sizes = sorted(set(bin_sizes))
    if not sizes or sizes[0] < 1 or any(size != int(size) or size % sizes[0] for size in sizes):
        raise DataError(f"bins of {list(bin_sizes)} um cannot be written; give whole um, multiples of the smallest")
    area = _measure(tissue, sizes, angle_deg, seed, mirrored)
    name = tissue.sample_id(seed)
    outs = Path(folder) / name / "outs"
    outs.mkdir(parents=True, exist_ok=True)
    write_pyramid(tissue.slide, outs.parent / f"{name}.tif")
    for size in sizes:
        _write_bins(outs / "binned_outputs" / f"square_{size:03d}um", area, size)
    _write_cells(outs / "segmented_outputs", area)
    entry: Entry = {
        "id": name,
        "donor": tissue.donor,
        "platform": "visium-hd",
        "path": f"{name}/outs",
        "image": f"{name}/{name}.tif",
    }
    if 8 not in sizes:
        entry["bin_um"] = float(sizes[-1])
    return entry


def _measure(tissue: VirtualTissue, sizes: list[int], angle_deg: float, seed: int, mirrored: bool) -> _Area:
    """Place the lattice on the slide and measure its smallest bins."""
    slide = tissue.slide
    unit, block = sizes[0], math.lcm(*sizes)
    turn = math.radians(angle_deg)
    cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
    # The share of the slide's sides that a turned rectangle with the slide's aspect ratio can have.
    aspect = slide.height_um / slide.width_um
    share = 1 / max(cosine + sine * aspect, cosine + sine / aspect)
    rows, cols = (int(share * extent / block) * (block // unit) for extent in (slide.height_um, slide.width_um))
    if min(rows, cols) < 1:
        raise DataError(
            f"no bin of {block} um fits on {slide.name}, turned by {angle_deg} degrees; use a larger tissue"
        )
    across, down = cols * unit / 2, rows * unit / 2
    x_um = slide.width_um / 2 - (math.cos(turn) * across - math.sin(turn) * down)
    y_um = slide.height_um / 2 - (math.sin(turn) * across + math.cos(turn) * down)
    row, col = np.divmod(np.arange(rows * cols), cols)
    bins = Squares(x_um, y_um, unit, row, col, angle_deg)
    parts, capture = [], None
    for number, start in enumerate(range(0, len(bins), _AT_ONCE)):
        part = bins.take(np.arange(start, min(start + _AT_ONCE, len(bins))))
        # All bins of a run have the same capture, but independent noise.
        measured = tissue.measure(part, seed + 1_000_003 * number, capture=capture)
        capture = float(measured.counts.notes["capture"])
        parts.append(measured.counts.matrix)
    counts = sparse.csr_matrix(sparse.vstack(parts, format="csr"))
    return _Area(tissue, bins, (rows, cols), counts, mirrored)


def _write_bins(folder: Path, area: _Area, size: int) -> None:
    """Write the bins of one size, in the order of their barcodes."""
    factor = size // round(area.bins.side_um)
    rows, cols = (side // factor for side in area.shape)
    row, col = np.divmod(np.arange(rows * cols), cols)
    place = cols - 1 - col if area.mirrored else col
    owner = area.bins.rows // factor * cols + area.bins.cols // factor
    counts = _sums(owner, rows * cols, area.counts)[row * cols + place]
    barcodes = [f"s_{size:03d}um_{r:05d}_{c:05d}-1" for r, c in zip(row.tolist(), col.tolist(), strict=True)]
    pixels = area.pixels((row + 0.5) * factor, (place + 0.5) * factor)
    spatial = folder / "spatial"
    _write_scalefactors(spatial, area.tissue.slide, size)
    _write_matrix(folder / "filtered_feature_bc_matrix.h5", counts, barcodes, area.tissue.genes)
    table = pa.table(
        {
            "barcode": barcodes,
            "in_tissue": np.ones(len(row), np.int32),
            "array_row": row.astype(np.int32),
            "array_col": col.astype(np.int32),
            "pxl_row_in_fullres": pixels[:, 1],
            "pxl_col_in_fullres": pixels[:, 0],
        }
    )
    pq.write_table(table, spatial / "tissue_positions.parquet", row_group_size=_ROW_GROUP)


def _write_cells(folder: Path, area: _Area) -> None:
    """Write the cells of the capture area; of a cell in several parts, only the largest."""
    tissue = area.tissue
    x, y = np.floor(area.bins.centers_um.T).astype(np.int64)
    labels = main_parts(tissue.labels[y, x].reshape(area.shape))
    windows = windows_of(labels)
    numbers = list(windows)
    features: list[dict[str, Any]] = []
    for row, (number, window) in enumerate(windows.items()):
        rows, cols = (
            places + part.start for places, part in zip(np.nonzero(labels[window] == number), window, strict=True)
        )
        shape = shapely.union_all(shapely.box(cols, rows, cols + 1, rows + 1))
        outline = shapely.transform(shape, lambda places: area.pixels(places[:, 1], places[:, 0]))
        features.append(
            {
                "type": "Feature",
                "id": row,
                "properties": {"cell_id": number},
                "geometry": shapely.geometry.mapping(outline),
            }
        )
    _write_scalefactors(folder / "spatial", tissue.slide, None)
    row_of = np.full(labels.max() + 1, -1, np.int64)
    row_of[numbers] = np.arange(len(numbers))
    counts = _sums(row_of[labels.ravel()], len(numbers), area.counts)
    barcodes = [f"cellid_{number:09d}-1" for number in numbers]
    _write_matrix(folder / "filtered_feature_cell_matrix.h5", counts, barcodes, tissue.genes)
    outlines = {"type": "FeatureCollection", "features": features}
    (folder / "cell_segmentations.geojson").write_text(json.dumps(outlines), encoding="utf-8")


def _sums(owner: NDArray[np.int64], owners: int, counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Sum the counts of bins by owner, (owners, genes); bins with the owner -1 are left out."""
    bins = np.flatnonzero(owner >= 0)
    ones = np.ones(len(bins), np.float32)
    return sparse.csr_matrix(sparse.csr_matrix((ones, (owner[bins], bins)), (owners, len(owner))) @ counts)


def _write_scalefactors(spatial: Path, slide: Slide, size: int | None) -> None:
    """Write the scale factors and the two thumbnails that they refer to."""
    spatial.mkdir(parents=True, exist_ok=True)
    factors = {"microns_per_pixel": slide.mpp, "fiducial_diameter_fullres": _FIDUCIAL_UM / slide.mpp}
    if size is not None:
        factors |= {"spot_diameter_fullres": size / slide.mpp, "bin_size_um": float(size)}
    # The thumbnails are always smaller than the full resolution, as in any real run.
    factors |= write_thumbnails(slide, spatial, _THUMBNAILS, most=0.5)
    factors["regist_target_img_scalef"] = factors["tissue_hires_scalef"]
    (spatial / "scalefactors_json.json").write_text(json.dumps(factors), encoding="utf-8")


def _write_matrix(path: Path, counts: sparse.csr_matrix, barcodes: list[str], genes: tuple[str, ...]) -> None:
    features = {"id": genes, "name": genes, "feature_type": ["Gene Expression"] * len(genes)}
    attributes = {"chemistry_description": "Visium HD - Virtual", "filetype": "matrix", "version": 2}
    write_tenx_matrix(path, counts, barcodes, features, attributes)
