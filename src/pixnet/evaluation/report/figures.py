"""Figures of slides and maps, drawn with matplotlib's objects (no window, no global figure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pixnet.evaluation.report.canvas import COLOURS, FAINT, STYLE, Backdrop, Floats, Marks, Window, limits, slide_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAP_COLOURS = "viridis"
_FIELD_COLOURS = "magma"
_PANELS_PER_ROW = 4


def draw_slide(backdrop: Backdrop, marks: Marks, kept: NDArray[np.bool_]) -> Figure:
    """Draw a slide with its measured regions: those scored, and those left out."""
    with rc_context(STYLE):
        width, height = backdrop.window[2:]
        figure = Figure(figsize=(8.0, min(8.0 * height / width + 0.7, 9.0)), layout="constrained")
        axes = slide_axes(figure.add_subplot(), backdrop)
        for chosen, colour, name in ((kept, "#1638c8", "scored"), (~kept, "#e0a100", "left out (too few counts)")):
            if chosen.any():
                outlines = list(marks.take(chosen).outlines())
                axes.add_collection(PolyCollection(outlines, facecolors="none", edgecolors=colour, linewidths=1.0))
                axes.plot([], [], "s" if marks.square else "o", mfc="none", mec=colour, label=f"{chosen.sum()} {name}")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2, handletextpad=0.2)
        return figure


def draw_gene_at_regions(
    backdrop: Backdrop,
    marks: Marks,
    observed: Floats,
    predicted: Mapping[str, Floats],
    r: Mapping[str, float],
    main: str,
) -> Figure:
    """Draw a gene at n measured regions: observed and predicted (n,) on one colour scale, and one against the other.

    `predicted` and `r`, its correlation with the observed values, are by method. The main method is the one that is
    drawn against them.
    """
    with rc_context(STYLE):
        maps = {"Observed": observed}
        maps |= {f"{name}, r = {_signed(r[name])}": values for name, values in predicted.items()}
        columns = min(_PANELS_PER_ROW, len(maps) + 1)
        rows = -(-(len(maps) + 1) // columns)
        width, height = backdrop.window[2:]
        panel_width = (11.0 - 0.9) / columns
        row_height = min(max(panel_width * height / width, 2.2), 6.0) + 0.55
        figure = Figure(figsize=(11.0, rows * row_height), layout=ConstrainedLayoutEngine(w_pad=0.08))
        panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).ravel())
        # A method whose values are far off would make all the others' maps look flat.
        span = limits(np.concatenate([observed, predicted[main]]))
        ground = backdrop.grey()
        for number, (axes, (title, values)) in enumerate(zip(panels, maps.items(), strict=False)):
            slide_axes(axes, ground, labelled=number % columns == 0)
            axes.set_title(title)
            layer = PolyCollection(list(marks.outlines()), array=np.asarray(values), cmap=_MAP_COLOURS, linewidths=0)
            layer.set_clim(*span)
            axes.add_collection(layer)
        _draw_against(panels[len(maps)], observed, predicted[main], main)
        for axes in panels[len(maps) + 1 :]:
            axes.set_axis_off()
        beside = panels if rows > 1 else panels[: len(maps)]
        figure.colorbar(layer, ax=beside, label="log(1 + counts per 10,000)", shrink=0.85, aspect=30, pad=0.01)
        return figure


def _draw_against(axes: Axes, observed: Floats, predicted: Floats, name: str) -> None:
    axes.plot(observed, predicted, "o", ms=3.0, mfc=COLOURS[0], mec="none", alpha=0.55)
    ends = [min(observed.min(), predicted.min()), max(observed.max(), predicted.max())]
    axes.plot(ends, ends, color=FAINT, lw=0.8, ls="--", zorder=0)
    axes.set(title=f"{len(observed)} regions", xlabel="observed", ylabel=f"predicted by {name}", box_aspect=1)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def draw_dense(
    backdrop: Backdrop,
    overview: Floats,
    near: Backdrop,
    crop: Floats,
    pitch_um: float,
    unit: str,
    marks: Marks | None = None,
) -> Figure:
    """Draw a dense map beside the H&E: the whole slide, and below it a small window at the field's full pitch.

    The map of the slide is `overview`, that of the window `crop`, whose pixels have a side of `pitch_um`; NaN has no
    data. The outlines of measured regions are drawn in the window.
    """
    with rc_context(STYLE):
        width, height = backdrop.window[2:]
        tall = min(4.6 * height / width, 5.6)
        figure = Figure(figsize=(11.0, tall + 4.6 + 0.9), layout="constrained")
        axes = figure.subplots(2, 2, gridspec_kw={"height_ratios": [tall, 4.6]})
        low, high = limits(np.concatenate([overview.ravel(), crop.ravel()]), highest=98.5)
        full = f"window at the field's pitch of {pitch_um:g} µm"
        rows = ((backdrop, overview, "the whole slide"), (near, crop, full))
        for (plain, coloured), (ground, values, name) in zip(axes, rows, strict=True):
            slide_axes(plain, ground)
            plain.set_title(f"H&E, {name.split(' at ')[0]}")
            slide_axes(coloured, Backdrop(None, ground.window), labelled=False)
            image = _map(coloured, values, ground.window, (low, high))
            coloured.set_title(f"Predicted, {name}")
            x, y, wide, high_um = near.window
            for panel in (plain, coloured):
                if ground is backdrop:
                    panel.add_patch(Rectangle((x, y), wide, high_um, fill=False, ec="#00b7ff", lw=1.6))
                elif marks is not None:
                    outlines = list(marks.outlines())
                    colour = "#1638c8" if panel is plain else "white"
                    panel.add_collection(PolyCollection(outlines, facecolors="none", edgecolors=colour, linewidths=1.1))
        figure.colorbar(image, ax=axes[:, 1].tolist(), label=unit, aspect=36, pad=0.015, extend="max")
        return figure


def draw_row(panels: Sequence[tuple[str, Backdrop | Floats]], window: Window, unit: str) -> Figure:
    """Draw images and maps of one window side by side, all maps on one colour scale."""
    with rc_context(STYLE):
        count = len(panels)
        figure = Figure(figsize=(11.0, 11.0 / count * window[3] / window[2] + 0.75), layout="constrained")
        all_axes = list(figure.subplots(1, count, squeeze=False)[0])
        maps = [content for _, content in panels if not isinstance(content, Backdrop)]
        span = limits(np.concatenate([np.ravel(values) for values in maps]), highest=97.0)
        for axes, (title, content) in zip(all_axes, panels, strict=True):
            ground = content if isinstance(content, Backdrop) else Backdrop(None, window)
            slide_axes(axes, ground, labelled=axes is all_axes[0])
            axes.set_title(title)
            if not isinstance(content, Backdrop):
                image = _map(axes, content, window, span)
        figure.colorbar(image, ax=all_axes, label=unit, aspect=22, pad=0.01, shrink=0.9, extend="max")
        return figure


def _map(axes: Axes, values: Floats, window: Window, span: tuple[float, float]) -> Any:
    left, top, width, height = window
    extent = (left, left + width, top + height, top)
    return axes.imshow(values, extent=extent, cmap=_FIELD_COLOURS, vmin=span[0], vmax=span[1], interpolation="nearest")
