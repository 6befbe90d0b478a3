"""Carrying out an evaluation: each run that is missing is computed and stored, then all are scored."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pixnet.config import Config
from pixnet.errors import DataError, PixNetWarning
from pixnet.evaluation.compartments.run import CompartmentTest
from pixnet.evaluation.compartments.table import compartment_rows
from pixnet.evaluation.held_out import FoldPredictions, HeldOut, Prediction
from pixnet.evaluation.imported import Imported
from pixnet.evaluation.methods import Options, Progress, predict_pixnet, run_method, seeds_of
from pixnet.evaluation.protocol import Protocol, side_hashes
from pixnet.evaluation.results import COMPARTMENTS, GENE_TABLE, PREDICTIONS, RESULTS, RUN_TABLE, SCORES, Outcome
from pixnet.evaluation.runs import Arrays, Compute, Run, RunStore, Stored
from pixnet.evaluation.scores import NOISE, score_fold
from pixnet.evaluation.splits import Split, hold_out
from pixnet.evaluation.summary import summarise
from pixnet.files import finish_entries, replacing_entries
from pixnet.lock import locked
from pixnet.model import PixNet
from pixnet.sample import Sample
from pixnet.sample.genes import join_genes
from pixnet.scoring.table import Scores

USUAL = ("pixnet", "ridge", "mean")
"""Methods that are evaluated if none are named."""

_WRITTEN = ("model", "fields", PREDICTIONS, SCORES, GENE_TABLE, RUN_TABLE, COMPARTMENTS, "report.html", RESULTS)


def evaluate(
    samples: Sequence[Sample],
    held_out: Sequence[str],
    out: str | Path,
    *,
    methods: Sequence[str] = USUAL,
    config: Config | None = None,
    options: Options | None = None,
    overwrite: bool = False,
    manifests: Sequence[str | Path] = (),
) -> Outcome:
    """Train methods on some samples and score them on the others, once each.

    Regions with fewer counts than `config.training.min_counts` are left out for every method, in training and in
    scoring.

    Parameters
    ----------
    samples, held_out
        All samples, and ids of those to score on.
    methods
        Some of `pixnet.evaluation.methods.METHODS`.
    config
        Genes, network and training.
    out, options, overwrite
        See `run`, also for errors and warnings.
    manifests
        Where the samples are from, for the record.
    """
    samples = join_genes(samples)
    folds = hold_out(samples, held_out)
    protocol = Protocol.freeze(samples, folds, methods, config or Config(), manifests=manifests)
    return run(protocol, samples, out, options=options, overwrite=overwrite)


def run(
    protocol: Protocol,
    samples: Sequence[Sample],
    out: str | Path,
    *,
    runs: str | Path | None = None,
    imports: Mapping[str, Imported] | None = None,
    compartments: bool = False,
    options: Options | None = None,
    overwrite: bool = False,
    finish: Callable[[Path], object] = lambda _: None,
) -> Outcome:
    """Carry a protocol out.

    Parameters
    ----------
    protocol, samples
        What to do, with the samples it was frozen for, their genes joined.
    out
        Folder for `results.json`, `scores.parquet`, `per_gene.csv`, `predictions.h5ad`; `scores.csv` if a method has
        several runs; `compartments.csv` of the compartment test; of pixnet trained once, `model` and `fields/ID`. What
        is there stays until all is done.
    runs
        Folder that stores each run when it is done, so that an evaluation that was killed goes on from there. None:
        nothing is stored but the results.
    imports
        Predictions of other tools, by name.
    compartments
        Whether to carry out the compartment test with the first seed, on the maps of the methods that predict them.
    options
        Device, feature cache and progress. The cache is beside the runs by default.
    finish
        Called with the folder of the new results before they take their place, to add a report.

    Raises
    ------
    DataError
        If the samples are not the protocol's, there are results at `out` already, an import lacks something, the
        compartment test is not possible, or `out` or `runs` is used by another process or cannot be written.

    Warns
    -----
    PixNetWarning
        If a donor is on both sides.
    """
    options, imports = options or Options(), imports or {}
    taken = [name for name in imports if name in (*protocol.methods, NOISE)]
    if taken:
        raise DataError(f"`imports`: there is a method {taken[0]!r} already; give the imported table another name.")
    protocol.check(samples)
    splits = [fold.split(samples) for fold in protocol.folds]
    held = [
        HeldOut(split.test, fold.panel, protocol.min_counts) for fold, split in zip(protocol.folds, splits, strict=True)
    ]
    imported = {name: [table.values_for(part) for part in held] for name, table in imports.items()}
    test = CompartmentTest.prepare(protocol, splits, held) if compartments else None
    record = protocol.record(samples)
    if record["donors_on_both_sides"]:
        warnings.warn(record["donor_note"], PixNetWarning, stacklevel=2)
    single = len(protocol.folds) == len(protocol.seeds) == 1
    keep = ("model", "fields") if single else ("model",)
    cache = RunStore(Path(runs), keep) if runs else None
    # The lock comes first: what another process is about to write at `out` must not be deleted.
    with cache.locked() if cache else nullcontext(), _results_folder(Path(out), overwrite) as folder:
        store = cache or RunStore(folder / "runs", keep)
        if runs and options.cache is None and not single:
            options = replace(options, cache=Path(runs) / "features")
        planned = planned_runs(protocol, side_hashes(samples, splits))
        stored = _computed(planned, store, options, partial(computation, protocol, samples))
        tested = test.table(stored, store, options) if test else None  # while the fields are still with their runs
        if single and "pixnet" in protocol.methods:
            _keep_model(stored[0]["pixnet"][protocol.seeds[0]].folder, folder, splits[0], not runs, options)
        folds = []
        for number, fold in enumerate(protocol.folds):
            predictions = {name: _predictions(by_seed, held[number]) for name, by_seed in stored[number].items()}
            for name, tables in imported.items():
                predictions[name] = {protocol.seeds[0]: Prediction(tables[number], math.nan, math.nan)}
            folds.append(score_fold(FoldPredictions(fold, held[number], predictions), protocol.seeds[0]))
        record["imports"] = {name: table.facts for name, table in imports.items()}
        record["runs"] = {
            name: [run.public_facts for by_method in stored for run in by_method[name].values()]
            for name in protocol.methods
        }
        scores = summarise(folds, protocol.seeds[0])
        if tested is not None:
            scores = Scores(pd.concat([scores.frame, compartment_rows(tested)], ignore_index=True))
        outcome = Outcome(folds, scores, record, tested)
        outcome.write(folder)
        finish(folder)
    return outcome


def planned_runs(protocol: Protocol, hashes: Sequence[Any] | None = None) -> list[tuple[int, Run]]:
    """Return every run of a protocol with the number of its fold; the first seed of all folds and methods first."""
    return [
        (number, protocol.run(method, fold, seed, None if hashes is None else hashes[number]))
        for seed in protocol.seeds
        for number, fold in enumerate(protocol.folds)
        for method in protocol.methods
        if seed in seeds_of(method, protocol.seeds)
    ]


def computation(protocol: Protocol, samples: Sequence[Sample], fold: int, run: Run, options: Options) -> Compute:
    """Return what computes a run of a fold, given by its number, for `RunStore.get`."""

    def compute(work: Path) -> tuple[Arrays, dict[str, Any]]:
        split, panel = protocol.folds[fold].split(samples), protocol.folds[fold].panel
        values, chosen = run_method(run.method, split, panel, protocol.config_of(run.seed), work, options)
        for sample in samples:
            sample.slide.close()  # decoded images would count as the next method's memory
        return {sample.id: table for sample, table in zip(split.test, values, strict=True)}, chosen

    return compute


def _computed(
    planned: Sequence[tuple[int, Run]], store: RunStore, options: Options, computation: Callable[..., Compute]
) -> list[dict[str, dict[int, Stored]]]:
    """Return all runs, by fold, then method, then seed; those that are not stored yet are computed."""
    stored: list[dict[str, dict[int, Stored]]] = [{} for _ in range(1 + max(fold for fold, _ in planned))]
    done = sum(store.has(run) for _, run in planned)
    options.progress("runs", done, len(planned), "")
    for fold, run in planned:
        missing = not store.has(run)
        if missing:
            options.progress("runs", done, len(planned), run.title)
        own = replace(options, progress=titled(options.progress, f"run {done + 1} of {len(planned)}: {run.title}"))
        stored[fold].setdefault(run.method, {})[run.seed] = store.get(run, computation(fold, run, own))
        if missing:
            done += 1
            options.progress("runs", done, len(planned), "")
    return stored


def titled(progress: Progress, title: str) -> Progress:
    """Return a progress that puts a title before the words of each call."""
    return lambda stage, done, total, words: progress(stage, done, total, f"{title}, {words}" if words else title)


def _predictions(by_seed: Mapping[int, Stored], held: HeldOut) -> dict[int, Prediction]:
    result = {}
    for seed, stored in by_seed.items():
        values = np.concatenate([stored.arrays[sample.id] for sample in held.samples])
        found = stored.facts["features"]["found"]
        shared = math.nan if found is None else found
        result[seed] = Prediction(values, stored.facts["seconds"], stored.facts["peak_rss_mb"], shared)
    return result


def _keep_model(run: Path, folder: Path, split: Split, moved: bool, options: Options) -> None:
    """Bring the model and the fields of a run to where readers look for them."""
    for name in ("model", "fields"):
        if not (run / name).is_dir():  # a run of an evaluation with many of them, which stores no fields
            predict_pixnet(PixNet.load(folder / "model"), split.test, folder / name, options)
        elif moved:
            os.replace(run / name, folder / name)
        else:
            shutil.copytree(run / name, folder / name)


@contextmanager
def _results_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a folder whose content takes its place in `out` if nothing fails; refuse a place that is taken."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; give a folder for the results.")
    try:
        with locked(out, out, DataError):
            finish_entries(out, _WRITTEN)
            _check_free(out, overwrite)
            with replacing_entries(out, _WRITTEN) as folder:
                yield folder
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{out} cannot be written ({reason}). Fix the problem and run it again.") from error


def _check_free(out: Path, overwrite: bool) -> None:
    if not (out / RESULTS).exists():
        taken = [name for name in _WRITTEN if (out / name).exists()]
        if taken:
            raise DataError(f"{out}: holds {taken[0]!r} but no {RESULTS}; give another folder.")
    elif not overwrite:
        raise DataError(f"{out}: holds {RESULTS} already; give another folder, or `overwrite=True`.")
