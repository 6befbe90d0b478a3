"""Expression of single cells: a field trained on spots, queried at the nuclei of a virtual tissue as polygons."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmarks.speed.figures import Figures
from pixnet.config import Config
from pixnet.expression import normalise
from pixnet.model import PixNet
from pixnet.regions import LabelMask, Polygons, Regions
from pixnet.scoring.metrics import score
from pixnet.virtual import TEST_SEEDS, VirtualTissue, spots
from pixnet.virtual.transcripts import draw_transcripts

_SIDE_UM, _QUICK_SIDE_UM = 1000.0, 500.0
_TRAINING_SEEDS = ((11, 21), (12, 22), (13, 23))  # slide and donor
_STEPS, _QUICK_STEPS = 150, 3
_MARGIN_UM = 56.0  # closer to the slide's edge, what is around a cell is cut off


def run(quick: bool = False) -> Figures:
    """Train on 100-um spots of three donors, and compare the predictions for another donor's cells with the truth."""
    side, steps = (_QUICK_SIDE_UM, _QUICK_STEPS) if quick else (_SIDE_UM, _STEPS)
    training = {"steps": steps}
    measured = []
    for seed, donor in _TRAINING_SEEDS:
        tissue = VirtualTissue.generate("breast", seed, donor, side, side)
        measured.append(tissue.measure(spots(side, side, 100.0, 110.0), 0))
    model = PixNet(Config.from_dict({"training": training, "genes": {"number": 100}})).fit(measured)
    tissue = VirtualTissue.generate("breast", *TEST_SEEDS["breast"][0], side, side)
    with tempfile.TemporaryDirectory() as folder:
        # Without the mask: all cells count, also those alone on the glass.
        field = model.predict(tissue.slide, Path(folder) / "field", tissue_mask=False)
        nuclei = draw_transcripts(tissue).nuclei
        present = set(np.unique(tissue.labels) - 1)  # label 0 is no cell
        inside = {c: shape for c, shape in nuclei.items() if c in present and _is_inside(shape, side)}
        outlines = _through_geojson(list(inside.values()), tissue.slide.mpp, Path(folder) / "nuclei.geojson")
        table = field.query(outlines)
    genes = [tissue.genes.index(gene) for gene in field.gene_names]
    cells = LabelMask(tissue.labels, 0.0, 0.0, 1.0, ids=np.array(list(inside)) + 1)  # whole cells
    tables: dict[str, Any] = {"PixNet": (np.asarray(table.X), np.asarray(table.layers["log1p"]))}
    for name, all_genes in (("what morphology shows", tissue.visible(cells)), ("the truth", tissue.truth(cells))):
        tables[name] = all_genes[:, genes], normalise(all_genes, all_genes.sum(axis=1))[:, genes]
    counts, logs = tables.pop("the truth")
    expressed = (counts > 0).any(axis=1)
    figures: Figures = {"nuclei": int(expressed.sum()), "genes": len(genes)}
    for name, (of_counts, of_logs) in tables.items():
        figures[f"{name}: PCC@M over cells, expected counts"] = _pcc(counts[expressed], of_counts[expressed])
        figures[f"{name}: PCC@M over cells, log-normalised"] = _pcc(logs[expressed], of_logs[expressed])
    return figures


def _pcc(truth: NDArray[Any], guess: NDArray[Any]) -> float:
    return round(score(truth, guess)["pcc_m"], 3)


def _is_inside(shape: Any, side: float) -> bool:
    left, top, right, bottom = shape.bounds
    return min(left, top) >= _MARGIN_UM and max(right, bottom) <= side - _MARGIN_UM


def _through_geojson(shapes: list[Any], mpp: float, path: Path) -> Regions:
    """Write outlines in pixels, as a segmentation tool does, and read them as a user would."""
    features = []
    for number, shape in enumerate(shapes):
        pixels = shapely.transform(shape, lambda points: points / mpp)
        geometry = json.loads(shapely.to_geojson(pixels))
        features.append({"type": "Feature", "geometry": geometry, "properties": {"name": f"nucleus {number}"}})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return Polygons.from_geojson(path, mpp)
