"""Draw log shares of genes beside the H&E, as in the README: `python -m benchmarks.accuracy.picture FIELD SLIDE OUT`.

The field is from `pixnet predict`; give the pixel size of a slide that does not state it with `--mpp`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixnet import ExpressionField, Slide
from pixnet.slide.slide import read_overview

_UM_PER_PX = 8.0
_PERCENTILES = 2, 98
_BAR_UM = 500.0
_MARGIN_UM = 100.0


def draw(field: ExpressionField, slide: Slide, genes: list[str], out: Path, columns: int) -> None:
    """Draw the slide and a map of the log share of each gene, the range of colours from 2 % to 98 % of the tissue."""
    from matplotlib.figure import Figure

    level = max(0, round(np.log2(_UM_PER_PX / field.level_grid(0).pitch_um)))
    left, top, right, bottom = field.level_grid(level).bounds_um
    maps = {gene: np.asarray(field.gene(gene, level=level, log=True)) for gene in genes}
    x_um, y_um = _tissue(next(iter(maps.values())), field.level_grid(level).pitch_um)
    rows = -(-(1 + len(genes)) // columns)
    height = 3.2 * (y_um[0] - y_um[1]) / (x_um[1] - x_um[0]) + 0.3
    figure = Figure(figsize=(3.2 * columns, height * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, title in zip(axes, ["H&E", *genes], strict=False):
        axis.set(title=title, xticks=[], yticks=[])
    extent = (0.0, slide.width_um, slide.height_um, 0.0)  # y increases downward
    axes[0].imshow(read_overview(slide, max(_UM_PER_PX / 2, slide.mpp))[0], extent=extent)
    for axis, values in zip(axes[1:], maps.values(), strict=False):
        low, high = np.nanpercentile(values, _PERCENTILES)
        axis.imshow(values, extent=(left, right, bottom, top), cmap="magma", vmin=low, vmax=high)
    for axis in axes:
        axis.set(xlim=x_um, ylim=y_um)
        axis.spines[:].set_visible(False)
    for axis in axes[1 + len(genes) :]:
        axis.axis("off")
    start, line = x_um[0] + 100.0, y_um[0] - 100.0
    axes[0].plot([start, start + _BAR_UM], [line, line], color="black", linewidth=2)
    axes[0].text(start, line - 50.0, f"{_BAR_UM:g} um", fontsize=8, va="bottom")
    figure.savefig(out)


def _tissue(values: NDArray[np.floating], pitch_um: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the limits of x, and of y from bottom to top, that show all tissue."""
    rows, cols = (np.flatnonzero(np.isfinite(values).any(axis=axis)) * pitch_um for axis in (1, 0))
    return (cols[0] - _MARGIN_UM, cols[-1] + _MARGIN_UM), (rows[-1] + _MARGIN_UM, rows[0] - _MARGIN_UM)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("field", type=Path)
    parser.add_argument("slide", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--genes", default="EPCAM,COL1A1,CD74")
    parser.add_argument("--columns", type=int, default=4)
    given = parser.parse_args()
    chosen = Slide.open(given.slide, mpp=given.mpp)
    draw(ExpressionField.open(given.field), chosen, given.genes.split(","), given.out, given.columns)
