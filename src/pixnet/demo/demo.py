"""The demo: the main job from files to report, on virtual tissue whose expression is known everywhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pixnet.config import Config
from pixnet.demo.regions import TRAINING_SEEDS
from pixnet.demo.truth import compare_with_truth, truth_section
from pixnet.errors import DataError
from pixnet.evaluation.baselines import RidgeBaseline
from pixnet.evaluation.methods import Options
from pixnet.evaluation.report import write_report
from pixnet.evaluation.results import finite
from pixnet.evaluation.runner import evaluate
from pixnet.field import ExpressionField
from pixnet.readers.manifest import read_manifest
from pixnet.sample.panel import GenePanel
from pixnet.virtual import TEST_SEEDS, VirtualTissue, spots, write_dataset

if TYPE_CHECKING:
    from pixnet.sample import Sample

Progress = Callable[[str, int, int, str], None]
TEST_ID = "virtual-0"
_PITCH_UM = 110.0
_DIAMETER_UM = 100.0
_SEED = 0


@dataclass(frozen=True)
class DemoSize:
    """The size of the demo: training slides, 1 to 4, are each of another donor; `bins` are compared with the truth.

    For `steps`, `tiles`, `views` and `min_counts` see `TrainingConfig`, whose defaults these are but for the steps.
    """

    preset: str = "breast"
    side_um: float = 1000.0
    training_slides: int = 3
    genes: int = 100
    steps: int = 130
    tiles: int = 32
    views: int = 2
    min_counts: int = 500
    bins: int = 1500

    @property
    def config(self) -> Config:
        """The model's configuration."""
        training = {name: getattr(self, name) for name in ("steps", "tiles", "views", "min_counts")}
        return Config.from_dict({"training": training, "genes": {"number": self.genes}})


def run_demo(out: Path, progress: Progress, size: DemoSize | None = None) -> Path:
    """Draw slides, measure them, train on some, and score on the slide of another donor; return the report.

    `out` gets `data/` as a user would have it, `evaluation/` as `pixnet evaluate` writes it, and `truth.json`, the
    comparison with the noise-free truth. The default size takes about four minutes of two CPU cores. DataError if there
    is no such virtual tissue, or too little of it to train on.
    """
    size = size or DemoSize()
    tissue, manifest = _make_data(Path(out) / "data", size, progress)
    folder = Path(out) / "evaluation"
    samples = read_manifest(manifest)
    options = Options(progress=progress)
    manifests = [manifest.name]
    evaluate(samples, [TEST_ID], folder, config=size.config, options=options, overwrite=True, manifests=manifests)
    test = next(sample for sample in samples if sample.id == TEST_ID)
    training = [sample for sample in samples if sample.id != TEST_ID]
    field = ExpressionField.open(folder / "fields" / TEST_ID)
    progress("truth", 0, 2, "ridge")
    panel = GenePanel(field.gene_names, "list")
    ridge = RidgeBaseline().fit(training, panel, size.min_counts, density=True)
    progress("truth", 1, 2, "pixnet and ridge against the truth")
    truth = compare_with_truth(tissue, field, ridge, test.slide, size.bins)
    (Path(out) / "truth.json").write_text(json.dumps(finite(truth), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    report = write_report(folder, [test], extra=[truth_section(truth, tissue, field, test.slide)])
    progress("truth", 2, 2, "")
    return report


def _make_data(folder: Path, size: DemoSize, progress: Progress) -> tuple[VirtualTissue, Path]:
    """Write the slides with their counts; return the tissue of the test slide and the manifest."""
    if size.preset not in TEST_SEEDS or not 1 <= size.training_slides <= len(TRAINING_SEEDS):
        raise DataError(
            f"demo: there is no preset {size.preset!r} with {size.training_slides} training slides; choose one of "
            f"{', '.join(TEST_SEEDS)} and 1 to {len(TRAINING_SEEDS)} slides."
        )
    seeds = [*TRAINING_SEEDS[: size.training_slides], TEST_SEEDS[size.preset][0]]
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
