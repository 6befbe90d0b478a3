"""Segmented cells of Visium HD: outlines and counts per cell, as Space Ranger 4 writes them."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.readers.common import (
    SampleOptions,
    check_sound,
    errors_of,
    given_options,
    left_out,
    telling_name,
    warn_once,
    weighed,
)
from pixnet.readers.formats.files import find_file, required_file
from pixnet.readers.formats.image_transform import Floats
from pixnet.readers.formats.names import SCALEFACTOR_FILES
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix
from pixnet.readers.formats.tenx_spatial import check_image_scale
from pixnet.readers.visium_hd.files import (
    choose_matrix,
    full_resolution_image,
    omitted_features,
    pixel_size,
    read_spatial,
)
from pixnet.regions import Polygons
from pixnet.regions.geojson import Outlines, read_features
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import merge_genes
from pixnet.slide.slide import open_slide

_MATRICES = {
    True: ("filtered_feature_cell_matrix.h5", "filtered_feature_cell_matrix"),
    False: ("raw_feature_cell_matrix.h5", "raw_feature_cell_matrix"),
}
_OUTLINES = ("cell_segmentations.geojson",)
_BARCODE = re.compile(rb"cellid_(\d{1,12})(?:-\d+)?")


def read_visium_hd_cells(
    path: str | Path, *, image: str | Path | None = None, filtered: bool | None = None, **options: Unpack[SampleOptions]
) -> Sample:
    """Read the segmented cells of a Visium HD capture area.

    Parameters
    ----------
    path
        Space Ranger's `outs`, the folder that holds it, or `segmented_outputs`.
    image
        The full-resolution image that Space Ranger was given; by default the one that is beside its output.
    filtered
        Whether to read the filtered or the raw matrix; by default the filtered one if it is there.
    **options
        `id`, `donor`, `mpp` and `image_transform`, as in `SampleOptions`. By default `mpp` is the `microns_per_pixel`
        of the scale factors, or else what the image states.

    Returns
    -------
    Sample
        Of platform "visium-hd"; its regions are the outlines of the cells that also have counts, in the order of the
        matrix, named by barcode.

    Raises
    ------
    DataError
        If a file is missing, damaged or of another kind, if no cell has both counts and an outline, if no image is
        found, or if `mpp` differs from that of the scale factors by over 5 %.
    SlideError
        If the image cannot be read, or if no pixel size is known.

    Warns
    -----
    PixNetWarning
        Once, on cells without counts or without an outline, and genes merged or left out; and once on outlines that
        cross themselves.
    """
    path = Path(path)
    given = given_options(**options)
    transform = given.transform
    name = given.id or telling_name(path)
    folder = _folder(path)
    matrix_path, _ = choose_matrix(folder, filtered, _MATRICES)
    outlines = required_file(folder, _OUTLINES)
    picture = full_resolution_image(path, folder, image)
    spatial, factors = _scale(folder)
    factors = transform.factors(factors)
    slide = open_slide(picture, pixel_size(spatial, factors, given.pixel))
    check_image_scale(slide, spatial, factors)

    counts = read_tenx_matrix(matrix_path)
    numbers = _cell_numbers(matrix_path, counts.barcodes)
    outlined, shapes, not_used = _read_outlines(outlines, lambda points: transform.points(points) * slide.mpp)
    place = pd.Index(outlined).get_indexer(pd.Index(numbers))
    rows = np.flatnonzero(place >= 0)
    if not len(rows):
        raise DataError(
            f"{matrix_path}: none of its {len(numbers)} cells is among the {len(outlined)} of {outlines}. "
            "They may belong to different runs."
        )
    odd = {
        "cells whose barcode is none or repeated": int((numbers < 0).sum()),
        "cells with counts but without an outline": int((numbers >= 0).sum()) - len(rows),
        "cells with an outline but without counts": len(outlined) - len(rows),
        "features that are no outline of a cell, or repeat one": not_used,
    }
    matrix, genes, ids, merged = merge_genes(counts.matrix, counts.names, counts.ids)
    warn_once(name, omitted_features(counts.others) + left_out(odd, len(rows)) + merged)
    barcodes = [counts.barcodes[row].decode("ascii") for row in rows]
    with errors_of(outlines):
        regions = Polygons(shapes[place[rows]], barcodes)
    del shapes
    table = Counts(matrix[rows], genes, ids, pd.Index(barcodes), pd.DataFrame({"cell_id": numbers[rows]}))
    with errors_of(folder):
        return weighed(Sample(name, slide, regions, table, given.donor, "visium-hd"))


def _folder(path: Path) -> Path:
    matrices = [name for names in _MATRICES.values() for name in names]
    for place in (path, path / "segmented_outputs", path / "outs" / "segmented_outputs"):
        if find_file(place, matrices) is not None:
            return place
    finding = "segmented_outputs with a matrix of cells not found" if path.is_dir() else "is not a folder"
    raise DataError(f"{path}: {finding}. Give `outs` of Space Ranger 4, or `segmented_outputs` in it.")


def _scale(folder: Path) -> tuple[Path, dict[str, float]]:
    """Return the folder and content of the scale factors: the cells' own, or those of the bins of the same run."""
    bins = sorted((folder.parent / "binned_outputs").glob("*square_*um"))
    for place in (folder, folder.parent, *bins):
        if find_file(place / "spatial", SCALEFACTOR_FILES) is not None:
            return read_spatial(place)
    return folder / "spatial", {}


def _cell_numbers(path: Path, barcodes: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Read barcodes such as `cellid_000000012-1` as numbers; -1 for what is none, or comes twice."""
    matches = [_BARCODE.fullmatch(barcode) for barcode in barcodes]
    numbers = pd.Series([int(match[1]) if match else -1 for match in matches], dtype=np.int64)
    odd = ((numbers < 0) | numbers.duplicated(keep=False)).to_numpy(bool)

    def first(row: int) -> str:
        barcode = barcodes[row][:40].decode("ascii", "replace")
        return f"has the barcode {barcode!r}; barcodes of segmented cells are like 'cellid_000000012-1', each once"

    check_sound(path, odd, first, "Give `segmented_outputs` as Space Ranger wrote it.")
    return np.where(odd, -1, numbers.to_numpy(np.int64))


def _read_outlines(path: Path, to_um: Callable[[Floats], Floats]) -> tuple[NDArray[np.int64], NDArray[np.object_], int]:
    """Return numbers and outlines, in um, of the cells, and how many features are no outline or repeat a cell."""
    import shapely

    outlines, numbers = Outlines(), array("q")
    others, finding = 0, ""
    for index, feature in enumerate(read_features(path)):
        try:
            number, geometry = feature["properties"]["cell_id"], feature["geometry"]
            if type(number) is not int or geometry["type"] not in ("Polygon", "MultiPolygon"):
                raise ValueError(f"it has the cell_id {number!r} and is of the type {geometry['type']!r}"[:120])
            outlines.add(geometry)
            numbers.append(number)
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            others += 1
            finding = finding or f"feature {index} is not the outline of a cell ({first_line(error)})"
    if others > len(numbers):
        raise DataError(f"{path}: {finding}, and so are {others} of {others + len(numbers)}. Copy it again.")
    if not numbers:
        raise DataError(f"{path}: has no features; it must have an outline for each cell.")
    shapes = outlines.shapes(to_um)
    with np.errstate(invalid="ignore"):
        area = shapely.area(shapes)
    solid = np.flatnonzero((area > 0) & np.isfinite(area))
    known, first = np.unique(np.array(numbers, np.int64)[solid], return_index=True)
    return known, shapes[solid[first]], others + len(shapes) - len(known)
