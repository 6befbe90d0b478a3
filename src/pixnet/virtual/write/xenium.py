"""Write a virtual tissue as the folder of a Xenium run, with its image as the H&E image."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from scipy import sparse

from pixnet.grid import Box
from pixnet.slide import Slide
from pixnet.virtual.tissue import VirtualTissue
from pixnet.virtual.transcripts import SURE, Floats, VirtualTranscripts, draw_transcripts
from pixnet.virtual.write.parts import Entry, write_tenx_matrix

_MORPHOLOGY_UM = 0.2125  # um per pixel of the morphology image
_GENE = "Gene Expression"
_NO_CELL = "UNASSIGNED"
_ROW_GROUP = 20_000
_TILE = 256
_SMALLEST_LEVEL = 256  # pixels of the longer side


def write_xenium(
    tissue: VirtualTissue, folder: str | Path, seed: int = 0, *, turn_deg: float = 1.5, flipped: bool = False
) -> Entry:
    """Write a tissue as the folder of a Xenium run; the entry that is returned is for a manifest next to that folder.

    The folder has `experiment.xenium`, the tables of cells, outlines and transcripts (parquet), the counts by cell
    (HDF5), and the H&E image (pyramidal OME-TIFF) with its alignment. It does not have the morphology image: only its
    coordinates matter. `turn_deg` is the angle by which the H&E image is turned on it, in degrees; if `flipped`, it is
    mirrored before.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw_transcripts(tissue, seed)
    alignment = _alignment(tissue.slide, turn_deg, flipped)
    to_run = np.diag([_MORPHOLOGY_UM, _MORPHOLOGY_UM, 1.0]) @ alignment @ np.diag([*[1 / tissue.slide.mpp] * 2, 1.0])
    names = {cell: _cell_name(cell) for cell in drawn.cells}
    table = _counts_by_cell(drawn, tissue)
    experiment = {
        "major_version": 5,
        "minor_version": 0,
        "run_name": "virtual tissue",
        "region_name": tissue.slide.name,
        "num_cells": len(names),
        "transcripts_per_cell": float(np.median(table.sum(axis=1))) if len(names) else 0.0,
        "pixel_size": _MORPHOLOGY_UM,
    }
    (folder / "experiment.xenium").write_text(json.dumps(experiment, indent=2) + "\n", encoding="utf-8")
    lines = [",".join(repr(float(value)) for value in line) for line in alignment]
    (folder / "he_imagealignment.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    features = {"id": drawn.features, "name": drawn.features, "feature_type": drawn.kinds}
    write_tenx_matrix(folder / "cell_feature_matrix.h5", table, list(names.values()), features)
    _write_cells(folder / "cells.parquet", drawn, names, to_run)
    _write_outlines(folder / "cell_boundaries.parquet", drawn.cells, names, to_run)
    _write_outlines(folder / "nucleus_boundaries.parquet", drawn.nuclei, names, to_run)
    _write_transcripts(folder / "transcripts.parquet", drawn, names, to_run)
    _write_image(folder / "he_image.ome.tif", tissue.slide)
    return {"id": tissue.sample_id(seed), "donor": tissue.donor, "platform": "xenium", "path": folder.name}


def _alignment(slide: Slide, turn_deg: float, flipped: bool) -> Floats:
    """Return the matrix from pixels of the slide to pixels of the morphology image, all of which are positive."""
    scale = slide.mpp / _MORPHOLOGY_UM
    turn = math.radians(turn_deg)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    if flipped:
        matrix[:2, 0] *= -1
    height, width = slide.shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix[:2, :2].T
    matrix[:2, 2] = 100.25 - corners.min(axis=0)
    return matrix


def _transformed(matrix: Floats, xy: Floats) -> Floats:
    return np.asarray(xy @ matrix[:2, :2].T + matrix[:2, 2], np.float64)


def _cell_name(cell: int) -> str:
    """Return a cell's name as the instrument writes it: a number in letters a to p, and the number of the data set."""
    return "".join(chr(ord("a") + int(digit, 16)) for digit in f"{cell + 1:08x}") + "-1"


def _counts_by_cell(drawn: VirtualTranscripts, tissue: VirtualTissue) -> sparse.csr_array:
    """Count the transcripts of sufficient quality in each cell, (cells, features)."""
    row = np.full(len(tissue.cells) + 1, -1, np.int64)
    row[list(drawn.cells)] = np.arange(len(drawn.cells))
    counted = (drawn.quality >= SURE) & (drawn.cell >= 0)
    pairs = row[drawn.cell[counted]], drawn.feature[counted]
    shape = len(drawn.cells), len(drawn.features)
    table = sparse.coo_array((np.ones(counted.sum(), np.int32), pairs), shape=shape).tocsr()
    table.sum_duplicates()
    return table


def _write_cells(path: Path, drawn: VirtualTranscripts, names: dict[int, str], to_run: Floats) -> None:
    outlines = np.array(list(drawn.cells.values()), dtype=object)
    centres = _transformed(to_run, shapely.get_coordinates(shapely.centroid(outlines)).reshape(-1, 2))
    sure = drawn.quality >= SURE
    genes = sum(kind == _GENE for kind in drawn.kinds)
    counted = np.bincount(drawn.cell[sure & (drawn.feature < genes) & (drawn.cell >= 0)], minlength=max(names) + 1)
    nucleus = [shapely.area(drawn.nuclei[cell]) if cell in drawn.nuclei else np.nan for cell in names]
    table = pd.DataFrame(
        {
            "cell_id": list(names.values()),
            "x_centroid": centres[:, 0],
            "y_centroid": centres[:, 1],
            "transcript_counts": counted[list(names)],
            "cell_area": shapely.area(outlines),
            "nucleus_area": nucleus,
        }
    )
    table.to_parquet(path, index=False)


def _write_outlines(path: Path, shapes: dict[int, object], names: dict[int, str], to_run: Floats) -> None:
    rings = shapely.get_exterior_ring(np.array(list(shapes.values()), dtype=object))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    cells = np.array(list(shapes))[ring]
    xy = _transformed(to_run, points).astype(np.float32)
    table = pd.DataFrame(
        {
            "cell_id": [names[cell] for cell in cells],
            "vertex_x": xy[:, 0],
            "vertex_y": xy[:, 1],
            "label_id": (cells + 1).astype(np.int32),
        }
    )
    table.to_parquet(path, index=False)


def _write_transcripts(path: Path, drawn: VirtualTranscripts, names: dict[int, str], to_run: Floats) -> None:
    xy = _transformed(to_run, drawn.xy_um).astype(np.float32)
    cell_names = np.full(max(names, default=0) + 2, _NO_CELL, dtype=object)
    cell_names[list(names)] = list(names.values())
    table = pd.DataFrame(
        {
            "transcript_id": np.arange(1, len(xy) + 1, dtype=np.uint64),
            "cell_id": cell_names[drawn.cell],
            "overlaps_nucleus": drawn.in_nucleus.astype(np.uint8),
            "feature_name": np.array(drawn.features, dtype=object)[drawn.feature],
            "x_location": xy[:, 0],
            "y_location": xy[:, 1],
            "z_location": np.full(len(xy), 5.0, np.float32),
            "qv": drawn.quality.astype(np.float32),
            "is_gene": np.array([kind == _GENE for kind in drawn.kinds])[drawn.feature],
        }
    )
    table.to_parquet(path, index=False, row_group_size=_ROW_GROUP)


def _write_image(path: Path, slide: Slide) -> None:
    """Write a slide as pyramidal, tiled OME-TIFF, lossless."""
    import tifffile

    levels = [slide.read_box(Box(0, 0, *slide.shape), slide.mpp)[0]]
    while max(levels[-1].shape[:2]) > _SMALLEST_LEVEL:
        height, width = (max(side // 2, 1) for side in levels[-1].shape[:2])
        levels.append(slide.read_box(Box(0, 0, height, width), slide.mpp * 2 ** len(levels))[0])
    size = {"PhysicalSizeX": slide.mpp, "PhysicalSizeY": slide.mpp}
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    # With a constant id and without the time, so that the same image gives the same bytes.
    metadata = {"axes": "YXS", **size, **units, "UUID": "00000000-0000-0000-0000-000000000000"}
    packed = io.BytesIO()
    options: dict[str, Any] = {"photometric": "rgb", "tile": (_TILE, _TILE), "compression": "zlib"}
    with tifffile.TiffWriter(packed, ome=True) as file:
        file.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **options)
    path.write_bytes(packed.getvalue())
