"""A small data set, and plans that record which runs they compute."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
from benchmarks.accuracy.donors_plan import DonorsPlan
from benchmarks.accuracy.protocol_plan import ProtocolPlan
from benchmarks.accuracy.scales_plan import ScalesPlan

from pixnet.config import Config
from pixnet.demo.regions import ScaleSettings
from pixnet.evaluation.methods import Options
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runs import Run, RunStore
from pixnet.evaluation.splits import make_folds
from pixnet.readers.manifest import read_manifest
from pixnet.sample.genes import join_genes
from pixnet.virtual import VirtualTissue, spots, write_dataset

NETWORK = {
    "mpp": 2.0,
    "surroundings_um": [],
    "encoder": {"name": "test_resnet", "weights": "random"},
    "decoder": {"channels": [4, 4, 4, 4]},
}
TRAINING = {"steps": 3, "tiles": 2, "views": 1, "validation": "none", "tile_um": 64.0, "min_counts": 20}
CONFIG = Config.from_dict({"genes": {"number": 5}, "network": NETWORK, "training": TRAINING})
METHODS = ("pixnet", "mean", "ridge")
SETTINGS = ScaleSettings(
    "breast", (100.0,), training=((3, 7), (5, 6)), test=((4, 8),), side_um=400.0, places=25, genes=6
)
SCALE_METHODS = ("pixnet", "colour-ridge", "mean")
VARIANTS = {"mean-head": Config.from_dict({"network": {**NETWORK, "head": "mean"}, "training": TRAINING})}


class _Recorded:
    """Records the titles of the runs that a plan computes."""

    computed: list[str]

    def score(self, variant: str, run: Run) -> tuple[pd.DataFrame, Any]:
        self.computed.append(f"{variant} {run.title}".strip())
        return super().score(variant, run)  # type: ignore[misc]

    def summarise(self) -> tuple[pd.DataFrame, Any]:
        self.computed.append("summary")
        return super().summarise()  # type: ignore[misc]


class SmallPlan(_Recorded, ProtocolPlan):
    def __init__(self, protocols: dict[str, Protocol], runs: Path, predictions: Path | None = None) -> None:
        super().__init__("small", protocols, RunStore(runs), Options("cpu"), predictions)
        self.computed = []


class SmallScales(_Recorded, ScalesPlan):
    def __init__(
        self, runs: Path, methods: tuple[str, ...] = SCALE_METHODS, seeds: tuple[int, ...] = (0, 1),
        variants: dict[str, Config] | None = None, redraws: int = 2,
    ) -> None:  # fmt: skip
        configs = {"": CONFIG, **(VARIANTS if variants is None else variants)}
        super().__init__(SETTINGS, configs, methods, seeds, RunStore(runs), Options("cpu"), redraws)
        self.computed = []


class SmallDonors(_Recorded, DonorsPlan):
    def __init__(self, runs: Path, methods: tuple[str, ...] = SCALE_METHODS) -> None:
        super().__init__(
            "breast", CONFIG, methods, (0,), RunStore(runs), Options("cpu"), redraws=2,
            donors=((3, 7), (5, 6), (4, 8)), side_um=400.0, genes=6,
        )  # fmt: skip
        self.computed = []


def write_manifest(folder: Path) -> Path:
    """Write two virtual samples of two donors whose spots are in a square array of 5 x 4."""
    samples = []
    for name, seed, donor in (("A", 1, 11), ("B", 2, 12)):
        tissue = VirtualTissue.generate("breast", seed, donor, 260.0, 210.0)
        samples.append(dataclasses.replace(tissue.measure(spots(260.0, 210.0, 40.0, 50.0), seed), id=name))
    return write_dataset(folder, samples, 50.0)


def freeze(
    manifest: Path, methods: tuple[str, ...] = METHODS, config: Config = CONFIG, seeds: Any = (0, 1)
) -> Protocol:
    """Freeze a protocol on both samples, each held out in turn."""
    samples = join_genes(read_manifest(manifest))
    folds = make_folds(samples, "loso")
    return Protocol.freeze(samples, folds, methods, config, seeds=seeds, manifests=[manifest])
