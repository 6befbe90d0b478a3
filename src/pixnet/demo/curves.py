"""The figure of scores over region sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pixnet.evaluation.report.canvas import FAINT, INK, STYLE, Floats

# Okabe and Ito; grey and brown.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a8591", "#6b4226")
_MARKERS = "sD^vPX<>*"  # for readers who do not distinguish colours; the ceiling has the disk
_APART = 0.03  # between methods at one size, as a share of it, so that intervals do not hide one another
_BEYOND = 2.0  # place of regions without a size, as a multiple of the largest size


def draw_sizes(
    sizes: Sequence[str],
    scores: Mapping[str, Sequence[float]],
    title: str,
    target: str = "noise-free truth",
    intervals: Mapping[str, Sequence[Sequence[float]]] | None = None,
) -> Figure:
    """Draw scores over region sizes, one line for each method; the last method is the ceiling, which is dashed.

    Parameters
    ----------
    sizes
        Names of the regions, such as `8-µm square`. Those without a size, such as a whole cell, are on the right.
    scores, intervals
        By method, one score for each size, and its lower and upper end.
    title, target
        Title of the figure, and what the scores are correlations with.
    """
    places, sized = _places(sizes)
    with rc_context(STYLE):
        figure = Figure(figsize=(8.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        lowest = 0.0
        for index, (name, of_method) in enumerate(scores.items()):
            values = np.asarray(of_method, np.float64)
            ends = np.asarray(intervals[name] if intervals else np.stack([values, values], axis=1), np.float64)
            look: dict[str, Any] = {"color": _COLOURS[index % len(_COLOURS)], "marker": _MARKERS[index % len(_MARKERS)]}
            if index == len(scores) - 1:
                look = {"color": INK, "marker": "o", "ls": "--"}
            x = places * (1.0 + _APART * (index - (len(scores) - 1) / 2))
            axes.plot(x[sized], values[sized], ms=4.5, lw=1.5, label=name, **look)
            axes.plot(x[~sized], values[~sized], ms=4.5, **{**look, "ls": "none"})
            if intervals:
                axes.vlines(x, ends[:, 0], ends[:, 1], color=look["color"], lw=1.0)
            shown = np.concatenate([values, ends.ravel()])
            lowest = min([lowest, *shown[np.isfinite(shown)].tolist()])
        axes.axhline(0.0, color=FAINT, lw=0.7, zorder=0)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(places, [size.replace("-µm ", " µm\n").replace("whole ", "whole\n") for size in sizes])
        label = f"PCC@M with the {target}" + (", 95 % interval" if intervals else "")
        axes.set(xlabel="predicted region", ylabel=label, ylim=(lowest - 0.03, 1.02), title=title)
        # Beside the curves and in the order of their ends: it hides none and is quick to read.
        handles, names = axes.get_legend_handles_labels()
        end = int(np.argmax(np.where(sized, places, -1.0)))
        order = np.argsort([-np.nan_to_num(scores[name][end]) for name in names], kind="stable")
        axes.legend(
            [handles[k] for k in order], [names[k] for k in order], loc="center left", bbox_to_anchor=(1.01, 0.5)
        )
        return figure


def _places(sizes: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the place of each region on the axis, in um, and whether it has a size."""
    matches = [re.match(r"([\d.]+)-µm", name) for name in sizes]
    places = np.array([float(match[1]) if match else math.nan for match in matches])
    sized = np.isfinite(places)
    beyond = _BEYOND * (places[sized].max() if sized.any() else 1.0)
    return np.where(sized, places, beyond), sized
