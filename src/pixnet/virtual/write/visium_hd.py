"""A virtual tissue as Space Ranger writes Visium HD: bins of several sizes, segmented cells, and the image beside them.

The finest bins are measured once; larger bins and cells are sums of them, as in a real run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, sparse

from pixnet.errors import DataError
from pixnet.regions import Squares
from pixnet.slide import Slide
from pixnet.virtual.tissue import VirtualTissue
from pixnet.virtual.write.dataset import Entry
from pixnet.virtual.write.visium import write_pyramid

_AT_ONCE = 50_000  # bins measured at a time; bounds the memory to some 100 MB for 250 genes
_HIRES, _LOWRES = 6000, 600  # pixels of a picture's longer side
_ROW_GROUP = 1 << 20


@dataclass(frozen=True)
class _Area:
    """A capture area: a full lattice of the finest bins, turned, its counts row by row.

    Column c of the lattice is column `shape[1] - 1 - c` of the files if `mirrored`.
    """

    tissue: VirtualTissue
    bins: Squares
    shape: tuple[int, int]
    counts: sparse.csr_matrix
    mirrored: bool

    def pixels(self, row: NDArray[Any], col: NDArray[Any]) -> NDArray[np.float64]:
        """Give x and y in pixels of places of the lattice, whole or not."""
        turn = math.radians(self.bins.angle_deg)
        across, down = np.asarray(col) * self.bins.side_um, np.asarray(row) * self.bins.side_um
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

    The capture area is the largest turned rectangle in the middle of the slide that whole bins of every size fill.
    All of it is under tissue. Cells are sets of the finest bins: those whose centre lies in the cell.

    Parameters
    ----------
    tissue
        The tissue.
    folder
        Where to write; made if missing.
    bin_sizes
        Sides of the bins in whole um, all of them multiples of the smallest.
    angle_deg
        Turn of the lattice against the image, from x towards y.
    seed
        Seed of the run.
    mirrored
        Whether columns are counted against x, as the instrument does for some images.

    Returns
    -------
    dict
        The sample's entry in a manifest in that folder.

    Raises
    ------
    DataError
        If the sizes are no such numbers, or no bin of the largest size fits on the slide.
    """
    sizes = sorted(set(bin_sizes))
    if not sizes or sizes[0] < 1 or any(size != int(size) or size % sizes[0] for size in sizes):
        raise DataError(f"bins of {list(bin_sizes)} um cannot be written; give whole um, multiples of the smallest")
    area = _measured(tissue, sizes, angle_deg, seed, mirrored)
    name = f"{tissue.slide.name}-{seed}"
    outs = Path(folder) / name / "outs"
    outs.mkdir(parents=True, exist_ok=True)
    write_pyramid(tissue.slide, outs.parent / f"{name}.tif")
    for size in sizes:
        _write_bins(outs / "binned_outputs" / f"square_{size:03d}um", area, size)
    _write_cells(outs / "segmented_outputs", area)
    entry: Entry = {
        "id": name,
        "donor": f"{tissue.preset.name}-donor-{tissue.donor_seed}",
        "platform": "visium-hd",
        "path": f"{name}/outs",
        "image": f"{name}/{name}.tif",
    }
    if 8 not in sizes:
        entry["bin_um"] = float(sizes[-1])
    return entry


def _measured(tissue: VirtualTissue, sizes: list[int], angle_deg: float, seed: int, mirrored: bool) -> _Area:
    """Lay the lattice on the slide and measure its finest bins."""
    slide, unit, block = tissue.slide, sizes[0], math.lcm(*sizes)
    turn = math.radians(angle_deg)
    cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
    # The share of either side that a turned rectangle of the slide's shape can have.
    aspect = slide.height_um / slide.width_um
    share = 1 / max(cosine + sine * aspect, cosine + sine / aspect)
    rows, cols = (int(share * extent / block) * (block // unit) for extent in (slide.height_um, slide.width_um))
    if min(rows, cols) < 1:
        raise DataError(f"no bin of {block} um fits on {slide.name}, turned by {angle_deg} degrees; draw more tissue")
    across, down = cols * unit / 2, rows * unit / 2
    x_um = slide.width_um / 2 - (math.cos(turn) * across - math.sin(turn) * down)
    y_um = slide.height_um / 2 - (math.sin(turn) * across + math.cos(turn) * down)
    row, col = np.divmod(np.arange(rows * cols), cols)
    bins = Squares(x_um, y_um, unit, row, col, angle_deg)
    parts, capture = [], None
    for number, start in enumerate(range(0, len(bins), _AT_ONCE)):
        part = bins.take(np.arange(start, min(start + _AT_ONCE, len(bins))))
        # One run has one capture, but every bin its own chance.
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
    """Write the cells of the capture area: the largest connected set of finest bins of each."""
    import shapely

    tissue = area.tissue
    x, y = np.floor(area.bins.centers_um.T).astype(np.int64)
    labels = tissue.labels[y, x].reshape(area.shape)
    owner = np.full(labels.size, -1, np.int64)
    numbers: list[int] = []
    features: list[dict[str, Any]] = []
    windows: list[Any] = ndimage.find_objects(labels)
    for index, window in enumerate(windows, start=1):
        if window is None:
            continue
        parts, many = ndimage.label(labels[window] == index)
        largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=many + 1)[1:]))
        row, col = (places + part.start for places, part in zip(np.nonzero(largest), window, strict=True))
        owner[row * area.shape[1] + col] = len(numbers)
        shape = shapely.union_all(shapely.box(col, row, col + 1, row + 1))
        outline = shapely.transform(shape, lambda places: area.pixels(places[:, 1], places[:, 0]))
        numbers.append(index)
        features.append(
            {
                "type": "Feature",
                "id": len(features),
                "properties": {"cell_id": index},
                "geometry": shapely.geometry.mapping(outline),
            }
        )
    _write_scalefactors(folder / "spatial", tissue.slide, None)
    counts = _sums(owner, len(numbers), area.counts)
    barcodes = [f"cellid_{number:09d}-1" for number in numbers]
    _write_matrix(folder / "filtered_feature_cell_matrix.h5", counts, barcodes, tissue.genes)
    outlines = {"type": "FeatureCollection", "features": features}
    (folder / "cell_segmentations.geojson").write_text(json.dumps(outlines), encoding="utf-8")


def _sums(owner: NDArray[np.int64], owners: int, counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Sum the counts of bins by owner; -1 is nobody."""
    bins = np.flatnonzero(owner >= 0)
    ones = np.ones(len(bins), np.float32)
    return sparse.csr_matrix(sparse.csr_matrix((ones, (owner[bins], bins)), (owners, len(owner))) @ counts)


def _write_scalefactors(spatial: Path, slide: Slide, size: int | None) -> None:
    """Write the scale factors and the two small pictures that they belong to."""
    spatial.mkdir(parents=True, exist_ok=True)
    factors = {"microns_per_pixel": slide.mpp, "fiducial_diameter_fullres": 330.0 / slide.mpp}
    if size is not None:
        factors |= {"spot_diameter_fullres": size / slide.mpp, "bin_size_um": float(size)}
    for kind, side in (("hires", _HIRES), ("lowres", _LOWRES)):
        # Always smaller than the full resolution, as it is in any real run.
        scale = min(0.5, side / max(slide.shape))
        pixels, _ = slide.read(0, 0, slide.width_um, slide.height_um, slide.mpp / scale)
        Image.fromarray(pixels).save(spatial / f"tissue_{kind}_image.png")
        factors[f"tissue_{kind}_scalef"] = scale
    factors["regist_target_img_scalef"] = factors["tissue_hires_scalef"]
    (spatial / "scalefactors_json.json").write_text(json.dumps(factors), encoding="utf-8")


def _write_matrix(path: Path, counts: sparse.csr_matrix, barcodes: list[str], genes: tuple[str, ...]) -> None:
    """Write counts in the layout of Cell Ranger 3 and later."""
    counts.sort_indices()
    with h5py.File(path, "w") as file:
        file.attrs.update({"chemistry_description": "Visium HD - Virtual", "filetype": "matrix", "version": 2})
        group = file.create_group("matrix")
        texts: dict[str, Sequence[str]] = {
            "barcodes": barcodes,
            "features/_all_tag_keys": ["genome"],
            "features/feature_type": ["Gene Expression"] * len(genes),
            "features/genome": ["virtual"] * len(genes),
            "features/id": genes,
            "features/name": genes,
        }
        for name, values in texts.items():
            group.create_dataset(name, data=np.array(values, dtype="S"), compression="gzip")
        for name, array in (("data", counts.data.astype(np.int32)), ("indices", counts.indices.astype(np.int64))):
            group.create_dataset(name, data=array, compression="gzip", chunks=True, maxshape=(None,))
        group["indptr"] = counts.indptr.astype(np.int64)
        group["shape"] = np.array(counts.shape[::-1], np.int32)
