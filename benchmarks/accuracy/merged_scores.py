"""An evaluation scored again on merged regions, from its own cells: nothing is trained anew."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.merging import (
    MERGING_VERSION,
    Members,
    merged_centers,
    merged_field,
    merged_logs,
    merged_members,
    merged_observed,
)
from pixnet.digest import digest
from pixnet.errors import DataError
from pixnet.evaluation.folds import Fold
from pixnet.evaluation.pixnet_method import Progress
from pixnet.evaluation.protocol import Protocol, side_hashes
from pixnet.evaluation.report.parts import Table, number
from pixnet.evaluation.report.parts import interval as interval_words
from pixnet.evaluation.runs import Arrays, Cell, Cells, Stored
from pixnet.evaluation.scoring.bootstrap import Scored, interval, redrawn_scores
from pixnet.evaluation.scoring.metrics import score
from pixnet.evaluation.spent import tell_spent
from pixnet.evaluation.splits import Split
from pixnet.model import PixNet
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel
from pixnet.sample.sample import enough_counts


def merged_scores(
    protocol: Protocol,
    samples: Sequence[Sample],
    cells: str | Path,
    by: int = 2,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score every method of an evaluation on blocks of `by` x `by` neighbouring regions, with its first seed.

    Only regions with enough counts are merged, for every method alike.

    Parameters
    ----------
    protocol
        That of the evaluation.
    samples
        Its samples, their genes joined.
    cells
        Folder of its cells, all done.
    by
        Regions on a side of a block.
    device, progress
        Of pixnet, whose model reads the held-out slides again.

    Returns
    -------
    dict
        `by`, `seed`, `regions` (of each fold) and `methods`: `pcc_m`, its `interval` and `mse` of each.

    Raises
    ------
    DataError
        If samples are not those of the protocol, a cell is not done, or a sample cannot be merged.

    Warns
    -----
    PixNetWarning
        See `Protocol.check`.
    """
    protocol.check(samples)
    splits = [fold.split(samples) for fold in protocol.folds]
    hashes, store, seed = side_hashes(samples, splits), Cells(Path(cells)), protocol.seeds[0]
    folds = []
    for index, (fold, split) in enumerate(zip(protocol.folds, splits, strict=True)):
        if progress is not None:
            progress("merged", index, len(splits), fold.name)
        members = [merged_members(one, by, enough_counts(one, protocol.min_counts)) for one in split.test]
        predicted = {}
        for method in protocol.methods:
            cell = protocol.cell(method, fold, seed, hashes[index])
            if not store.has(cell):
                raise DataError(f"{cells}: the cell {cell.title!r} is not done; run the evaluation first.")
            predicted[method] = [_merged(store, cell, split, members, device)]
        folds.append(_scored(fold, split, members, predicted))
    if progress is not None:
        progress("merged", len(splits), len(splits), "")
    redrawn = redrawn_scores(folds)
    methods = {}
    for method in protocol.methods:
        found = [score(one.truth, one.predicted[method][0]) for one in folds]
        pcc_m = float(np.mean([one["pcc_m"] for one in found]))
        methods[method] = {
            "pcc_m": pcc_m,
            "interval": list(interval(redrawn[method]["pcc_m"], pcc_m)),
            "mse": float(np.mean([one["mse"] for one in found])),
        }
    return {"by": by, "seed": seed, "regions": [len(one.truth) for one in folds], "methods": methods}


def merged_table(found: dict[str, Any]) -> Table:
    """Give the scores as a table."""
    rows = [
        [name, f"{number(row['pcc_m'])} ({interval_words(row['interval'])})", number(row["mse"])]
        for name, row in found["methods"].items()
    ]
    note = (
        f"{sum(found['regions'])} merged regions in {len(found['regions'])} folds, seed {found['seed']}, with 95 % "
        "intervals over redrawn blocks."
    )
    title = f"Merged regions: blocks of {found['by']} x {found['by']}"
    return Table(["method", "PCC@M (95 %)", "MSE"], rows, note, title=title)


def _scored(
    fold: Fold, split: Split, members: list[Members], predicted: dict[str, list[NDArray[np.float32]]]
) -> Scored:
    panel = GenePanel(fold.genes, "list")
    pairs = list(zip(split.test, members, strict=True))
    truth = np.concatenate([merged_observed(sample, panel, rows) for sample, rows in pairs])
    centers = np.concatenate([merged_centers(sample.regions, rows) for sample, rows in pairs])
    owner = np.repeat(np.arange(len(members)), [len(rows) for rows in members])
    return Scored(truth, predicted, centers, owner, [sample.donor for sample in split.test])


def _merged(store: Cells, cell: Cell, split: Split, members: list[Members], device: str) -> NDArray[np.float32]:
    """Give what a method predicts for merged regions, all samples of the fold one after the other."""
    stored = store.read(cell)
    pairs = list(zip(split.test, members, strict=True))
    if cell.method != "pixnet":
        return np.concatenate([merged_logs(stored.arrays[sample.id], rows) for sample, rows in pairs])
    # Which regions are merged hangs on their counts and places in the array; the cell's own key knows neither.
    merged = digest([rows.tolist() for rows in members])
    depends_on = {"of": cell.key, "members": merged, "version": MERGING_VERSION}
    again = Cell("pixnet-merged", cell.fold, cell.seed, depends_on)

    def compute(work: Path) -> tuple[Arrays, dict[str, Any]]:
        tell_spent(work, device)
        return _read_again(stored, pairs, work, device), {}

    arrays = store.get(again, compute).arrays
    return np.concatenate([arrays[sample.id] for sample in split.test])


def _read_again(stored: Stored, pairs: list[tuple[Sample, Members]], work: Path, device: str) -> Arrays:
    model, arrays, fields = PixNet.load(stored.folder / "model"), {}, work / "fields"
    shutil.rmtree(fields, ignore_errors=True)  # of a sitting that was killed
    for sample, rows in pairs:
        field = model.predict(sample.slide, fields / sample.id, tissue_mask=False, device=device)
        arrays[sample.id] = merged_field(field, sample.regions, rows)
    return arrays
