"""Write an inspection as files: `inspect.json`, `overlay.png` and `histograms.png`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.inspection.counts_checks import is_mitochondrial
from pixnet.inspection.geometry import Layout
from pixnet.inspection.inspector import Inspected
from pixnet.sample import Sample

Floats = NDArray[np.float64]

_INK = "#1d2733"
_FAINT = "#8a94a0"
_BARS = "#3b4cc0"
_MARK = "#b4431c"
_STYLE: Any = {
    "font.size": 9.0,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.0,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_MOST_DRAWN = 20_000  # regions in the overlay
_PICTURE_PX = 1600
_WIDE = 500  # ratio of a logarithmic axis from which only powers of ten are labelled


def write_report(inspected: Inspected, out: str | Path) -> list[Path]:
    """Write the result of an inspection and its figures into a folder, replacing those of an earlier one.

    Return the files: there is no overlay without a layout, and there are no histograms without a sample.

    Raises
    ------
    DataError
        If the folder cannot be written to.
    """
    out = Path(out)
    written = [out / "inspect.json"]
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(inspected.inspection.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        written[0].write_text(text + "\n", encoding="utf-8")
        for name, figure in _figures(inspected).items():
            written.append(out / name)
            with rc_context(_STYLE):
                FigureCanvasAgg(figure)
                figure.savefig(written[-1], dpi=130, facecolor="white")
    except OSError as error:
        raise DataError(f"{out}: cannot be written to ({error.strerror or error}). Choose another `out`.") from error
    return written


def _figures(inspected: Inspected) -> dict[str, Figure]:
    figures = {}
    with rc_context(_STYLE):
        if inspected.layout is not None:
            with inspected.layout.slide:
                figures["overlay.png"] = _overlay(inspected.inspection.id, inspected.layout, inspected.sample)
        if inspected.sample is not None:
            figures["histograms.png"] = _histograms(inspected.sample)
    return figures


def _overlay(name: str, layout: Layout, sample: Sample | None) -> Figure:
    """Draw the regions over the slide, coloured by their counts; those outside are drawn beyond its frame."""
    slide = layout.slide
    rgb, _ = slide.thumbnail(_PICTURE_PX)
    grey = 255.0 - 0.5 * (255.0 - rgb.mean(axis=2))
    xy, width = layout.xy_um, layout.width_um
    depth = None if sample is None else sample.depth[:: layout.step]
    if len(xy) > _MOST_DRAWN:
        xy, depth, width = _pooled(xy, depth)
    width_um, height_um = slide.width_um, slide.height_um
    figure = Figure(figsize=(8.0, min(max(8.0 * 0.86 * height_um / width_um, 3.0), 10.0) + 0.5), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width_um, height_um, 0))
    width = max(width, width_um / 400)
    dots = EllipseCollection(
        width, width, 0.0, units="xy", offsets=xy, transOffset=axes.transData, linewidths=0.3, alpha=0.75
    )
    if depth is None:
        dots.set(facecolor="#d1662b", edgecolor="none")
    else:
        shown = np.maximum(depth, 1.0)
        dots.set_array(shown)
        # A few empty regions must not take up most of the scale.
        least, most = np.quantile(shown, [0.03, 0.97])
        dots.set_norm(LogNorm(least, max(most, 1.1 * least), clip=True))
        dots.set_cmap("viridis")
        scale = figure.colorbar(dots, ax=axes, shrink=0.7, label="counts of a region")
        _plain_numbers(scale.ax.yaxis, most / least)
    axes.add_collection(dots)
    axes.add_patch(Rectangle((0, 0), width_um, height_um, fill=False, edgecolor=_FAINT, linewidth=0.8))
    reach = width / 2
    low = np.minimum(xy.min(axis=0) - reach, 0.0)
    high = np.maximum(xy.max(axis=0) + reach, (width_um, height_um))
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal", xlabel="um", ylabel="um")
    number = len(layout.xy_um) if sample is None else len(sample.regions)
    axes.set_title(f"{name}: {number} regions over {slide.name} ({slide.mpp:.4g} um/px)")
    return figure


def _pooled(xy: Floats, depth: Floats | None) -> tuple[Floats, Floats | None, float]:
    """Pool many regions into squares with their mean counts, as drawing only some of them would make stripes.

    Return the centres of the m squares in um (m, 2), their mean counts (m,), and the width to draw them with in um,
    which leaves gaps that show the tissue.
    """
    side = float(np.sqrt(np.prod(np.ptp(xy, axis=0)) / _MOST_DRAWN * 4))
    place = np.floor((xy - xy.min(axis=0)) / side).astype(np.int64)
    squares, index = np.unique(place, axis=0, return_inverse=True)
    if depth is not None:
        depth = np.bincount(index.ravel(), depth) / np.bincount(index.ravel())
    return xy.min(axis=0) + (squares + 0.5) * side, depth, 0.7 * side


def _histograms(sample: Sample) -> Figure:
    """Draw histograms of depth, genes and mitochondrial share over the regions, and of counts over the genes."""
    counts, depth = sample.counts, sample.depth
    panels: list[tuple[str, NDArray[Any], bool]] = [
        ("Counts of a region", depth, True),
        ("Genes found in a region", np.diff(counts.matrix.indptr).astype(np.float64), True),
    ]
    mitochondrial = np.flatnonzero(is_mitochondrial(counts.genes))
    if len(mitochondrial):
        share = np.asarray(counts.matrix[:, mitochondrial].sum(axis=1), np.float64).ravel() / np.maximum(depth, 1.0)
        panels.append(("Mitochondrial share", share, False))
    panels.append(("Counts of a gene", np.asarray(counts.matrix.sum(axis=0), np.float64).ravel(), True))
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(8.0, 2.8 * rows), layout="constrained")
    figure.suptitle(f"{sample.id}: {len(sample.regions)} regions, {len(sample.genes)} genes", x=0.01, ha="left")
    for index, (title, values, logged) in enumerate(panels):
        axes = figure.add_subplot(rows, 2, index + 1)
        shown = values[values > 0] if logged else values
        if logged and len(shown):
            # The values are whole numbers: with edges between them, no bin stays empty for that reason.
            edges = np.unique(np.round(np.geomspace(shown.min(), shown.max() + 1, 40))) - 0.5
            axes.hist(shown, bins=list(edges), color=_BARS)
            axes.set_xscale("log")
            _plain_numbers(axes.xaxis, edges[-1] / edges[0])
        elif len(shown):
            axes.hist(shown, bins=40, color=_BARS)
        if len(values):
            median = float(np.median(values))
            axes.axvline(median, color=_MARK, linewidth=1.0)
            axes.set_xlabel(f"median {median:.0f}" if logged else f"median {median:.1%}", color=_MARK)
        zeros = int((values == 0).sum()) if logged else 0
        axes.set_title(title + (f" (none in {zeros})" if zeros else ""))
        axes.set_ylabel("genes" if title.endswith("gene") else "regions")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _plain_numbers(axis: Any, ratio: float) -> None:
    """Label a logarithmic axis with plain numbers: powers of ten if its ends have a large ratio, else 1, 2 and 5."""
    axis.set_major_locator(LogLocator(subs=(1.0,) if ratio > _WIDE else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:,.7g}"))
    axis.set_minor_formatter(NullFormatter())
