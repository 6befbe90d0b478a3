"""Transcripts of a virtual tissue, drawn one by one as a run in situ would decode them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.regions import LabelMask
from pixnet.virtual.noise import stream
from pixnet.virtual.tissue import VirtualTissue

SURE = 20.0
"""Quality (Phred) from which the run's own table counts."""

_CONTROLS = (
    ("NegControlProbe_00001", "Negative Control Probe"),
    ("antisense_VG001", "Negative Control Probe"),
    ("NegControlCodeword_0500", "Negative Control Codeword"),
    ("BLANK_0001", "Blank Codeword"),
    ("UnassignedCodeword_0001", "Unassigned Codeword"),
    ("DeprecatedCodeword_0001", "Deprecated Codeword"),
    ("Intergenic_Region_0001", "Genomic Control"),
)
_CONTROL_SHARE, _POOR_SHARE = 0.01, 0.1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class VirtualTranscripts:
    """What a run decodes in a tissue: n transcripts and the outlines that they are assigned by.

    Attributes
    ----------
    xy_um
        (n, 2) positions on the slide. None lies within 0.01 um of a whole um, so that no rounding of the files moves
        one over the border of a cell or of a square of whole um.
    feature
        (n,) index of a gene, or number of genes + index of a control.
    quality
        (n,) Phred; below 20 for a tenth.
    cell
        (n,) index of the cell, -1 for none.
    in_nucleus
        (n,) whether it lies in the nucleus of that cell.
    features, kinds
        Names and kinds of the features.
    cells, nuclei
        Outlines in um of the slide, by index of the cell; shapely polygons.
    """

    xy_um: Floats
    feature: Ints
    quality: Floats
    cell: Ints
    in_nucleus: NDArray[np.bool_]
    features: tuple[str, ...]
    kinds: tuple[str, ...]
    cells: dict[int, object]
    nuclei: dict[int, object]


def draw_transcripts(tissue: VirtualTissue, seed: int = 0) -> VirtualTranscripts:
    """Draw the transcripts of a tissue one by one, without diffusion: in situ, RNA stays where it is.

    Parameters
    ----------
    tissue
        The tissue.
    seed
        Seed of the run.
    """
    everywhere = LabelMask(tissue.labels + 1, 0.0, 0.0, 1.0)
    counts = tissue.measure(everywhere, seed, diffusion_um=0.0).counts.matrix.tocoo()
    many = counts.data.astype(np.int64)
    label, feature = everywhere.ids[np.repeat(counts.row, many)] - 1, np.repeat(counts.col.astype(np.int64), many)
    rng = stream("counts", tissue.seed, tissue.donor_seed, seed, 1)
    sure = rng.uniform(SURE, 40.0, len(label))
    poor = rng.integers(0, len(label), round(_POOR_SHARE * len(label)))
    n_controls = round(_CONTROL_SHARE * len(label))
    anywhere = rng.choice(tissue.labels.ravel(), n_controls)
    label = np.concatenate([label, label[poor], anywhere])
    controls = len(tissue.genes) + np.arange(n_controls) % len(_CONTROLS)
    feature = np.concatenate([feature, feature[poor], controls])
    quality = np.concatenate([sure, rng.uniform(0.0, SURE - 0.01, len(poor)), rng.uniform(5.0, 40.0, n_controls)])
    order = rng.permutation(len(label))
    label, feature, quality = label[order], feature[order], quality[order]

    # A uniform place in a uniformly chosen pixel of the label.
    pixels = np.argsort(tissue.labels, axis=None, kind="stable")
    size = np.bincount(tissue.labels.ravel())
    first = np.cumsum(size) - size
    chosen = pixels[first[label] + (rng.random(len(label)) * size[label]).astype(np.int64)]
    row, col = np.divmod(chosen, tissue.labels.shape[1])
    xy = np.column_stack([col, row]) + rng.uniform(0.01, 0.99, (len(label), 2))

    main = _main_parts(tissue.labels)
    cells = _outlines(main)
    nuclei = _nuclei(tissue, cells)
    cell = main[row, col].astype(np.int64) - 1
    in_nucleus = _within(xy, cell, nuclei)
    names, kinds = zip(*_CONTROLS, strict=True)
    kinds = ("Gene Expression",) * len(tissue.genes) + kinds
    return VirtualTranscripts(
        xy, feature, quality.round(3), cell, in_nucleus, tissue.genes + names, kinds, cells, nuclei
    )


def _main_parts(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Leave of each label its largest connected part: the outline of a cell is one ring."""
    kept = np.zeros_like(labels)
    windows: list[Any] = ndimage.find_objects(labels)
    for index, window in enumerate(windows, start=1):
        if window is None:
            continue
        parts, count = ndimage.label(labels[window] == index)
        largest = 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
        kept[window][parts == largest] = index
    return kept


def _outlines(labels: NDArray[np.int32]) -> dict[int, object]:
    """Draw the outline of each label along the borders of its pixels; holes are filled."""
    import shapely

    shapes: dict[int, object] = {}
    windows: list[Any] = ndimage.find_objects(labels)
    for index, window in enumerate(windows):
        if window is None:
            continue
        own = np.pad(labels[window] == index + 1, ((0, 0), (1, 1))).astype(np.int8)
        steps = np.diff(own, axis=1)
        (row, start), (_, end) = np.nonzero(steps == 1), np.nonzero(steps == -1)
        top, left = window[0].start, window[1].start
        runs = shapely.box(start + left, row + top, end + left, row + top + 1)
        shapes[index] = shapely.Polygon(shapely.union_all(runs).exterior)
    return shapes


def _nuclei(tissue: VirtualTissue, cells: dict[int, object]) -> dict[int, object]:
    """Draw the nuclei as polygons of 24 corners, as far as they lie in their cells."""
    import shapely

    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    shapes: dict[int, object] = {}
    for index, cell in cells.items():
        turn = tissue.cells.nucleus_angle[index]
        along, across = tissue.cells.nucleus_um[index]
        x, y = along * np.cos(angle), across * np.sin(angle)
        corners = np.column_stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y])
        parts = shapely.get_parts(shapely.Polygon(corners + tissue.cells.nucleus_xy_um[index]).intersection(cell))
        polygons = [part for part in parts if isinstance(part, shapely.Polygon) and part.area > 1.0]
        if polygons:
            shapes[index] = shapely.Polygon(max(polygons, key=lambda part: float(part.area)).exterior)
    return shapes


def _within(xy: Floats, cell: Ints, nuclei: dict[int, object]) -> NDArray[np.bool_]:
    import shapely

    shapes = np.full(max([*nuclei, *cell.tolist(), 0]) + 1, None, dtype=object)
    shapes[list(nuclei)] = list(nuclei.values())
    found = np.asarray(shapely.contains_xy(shapes[np.maximum(cell, 0)], xy[:, 0], xy[:, 1]), np.bool_)
    return found & (cell >= 0)
