"""Figures of scores: by gene, against the noise estimate, over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from pixnet.evaluation.report.canvas import COLOURS, FAINT, INK, STYLE, Floats

_PANELS_PER_ROW = 4


def draw_genes(per_gene: Mapping[str, Floats], estimate: Floats | None) -> Figure:
    """Draw the correlations of each method and of the noise estimate, the genes of each in order of their own value."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.4), layout="constrained")
        axes = figure.add_subplot()
        curves: list[tuple[str, Floats, Any]] = [(name, _falling(values), {}) for name, values in per_gene.items()]
        if estimate is not None:
            curves.append(("noise estimate", _falling(estimate), {"ls": "--"}))
        for index, (name, values, look) in enumerate(curves):
            colour = INK if look else COLOURS[index % len(COLOURS)]
            axes.plot(np.arange(1, len(values) + 1), values, color=colour, lw=1.6, label=name, **look)
        axes.axhline(0.0, color=FAINT, lw=0.7)
        axes.set(xlabel="genes, each method's best first", ylabel="Pearson correlation over regions")
        axes.margins(x=0.01)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return figure


def draw_against_noise(per_gene: Mapping[str, Floats], estimate: Floats) -> Figure:
    """Draw each gene's correlation over its noise estimate, a panel for each method."""
    with rc_context(STYLE):
        columns = min(_PANELS_PER_ROW, len(per_gene))
        rows = -(-len(per_gene) // columns)
        figure = Figure(figsize=(2.75 * columns + 0.3, 2.9 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel())
        lowest = min([0.0, *(float(np.nanmin(values)) for values in per_gene.values() if np.isfinite(values).any())])
        for index, (axes, (name, values)) in enumerate(zip(panels, per_gene.items(), strict=False)):
            axes.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls="--", zorder=0)
            axes.axhline(0.0, color=FAINT, lw=0.7, zorder=0)
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(estimate, values, "o", ms=3.2, mfc=colour, mec="none", alpha=0.55)
            axes.set(xlim=(-0.02, 1.02), ylim=(lowest - 0.03, 1.02), title=name, aspect="equal", adjustable="box")
            axes.tick_params(labelbottom=index + columns >= len(per_gene))
        for axes in panels[len(per_gene) :]:
            axes.set_axis_off()
        figure.supxlabel("noise estimate", fontsize=9.0)
        figure.supylabel("Pearson correlation", fontsize=9.0)
        return figure


def draw_training(rows: Sequence[Mapping[str, float | str]], chosen: int | None) -> Figure:
    """Draw the loss of each stage and the validation part's PCC@M over the steps, and mark the chosen step."""
    with rc_context(STYLE):
        scored = [row for row in rows if "pcc_m" in row]
        figure = Figure(figsize=(9.0, 3.2), layout="constrained")
        panels = list(figure.subplots(1, 2 if scored else 1, squeeze=False)[0])
        names = {"search": "search (part of the samples)", "refit": "refit (all samples)", "fit": "all samples"}
        for index, stage in enumerate(dict.fromkeys(str(row["stage"]) for row in rows)):
            of_stage = [row for row in rows if row["stage"] == stage]
            colour = COLOURS[index % len(COLOURS)]
            _draw_over_steps(panels[0], of_stage, "loss", colour, label=names.get(stage, stage))
        panels[0].set(xlabel="step", ylabel="loss (mean since the last validation)", title="Training loss")
        panels[0].legend()
        if scored:
            _draw_over_steps(panels[1], scored, "pcc_m", COLOURS[0])
            panels[1].set(xlabel="step", ylabel="PCC@M", title="Validation part")
        if chosen and scored:
            panels[1].axvline(chosen, color=COLOURS[1], lw=1.2, ls="--")
            panels[1].set_title(f"Validation part; dashed: the chosen step, {chosen}")
        for axes in panels:
            axes.set_xlim(left=0)
        return figure


def _draw_over_steps(axes: Any, rows: Sequence[Mapping[str, Any]], key: str, colour: str, **look: Any) -> None:
    steps = [float(row["step"]) for row in rows]
    axes.plot(steps, [float(row[key]) for row in rows], "o-", ms=2.5, lw=1.4, color=colour, **look)


def _falling(values: Floats) -> Floats:
    return np.asarray(np.sort(values[np.isfinite(values)])[::-1])
