"""Common parts of all figures: style, the slide behind, outlines of regions, and a figure as a part of the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontProperties
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pixnet.slide import Slide

Floats = NDArray[np.floating[Any]]
Window = tuple[float, float, float, float]
"""Left, top, width and height of a part of a slide, in um."""

INK = "#1d2733"
FAINT = "#8a94a0"
STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
COLOURS = ("#3b4cc0", "#d1662b", "#7a8591", "#2b8a6e", "#a0408a", "#b58900", "#2a9fb5", "#6b4226")
_ROUND = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # lengths of scale bars, in um


@dataclass(frozen=True, eq=False)
class Backdrop:
    """An image of a window of a slide, (h, w, 3); None draws an empty ground."""

    rgb: NDArray[np.uint8] | None
    window: Window

    @classmethod
    def read(cls, slide: Slide, window: Window | None = None, pixels: int = 900) -> Backdrop:
        """Read a part of a slide (all of it by default), at most `pixels` wide and high."""
        part = window or (0.0, 0.0, slide.width_um, slide.height_um)
        resolution = max(max(part[2:]) / pixels, slide.mpp)
        return cls(slide.read(*part, resolution)[0], part)

    def grey(self) -> Backdrop:
        """Return the image in light grey, so that colours on top of it can be seen."""
        if self.rgb is None:
            return self
        grey = 255.0 - 0.45 * (255.0 - self.rgb.mean(axis=2, keepdims=True))
        return Backdrop(np.repeat(grey, 3, axis=2).astype(np.uint8), self.window)


@dataclass(frozen=True, eq=False)
class Marks:
    """Centres of n regions in um, (n, 2), and diameters of the disks or sides of the squares to draw, (n,)."""

    centers_um: NDArray[np.float64]
    size_um: NDArray[np.float64]
    square: bool = False

    def take(self, chosen: NDArray[np.bool_]) -> Marks:
        """Return some of them."""
        return Marks(self.centers_um[chosen], self.size_um[chosen], self.square)

    def outlines(self) -> NDArray[np.float64]:
        """Return the corners of each region in um, (n, corners, 2)."""
        angle = np.arange(4) * np.pi / 2 + np.pi / 4 if self.square else np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = self.size_um / 2 * (np.sqrt(2) if self.square else 1.0)
        corners = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return np.asarray(self.centers_um[:, None, :] + radius[:, None, None] * corners)


def data_uri(figure: Figure, kind: Literal["png", "jpeg"] = "png", dpi: int = 130) -> str:
    """Return a figure as an image inside an address, for an HTML file that needs no other file."""
    stream = io.BytesIO()
    extra: dict[str, Any] = {"pil_kwargs": {"quality": 88}} if kind == "jpeg" else {}
    with rc_context(STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(stream, format=kind, dpi=dpi, facecolor="white", bbox_inches="tight", pad_inches=0.05, **extra)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def slide_axes(axes: Axes, backdrop: Backdrop, labelled: bool = True) -> Axes:
    """Set up axes in um of the slide's frame, y downwards, with the image and a scale bar."""
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
    look = {"pad": 0.3, "borderpad": 0.5, "sep": 2.5, "color": INK, "fontproperties": FontProperties(size=7.5)}
    bar = AnchoredSizeBar(axes.transData, length, name, "lower left", size_vertical=0.006 * window[3], **look)
    bar.patch.set(edgecolor="none", alpha=0.85)
    bar.set_zorder(5)
    axes.add_artist(bar)


def limits(values: Floats, lowest: float = 1.0, highest: float = 99.0) -> tuple[float, float]:
    """Return the ends of a colour scale: two percentiles of the values that are finite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, [lowest, highest]))
    return low, high if high > low else low + 1.0
