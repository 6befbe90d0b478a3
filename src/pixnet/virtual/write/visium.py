"""Virtual samples as Space Ranger writes those of Visium: matrix, positions, scale factors, pictures, and the image."""

from __future__ import annotations

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse

from pixnet.errors import DataError
from pixnet.grid import Box
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.slide import Slide

Entry = dict[str, str | float]

SPOT_UM, PITCH_UM = 55.0, 100.0
_ROW_UM, _COL_UM = PITCH_UM * math.sqrt(0.75), PITCH_UM / 2
_DRAWN_SPOT_UM, _DRAWN_FIDUCIAL_UM = 65.0, 105.0  # as in Space Ranger's scale factors
_HIRES, _LOWRES = 2000, 600  # pixels of a picture's longer side
_TILE = 256
_LETTERS = np.frombuffer(b"ACGT", np.uint8)


def write_visium(sample: Sample, folder: str | Path, version: int = 1) -> Entry:
    """Write one sample as `ID/outs` of Space Ranger, with the full-resolution image beside it as `ID/ID.tif`.

    As in a real array, spots fill the rectangle that the sample spans: those that it lacks stand in the positions as
    not in tissue, and nowhere else. Positions are whole pixels.

    Parameters
    ----------
    sample
        A sample measured with disks of 55 um on an upright hexagonal array of 100 um, as
        `spots(width_um, height_um, 55, 100, hexagonal=True)` gives them.
    folder
        Where to write; made if missing.
    version
        1: positions without a header, as Space Ranger 1 wrote them; 2: with one.

    Returns
    -------
    dict
        The sample's entry in a manifest in that folder.

    Raises
    ------
    DataError
        If the regions are not such disks, or there is no such version.
    """
    if version not in (1, 2):
        raise DataError(f"sample {sample.id!r} cannot be written as Visium version {version}; there are 1 and 2")
    places = _array_places(sample)
    slide = sample.slide
    outs = Path(folder) / sample.id / "outs"
    (outs / "spatial").mkdir(parents=True, exist_ok=True)
    write_pyramid(slide, outs.parent / f"{sample.id}.tif")
    factors = {
        "spot_diameter_fullres": _DRAWN_SPOT_UM / slide.mpp,
        "fiducial_diameter_fullres": _DRAWN_FIDUCIAL_UM / slide.mpp,
        "tissue_hires_scalef": _write_picture(slide, _HIRES, outs / "spatial/tissue_hires_image.png"),
        "tissue_lowres_scalef": _write_picture(slide, _LOWRES, outs / "spatial/tissue_lowres_image.png"),
    }
    (outs / "spatial/scalefactors_json.json").write_text(json.dumps(factors), encoding="utf-8")

    table = _positions(sample, places)
    file = outs / "spatial" / ("tissue_positions_list.csv" if version == 1 else "tissue_positions.csv")
    table.to_csv(file, header=version == 2, index=False, lineterminator="\n")
    barcode_of = dict(zip(zip(table["array_row"], table["array_col"], strict=True), table["barcode"], strict=True))
    barcodes = [barcode_of[row, col] for row, col in places.tolist()]
    _write_matrix(sample, barcodes, outs / "filtered_feature_bc_matrix.h5", version)

    entry: Entry = {
        "id": sample.id,
        "platform": "visium",
        "path": f"{sample.id}/outs",
        "image": f"{sample.id}/{sample.id}.tif",
    }
    if sample.donor is not None:
        entry["donor"] = sample.donor
    return entry


def write_pyramid(slide: Slide, path: Path) -> None:
    """Write a slide as a tiled TIFF, without loss; each level has half the pixels a side of the one before.

    Parameters
    ----------
    slide
        The slide. All of it is held in memory.
    path
        The file. Its resolution tags give the pixel size.
    """
    import tifffile

    shapes = [slide.shape]
    while max(shapes[-1]) > 2 * _TILE:
        shapes.append((math.ceil(shapes[-1][0] / 2), math.ceil(shapes[-1][1] / 2)))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level, shape in enumerate(shapes):
            mpp = slide.mpp * 2**level
            pixels, _ = slide.read_box(Box(0, 0, *shape), mpp)
            file.write(
                pixels,
                tile=(_TILE, _TILE),
                photometric="rgb",
                compression="zlib",
                predictor=True,
                resolution=(1e4 / mpp, 1e4 / mpp),
                resolutionunit="CENTIMETER",
                subifds=0 if level else len(shapes) - 1,
                subfiletype=1 if level else 0,
                metadata=None,
                software=False,
            )


def _array_places(sample: Sample) -> NDArray[np.int64]:
    """Give each spot's row and column in the array, (n, 2): columns count half spots, and both are even or both odd."""
    regions = sample.regions
    if not isinstance(regions, Disks) or not np.allclose(regions.diameters_um, SPOT_UM):
        raise DataError(f"sample {sample.id!r} cannot be written as Visium: its regions are not disks of {SPOT_UM} um")
    exact = (regions.centers_um - regions.centers_um.min(axis=0))[:, ::-1] / [_ROW_UM, _COL_UM]
    places: NDArray[np.int64] = np.rint(exact).astype(np.int64)
    # The leftmost spot may stand in an odd row.
    places[:, 1] += places[0].sum() % 2
    off = np.abs(exact - np.rint(exact)).max() * _COL_UM
    if off > 1e-3 or (places.sum(axis=1) % 2).any() or len(np.unique(places, axis=0)) < len(places):
        raise DataError(
            f"sample {sample.id!r} cannot be written as Visium: its disks do not lie on an upright hexagonal array of "
            f"{PITCH_UM} um"
        )
    return places


def _positions(sample: Sample, places: NDArray[np.int64]) -> pd.DataFrame:
    """Give all spots of the rectangle of the array, row by row."""
    rows, cols = (index.ravel() for index in np.indices(places.max(axis=0) + 1))
    whole = (rows + cols) % 2 == 0
    rows, cols = rows[whole], cols[whole]
    in_tissue = np.isin(rows * (cols.max() + 1) + cols, places[:, 0] * (cols.max() + 1) + places[:, 1])
    corner = sample.regions.centers_um[0] - places[0, ::-1] * [_COL_UM, _ROW_UM]
    # An odd factor makes each number of 32 bits another one: barcodes look drawn, yet none comes twice.
    numbers = (np.arange(1, len(rows) + 1, dtype=np.uint64) * np.uint64(2654435761)) % np.uint64(1 << 32)
    letters = _LETTERS[(numbers[:, None] >> np.arange(0, 32, 2, dtype=np.uint64)) & np.uint64(3)]
    return pd.DataFrame(
        {
            "barcode": [row.tobytes().decode() + "-1" for row in letters],
            "in_tissue": in_tissue.astype(np.int64),
            "array_row": rows,
            "array_col": cols,
            "pxl_row_in_fullres": np.rint((corner[1] + rows * _ROW_UM) / sample.slide.mpp).astype(np.int64),
            "pxl_col_in_fullres": np.rint((corner[0] + cols * _COL_UM) / sample.slide.mpp).astype(np.int64),
        }
    )


def _write_picture(slide: Slide, side: int, path: Path) -> float:
    """Write the slide as a PNG of at most `side` pixels a side, and give the scale factor."""
    scale = min(1.0, side / max(slide.shape))
    pixels, _ = slide.read(0, 0, slide.width_um, slide.height_um, slide.mpp / scale)
    Image.fromarray(pixels).save(path)
    return scale


def _write_matrix(sample: Sample, barcodes: list[str], path: Path, version: int) -> None:
    """Write the counts in the layout of Cell Ranger 3 and later, barcodes in alphabetical order."""
    order = np.argsort(np.array(barcodes))
    counts = sparse.csr_matrix(sample.counts.matrix[order])
    counts.sort_indices()
    genes = [str(gene) for gene in sample.genes]
    ids = genes if sample.counts.gene_ids is None else [str(gene) for gene in sample.counts.gene_ids]
    with h5py.File(path, "w", track_order=False) as file:
        file.attrs.update(
            {
                "chemistry_description": f"Visium V{version} Slide - Virtual",
                "filetype": "matrix",
                "library_ids": np.array([sample.id.encode()]),
                "original_gem_groups": np.array([1]),
                "software_version": f"spaceranger-{version}.0.0",
                "version": 2,
            }
        )
        group = file.create_group("matrix")
        texts = {
            "barcodes": [barcodes[row] for row in order],
            "features/_all_tag_keys": ["genome"],
            "features/feature_type": ["Gene Expression"] * len(genes),
            "features/genome": ["virtual"] * len(genes),
            "features/id": ids,
            "features/name": genes,
        }
        for name, values in texts.items():
            group[name] = np.array([value.encode() for value in values])
        group.create_dataset("data", data=counts.data.astype(np.int32), compression="gzip")
        group.create_dataset("indices", data=counts.indices.astype(np.int64), compression="gzip")
        group["indptr"] = counts.indptr.astype(np.int64)
        group["shape"] = np.array(counts.shape[::-1], np.int32)
