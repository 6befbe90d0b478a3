"""Carrying the compartment test out on the held-out samples of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pixnet.digest import digest
from pixnet.errors import DataError
from pixnet.evaluation.baselines import BASELINES
from pixnet.evaluation.compartments.correlations import between, within
from pixnet.evaluation.compartments.pixels import InsidePixels, pixels_inside
from pixnet.evaluation.compartments.table import gene_table
from pixnet.evaluation.held_out import HeldOut
from pixnet.evaluation.methods import Options, log_shares, predict_pixnet
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runs import Arrays, Run, RunStore, Stored
from pixnet.evaluation.splits import Split
from pixnet.field import ExpressionField
from pixnet.model import PixNet

COMPARTMENTS_VERSION = 1
"""Raise it when the correlations inside regions of the same predictions change."""


def mapping_methods(methods: Sequence[str]) -> list[str]:
    """Return the methods that predict a map inside regions; DataError if none does."""
    able = [name for name in methods if name == "pixnet" or hasattr(BASELINES.get(name), "predict_regions")]
    if not able:
        raise DataError(
            f"the compartment test needs a method that predicts maps, pixnet or istar; the methods are "
            f"{', '.join(methods)}."
        )
    return able


@dataclass(frozen=True, eq=False)
class CompartmentTest:
    """The compartment test of a protocol: the pixels of every held-out sample, found before anything is trained.

    Only the first seed of the protocol is tested.
    """

    protocol: Protocol
    splits: Sequence[Split]
    held: Sequence[HeldOut]
    pixels: Sequence[Mapping[str, InsidePixels]]

    @classmethod
    def prepare(cls, protocol: Protocol, splits: Sequence[Split], held: Sequence[HeldOut]) -> CompartmentTest:
        """Find the pixels; DataError if no method predicts maps, or a sample's regions are too small."""
        mapping_methods(list(protocol.methods))
        pixels = [
            {
                sample.id: pixels_inside(sample, part.enough[part.owner == number])
                for number, sample in enumerate(part.samples)
            }
            for part in held
        ]
        return cls(protocol, splits, held, pixels)

    def table(self, stored: Sequence[Mapping[str, Mapping[int, Stored]]], store: RunStore, options: Options) -> Any:
        """Return the table of genes, `gene_table`, of all folds and samples, in the columns `fold` and `sample`.

        `stored` are the runs of the evaluation by fold, method and seed. The maps of PixNet are those of its model;
        other methods are fitted once more.
        """
        methods, seed, parts = mapping_methods(list(self.protocol.methods)), self.protocol.seeds[0], []
        for fold, by_method in enumerate(stored):
            inside = {
                name: store.get(*self._computation(fold, name, by_method[name][seed], options)).arrays
                for name in methods
            }
            held, number = self.held[fold], 0
            for number, sample in enumerate(held.samples):
                pixels = self.pixels[fold][sample.id]
                used = np.flatnonzero(held.owner == number)[pixels.rows]
                measured = between(
                    held.observed[used], pixels.stains_of_regions, held.total[used], held.centers_um[used], seed
                )
                predicted = {name: arrays[sample.id].astype(np.float64) for name, arrays in inside.items()}
                table = gene_table(held.panel.names, measured, predicted)
                table.insert(0, "sample", sample.id)
                table.insert(0, "fold", self.protocol.folds[fold].name)
                parts.append(table)
        return pd.concat(parts, ignore_index=True)

    def _computation(self, fold: int, method: str, of: Stored, options: Options) -> tuple[Run, Any]:
        """Return the run that holds the correlations inside regions, (g, 2) by sample, and what computes it."""
        pixels = self.pixels[fold]
        places = [[name, part.squares.rows.tolist(), part.squares.cols.tolist()] for name, part in pixels.items()]
        depends_on = {"of": of.facts["key"], "pixels": digest(places), "version": COMPARTMENTS_VERSION}
        run = Run(f"{method}-inside", self.protocol.folds[fold].name, of.facts["seed"], depends_on)

        def compute(work: Path) -> tuple[Arrays, dict[str, Any]]:
            maps = self._maps(fold, method, of, work, options)
            return {
                name: within(maps(name, part.squares), part.stains, part.region).astype(np.float32)
                for name, part in pixels.items()
            }, {}

        return run, compute

    def _maps(self, fold: int, method: str, of: Stored, work: Path, options: Options) -> Any:
        """Return a function from a sample's id and regions to the log shares, (n, g), that a method predicts there."""
        split, config = self.splits[fold], self.protocol.config_of(of.facts["seed"])
        slides = {sample.id: sample.slide for sample in split.test}
        if method == "pixnet":
            fields = of.folder / "fields"
            if not fields.is_dir():
                fields = work / "fields"
                predict_pixnet(PixNet.load(of.folder / "model"), split.test, fields, options)
            return lambda name, regions: log_shares(ExpressionField.open(fields / name), regions)
        baseline: Any = BASELINES[method]()
        panel = self.protocol.folds[fold].panel
        baseline.fit(split.train, panel, config.training.min_counts, config.training.seed)
        return lambda name, regions: baseline.predict_regions(slides[name], regions)
