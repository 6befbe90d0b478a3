"""Runs of frozen protocols on measured samples: of several methods, or of several variants of PixNet's settings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.accuracy.results import SUMMARY
from pixnet.digest import digest
from pixnet.evaluation.held_out import FoldPredictions, HeldOut, Prediction
from pixnet.evaluation.methods import Options
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runner import computation, planned_runs, titled
from pixnet.evaluation.runs import Run, RunStore, Stored
from pixnet.evaluation.scores import NOISE, score_fold
from pixnet.evaluation.splits import listed_entries
from pixnet.evaluation.summary import summarise
from pixnet.sample import Sample
from pixnet.sample.genes import join_genes
from pixnet.scoring.table import ALL

SCORES_VERSION = 1
"""Raise it when the scores of the same predictions change. A new score needs `--rescore` alone."""

_GENE_METRICS = ("pcc", "mean_counts")  # of single genes; the others can be computed from the predictions


class ProtocolPlan:
    """The runs of one protocol, or of one protocol for each variant, all with the same folds and genes.

    Parameters
    ----------
    name
        Name of the benchmark.
    protocols
        Protocols by name of the variant; "" for the methods without a change of settings.
    store
        Where runs are stored while they are computed, with their models.
    options
        Device, feature cache and progress.
    predictions
        File of earlier predictions, used where only scores over several runs are missing.
    """

    def __init__(
        self, name: str, protocols: Mapping[str, Protocol], store: RunStore, options: Options,
        predictions: Path | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.protocols = protocols
        self.store = store
        self.options = options
        self.predictions = predictions
        self._folds = {
            run.key: (variant, fold) for variant, protocol in protocols.items() for fold, run in planned_runs(protocol)
        }
        self.runs = [(variant, run) for variant, protocol in protocols.items() for _, run in planned_runs(protocol)]
        first = next(iter(protocols.values()))
        depends_on = {
            "runs": sorted(run.key for _, run in self.runs),
            "counts": {name: facts.counts_sha256 for name, facts in first.samples.items()},
            "version": SCORES_VERSION,
        }
        self.summary = Run(SUMMARY, ALL, first.seeds[0], depends_on)

    @cached_property
    def samples(self) -> list[Sample]:
        """The samples of the protocols, which are read and checked when they are first needed."""
        samples = frozen_samples(next(iter(self.protocols.values())))
        for protocol in self.protocols.values():
            protocol.check(samples)
        return samples

    @cached_property
    def held(self) -> list[HeldOut]:
        """The measured truth of each fold."""
        protocol = next(iter(self.protocols.values()))
        return [HeldOut(fold.split(self.samples).test, fold.panel, protocol.min_counts) for fold in protocol.folds]

    def score(self, variant: str, run: Run) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Fit, predict and score a run."""
        _, fold = self._folds[run.key]
        facts = self.compute(run).facts
        scored = score_fold(
            self._fold_predictions(fold, {variant: {run.method: [run]}}), self.protocols[variant].seeds[0]
        )
        table = scored.table[scored.table["method"] != NOISE].assign(method=run.method, variant=variant)
        return _without_most_genes(table), {**facts, "settings": run.depends_on["settings"]}

    def summarise(self) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Score all runs together; also return the rows of every run, with its key."""
        protocol, folds = next(iter(self.protocols.values())), []
        for fold in range(len(protocol.folds)):
            chosen: dict[str, dict[str, list[Run]]] = {}
            for variant, run in self.runs:
                if self._folds[run.key][1] == fold:
                    chosen.setdefault(variant, {}).setdefault(run.method, []).append(run)
            folds.append(score_fold(self._fold_predictions(fold, chosen), protocol.seeds[0]))
        table = summarise(folds, protocol.seeds[0]).frame
        table = _without_most_genes(table)
        names = table["method"].str.partition(":")
        table = table.assign(method=names[0], variant=names[2])
        keys = {(run.method, variant, run.fold, str(run.seed)): run.key for variant, run in self.runs}
        of_runs = zip(*(table[name].astype(str) for name in ("method", "variant", "fold", "seed")), strict=True)
        table["key"] = [keys.get(of_run, self.summary.key) for of_run in of_runs]
        facts = {"chosen": {"regions": [int(fold.kept.sum()) for fold in folds]}}
        return table, facts

    def values(self, run: Run) -> dict[str, NDArray[np.float32]]:
        """Return the predictions of a run by sample: from the store, else from the file, else computed."""
        _, fold = self._folds[run.key]
        if not self.store.has(run) and self.predictions is not None and self.predictions.exists():
            with np.load(self.predictions) as earlier:
                entry = predictions_entry(run)
                if entry in earlier:
                    samples = self.held[fold].samples
                    ends = np.cumsum([len(sample.regions) for sample in samples])
                    tables = np.split(earlier[entry].astype(np.float32), ends[:-1])
                    return {sample.id: table for sample, table in zip(samples, tables, strict=True)}
        return self.compute(run).arrays

    def compute(self, run: Run) -> Stored:
        """Return a run from the store; it is computed first if it is missing."""
        variant, fold = self._folds[run.key]
        options = replace(self.options, progress=titled(self.options.progress, f"{self.name}: {run.title}"))
        return self.store.get(run, computation(self.protocols[variant], self.samples, fold, run, options))

    def _fold_predictions(self, fold: int, chosen: Mapping[str, Mapping[str, list[Run]]]) -> FoldPredictions:
        held, predictions = self.held[fold], {}
        for variant, methods in chosen.items():
            for method, runs in methods.items():
                tables = {
                    run.seed: Prediction(
                        np.concatenate([self.values(run)[sample.id] for sample in held.samples]), np.nan, np.nan, np.nan
                    )
                    for run in runs
                }
                predictions[f"{method}:{variant}" if variant else method] = tables
        return FoldPredictions(next(iter(self.protocols.values())).folds[fold], held, predictions)


def frozen_samples(protocol: Protocol) -> list[Sample]:
    """Read the samples of a protocol and join their genes, without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entries = {entry.id: entry for entry in listed_entries(protocol.manifests)}
        return join_genes([entries[name].read() for name in protocol.samples])


def predictions_entry(run: Run) -> str:
    """Name a run in a file of predictions."""
    return f"{run.method} {run.fold} seed {run.seed} {digest([run.key])[:12]}"


def _without_most_genes(table: pd.DataFrame) -> pd.DataFrame:
    costs = table["metric"].isin(["seconds", "seconds_shared", "seconds_cold", "peak_rss_mb"])
    return table[((table["gene"] == ALL) & ~costs) | table["metric"].isin(_GENE_METRICS)].reset_index(drop=True)
