"""The demo: the main job from files to report, on virtual tissue whose expression is known everywhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixnet.config import Config
from pixnet.errors import DataError
from pixnet.evaluation.baselines import RidgeBaseline
from pixnet.evaluation.crops import SIDE_UM
from pixnet.evaluation.harness import evaluate
from pixnet.evaluation.metrics import score
from pixnet.evaluation.report import Picture, Section, Table, curves, figures, number, richest_window, write_report
from pixnet.evaluation.report.canvas import Backdrop, data_uri
from pixnet.expression import normalise
from pixnet.field import ExpressionField
from pixnet.panel import GenePanel
from pixnet.readers.manifest import read_manifest
from pixnet.regions import Disks, Regions, Squares
from pixnet.virtual import TEST_SEEDS, VIRTUAL_VERSION, VirtualTissue, spots, write_dataset

if TYPE_CHECKING:
    from pixnet.sample import Sample
    from pixnet.slide import Slide

Progress = Callable[[str, int, int, str], None]
TEST_ID = "virtual-0"
_PITCH_UM, _DIAMETER_UM = 110.0, 100.0
_TRAINING_SEEDS = ((11, 21), (12, 22), (13, 23), (14, 24))  # slide and donor; none of them is a test seed
_SEED = 0
_BIN_UM, _FINE_UM = 8.0, 2.0
_CROP_UM = 250.0


@dataclass(frozen=True)
class DemoSize:
    """How large the demo is.

    Parameters
    ----------
    preset
        Which virtual tissue.
    side_um
        Side of the slides, in um.
    training_slides
        How many slides are trained on, 1 to 4, each of a donor of its own.
    genes
        How many genes are predicted.
    steps, tiles, views, lr, validation, min_counts
        See `TrainingConfig`.
    bins
        At how many places the prediction is compared with the truth.
    """

    preset: str = "breast"
    side_um: float = 1000.0
    training_slides: int = 3
    genes: int = 100
    steps: int = 130
    tiles: int = 16
    views: int = 2
    lr: float = 0.02  # high, for so few steps
    validation: str = "none"  # a demo has no time to look for the number of steps
    min_counts: int = 500
    bins: int = 1500

    @property
    def config(self) -> Config:
        """The model's configuration."""
        names = ("steps", "tiles", "views", "lr", "validation", "min_counts")
        training = {name: getattr(self, name) for name in names}
        return Config.of({"training": training, "genes": {"number": self.genes}})


def run_demo(out: Path, progress: Progress, size: DemoSize | None = None) -> Path:
    """Draw slides, measure them, train on some, and score on the slide of another donor.

    Parameters
    ----------
    out
        Folder for all of it: `data/` as a user would have it, `evaluation/` as `pixnet evaluate` writes it, and
        `truth.json`, the comparison with the noise-free truth.
    progress
        Called with a stage's name, the work done, the work in all and a few words.
    size
        How large it is; by default about four minutes of two CPU cores.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    DataError
        If there is no such virtual tissue, or too little of it to train on.
    """
    size = size or DemoSize()
    tissue, manifest = _make_data(Path(out) / "data", size, progress)
    folder = Path(out) / "evaluation"
    samples = read_manifest(manifest)
    evaluate(
        samples, [TEST_ID], folder, config=size.config, overwrite=True, progress=progress, manifests=[manifest.name]
    )
    test = next(sample for sample in samples if sample.id == TEST_ID)
    training = [sample for sample in samples if sample.id != TEST_ID]
    field = ExpressionField.open(folder / "fields" / TEST_ID)
    progress("truth", 0, 2, "ridge")
    ridge = RidgeBaseline().fit(training, GenePanel(field.gene_names, "list"), size.config.training.min_counts)
    progress("truth", 1, 2, "pixnet and ridge against the truth")
    truth = compare_with_truth(tissue, field, ridge, test.slide, size.bins)
    (Path(out) / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    report = write_report(folder, [test], extra=[_truth_section(truth, tissue, field, test.slide)])
    progress("truth", 2, 2, "")
    return report


def _make_data(folder: Path, size: DemoSize, progress: Progress) -> tuple[VirtualTissue, Path]:
    """Write the slides with their counts; give the tissue of the test slide and the manifest."""
    if size.preset not in TEST_SEEDS or not 1 <= size.training_slides <= len(_TRAINING_SEEDS):
        raise DataError(
            f"demo: there is no preset {size.preset!r} with {size.training_slides} training slides; choose one of "
            f"{', '.join(TEST_SEEDS)} and 1 to {len(_TRAINING_SEEDS)} slides."
        )
    seeds = [*_TRAINING_SEEDS[: size.training_slides], TEST_SEEDS[size.preset][0]]
    samples: list[Sample] = []
    for number_done, (seed, donor) in enumerate(seeds):
        progress("tissue", number_done, len(seeds), "")
        tissue = VirtualTissue.generate(size.preset, seed, donor, size.side_um, size.side_um)
        measured = tissue.measure(spots(size.side_um, size.side_um, _DIAMETER_UM, _PITCH_UM), _SEED)
        name = TEST_ID if number_done == len(seeds) - 1 else f"virtual-{number_done + 1}"
        samples.append(dataclasses.replace(measured, id=name))
    manifest = write_dataset(folder, samples, _PITCH_UM)
    progress("tissue", len(seeds), len(seeds), "")
    return tissue, manifest


def compare_with_truth(
    tissue: VirtualTissue, field: ExpressionField, ridge: RidgeBaseline, slide: Slide, bins: int
) -> dict[str, Any]:
    """Compare PixNet and ridge with the noise-free truth in regions of several sizes at the same random places.

    At each place on tissue there is a square of 2 um, one of 8 um around it, and disks of 55 and 100 um. Ridge sees
    the crop centred on the place, the same one for all sizes.

    Parameters
    ----------
    tissue
        The truth.
    field
        PixNet's prediction.
    ridge
        Fitted to the same genes, in the field's order.
    slide
        The picture that both were predicted from.
    bins
        At how many places; fewer if the tissue has no room for them.

    Returns
    -------
    dict
        `places`, `genes`, and `sizes`: for each size PCC@M of `pixnet`, `ridge` and `ceiling` (the expectation given
        what morphology shows), for expected `counts` and for `log`-normalised values.
    """
    centers, sets = _regions(tissue, bins)
    columns = [tissue.genes.index(gene) for gene in field.gene_names]
    guess = ridge.predict(slide, centers).astype(np.float64)
    sizes = []
    for name, regions in sets.items():
        pixnet, pixnet_log = _predicted(field, regions)
        every = {"truth": tissue.truth(regions), "ceiling": tissue.visible(regions)}
        counts: dict[str, Any] = {key: values[:, columns] for key, values in every.items()}
        logs: dict[str, Any] = {key: normalise(values, values.sum(axis=1))[:, columns] for key, values in every.items()}
        counts |= {"pixnet": pixnet, "ridge": np.expm1(guess)}
        logs |= {"pixnet": pixnet_log, "ridge": guess}
        scores = {
            kind: {who: score(table["truth"], table[who])["pcc_m"] for who in ("pixnet", "ridge", "ceiling")}
            for kind, table in (("counts", counts), ("log", logs))
        }
        sizes.append({"regions": name, **scores})
    return {
        "virtual_version": VIRTUAL_VERSION,
        "preset": tissue.preset.name,
        "slide_seed": tissue.seed,
        "donor_seed": tissue.donor_seed,
        "places": len(centers),
        "genes": len(columns),
        "sizes": sizes,
    }


def _regions(tissue: VirtualTissue, bins: int) -> tuple[NDArray[np.float64], dict[str, Regions]]:
    """Draw places on tissue, with room for a whole crop around them, and the regions centred there."""
    height, width = tissue.labels.shape
    # Places lie at 1 + 8 k um, so that squares of 8 um begin at -3 and every 2-um square is one of those from 0 on.
    offset = 1.0 - _BIN_UM / 2
    rows, cols = (np.arange(int((side - SIDE_UM / 2 - 1) // _BIN_UM) + 1) for side in (height, width))
    row, col = (index.ravel() for index in np.meshgrid(rows, cols, indexing="ij"))
    y, x = (1 + int(_BIN_UM) * index for index in (row, col))
    is_open = np.array([zone.open for zone in tissue.preset.zones])
    usable = np.flatnonzero((x >= SIDE_UM / 2) & (y >= SIDE_UM / 2) & ~is_open[tissue.layout.zone[y, x]])
    if len(usable) < 2:
        raise DataError(f"demo: a slide of {width} x {height} um has no room for the comparison; make it larger.")
    chosen = np.sort(np.random.default_rng(_SEED).permutation(usable)[:bins])
    row, col = row[chosen], col[chosen]
    centers = np.stack([x[chosen], y[chosen]], axis=1).astype(np.float64)
    per_bin = int(_BIN_UM / _FINE_UM)
    return centers, {
        "2-µm square": Squares(0.0, 0.0, _FINE_UM, row * per_bin, col * per_bin),
        "8-µm square": Squares(offset, offset, _BIN_UM, row, col),
        "55-µm disk": Disks(centers, 55.0),
        "100-µm disk": Disks(centers, 100.0),
    }


def _predicted(
    field: ExpressionField, regions: Regions, genes: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give PixNet's expected counts and log-normalised values, (n, genes) each."""
    table = field.query(regions, genes)
    values = np.asarray(table.X, np.float64)
    if field.head.kind == "rate":
        return values, np.asarray(table.layers["log1p"], np.float64)
    # The other heads know shares only, as ridge does.
    logs = values / regions.areas_um2[:, None] if field.head.kind == "sum" else values
    return np.expm1(logs), logs


def _truth_section(truth: dict[str, Any], tissue: VirtualTissue, field: ExpressionField, slide: Slide) -> Section:
    """Put the comparison into the report: one table, and the map of marker genes at 2 um."""
    methods = ("pixnet", "ridge", "ceiling")
    columns = ["region", *(f"{who}, {kind}" for kind in ("counts", "log") for who in methods)]
    rows = [
        [one["regions"], *(number(one[kind][who]) for kind in ("counts", "log") for who in methods)]
        for one in truth["sizes"]
    ]
    text = [
        f"This tissue is drawn by a generator (preset {truth['preset']}, version {truth['virtual_version']}), so what "
        "is expressed is known at every point, without counting noise. Trained on regions of 100 µm alone, the field "
        f"is read here in regions down to 2 µm, at the same {truth['places']} random places on tissue for all sizes, "
        f"and compared with the truth: mean over {truth['genes']} genes of the Pearson correlation over places.",
    ]
    shares = "It predicts" if field.head.kind == "rate" else "Ridge and this PixNet predict"
    note = (
        "Counts: expected counts in the region; log: log(1 + counts per 10,000). Ridge sees the 112-µm crop centred "
        f"on each place. {shares} shares only, which stand for counts too. Ceiling: the expectation given every "
        "cell's type, outline, niche and donor, which is what the best reader of the picture could know; for log it is "
        "a guide, since the logarithm of an expectation is not the expected logarithm."
    )
    labels = {"pixnet": "pixnet", "ridge": "ridge", "ceiling": "ceiling: what morphology shows"}
    scores = {label: [one["counts"][who] for one in truth["sizes"]] for who, label in labels.items()}
    lines = curves.draw_sizes([str(one["regions"]) for one in truth["sizes"]], scores, "Expected counts")
    pictures = [Picture(data_uri(lines), "")]
    pictures += [_marker_picture(gene, kind, tissue, field, slide) for kind, gene in _markers(tissue, field.gene_names)]
    return Section("Against the noise-free truth", text, [Table(columns, rows, note)], pictures)


def _markers(tissue: VirtualTissue, genes: Sequence[str]) -> list[tuple[str, str]]:
    """Name, for the two commonest cell types that have one, the panel's first marker; the score plays no part."""
    names = tissue.preset.cell_names
    common = np.argsort(-np.bincount(tissue.cells.kind, minlength=len(names)), kind="stable")
    group = dict(zip(tissue.genes, tissue.gene_groups, strict=True))
    found = []
    for index in common:
        own = [gene for gene in genes if group[gene] == f"marker:{names[index]}"]
        found += [(names[index], own[0])] if own else []
    return found[:2]


def _marker_picture(gene: str, kind: str, tissue: VirtualTissue, field: ExpressionField, slide: Slide) -> Picture:
    """Draw the window where the gene's truth varies most: H&E, truth, what of it morphology shows, prediction."""
    pitch, column = _FINE_UM, tissue.genes.index(gene)
    # Where places may lie: near the border a crop and a halo reach beyond the slide.
    margin, (rows, cols) = SIDE_UM / 2, tissue.labels.shape
    inner = margin, margin, cols - 2 * margin, rows - 2 * margin
    window = richest_window(tissue.truth_map(gene, pitch), pitch, _CROP_UM, inner)
    left, top, width, height = window
    part = Squares.tiling(left, top, left + width, top + height, pitch)
    predicted, predicted_log = _predicted(field, part, [gene])
    maps: dict[str, Any] = {"Truth": tissue.truth(part), "What morphology shows of it": tissue.visible(part)}
    caption = f"Squares of {pitch:g} µm."
    if field.head.kind == "rate":
        unit, per_area = "expected counts\nper 100 µm²", 100.0 / pitch**2
        # A model cannot know which part of the molecules an assay would catch here: one factor makes the slides agree.
        everywhere = Squares.tiling(margin, margin, cols - margin, rows - margin, _CROP_UM)
        sums = tissue.truth(everywhere)[:, column].sum(), _predicted(field, everywhere, [gene])[0].sum()
        factor = float(sums[0] / max(float(sums[1]), 1e-12))
        maps = {name: per_area * values[:, column] for name, values in maps.items()}
        maps["PixNet"] = per_area * factor * predicted[:, 0]
        caption += (
            f" The predicted map is multiplied by one factor, {factor:.3g}, which gives it the truth's mean away "
            "from the slide's border: the share of molecules that an assay catches is not in the picture."
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
