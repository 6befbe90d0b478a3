"""Xenium: the folder of a run, with the H&E image of the same section.

The run measures in um of its own morphology image. A 3 x 3 matrix takes pixels of the H&E image to pixels of the
morphology image. The reader applies its inverse, so that all regions are in um of the H&E image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.common import SampleOptions, errors_of, given_options, left_out, telling_name, warn_once, weighed
from pixnet.readers.formats.files import find_file, required_file
from pixnet.readers.formats.hdf5 import check_sizes
from pixnet.readers.formats.image_transform import ImageTransform, moved
from pixnet.readers.formats.parquet import parquet_batches, parquet_columns
from pixnet.readers.formats.tenx_matrix import GENE_EXPRESSION, open_tenx_matrix, read_tenx_matrix
from pixnet.readers.platforms import XeniumEntry
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.readers.xenium.outlines import read_outlines
from pixnet.readers.xenium.run import Run, he_image, place_run, run_folder
from pixnet.readers.xenium.transcripts import Panel, Seen, count_by_cell, count_in, count_in_squares, inside
from pixnet.regions import Disks, Polygons, Regions, Squares
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import CONTROL, merge_genes, without_controls
from pixnet.slide import Slide
from pixnet.slide.pixel_size import positive

_MATRIX = ("cell_feature_matrix.h5", "cell_feature_matrix")
_MOST_FEATURES = 1 << 22
_AXES_AGREE = 0.02


def read_xenium(
    path: str | Path,
    *,
    image: str | Path | None = None,
    alignment: str | Path | ArrayLike | None = None,
    regions: str | float | Regions = "cells",
    min_quality: float = 20.0,
    **options: Unpack[SampleOptions],
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
        Regions of the sample, always in um of the H&E image:

        - "cells": outlines of the cells, with the counts of the run's own table;
        - "nuclei": outlines of the nuclei, with the transcripts in them;
        - a number: upright squares of that many um, starting at the image's top-left corner, with the transcripts in
          them. If anything was decoded within a block of at least 20 um, its empty squares are included too;
        - any regions: with the transcripts in them.
    min_quality
        Least quality (Phred) of the transcripts that are counted. The run's own table of cells is fixed at 20.
    **options
        `id`, `donor`, `mpp` and `image_transform`, as in `SampleOptions`; the transform starts at the image that the
        alignment is for. By default `mpp` follows from the alignment.

    Returns
    -------
    Sample
        `counts.notes` has the numbers that are left out as usual: for cells `other_features_dropped` (features that
        are not genes), else `transcripts` (all of them), and of these `controls_dropped`, `low_quality_dropped` and
        `in_cut_squares_dropped` (in squares whose centre is beyond the image's edge).

    Raises
    ------
    DataError
        If a file is missing or damaged, if the pixel size of the image contradicts the alignment by over 5 %, if the
        alignment is not a similarity and `regions` are squares or disks, or if the regions are outside the image.
    SlideError
        If the image cannot be read.

    Warns
    -----
    PixNetWarning
        If there is no alignment, or if something unusual is left out or put right.
    """
    _check_arguments(regions, min_quality)
    given = given_options(**options)
    folder = run_folder(Path(path))
    run = place_run(folder, image, alignment, given.pixel, given.transform)
    areas: Regions
    if isinstance(regions, Regions | int | float):
        _check_similarity(run, regions)
        areas, table = _binned(run, regions, min_quality)
    elif regions == "cells":
        areas, table = _cells(run)
    else:
        areas, table = _nuclei(run, min_quality)
    name = given.id or telling_name(folder)
    if isinstance(areas, Polygons) and not isinstance(regions, Regions):
        areas, table = _on_slide(run, areas, table)
    with errors_of(folder):
        sample = Sample(name, run.slide, areas, table, given.donor, "xenium")
    warn_once(name, run.notes)
    return sample if isinstance(regions, Regions) else weighed(sample)


def _check_arguments(regions: str | float | Regions, min_quality: float) -> None:
    known = isinstance(regions, Regions) or regions in ("cells", "nuclei")
    if not known and (isinstance(regions, bool | str) or not (isinstance(regions, int | float) and positive(regions))):
        raise DataError(f"`regions` cannot be {regions!r}: give 'cells', 'nuclei', or the side of squares in um.")
    if not (isinstance(min_quality, int | float) and math.isfinite(min_quality)):
        raise DataError(f"`min_quality` must be a number, not {min_quality!r}.")


def _check_similarity(run: Run, regions: float | Regions) -> None:
    if isinstance(regions, Regions) and not isinstance(regions, Squares | Disks):
        return
    scale = np.linalg.svd(run.to_slide[:2, :2])[1]
    if scale[0] - scale[1] > _AXES_AGREE * scale[1]:
        raise DataError(
            f"{run.folder}: the alignment stretches one direction {scale[0] / scale[1]:.3g} times as much as the "
            "other, so squares and disks on the image are of other shapes in the tissue. Use 'cells', 'nuclei' or "
            "polygons."
        )


def _cells(run: Run) -> tuple[Polygons, Counts]:
    path = required_file(run.folder, _MATRIX)
    features = read_tenx_matrix(path)
    names, shapes = read_outlines(run, "cell_boundaries")
    with errors_of(path):
        matrix, gene_names, ids, _ = without_controls(features.matrix, features.names, features.ids)
        dropped = sum(features.others.values()) + len(features.names) - len(gene_names)
        matrix, symbols, gene_ids, merged = merge_genes(matrix, gene_names, ids)
    run.notes.extend(merged)
    barcodes = [barcode.decode("utf-8", "replace") for barcode in features.barcodes.tolist()]
    place_of = {name: place for place, name in enumerate(names)}
    rows = [row for row, barcode in enumerate(barcodes) if barcode in place_of]
    if not rows:
        raise DataError(f"{path}: none of its {len(barcodes)} cells is among the {len(names)} outlines of the run.")
    odd = {
        "cells with counts but without an outline": len(barcodes) - len(rows),
        "outlines without counts": len(names) - len(rows),
    }
    run.notes.extend(left_out(odd, len(rows)))
    cells = [barcodes[row] for row in rows]
    notes = {"other_features_dropped": dropped}
    with errors_of(path):
        table = Counts(matrix[rows], symbols, gene_ids, pd.Index(cells, dtype=object), notes=notes)
    return Polygons(list(shapes[[place_of[name] for name in cells]]), cells), table


def _nuclei(run: Run, min_quality: float) -> tuple[Polygons, Counts]:
    names, shapes = read_outlines(run, "nucleus_boundaries")
    polygons = Polygons(list(shapes), names)
    panel, ids = _read_panel(run)
    transcripts = run.transcripts(panel, min_quality)
    if {"overlaps_nucleus", "cell_id"} <= set(parquet_columns(transcripts.path)):
        matrix = count_by_cell(names, transcripts)
    else:
        matrix = count_in(polygons, transcripts)
    return polygons, _counts(run, matrix, panel, ids, transcripts.seen, names)


def _binned(run: Run, regions: float | Regions, min_quality: float) -> tuple[Regions, Counts]:
    panel, ids = _read_panel(run)
    transcripts = run.transcripts(panel, min_quality)
    names = None
    if isinstance(regions, Regions):
        matrix = count_in(regions, transcripts)
        if isinstance(regions, Polygons) and len(set(regions.names)) == len(regions):
            names = list(regions.names)
    else:
        regions, matrix = count_in_squares(float(regions), transcripts)
        seen = transcripts.seen
        usable = seen.total - seen.controls - seen.unknown - seen.low_quality - seen.no_position
        if seen.outside_slide > usable / 2 or not len(regions):
            raise DataError(
                f"{transcripts.path}: {seen.outside_slide} of its {usable} usable transcripts are outside "
                f"{run.slide.path}. The image, its alignment or its pixel size may be wrong."
            )
    return regions, _counts(run, matrix, panel, ids, transcripts.seen, names)


def _counts(
    run: Run, matrix: sparse.csr_matrix, panel: Panel, ids: pd.Index | None, seen: Seen, names: Sequence[str] | None
) -> Counts:
    """Return the table of counts, and note which transcripts were not counted."""
    genes = np.array(list(panel.column), dtype=object)
    if not panel.closed:
        order = np.argsort(genes)
        genes, matrix = genes[order], matrix[:, order]
    if seen.unknown:
        run.notes.append(f"{seen.unknown} transcripts are of features that the run's table does not have")
    if seen.no_position:
        run.notes.append(f"{seen.no_position} transcripts have no position")
    if seen.outside_slide:
        run.notes.append(f"{seen.outside_slide} of {seen.total} transcripts are outside the image")
    notes = {
        "transcripts": seen.total,
        "controls_dropped": seen.controls,
        "low_quality_dropped": seen.low_quality,
        "in_cut_squares_dropped": seen.in_cut_squares,
    }
    index = None if names is None else pd.Index(list(names), dtype=object)
    return Counts(matrix, pd.Index(genes, dtype=object), ids, index, notes=notes)


def _read_panel(run: Run) -> tuple[Panel, pd.Index | None]:
    """Return the genes of the run's own table, also those without a transcript, and their ids.

    If the run has no table, the panel is open and the ids are None. Genes that share a name are noted in the run.
    """
    path = find_file(run.folder, _MATRIX)
    if path is None:
        return Panel(), None
    if path.is_dir():
        table = read_tenx_matrix(path)
        names, ids, kinds = table.names, table.ids, [GENE_EXPRESSION] * len(table.names)
    else:
        names, ids, kinds = _features(path)
    genes = [i for i, kind in enumerate(kinds) if kind == GENE_EXPRESSION and not CONTROL.match(names[i])]
    _, symbols, gene_ids, merged = merge_genes(
        sparse.csr_matrix(np.zeros((0, len(genes)), np.float32)), [names[i] for i in genes], [ids[i] for i in genes]
    )
    run.notes.extend(merged)
    column = {str(symbol): place for place, symbol in enumerate(symbols)}
    others = frozenset(name for name, kind in zip(names, kinds, strict=True) if kind != GENE_EXPRESSION)
    # A folder's list has no names of controls; the names of genes are complete in both.
    return Panel(column, others - column.keys(), closed=True), gene_ids


def _features(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Read names, ids and kinds of the features, without the counts."""
    columns = ("name", "id", "feature_type")
    with open_tenx_matrix(path) as file:
        group = file["matrix/features"]
        check_sizes(str(path), group)
        if max(group[key].size for key in columns) > _MOST_FEATURES:
            raise DataError(f"{path}: is damaged; it declares over {_MOST_FEATURES} features. Copy it again.")
        names, ids, kinds = ([_text(value) for value in group[key][:]] for key in columns)
    if not len(names) == len(ids) == len(kinds):
        raise DataError(
            f"{path}: is damaged; it has {len(names)} names, {len(ids)} ids and {len(kinds)} kinds of features. "
            "Copy it again."
        )
    if GENE_EXPRESSION not in kinds:
        raise DataError(f"{path}: has no feature of the type {GENE_EXPRESSION!r}.")
    return names, ids, kinds


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _on_slide(run: Run, polygons: Polygons, table: Counts) -> tuple[Polygons, Counts]:
    """Leave out what is outside the image, if that is less than half; if it is more, the image is the wrong one."""
    on = inside(polygons.centers_um, run.size_um)
    if on.all() or on.sum() < len(on) / 2:
        return polygons, table
    run.notes.append(f"{(~on).sum()} of {len(on)} outlines are outside the image and are left out")
    return polygons.take(on), table.take(on)


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
    path = find_file(run_folder(entry.path), _MATRIX)
    if path is None:
        return None
    counts = read_tenx_matrix(path)
    return counts.matrix, counts.names
