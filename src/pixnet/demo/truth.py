"""The demo's comparison with the noise-free truth: a table over region sizes, and maps of marker genes at 2 um."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pixnet.demo.curves import draw_sizes
from pixnet.demo.predictions import counts_and_logs, predict_baseline, predict_field
from pixnet.demo.regions import MARGIN_UM, regions_by_size
from pixnet.demo.scores import ScoredSlide, scale_scores
from pixnet.demo.targets import KINDS, TRUTH, Targets, target_arrays
from pixnet.evaluation.report import Picture, Section, Table, figures, number, richest_window
from pixnet.evaluation.report.canvas import Backdrop, data_uri
from pixnet.expression import normalise
from pixnet.regions import Squares
from pixnet.scoring.table import Scores
from pixnet.virtual import VirtualTissue, tissue_version

if TYPE_CHECKING:
    from pixnet.evaluation.baselines import RidgeBaseline
    from pixnet.field import ExpressionField
    from pixnet.slide import Slide

_SEED = 0
_PITCH_UM = 2.0
_CROP_UM = 250.0
_METHODS = ("pixnet", "ridge", "ceiling")


def compare_with_truth(
    tissue: VirtualTissue, field: ExpressionField, ridge: RidgeBaseline, slide: Slide, places: int
) -> dict[str, Any]:
    """Compare PixNet and ridge with the noise-free truth in regions of several sizes at the same random places.

    `ridge` was fitted to the same genes, in the field's order, with the density.

    Returns
    -------
    dict
        `places`, `genes`, and `sizes`: for each size PCC@M of `pixnet`, `ridge` and `ceiling` (the best that can be
        predicted from the image), for expected `counts` and for `log`-normalised values.
    """
    sets = regions_by_size(tissue, places, _SEED)
    targets = Targets(target_arrays(tissue, sets, field.gene_names, _SEED))
    predictions = {"pixnet": {0: predict_field(field, sets)}, "ridge": {0: predict_baseline(ridge, slide, sets)}}
    scored = ScoredSlide(slide.name, "test", f"donor {tissue.donor_seed}", targets, predictions)
    scores = Scores(scale_scores([scored], _SEED))
    sizes: list[dict[str, Any]] = []
    for name, regions in sets.items():
        size: dict[str, Any] = {"regions": name}
        for kind in KINDS:
            keys = {"fold": "test", "regions": name, "target": f"{TRUTH} {kind}"}
            size[kind] = {method: scores.value(method, "pcc_m", **keys) for method in _METHODS}
        sizes.append({**size, "places": len(regions)})
    return {
        "virtual_version": tissue_version(tissue.shifts),
        "preset": tissue.preset.name,
        "slide_seed": tissue.seed,
        "donor_seed": tissue.donor_seed,
        "places": len(next(iter(sets.values()))),
        "genes": len(field.gene_names),
        "sizes": sizes,
    }


def truth_section(truth: dict[str, Any], tissue: VirtualTissue, field: ExpressionField, slide: Slide) -> Section:
    """Return the report's section on `compare_with_truth`: a table, a figure, and the maps of marker genes at 2 um."""
    columns = ["region", *(f"{method}, {kind}" for kind in KINDS for method in _METHODS)]
    rows = [
        [size["regions"], *(number(size[kind][method]) for kind in KINDS for method in _METHODS)]
        for size in truth["sizes"]
    ]
    text = [
        f"This tissue is drawn by a generator (preset {truth['preset']}, version {truth['virtual_version']}), so its "
        "expression is known at every point, without counting noise. The field was trained on regions of 100 µm alone. "
        f"Here it is read in regions down to 2 µm, at the same {truth['places']} random places on tissue for all "
        "sizes, and in as many whole cells, and compared with the truth: mean over "
        f"{truth['genes']} genes of the Pearson correlation over places."
    ]
    shares = ""
    if field.head.kind != "rate":
        shares = " This PixNet predicts shares only; multiplied by the area, they are used as counts."
    note = (
        "Counts: expected counts in the region; log: log(1 + counts per 10,000). Ridge sees the 112-µm crop centred "
        "on each place, and learns the density of all counts beside the shares: its counts are share x density x area."
        f"{shares} Ceiling: the best prediction by someone who knows every cell's type, outline, niche and donor, as "
        "the best reader of the image could: the expected counts, and the expected logarithm."
    )
    labels = {"pixnet": "pixnet", "ridge": "ridge", "ceiling": "ceiling: what morphology shows"}
    scores = {label: [size["counts"][method] for size in truth["sizes"]] for method, label in labels.items()}
    curves = draw_sizes([str(size["regions"]) for size in truth["sizes"]], scores, "Expected counts")
    pictures = [Picture(data_uri(curves), "")]
    pictures += [_marker_picture(gene, kind, tissue, field, slide) for kind, gene in _markers(tissue, field.gene_names)]
    return Section("Against the noise-free truth", text, [Table(columns, rows, note)], pictures)


def _markers(tissue: VirtualTissue, genes: Sequence[str]) -> list[tuple[str, str]]:
    """Return the two commonest cell types with a marker in the panel, with the first one each; scores play no part."""
    names = tissue.preset.cell_names
    common = np.argsort(-np.bincount(tissue.cells.kind, minlength=len(names)), kind="stable")
    group = dict(zip(tissue.genes, tissue.gene_groups, strict=True))
    markers = []
    for index in common:
        of_type = [gene for gene in genes if group[gene] == f"marker:{names[index]}"]
        markers += [(names[index], gene) for gene in of_type[:1]]
    return markers[:2]


def _marker_picture(gene: str, kind: str, tissue: VirtualTissue, field: ExpressionField, slide: Slide) -> Picture:
    """Draw the window where the gene's truth varies most: H&E, truth, the part that morphology shows, prediction."""
    pitch = _PITCH_UM
    column = tissue.genes.index(gene)
    # Only where places may be: near the border a crop and a halo reach beyond the slide.
    margin = MARGIN_UM
    rows, cols = tissue.labels.shape
    inner = margin, margin, cols - 2 * margin, rows - 2 * margin
    window = richest_window(tissue.truth_map(gene, pitch), pitch, _CROP_UM, inner)
    left, top, width, height = window
    part = Squares.tiling(left, top, left + width, top + height, pitch)
    predicted, predicted_log = counts_and_logs(field, part, [gene])
    maps: dict[str, Any] = {"Truth": tissue.truth(part), "Shown by morphology": tissue.visible(part)}
    caption = f"Squares of {pitch:g} µm."
    if field.head.kind == "rate":
        unit, per_area = "expected counts\nper 100 µm²", 100.0 / pitch**2
        # A model cannot know which part of the molecules an assay would capture: one factor makes the slides agree.
        everywhere = Squares.tiling(margin, margin, cols - margin, rows - margin, _CROP_UM)
        sums = tissue.truth(everywhere)[:, column].sum(), counts_and_logs(field, everywhere, [gene])[0].sum()
        factor = float(sums[0] / max(float(sums[1]), 1e-12))
        maps = {name: per_area * values[:, column] for name, values in maps.items()}
        maps["PixNet"] = per_area * factor * predicted[:, 0]
        caption += (
            f" The predicted map is multiplied by one factor, {factor:.3g}, which gives it the truth's mean away "
            "from the slide's border: the image does not show the share of molecules that an assay captures."
        )
    else:
        unit = "log(1 + counts\nper 10,000)"
        maps = {name: normalise(values, values.sum(axis=1))[:, column] for name, values in maps.items()}
        maps["PixNet"] = predicted_log[:, 0]
    shape = round(height / pitch), round(width / pitch)
    panels: list[tuple[str, Any]] = [("H&E", Backdrop.read(slide, window, 600))]
    panels += [(name, values.reshape(shape)) for name, values in maps.items()]
    figure = figures.draw_row(panels, window, unit)
    return Picture(data_uri(figure), caption, f"{gene}, a marker of the cell type {kind}")
