"""Xenium: the folder of a run, with the H&E image of the same section.

The run measures in um of its own morphology image. A 3 x 3 matrix takes pixels of the H&E image to pixels of the
morphology image; everything is brought the other way, so that all regions lie in um of the H&E image.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.formats.image_transform import GivenTransform
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix
from pixnet.readers.xenium.outlines import read_outlines
from pixnet.readers.xenium.panel import matrix_path, read_panel
from pixnet.readers.xenium.run import Run, place_run, positive, run_folder
from pixnet.readers.xenium.tables import parquet_columns
from pixnet.readers.xenium.transcripts import Panel, Seen, count_by_cell, count_in, count_in_squares, inside
from pixnet.regions import Disks, Polygons, Regions, Squares
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import CONTROL, merge_genes

_AXES_AGREE = 0.02


def read_xenium(
    path: str | Path,
    *,
    image: str | Path | None = None,
    alignment: str | Path | ArrayLike | None = None,
    regions: str | float | Regions = "cells",
    id: str | None = None,
    donor: str | None = None,
    mpp: float | None = None,
    mpp_source: str | None = None,
    min_quality: float = 20.0,
    image_transform: GivenTransform = None,
) -> Sample:
    """Read a Xenium run and the H&E image of its section.

    Parameters
    ----------
    path
        Folder of the run, with `experiment.xenium`.
    image
        H&E image; by default the `*he_image.ome.tif` in the folder.
    alignment
        CSV file of, or array with, the (3, 3) matrix from pixels of the H&E image to pixels of the morphology image.
        By default the `*he_imagealignment.csv` in the folder, or beside the image.
    regions
        What is counted in, always in um of the H&E image:

        - "cells": outlines of the cells, with the counts of the run's own table;
        - "nuclei": outlines of the nuclei, with the transcripts in them;
        - a number: upright squares of that many um, counted from the image's left top corner, with the transcripts
          in them. Where anything was decoded within a block of at least 20 um, its empty squares are kept too;
        - any regions: with the transcripts in them.
    id
        Name of the sample; by default that of the folder.
    donor
        The person that the tissue is from.
    mpp
        um per pixel of the H&E image. By default it follows from the alignment.
    mpp_source
        Where `mpp` is from, if not from an argument.
    min_quality
        Least quality (Phred) of a transcript that counts. The run's own table of cells is fixed at 20.
    image_transform
        Where `image` is not the one that the alignment is for: CSV file of, or array with, the (3, 3) matrix from
        pixels of that one to pixels of `image`. It turns, scales and shifts.

    Returns
    -------
    Sample
        `counts.notes` tells what is left out as usual: for cells `other_features_dropped` (features that are no
        genes), else `transcripts` (all of them), and of these `controls_dropped`, `low_quality_dropped` and
        `in_cut_squares_dropped` (in squares that the image's edge cuts before their centre).

    Raises
    ------
    DataError
        If a file is missing or damaged, if the pixel size of the image contradicts the alignment by over 5 %, if the
        alignment is no similarity and `regions` are squares or disks, or if the regions lie outside the image.
    SlideError
        If the image cannot be read.

    Warns
    -----
    PixNetWarning
        If there is no alignment, or if something unusual is left out or put right.
    """
    _check_wish(regions, min_quality)
    folder = run_folder(Path(path))
    run = place_run(folder, image, alignment, mpp, mpp_source, image_transform)
    made: Regions
    if isinstance(regions, Regions | int | float):
        _check_similarity(run, regions)
        made, table = _binned(run, regions, min_quality)
    elif regions == "cells":
        made, table = _cells(run)
    else:
        made, table = _nuclei(run, min_quality)
    name = id or (folder.resolve().parent.name if folder.name == "outs" else folder.resolve().name)
    if isinstance(made, Polygons) and not isinstance(regions, Regions):
        made, table = _on_slide(run, made, table)
    try:
        sample = Sample(name, run.slide, made, table, donor, "xenium")
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
    if run.told:
        warnings.warn(f"sample {name!r}: {'; '.join(run.told)}.", PixNetWarning, stacklevel=2)
    return sample


def _check_wish(regions: str | float | Regions, min_quality: float) -> None:
    known = isinstance(regions, Regions) or regions in ("cells", "nuclei")
    if not known and (isinstance(regions, bool | str) or not (isinstance(regions, int | float) and positive(regions))):
        raise DataError(
            f"`regions` (--set regions=...) cannot be {regions!r}: give 'cells', 'nuclei', or the side of squares in "
            "um."
        )
    if not (isinstance(min_quality, int | float) and math.isfinite(min_quality)):
        raise DataError(f"min_quality must be a number, not {min_quality!r}.")


def _check_similarity(run: Run, regions: float | Regions) -> None:
    if isinstance(regions, Regions) and not isinstance(regions, Squares | Disks):
        return
    scale = np.linalg.svd(run.to_slide[:2, :2])[1]
    if scale[0] - scale[1] > _AXES_AGREE * scale[1]:
        raise DataError(
            f"{run.folder}: the alignment stretches one direction {scale[0] / scale[1]:.3g} times as much as the "
            "other, so squares and disks on the image are none in the tissue. Use 'cells', 'nuclei' or polygons."
        )


def _cells(run: Run) -> tuple[Polygons, Counts]:
    path = matrix_path(run.folder)
    if path is None:
        raise DataError(f"{run.folder}: holds no cell_feature_matrix.h5. Give the whole folder that the run wrote.")
    found = read_tenx_matrix(path)
    names, shapes = read_outlines(run, "cell_boundaries")
    genes = np.array([not CONTROL.match(name) for name in found.names], bool)
    dropped = sum(found.others.values()) + int((~genes).sum())
    columns = np.flatnonzero(genes)
    ids = [found.ids[column] for column in columns]
    matrix, symbols, gene_ids, merged = merge_genes(
        found.matrix[:, columns], [found.names[column] for column in columns], ids
    )
    if merged:
        run.told.append(f"{merged} genes share a name with another and were added to it")
    barcodes = [barcode.decode("utf-8", "replace") for barcode in found.barcodes.tolist()]
    place_of = {name: place for place, name in enumerate(names)}
    rows = [row for row, barcode in enumerate(barcodes) if barcode in place_of]
    if not rows:
        raise DataError(f"{path}: none of its {len(barcodes)} cells is among the {len(names)} outlines of the run.")
    if len(barcodes) > len(rows) or len(names) > len(rows):
        run.told.append(
            f"{len(barcodes) - len(rows)} cells with counts have no outline and {len(names) - len(rows)} outlines "
            f"no counts; they are left out, {len(rows)} remain"
        )
    kept = [barcodes[row] for row in rows]
    notes = {"other_features_dropped": dropped}
    try:
        table = Counts(matrix[rows], symbols, gene_ids, pd.Index(kept, dtype=object), notes=notes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Polygons(list(shapes[[place_of[name] for name in kept]]), kept), table


def _nuclei(run: Run, min_quality: float) -> tuple[Polygons, Counts]:
    names, shapes = read_outlines(run, "nucleus_boundaries")
    polygons = Polygons(list(shapes), names)
    panel, ids = read_panel(run)
    transcripts = run.transcripts(panel, min_quality)
    if {"overlaps_nucleus", "cell_id"} <= set(parquet_columns(transcripts.path)):
        matrix = count_by_cell(names, transcripts)
    else:
        matrix = count_in(polygons, transcripts)
    return polygons, _counts(run, matrix, panel, ids, transcripts.seen, names)


def _binned(run: Run, regions: float | Regions, min_quality: float) -> tuple[Regions, Counts]:
    panel, ids = read_panel(run)
    transcripts = run.transcripts(panel, min_quality)
    names = None
    if isinstance(regions, Regions):
        matrix = count_in(regions, transcripts)
        if isinstance(regions, Polygons) and len(set(regions.names)) == len(regions):
            names = list(regions.names)
    else:
        regions, matrix = count_in_squares(float(regions), transcripts)
        seen = transcripts.seen
        good = seen.total - seen.controls - seen.unknown - seen.low_quality - seen.no_position
        if seen.outside_slide > good / 2 or not len(regions):
            raise DataError(
                f"{transcripts.path}: {seen.outside_slide} of its {good} usable transcripts lie outside "
                f"{run.slide.path}. The image, its alignment or its pixel size may be the wrong one."
            )
    return regions, _counts(run, matrix, panel, ids, transcripts.seen, names)


def _counts(
    run: Run,
    matrix: sparse.csr_matrix,
    panel: Panel,
    ids: pd.Index | None,
    seen: Seen,
    names: Sequence[str] | None,
) -> Counts:
    """Make the table of what was counted, and tell what was not."""
    genes = np.array(list(panel.column), dtype=object)
    if not panel.closed:
        order = np.argsort(genes)
        genes, matrix = genes[order], matrix[:, order]
    if seen.unknown:
        run.told.append(f"{seen.unknown} transcripts are of features that the run's table does not have")
    if seen.no_position:
        run.told.append(f"{seen.no_position} transcripts have no position")
    if seen.outside_slide:
        run.told.append(f"{seen.outside_slide} of {seen.total} transcripts lie outside the image")
    notes = {
        "transcripts": seen.total,
        "controls_dropped": seen.controls,
        "low_quality_dropped": seen.low_quality,
        "in_cut_squares_dropped": seen.in_cut_squares,
    }
    index = None if names is None else pd.Index(list(names), dtype=object)
    return Counts(matrix, pd.Index(genes, dtype=object), ids, index, notes=notes)


def _on_slide(run: Run, polygons: Polygons, table: Counts) -> tuple[Polygons, Counts]:
    """Leave out what lies beside the image, if that is the lesser part; if not, the image is the wrong one."""
    on = inside(polygons.centers_um, run.size_um)
    if on.all() or on.sum() < len(on) / 2:
        return polygons, table
    run.told.append(f"{(~on).sum()} of {len(on)} outlines lie outside the image and are left out")
    return polygons.take(on), table.take(on)
