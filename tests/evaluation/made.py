"""Small random samples, and predictions of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anndata
import numpy as np
import pandas as pd

from pixnet.config import Config
from pixnet.evaluation.held_out import FoldPredictions, HeldOut, Prediction
from pixnet.evaluation.results import Outcome
from pixnet.evaluation.scores import score_fold
from pixnet.evaluation.splits import Fold
from pixnet.evaluation.summary import summarise
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.panel import GenePanel
from pixnet.slide import Slide

GENES = [f"G{number}" for number in range(12)]
SMALLEST_NETWORK = {
    "encoder": {"name": "test_resnet", "weights": "random", "finest": 4},
    "decoder": {"channels": [6, 6, 6], "dsub_steps": 1},
}
SHORT_TRAINING = {"tiles": 2, "views": 1, "tile_um": 64.0, "warmup": 1, "validation": "auto"}


def make_sample(name, donor=None, seed=0, genes=GENES, depth=300, regions=20):
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    slide = Slide.from_array(rng.integers(0, 255, (200, 240, 3), dtype=np.uint8), 1.0, name=name)
    means = depth * np.linspace(2, 1, len(genes)) / len(genes)
    table = anndata.AnnData(
        rng.poisson(means * rng.gamma(4, 0.25, (regions, len(genes)))).astype(np.float32),
        obs=pd.DataFrame(index=[f"r{number}" for number in range(regions)]),
        var=pd.DataFrame(index=list(genes)),
    )
    return Sample(name, slide, Disks(rng.uniform(30, 170, (regions, 2)), 40.0), table, donor)


def with_counts(sample, change):
    """Return the sample with other counts; `change` writes into the table it is given."""
    values = sample.counts.matrix.toarray()
    change(values)
    counts = Counts(values, sample.genes, sample.counts.gene_ids, sample.counts.names)
    return Sample(sample.id, sample.slide, sample.regions, counts, sample.donor, sample.platform)


def config(number=4, min_counts=50):
    return Config.from_dict({"genes": {"number": number}, "training": {"min_counts": min_counts}})


def held_out(names="AB", genes=("G0", "G5", "G2"), min_counts=50, **options):
    return HeldOut([make_sample(name, **options) for name in names], GenePanel(tuple(genes), "list"), min_counts)


def fold_of(held: HeldOut, predictions: Mapping[str, object], name: str = "fold", variable=()) -> FoldPredictions:
    """Return the predictions of a fold; each is a table, or several tables by seed."""
    by_method = {
        method: {
            seed: Prediction(np.asarray(values, np.float32), 1.0, 2.0)
            for seed, values in (tables if isinstance(tables, dict) else {0: tables}).items()
        }
        for method, tables in predictions.items()
    }
    test = tuple(sample.id for sample in held.samples)
    fold = Fold(name=name, train=("T",), test=test, genes=held.panel.names, variable=tuple(variable))
    return FoldPredictions(fold, held, by_method)


def outcome_of(sources: Sequence[FoldPredictions], record: Mapping[str, object] | None = None) -> Outcome:
    """Return the outcome of an evaluation of these folds."""
    folds = [score_fold(source, 0) for source in sources]
    return Outcome(folds, summarise(folds, 0), dict(record or {}))
