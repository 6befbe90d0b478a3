"""The pictures of the report, drawn with matplotlib's objects (no window, no global figure)."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pixnet.slide import Slide

Floats = NDArray[np.floating[Any]]
Window = tuple[float, float, float, float]
"""Left, top, width and height of a part of a slide, in um."""

MAP, FIELD = "viridis", "magma"
_INK, _FAINT = "#1d2733", "#8a94a0"
_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_COLOURS = ("#3b4cc0", "#d1662b", "#7a8591", "#2b8a6e", "#a0408a")
_ROUND = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # lengths of scale bars, in um


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A picture of (a part of) a slide.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8; None draws an empty ground.
    window
        What it shows.
    """

    rgb: NDArray[np.uint8] | None
    window: Window

    @classmethod
    def read(cls, slide: Slide, window: Window | None = None, pixels: int = 900) -> Backdrop:
        """Read a part of a slide (all of it by default), at most `pixels` wide and high."""
        part = window or (0.0, 0.0, slide.width_um, slide.height_um)
        resolution = max(max(part[2:]) / pixels, slide.mpp)
        return cls(slide.read(*part, resolution)[0], part)

    def grey(self) -> Backdrop:
        """Give the picture in light grey, so that colours on top of it stand out."""
        if self.rgb is None:
            return self
        grey = 255.0 - 0.45 * (255.0 - self.rgb.mean(axis=2, keepdims=True))
        return Backdrop(np.repeat(grey, 3, axis=2).astype(np.uint8), self.window)


@dataclass(frozen=True, eq=False)
class Marks:
    """Where regions lie and how large they are drawn.

    Parameters
    ----------
    centers_um
        (n, 2).
    size_um
        (n,), diameter of the disks, or side of the squares.
    square
        Which of the two.
    """

    centers_um: NDArray[np.float64]
    size_um: NDArray[np.float64]
    square: bool = False

    def take(self, chosen: NDArray[np.bool_]) -> Marks:
        """Give some of them."""
        return Marks(self.centers_um[chosen], self.size_um[chosen], self.square)

    def outlines(self) -> NDArray[np.float64]:
        """Give the corners of each region, (n, corners, 2) in um."""
        angle = np.arange(4) * np.pi / 2 + np.pi / 4 if self.square else np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = self.size_um / 2 * (np.sqrt(2) if self.square else 1.0)
        corners = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return np.asarray(self.centers_um[:, None, :] + radius[:, None, None] * corners)


def data_uri(figure: Figure, kind: Literal["png", "jpeg"] = "png", dpi: int = 130) -> str:
    """Give a figure as an image inside an address, for an HTML file that needs no other file."""
    stream = io.BytesIO()
    extra: dict[str, Any] = {"pil_kwargs": {"quality": 88}} if kind == "jpeg" else {}
    with rc_context(_STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(stream, format=kind, dpi=dpi, facecolor="white", bbox_inches="tight", pad_inches=0.05, **extra)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def draw_slide(backdrop: Backdrop, marks: Marks, kept: NDArray[np.bool_]) -> Figure:
    """Draw a slide with its measured regions: those scored, and those left out."""
    with rc_context(_STYLE):
        width, height = backdrop.window[2:]
        figure = Figure(figsize=(8.0, min(8.0 * height / width + 0.7, 9.0)), layout="constrained")
        axes = _slide_axes(figure.add_subplot(), backdrop)
        for chosen, colour, name in ((kept, "#1638c8", "scored"), (~kept, "#e0a100", "left out (too few counts)")):
            if chosen.any():
                outlines = list(marks.take(chosen).outlines())
                axes.add_collection(PolyCollection(outlines, facecolors="none", edgecolors=colour, linewidths=1.0))
                axes.plot([], [], "s" if marks.square else "o", mfc="none", mec=colour, label=f"{chosen.sum()} {name}")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2, handletextpad=0.2)
        return figure


def draw_gene_at_regions(
    backdrop: Backdrop, marks: Marks, observed: Floats, predicted: Floats, r: float, method: str
) -> Figure:
    """Draw a gene at the measured regions: observed and predicted on one colour scale, and one against the other."""
    with rc_context(_STYLE):
        figure = _row_figure(backdrop, panels=2, extra=4.4)
        panels: list[Axes] = list(figure.subplots(1, 3, gridspec_kw={"width_ratios": [1, 1, 0.95]}))
        low, high = _limits(np.concatenate([observed, predicted]))
        ground = backdrop.grey()
        pair = ((panels[0], observed, "Observed"), (panels[1], predicted, f"Predicted by {method}"))
        for axes, values, title in pair:
            _slide_axes(axes, ground, labelled=axes is panels[0])
            axes.set_title(title)
            layer = PolyCollection(list(marks.outlines()), array=np.asarray(values), cmap=MAP, linewidths=0)
            layer.set_clim(low, high)
            axes.add_collection(layer)
        figure.colorbar(layer, ax=panels[:2], label="log(1 + counts per 10,000)", shrink=0.85, aspect=28, pad=0.015)
        scatter = panels[2]
        scatter.plot(observed, predicted, "o", ms=3.2, mfc=_COLOURS[0], mec="none", alpha=0.55)
        ends = [min(observed.min(), predicted.min()), max(observed.max(), predicted.max())]
        scatter.plot(ends, ends, color=_FAINT, lw=0.8, ls="--", zorder=0)
        scatter.set_title(f"r = {r:.2f}".replace("-", "\N{MINUS SIGN}") + f" over {len(observed)} regions")
        scatter.set(xlabel="observed, log(1 + counts per 10,000)", ylabel="predicted, same unit", box_aspect=1)
        return figure


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

    Parameters
    ----------
    backdrop, overview
        The slide, and the map (rows, columns) of the same extent; NaN where there is no data.
    near, crop
        The same of the window.
    pitch_um
        Side of a cell of `crop`.
    unit
        Unit of the map.
    marks
        Measured regions, whose outlines are drawn in the window.
    """
    with rc_context(_STYLE):
        width, height = backdrop.window[2:]
        tall = min(4.6 * height / width, 5.6)
        figure = Figure(figsize=(11.0, tall + 4.6 + 0.9), layout="constrained")
        axes = figure.subplots(2, 2, gridspec_kw={"height_ratios": [tall, 4.6]})
        low, high = _limits(np.concatenate([overview.ravel(), crop.ravel()]), highest=98.5)
        full = f"window at the field's pitch of {pitch_um:g} µm"
        rows = ((backdrop, overview, "the whole slide"), (near, crop, full))
        for (plain, coloured), (ground, values, name) in zip(axes, rows, strict=True):
            _slide_axes(plain, ground)
            plain.set_title(f"H&E, {name.split(' at ')[0]}")
            _slide_axes(coloured, Backdrop(None, ground.window), labelled=False)
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
    """Draw pictures and maps of one window side by side, all maps on one colour scale."""
    with rc_context(_STYLE):
        count = len(panels)
        figure = Figure(figsize=(11.0, 11.0 / count * window[3] / window[2] + 0.75), layout="constrained")
        all_axes = list(figure.subplots(1, count, squeeze=False)[0])
        maps = [content for _, content in panels if not isinstance(content, Backdrop)]
        limits = _limits(np.concatenate([np.ravel(values) for values in maps]), highest=97.0)
        for axes, (title, content) in zip(all_axes, panels, strict=True):
            ground = content if isinstance(content, Backdrop) else Backdrop(None, window)
            _slide_axes(axes, ground, labelled=axes is all_axes[0])
            axes.set_title(title)
            if not isinstance(content, Backdrop):
                image = _map(axes, content, window, limits)
        figure.colorbar(image, ax=all_axes, label=unit, aspect=22, pad=0.01, shrink=0.9, extend="max")
        return figure


def draw_genes(per_gene: Mapping[str, Floats], estimate: Floats | None) -> Figure:
    """Draw each method's correlations, its genes in order of their own value, and the noise estimate's."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(8.0, 3.4), layout="constrained")
        axes = figure.add_subplot()
        curves: list[tuple[str, Floats, Any]] = [(name, _falling(values), {}) for name, values in per_gene.items()]
        if estimate is not None:
            curves.append(("noise estimate", _falling(estimate), {"ls": "--"}))
        for index, (name, values, look) in enumerate(curves):
            colour = _INK if look else _COLOURS[index % len(_COLOURS)]
            axes.plot(np.arange(1, len(values) + 1), values, color=colour, lw=1.6, label=name, **look)
        axes.axhline(0.0, color=_FAINT, lw=0.7)
        axes.set(xlabel="genes, each method's best first", ylabel="Pearson correlation over regions")
        axes.margins(x=0.01)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return figure


def draw_training(rows: Sequence[Mapping[str, float | str]], chosen: int | None) -> Figure:
    """Draw the loss of each stage and the validation part's PCC@M over the steps, and mark the chosen step."""
    with rc_context(_STYLE):
        scored = [row for row in rows if "pcc_m" in row]
        figure = Figure(figsize=(9.0, 3.2), layout="constrained")
        panels = list(figure.subplots(1, 2 if scored else 1, squeeze=False)[0])
        names = {"search": "search (part of the samples)", "refit": "refit (all samples)", "fit": "all samples"}
        for index, stage in enumerate(dict.fromkeys(str(row["stage"]) for row in rows)):
            own = [row for row in rows if row["stage"] == stage]
            curve = [float(row["loss"]) for row in own]
            panels[0].plot([float(row["step"]) for row in own], curve, "o-", ms=2.5, lw=1.4,
                           color=_COLOURS[index % len(_COLOURS)], label=names.get(stage, stage))  # fmt: skip
        panels[0].set(xlabel="step", ylabel="loss (mean since the last look)", title="Training loss")
        panels[0].legend()
        if scored:
            panels[1].plot([float(row["step"]) for row in scored], [float(row["pcc_m"]) for row in scored], "o-",
                           ms=2.5, lw=1.4, color=_COLOURS[0])  # fmt: skip
            panels[1].set(xlabel="step", ylabel="PCC@M", title="Validation part")
        if chosen and scored:
            panels[1].axvline(chosen, color=_COLOURS[1], lw=1.2, ls="--")
            panels[1].set_title(f"Validation part; dashed: the chosen step, {chosen}")
        for axes in panels:
            axes.set_xlim(left=0)
        return figure


def draw_sizes(sizes: Sequence[str], scores: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Draw scores at several region sizes, one line for each method; the last one, the ceiling, dashed."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 3.1), layout="constrained")
        axes = figure.add_subplot()
        for index, (name, values) in enumerate(scores.items()):
            last = index == len(scores) - 1
            colour = _INK if last else _COLOURS[index % len(_COLOURS)]
            axes.plot(range(len(sizes)), values, "o--" if last else "o-", ms=4, lw=1.6, color=colour, label=name)
        axes.set_xticks(range(len(sizes)), sizes)
        axes.set(xlabel="region queried", ylabel="PCC@M with the noise-free truth", ylim=(0, 1), title=title)
        axes.legend(loc="best")
        return figure


def _row_figure(backdrop: Backdrop, panels: int, extra: float) -> Figure:
    """Make a figure of some slide panels side by side, as high as the slide's shape asks for."""
    width, height = backdrop.window[2:]
    each = (11.0 - extra) / panels
    tall = min(max(each * height / width, 2.9), 6.0) + 0.7
    return Figure(figsize=(11.0, tall), layout=ConstrainedLayoutEngine(w_pad=0.12))


def _slide_axes(axes: Axes, backdrop: Backdrop, labelled: bool = True) -> Axes:
    """Make axes in um of the slide's frame, y downwards, with the picture and a scale bar."""
    left, top, width, height = backdrop.window
    if backdrop.rgb is not None:
        axes.imshow(backdrop.rgb, extent=(left, left + width, top + height, top), interpolation="antialiased")
    axes.set(xlim=(left, left + width), ylim=(top + height, top), aspect="equal", xlabel="x (µm)")
    axes.spines[:].set_visible(True)
    axes.locator_params(nbins=6)
    if labelled:
        axes.set_ylabel("y (µm)")
    else:
        axes.tick_params(labelleft=False)
    _scale_bar(axes, backdrop.window)
    return axes


def _scale_bar(axes: Axes, window: Window) -> None:
    width = window[2]
    length = max([bar for bar in _ROUND if bar <= 0.28 * width], default=width / 4)
    name = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    bar = AnchoredSizeBar(
        axes.transData, length, name, "lower left", pad=0.3, borderpad=0.5, sep=2.5, color=_INK,
        size_vertical=0.006 * window[3], fontproperties=FontProperties(size=7.5),
    )  # fmt: skip
    bar.patch.set(edgecolor="none", alpha=0.85)
    bar.set_zorder(5)
    axes.add_artist(bar)


def _map(axes: Axes, values: Floats, window: Window, limits: tuple[float, float]) -> Any:
    left, top, width, height = window
    extent = (left, left + width, top + height, top)
    return axes.imshow(values, extent=extent, cmap=FIELD, vmin=limits[0], vmax=limits[1], interpolation="nearest")


def _falling(values: Floats) -> Floats:
    return np.asarray(np.sort(values[np.isfinite(values)])[::-1])


def _limits(values: Floats, lowest: float = 1.0, highest: float = 99.0) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, [lowest, highest]))
    return low, high if high > low else low + 1.0
