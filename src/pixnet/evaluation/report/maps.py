"""The report's sections on single slides: regions, genes observed and predicted there, dense maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixnet.evaluation.report import figures
from pixnet.evaluation.report.canvas import Backdrop, Floats, Marks, Window, data_uri
from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.parts import Picture, Section
from pixnet.evaluation.report.tables import MARKERS
from pixnet.expression import correlation
from pixnet.field import ExpressionField
from pixnet.regions import Squares
from pixnet.safe.names import file_name

if TYPE_CHECKING:
    from pixnet.sample import Sample

SHOWN = 4
"""How many of the held-out samples are shown."""

_WINDOW_UM = 400.0
_OVERVIEW = 700  # most pixels along a side of a map of the whole slide


def sample_sections(outcome: Evaluated, name: str, sample: Sample | None) -> list[Section]:
    """Return the sections on a held-out sample; without its slide, the maps have no image behind them."""
    rows = outcome.rows(name)
    marks = _marks(outcome, rows, sample)
    around = _around(marks, sample)
    kept = np.asarray(outcome.table.obs["kept"], bool)[rows]
    sections = []
    if sample is not None:
        slide = sample.slide
        caption = (
            f"Image {slide.name}: {slide.width_um / 1000:.2f} \N{MULTIPLICATION SIGN} {slide.height_um / 1000:.2f} "
            f"mm at {slide.mpp:.3g} µm per pixel (from {slide.mpp_source}); regions of "
            f"{np.median(marks.size_um):.0f} µm, drawn at true size."
        )
        picture = Picture(data_uri(figures.draw_slide(Backdrop.read(slide), marks, kept), "jpeg"), caption)
        sections.append(Section(f"The slide of {name}", pictures=[picture]))
    ranked, seeds = outcome.ranked(), outcome.results["methods"][outcome.main]["seeds"]
    shown = {"Best": ranked[0], "Median": ranked[len(ranked) // 2], "Worst": ranked[-1]}
    pictures: list[Picture] = []
    for label, gene in shown.items():
        pictures += _at_regions(outcome, label, int(gene), rows[kept], marks.take(kept), around)
    text = [
        f"Genes by their correlation under {outcome.main}: the best, median and worst of the {len(ranked)} that vary"
        + (" and are predicted in all folds" if len(outcome.folds) > 1 else "")
        + ". Observed and predicted share one colour scale, which ends at the 1st and 99th percentile; a prediction of "
        "an uncertain value stays near the mean, so its map is more even. The dashed line is equality. r: over the "
        "regions of this sample" + (f", of the first seed, {seeds[0]}." if len(seeds) > 1 else ".")
    ]
    sections.append(Section(f"Observed and predicted at the measured regions of {name}", text, pictures=pictures))
    field = outcome.folder / "fields" / file_name(name)
    if field.is_dir():
        names = {str(outcome.table.var_names[gene]): f"{label} gene" for label, gene in list(shown.items())[:2]}
        sections.append(_dense(outcome, ExpressionField.open(field), name, sample, marks, names))
    return sections


def _at_regions(
    outcome: Evaluated, label: str, gene: int, rows: NDArray[np.intp], marks: Marks, ground: Backdrop
) -> list[Picture]:
    observed = np.asarray(outcome.table.X[:, gene], np.float64)[rows]
    known = np.isfinite(observed)  # in some folds the gene may not have been predicted
    if not known.any():
        return []
    observed, marks, rows = observed[known], marks.take(known), rows[known]
    predicted = {name: outcome.predicted(name)[rows, gene] for name in outcome.guessing}
    r = {name: float(correlation(observed[:, None], values[:, None])[0]) for name, values in predicted.items()}
    figure = figures.draw_gene_at_regions(ground, marks, observed, predicted, r, outcome.main)
    return [Picture(data_uri(figure), "", f"{label} gene: {outcome.table.var_names[gene]}")]


def _dense(
    outcome: Evaluated, dense: ExpressionField, name: str, sample: Sample | None, marks: Marks, wanted: dict[str, str]
) -> Section:
    names = [str(gene) for gene in outcome.table.var_names]
    marker = next((gene for gene in MARKERS if gene in names and gene not in wanted), None)
    if marker:
        wanted[marker] = "A known marker"
    rate, pitch = dense.head.kind == "rate", dense.grid.pitch_um
    facts = dense.attributes.lattice  # the grid reaches a little beyond the slide
    unit = "expected counts per 100 µm²" if rate else "log(1 + counts per 10,000)"
    pictures = []
    for gene, label in wanted.items():
        values = dense.gene(gene).to_numpy() * (100.0 if rate else 1.0)
        values = values[: math.ceil(facts.height_um / pitch), : math.ceil(facts.width_um / pitch)]
        window = richest_window(values, pitch, _WINDOW_UM, _box(marks))
        left, top, width, height = window
        rows, cols = (slice(round(a / pitch), round((a + b) / pitch)) for a, b in ((top, height), (left, width)))
        size = (0.0, 0.0, values.shape[1] * pitch, values.shape[0] * pitch)
        whole = Backdrop.read(sample.slide, size, 700) if sample else Backdrop(None, size)
        near = Backdrop.read(sample.slide, window, 700) if sample else Backdrop(None, window)
        figure = figures.draw_dense(whole, shrink(values, _OVERVIEW), near, values[rows, cols], pitch, unit, marks)
        pictures.append(Picture(data_uri(figure, "jpeg", 120), "", f"{label}: {gene}"))
    text = [
        f"The content of the field everywhere, at its pitch of {pitch:g} µm, from the image alone. The blue box marks "
        f"the window below, where the outlines show the measured regions. Unit: {unit}."
    ]
    return Section(f"The dense map of {name}", text, pictures=pictures)


def _box(marks: Marks) -> Window:
    """Return the window that holds all centres."""
    (left, top), (right, bottom) = marks.centers_um.min(axis=0), marks.centers_um.max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)


def _marks(outcome: Evaluated, rows: NDArray[np.intp], sample: Sample | None) -> Marks:
    obs = outcome.table.obs.iloc[rows]
    centers = obs[["x_um", "y_um"]].to_numpy(np.float64)
    if sample is not None and isinstance(sample.regions, Squares):
        return Marks(centers, np.full(len(rows), math.sqrt(sample.regions.areas_um2[0])), square=True)
    return Marks(centers, obs["size_um"].to_numpy(np.float64))


def _around(marks: Marks, sample: Sample | None) -> Backdrop:
    """Return the part of the slide around the regions, as small as possible; an empty ground without a sample."""
    low, high = (marks.centers_um + side * marks.size_um[:, None] for side in (-1, 1))
    low, high = low.min(axis=0), high.max(axis=0)
    (left, top), (width, height) = low.tolist(), (high - low).tolist()
    window = (left, top, width, height)
    return Backdrop(None, window) if sample is None else Backdrop.read(sample.slide, window)


def richest_window(values: Floats, pitch_um: float, side_um: float, within: Window) -> Window:
    """Return the window of at most this side, and within another if it fits there, in which a map varies most."""
    left, top, width, height = (round(edge / pitch_um) for edge in within)
    side = max(1, min(round(side_um / pitch_um), *values.shape))
    first_row, first_col = (min(edge, size - side) for edge, size in zip((top, left), values.shape, strict=True))
    last_row, last_col = max(first_row, top + height - side), max(first_col, left + width - side)
    step = max(1, side // 2)
    best, place = -1.0, (first_row, first_col)
    for row in range(first_row, min(last_row, values.shape[0] - side) + 1, step):
        for col in range(first_col, min(last_col, values.shape[1] - side) + 1, step):
            part = values[row : row + side, col : col + side]
            spread = float(part.std()) if np.isfinite(part).all() else -1.0
            if spread > best:
                best, place = spread, (row, col)
    return place[1] * pitch_um, place[0] * pitch_um, side * pitch_um, side * pitch_um


def shrink(values: Floats, most: int) -> Floats:
    """Average a map over blocks of pixels, so that no side has more than `most`; a ragged edge is dropped."""
    by = max(1, math.ceil(max(values.shape) / most))
    height, width = (n // by * by for n in values.shape)
    blocks = values[:height, :width].reshape(height // by, by, width // by, by)
    return np.asarray(blocks.mean(axis=(1, 3)))
