"""Write virtual samples as Space Ranger writes Visium: matrix, positions, scale factors, thumbnails, and the image."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.virtual.write.parts import Entry, manifest_entry, write_pyramid, write_tenx_matrix, write_thumbnails

_SPOT_UM = 55.0
_PITCH_UM = 100.0
_ROW_UM = _PITCH_UM * math.sqrt(0.75)
_COL_UM = _PITCH_UM / 2
# Space Ranger's scale factors state these diameters.
_STATED_SPOT_UM = 65.0
_STATED_FIDUCIAL_UM = 105.0
_THUMBNAILS = {"hires": 2000, "lowres": 600}  # pixels of the longer side
_LETTERS = np.frombuffer(b"ACGT", np.uint8)


def write_visium(sample: Sample, folder: str | Path, version: int = 1) -> Entry:
    """Write one sample as `ID/outs` of Space Ranger, with the full-resolution image beside it as `ID/ID.tif`.

    As in a real array, spots fill the rectangle around the sample. Spots that the sample does not have are listed in
    the file of positions as not in tissue, and in no other file. Positions are whole pixels.

    Parameters
    ----------
    sample
        Sample measured with disks of 55 um on an upright hexagonal array of 100 um, as `spots(width_um, height_um, 55,
        100, hexagonal=True)` returns them.
    folder
        Folder to write to.
    version
        1 for positions without a header, as Space Ranger 1 wrote them; 2 for positions with a header.

    Raises
    ------
    DataError
        If the regions are not such disks, or if there is no such version.
    """
    if version not in (1, 2):
        raise DataError(f"sample {sample.id!r} cannot be written as Visium version {version}; choose 1 or 2")
    places = _array_places(sample)
    slide = sample.slide
    outs = Path(folder) / sample.id / "outs"
    (outs / "spatial").mkdir(parents=True, exist_ok=True)
    write_pyramid(slide, outs.parent / f"{sample.id}.tif")
    factors = {
        "spot_diameter_fullres": _STATED_SPOT_UM / slide.mpp,
        "fiducial_diameter_fullres": _STATED_FIDUCIAL_UM / slide.mpp,
    }
    factors |= write_thumbnails(slide, outs / "spatial", _THUMBNAILS)
    (outs / "spatial/scalefactors_json.json").write_text(json.dumps(factors), encoding="utf-8")

    table = _positions(sample, places)
    file = outs / "spatial" / ("tissue_positions_list.csv" if version == 1 else "tissue_positions.csv")
    table.to_csv(file, header=version == 2, index=False, lineterminator="\n")
    barcode_of = dict(zip(zip(table["array_row"], table["array_col"], strict=True), table["barcode"], strict=True))
    barcodes = [barcode_of[row, col] for row, col in places.tolist()]
    _write_matrix(sample, barcodes, outs / "filtered_feature_bc_matrix.h5", version)

    return manifest_entry(sample, "visium", path=f"{sample.id}/outs", image=f"{sample.id}/{sample.id}.tif")


def _array_places(sample: Sample) -> NDArray[np.int64]:
    """Return each spot's row and column in the array, (n, 2); columns count half spots, both are even or both odd."""
    regions = sample.regions
    if not isinstance(regions, Disks) or not np.allclose(regions.diameters_um, _SPOT_UM):
        raise DataError(f"sample {sample.id!r} cannot be written as Visium: its regions are not disks of {_SPOT_UM} um")
    exact = (regions.centers_um - regions.centers_um.min(axis=0))[:, ::-1] / [_ROW_UM, _COL_UM]
    places: NDArray[np.int64] = np.rint(exact).astype(np.int64)
    # The leftmost spot may be in an odd row.
    places[:, 1] += places[0].sum() % 2
    off = np.abs(exact - np.rint(exact)).max() * _COL_UM
    if off > 1e-3 or (places.sum(axis=1) % 2).any() or len(np.unique(places, axis=0)) < len(places):
        raise DataError(
            f"sample {sample.id!r} cannot be written as Visium: its disks are not on an upright hexagonal array of "
            f"{_PITCH_UM} um"
        )
    return places


def _positions(sample: Sample, places: NDArray[np.int64]) -> pd.DataFrame:
    """Return all spots of the rectangle around the sample, row by row."""
    rows, cols = (index.ravel() for index in np.indices(places.max(axis=0) + 1))
    is_spot = (rows + cols) % 2 == 0
    rows, cols = rows[is_spot], cols[is_spot]
    in_tissue = np.isin(rows * (cols.max() + 1) + cols, places[:, 0] * (cols.max() + 1) + places[:, 1])
    corner = sample.regions.centers_um[0] - places[0, ::-1] * [_COL_UM, _ROW_UM]
    # Multiplication by an odd factor permutes the numbers of 32 bits: barcodes look random, and none occurs twice.
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


def _write_matrix(sample: Sample, barcodes: list[str], path: Path, version: int) -> None:
    """Write the counts with barcodes in alphabetical order."""
    order = np.argsort(np.array(barcodes))
    genes = [str(gene) for gene in sample.genes]
    ids = genes if sample.counts.gene_ids is None else [str(gene) for gene in sample.counts.gene_ids]
    features = {"id": ids, "name": genes, "feature_type": ["Gene Expression"] * len(genes)}
    attributes = {
        "chemistry_description": f"Visium V{version} Slide - Virtual",
        "filetype": "matrix",
        "library_ids": np.array([sample.id.encode()]),
        "original_gem_groups": np.array([1]),
        "software_version": f"spaceranger-{version}.0.0",
        "version": 2,
    }
    counts = sparse.csr_matrix(sample.counts.matrix[order])
    write_tenx_matrix(path, counts, [barcodes[row] for row in order], features, attributes)
