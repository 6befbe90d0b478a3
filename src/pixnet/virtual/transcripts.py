"""Transcripts of a virtual tissue, drawn one by one as an in situ run would decode them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.regions import LabelMask
from pixnet.virtual.noise import stream
from pixnet.virtual.tissue import VirtualTissue

SURE = 20.0
"""Quality (Phred) from which the run's own table counts a transcript."""

_CONTROLS = (
    ("NegControlProbe_00001", "Negative Control Probe"),
    ("antisense_VG001", "Negative Control Probe"),
    ("NegControlCodeword_0500", "Negative Control Codeword"),
    ("BLANK_0001", "Blank Codeword"),
    ("UnassignedCodeword_0001", "Unassigned Codeword"),
    ("DeprecatedCodeword_0001", "Deprecated Codeword"),
    ("Intergenic_Region_0001", "Genomic Control"),
)
_CONTROL_SHARE = 0.01
_POOR_SHARE = 0.1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class VirtualTranscripts:
    """The n transcripts that a run decodes in a tissue, and the outlines that assign them to cells.

    No position is within 0.01 um of a whole um, so that rounding in the files moves none over the border of a cell or
    of a square with whole um.
    """

    xy_um: Floats  # positions on the slide, shape (n, 2)
    feature: Ints  # index of the gene, or number of genes + index of the control, shape (n,)
    quality: Floats  # Phred quality, shape (n,); below 20 for a tenth of the transcripts
    cell: Ints  # index of the cell, -1 for none, shape (n,)
    in_nucleus: NDArray[np.bool_]  # whether the transcript is in the nucleus of that cell, shape (n,)
    features: tuple[str, ...]
    kinds: tuple[str, ...]  # of the features
    cells: dict[int, object]  # outlines in um on the slide, by index of the cell; shapely polygons
    nuclei: dict[int, object]


def draw_transcripts(tissue: VirtualTissue, seed: int = 0) -> VirtualTranscripts:
    """Draw the transcripts of a run one by one, without diffusion: in situ, RNA does not move."""
    everywhere = LabelMask(tissue.labels + 1, 0.0, 0.0, 1.0)
    counts = tissue.measure(everywhere, seed, diffusion_um=0.0).counts.matrix.tocoo()
    times = counts.data.astype(np.int64)
    label = everywhere.ids[np.repeat(counts.row, times)] - 1
    feature = np.repeat(counts.col.astype(np.int64), times)
    rng = stream("counts", tissue.seed, tissue.donor_seed, seed, 1)
    sure = rng.uniform(SURE, 40.0, len(label))
    poor = rng.integers(0, len(label), round(_POOR_SHARE * len(label)))
    n_controls = round(_CONTROL_SHARE * len(label))
    control_label = rng.choice(tissue.labels.ravel(), n_controls)
    label = np.concatenate([label, label[poor], control_label])
    controls = len(tissue.genes) + np.arange(n_controls) % len(_CONTROLS)
    feature = np.concatenate([feature, feature[poor], controls])
    quality = np.concatenate([sure, rng.uniform(0.0, SURE - 0.01, len(poor)), rng.uniform(5.0, 40.0, n_controls)])
    order = rng.permutation(len(label))
    label, feature, quality = label[order], feature[order], quality[order]

    # A uniform position in a uniformly chosen pixel of the label.
    pixels = np.argsort(tissue.labels, axis=None, kind="stable")
    size = np.bincount(tissue.labels.ravel())
    first = np.cumsum(size) - size
    chosen = pixels[first[label] + (rng.random(len(label)) * size[label]).astype(np.int64)]
    row, col = np.divmod(chosen, tissue.labels.shape[1])
    xy = np.column_stack([col, row]) + rng.uniform(0.01, 0.99, (len(label), 2))

    main = main_parts(tissue.labels)
    cells = _outlines(main)
    nuclei = _nuclei(tissue, cells)
    cell = main[row, col].astype(np.int64) - 1
    in_nucleus = _within(xy, cell, nuclei)
    names, kinds = zip(*_CONTROLS, strict=True)
    kinds = ("Gene Expression",) * len(tissue.genes) + kinds
    return VirtualTranscripts(
        xy, feature, quality.round(3), cell, in_nucleus, tissue.genes + names, kinds, cells, nuclei
    )


def main_parts(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the largest connected part of each label, 0 for none, so that the outline of a cell is one ring."""
    main = np.zeros_like(labels)
    for label, window in windows_of(labels).items():
        parts, count = ndimage.label(labels[window] == label)
        largest = 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
        main[window][parts == largest] = label
    return main


def windows_of(labels: NDArray[np.int32]) -> dict[int, tuple[slice, slice]]:
    """Return the rows and columns that each label occurs in, by label."""
    windows: list[Any] = ndimage.find_objects(labels)
    return {label: window for label, window in enumerate(windows, start=1) if window is not None}


def _outlines(labels: NDArray[np.int32]) -> dict[int, object]:
    """Return the outline of each label along the borders of its pixels; holes are filled."""
    shapes: dict[int, object] = {}
    for label, window in windows_of(labels).items():
        mask = np.pad(labels[window] == label, ((0, 0), (1, 1))).astype(np.int8)
        steps = np.diff(mask, axis=1)
        (row, start), (_, end) = np.nonzero(steps == 1), np.nonzero(steps == -1)
        top, left = window[0].start, window[1].start
        runs = shapely.box(start + left, row + top, end + left, row + top + 1)
        shapes[label - 1] = shapely.Polygon(shapely.union_all(runs).exterior)
    return shapes


def _nuclei(tissue: VirtualTissue, cells: dict[int, object]) -> dict[int, object]:
    """Return the nuclei as polygons of 24 corners, without the parts outside of their cells."""
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
    """Return whether each position is in the nucleus of its cell."""
    shapes = np.full(max([*nuclei, *cell.tolist(), 0]) + 1, None, dtype=object)
    shapes[list(nuclei)] = list(nuclei.values())
    inside = np.asarray(shapely.contains_xy(shapes[np.maximum(cell, 0)], xy[:, 0], xy[:, 1]), np.bool_)
    return inside & (cell >= 0)
