"""Running an evaluation: cell by cell, from where the last sitting ended, to the results."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.config import Config
from pixnet.errors import DataError, PixNetWarning
from pixnet.evaluation.folds import Fold, hold_out
from pixnet.evaluation.imported import Imported
from pixnet.evaluation.methods import run_method, seeds_of
from pixnet.evaluation.out_folder import replacing
from pixnet.evaluation.pixnet_method import Progress, predict_pixnet
from pixnet.evaluation.protocol import Protocol, side_hashes
from pixnet.evaluation.record import record_of
from pixnet.evaluation.results import Outcome, summarise
from pixnet.evaluation.runs import Arrays, Cell, Cells, Stored
from pixnet.evaluation.scoring.held_out import FoldPredictions, HeldOut, Prediction
from pixnet.evaluation.splits import Split
from pixnet.model import PixNet
from pixnet.sample import Sample
from pixnet.sample.genes import join_genes
from pixnet.sample.panel import GenePanel

USUAL = ("pixnet", "ridge", "mean")
"""Methods that are evaluated if none are named."""


def evaluate(
    samples: Sequence[Sample],
    held_out: Sequence[str],
    out: str | Path,
    *,
    methods: Sequence[str] = USUAL,
    config: Config | None = None,
    device: str = "auto",
    features: str | Path | None = None,
    overwrite: bool = False,
    manifests: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Train methods on some samples and score them on the others, once each.

    Regions with fewer counts than `config.training.min_counts` are left out for every method alike, in training and
    in scoring.

    Parameters
    ----------
    samples
        All samples.
    held_out
        Ids of those to score on.
    methods
        Of `pixnet.evaluation.methods.METHODS`.
    config
        Genes, network and training.
    out, device, features, overwrite, progress
        See `run`.
    manifests
        Where the samples are from, for the record.

    Raises
    ------
    DataError
        If a method or an id is unknown, if there are results at `out` already, or if the samples cannot be used.

    Warns
    -----
    PixNetWarning
        If a donor is on both sides.
    """
    samples = join_genes(samples)
    protocol = Protocol.freeze(
        samples, hold_out(samples, held_out), methods, config or Config(), manifests=manifests
    )  # fmt: skip
    return run(protocol, samples, out, device=device, features=features, overwrite=overwrite, progress=progress)


def run(
    protocol: Protocol,
    samples: Sequence[Sample],
    out: str | Path,
    *,
    cells: str | Path | None = None,
    imports: Mapping[str, Imported] | None = None,
    device: str = "auto",
    features: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Carry a protocol out.

    Parameters
    ----------
    protocol
        What to do.
    samples
        Its samples, which must be those it was frozen for, their genes joined.
    out
        Folder for `results.json`, `per_gene.csv`, `predictions.h5ad`; `scores.csv` if there are several cells for a
        method; of pixnet trained once, `model` and `fields/<id>`. What is there stays as it is until all is done.
    cells
        Folder of the cells, each kept when it is done, so that a run that was killed goes on from there. None: nothing
        is kept but the results.
    imports
        Predictions of other tools, by name.
    device
        `"auto"`, `"cpu"` or `"cuda"`; for pixnet only.
    features
        Folder for the kept features of a frozen encoder, which several evaluations may share; beside the cells by
        default.
    overwrite
        Whether to replace an evaluation that exists at `out`.
    progress
        Told how far things are: of the stage `cells`, how many are done of all.

    Raises
    ------
    DataError
        If the samples are not the protocol's, there are results at `out` already, or an import lacks something.

    Warns
    -----
    PixNetWarning
        If a donor is on both sides.
    """
    progress = progress or (lambda *_: None)
    imports = imports or {}
    taken = [name for name in imports if name in protocol.methods]
    if taken:
        raise DataError(f"--import {taken[0]}: there is a method of that name already; give another.")
    protocol.check(samples)
    splits = [fold.split(samples) for fold in protocol.folds]
    held = [_held_out(protocol, fold, split) for fold, split in zip(protocol.folds, splits, strict=True)]
    others = {name: [table.values_for(one) for one in held] for name, table in imports.items()}
    record = record_of(protocol, samples)
    if record["donors_on_both_sides"]:
        warnings.warn(record["donor_note"], PixNetWarning, stacklevel=2)
    one_each = len(protocol.folds) == len(protocol.seeds) == 1
    keep = ("model", "fields") if one_each else ("model",)
    kept = Cells(Path(cells), keep) if cells else None
    # The lock comes first: what another process is about to write at `out` must not be swept away.
    with kept.locked() if kept else nullcontext(), replacing(Path(out), overwrite) as folder:
        store = kept or Cells(folder / "cells", keep)
        if cells and features is None and not one_each:
            features = Path(cells) / "features"
        computed = _Computing(protocol, samples, splits, store, device, features, progress)
        stored = computed.all()
        if one_each and "pixnet" in protocol.methods:
            left = stored["pixnet"][0][protocol.seeds[0]].folder
            _put(left / "model", folder / "model", moved=not cells)
            if (left / "fields").is_dir():
                _put(left / "fields", folder / "fields", moved=not cells)
            else:  # the cell of a run with many of them, which keeps no fields
                model = PixNet.load(folder / "model")
                predict_pixnet(model, splits[0].test, folder / "fields", device, progress)
        predictions = []
        for index, (fold, one) in enumerate(zip(protocol.folds, held, strict=True)):
            by_method = {name: _predictions(of_fold[index], one) for name, of_fold in stored.items()}
            by_method |= {
                name: {protocol.seeds[0]: Prediction(tables[index], np.nan, np.nan)} for name, tables in others.items()
            }
            predictions.append(FoldPredictions(fold, one, by_method))
        record["imports"] = {name: table.facts for name, table in imports.items()}
        record["cells"] = {
            name: [one.told() for of_fold in folds for one in of_fold.values()] for name, folds in stored.items()
        }
        outcome = summarise(predictions, record, protocol.seeds[0])
        outcome.write(folder)
    return outcome


class _Computing:
    """Computes the cells of a protocol that are not there yet; the first seed of all folds and methods first."""

    def __init__(
        self,
        protocol: Protocol,
        samples: Sequence[Sample],
        splits: Sequence[Split],
        store: Cells,
        device: str,
        features: str | Path | None,
        progress: Progress,
    ) -> None:
        self.protocol, self.samples, self.splits, self.store = protocol, samples, splits, store
        self.device, self.features, self.progress = device, features, progress

    def all(self) -> dict[str, list[dict[int, Stored]]]:
        """Give every cell: by method, then fold, then seed."""
        protocol, store = self.protocol, self.store
        hashes = side_hashes(self.samples, self.splits)
        cells = [
            (protocol.cell(method, fold, seed, hashes[index]), index)
            for seed in protocol.seeds
            for index, fold in enumerate(protocol.folds)
            for method in protocol.methods
            if seed in seeds_of(method, protocol.seeds)
        ]
        done = sum(store.has(cell) for cell, _ in cells)
        self.progress("cells", done, len(cells), "")
        found: dict[str, list[dict[int, Stored]]] = {method: [{} for _ in hashes] for method in protocol.methods}
        for cell, index in cells:
            fresh = not store.has(cell)
            if fresh:
                self.progress("cells", done, len(cells), cell.title)
            compute = partial(self._compute, cell, index, f"cell {done + 1} of {len(cells)}: {cell.title}")
            found[cell.method][index][cell.seed] = store.get(cell, compute)
            done += fresh
            if fresh:
                self.progress("cells", done, len(cells), "")
        return found

    def _compute(self, cell: Cell, index: int, title: str, work: Path) -> tuple[Arrays, dict[str, Any]]:
        fold, split = self.protocol.folds[index], self.splits[index]

        def tell(stage: str, done: int, total: int, words: str) -> None:
            self.progress(stage, done, total, ", ".join(part for part in (title, words) if part))

        values, chosen = run_method(
            cell.method, split, GenePanel(fold.genes, "list"), self.protocol.config_of(cell.seed), work,
            device=self.device, features=self.features, progress=tell,
        )  # fmt: skip
        for sample in self.samples:
            sample.slide.close()  # decoded images would count as the next method's memory
        return {sample.id: part for sample, part in zip(split.test, values, strict=True)}, chosen


def _held_out(protocol: Protocol, fold: Fold, split: Split) -> HeldOut:
    return HeldOut(split.test, GenePanel(fold.genes, "list"), protocol.min_counts)


def _predictions(of_seed: dict[int, Stored], held: HeldOut) -> dict[int, Prediction]:
    result = {}
    for seed, stored in of_seed.items():
        values: NDArray[np.float32] = np.concatenate([stored.arrays[sample.id] for sample in held.samples])
        facts = stored.facts
        # A cell that was kept before sittings were noted knows what its last one cost, and no features.
        seconds = math.nan if facts["resumed"] and "sittings" not in facts else facts["seconds"]
        found = facts.get("features", {}).get("found", 0.0)
        result[seed] = Prediction(values, seconds, facts["peak_rss_mb"], math.nan if found is None else found)
    return result


def _put(source: Path, target: Path, moved: bool) -> None:
    """Bring what a method left behind to where its readers look for it."""
    if moved:
        os.replace(source, target)
    else:
        shutil.copytree(source, target)
