"""Cells: what each method predicted in each fold with each seed, kept so that nothing is ever computed twice."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pixnet.digest import digest
from pixnet.errors import DataError
from pixnet.evaluation.provenance import environment, machine
from pixnet.evaluation.sittings import Sittings
from pixnet.evaluation.spent import told_spent

FORMAT = 1
_FACTS, _ARRAYS, _SITTINGS = "cell.json", "predictions.npz", "sittings"
_NOT_TOLD = ("method", "arrays", "depends_on")

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Cell:
    """One method, fitted once.

    Attributes
    ----------
    method, fold, seed
        Which one.
    depends_on
        All that its predictions depend on, as JSON can hold it: hashes of the inputs, code, settings.
    """

    method: str
    fold: str
    seed: int
    depends_on: Mapping[str, Any] = field(repr=False)

    @property
    def key(self) -> str:
        """Hash of all that it depends on."""
        own = {"method": self.method, "fold": self.fold, "seed": self.seed, "format": FORMAT}
        return digest({**self.depends_on, **own})

    @property
    def title(self) -> str:
        """What to call it."""
        return f"{self.method}, {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Stored:
    """What a cell holds.

    Attributes
    ----------
    arrays
        Predictions by name.
    facts
        What was chosen in training, what it cost and on what it ran, and the versions that it was computed with.
        `seconds` is the sum over all `sittings`, work that a kill made necessary twice included. `features`: seconds
        that its kept image features took, those it `made` (part of `seconds`) and those it `found` ready (not part).
    folder
        Where it lies; what else the method left behind is there too.
    """

    arrays: Arrays
    facts: dict[str, Any]
    folder: Path

    def told(self) -> dict[str, Any]:
        """Give the facts that results tell."""
        return {name: fact for name, fact in self.facts.items() if name not in _NOT_TOLD}


Compute = Callable[[Path], tuple[Arrays, dict[str, Any]]]


class Cells:
    """A folder of cells, `METHOD/FOLD-seedN-KEY`, each of which appears whole or not at all.

    Parameters
    ----------
    folder
        The folder; made when the first cell is.
    keep
        Names of files and folders, left behind by a method, that stay in its cell.
    """

    def __init__(self, folder: Path, keep: tuple[str, ...] = ("model",)) -> None:
        self.folder, self.keep = Path(folder), keep

    def path(self, cell: Cell) -> Path:
        """Give the folder of a cell."""
        fold = "".join(letter if letter.isalnum() or letter in "-_+." else "_" for letter in cell.fold)
        return self.folder / cell.method / f"{fold}-seed{cell.seed}-{cell.key[:12]}"

    def has(self, cell: Cell) -> bool:
        """Tell whether a cell is done."""
        return (self.path(cell) / _FACTS).is_file()

    def read(self, cell: Cell) -> Stored:
        """Read a cell that is done.

        Raises
        ------
        DataError
            If it is damaged, or another one.
        """
        folder = self.path(cell)
        try:
            facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
                arrays = {name: stored[str(number)] for number, name in enumerate(facts["arrays"])}
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
            raise DataError(f"{folder}: this cell cannot be read ({error}); delete it to compute it again.") from error
        if facts.get("key") != cell.key:
            raise DataError(f"{folder}: is the cell of other inputs or settings; delete it to compute it again.")
        return Stored(arrays, facts, folder)

    def get(self, cell: Cell, compute: Compute) -> Stored:
        """Read a cell, computed first if it is not there yet.

        Parameters
        ----------
        cell
            Which one.
        compute
            Given a folder, computes arrays and facts. The folder outlives a kill and is given again, so that what it
            leaves there can be gone on with.
        """
        if not self.has(cell):
            self._store(cell, compute)
        return self.read(cell)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the same cells.

        Raises
        ------
        DataError
            If one does.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise DataError(f"{self.folder}: another process works on these cells; wait for it to end.") from error
        try:
            yield
        finally:
            lock.release()

    def _store(self, cell: Cell, compute: Compute) -> None:
        work = self.folder / "work" / cell.key[:12]
        work.mkdir(parents=True, exist_ok=True)
        sittings = Sittings(work / _SITTINGS)
        with sittings.sit():
            arrays, chosen = compute(work)
        costs = {**sittings.facts(), **told_spent(work)}
        for left in work.iterdir():
            if left.name not in self.keep:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        facts = {
            "key": cell.key,
            "method": cell.method,
            "fold": cell.fold,
            "seed": cell.seed,
            "arrays": list(arrays),
            "chosen": chosen,
            **costs,
            "machine": machine(),
            "environment": environment(),
            "depends_on": dict(cell.depends_on),
        }
        # An array's name may hold what a file's name may not.
        stored: dict[str, Any] = {str(number): array for number, array in enumerate(arrays.values())}
        np.savez_compressed(work / _ARRAYS, **stored)
        (work / _FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        target = self.path(cell)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise DataError(f"{target}: is in the way of a cell and has no {_FACTS}; move it away.")
        os.replace(work, target)
        if not any((self.folder / "work").iterdir()):
            (self.folder / "work").rmdir()
