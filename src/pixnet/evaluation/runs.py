"""Runs: one method fitted on one fold with one seed, stored so that nothing is ever computed twice."""

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
from numpy.typing import NDArray

from pixnet.digest import digest, sealed, unsealed
from pixnet.errors import DataError
from pixnet.evaluation.cost import next_session, total_cost
from pixnet.files import sync, sync_tree
from pixnet.lock import locked
from pixnet.safe.names import file_name
from pixnet.version import environment, machine

FORMAT = 2
_FACTS, _ARRAYS = "run.json", "predictions.npz"

Arrays = dict[str, NDArray[np.float32]]
Compute = Callable[[Path], tuple[Arrays, dict[str, Any]]]


@dataclass(frozen=True)
class Run:
    """A method, a fold and a seed, with all that its predictions depend on, as JSON can hold it.

    That is hashes of the inputs, settings, and the method's `METHOD_VERSION`. The code itself is no part of it: a
    maintainer raises the version when numbers change.
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
        """The run in words."""
        return f"{self.method}, {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Stored:
    """What is stored of a run: its predictions by name, facts, and the folder with what else the method left behind.

    Facts are what was chosen in training, what it cost and where it ran, and the versions it was computed with.
    `seconds` is the sum over all `sessions`, work that a kill made necessary twice included. `features`: seconds that
    its image features took, those it `made` (part of `seconds`) and those it `found` in the cache (not part of it).
    """

    arrays: Arrays
    facts: dict[str, Any]
    folder: Path

    @property
    def public_facts(self) -> dict[str, Any]:
        """Facts that are copied into results."""
        return {name: fact for name, fact in self.facts.items() if name not in ("method", "arrays", "depends_on")}


class RunStore:
    """A folder of runs, `METHOD/FOLD-seedN-KEY`, each of which appears complete or not at all.

    `keep` names the files and folders, left behind by a method, that stay with its run.
    """

    def __init__(self, folder: Path, keep: tuple[str, ...] = ("model",)) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def path(self, run: Run) -> Path:
        """Return the folder of a run."""
        fold = "".join(letter if letter.isalnum() or letter in "-_+." else "_" for letter in run.fold)
        return self.folder / run.method / f"{file_name(fold)}-seed{run.seed}-{run.key[:12]}"

    def has(self, run: Run) -> bool:
        """Return whether a run is stored."""
        return (self.path(run) / _FACTS).is_file()

    def read(self, run: Run) -> Stored:
        """Read a stored run; DataError if it is damaged, or another one."""
        folder = self.path(run)
        try:
            text = (folder / _FACTS).read_text(encoding="utf-8")
            facts = unsealed(text) or _unsealed_before(text)
            with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
                arrays = {name: stored[str(number)] for number, name in enumerate(facts["arrays"])}
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
            raise DataError(f"{folder}: this run cannot be read ({error}); delete it to compute it again.") from error
        if facts.get("key") != run.key:
            raise DataError(f"{folder}: holds a run of other inputs or settings; delete it to compute it again.")
        return Stored(arrays, facts, folder)

    def get(self, run: Run, compute: Compute) -> Stored:
        """Read a run; compute and store it first if it is missing.

        `compute` is given a folder and returns arrays and what was chosen. The folder survives a kill and is given
        again, so that `compute` can go on with what it left there.
        """
        if not self.has(run):
            self._store(run, compute)
        return self.read(run)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the same runs; DataError if one does."""
        with locked(self.folder, self.folder, DataError):
            yield

    def _store(self, run: Run, compute: Compute) -> None:
        work = self.folder / "work" / run.key[:12]
        work.mkdir(parents=True, exist_ok=True)
        with next_session(work):
            arrays, chosen = compute(work)
        facts = {
            "key": run.key,
            "method": run.method,
            "fold": run.fold,
            "seed": run.seed,
            "arrays": list(arrays),
            "chosen": chosen,
            **total_cost(work),
            "machine": machine(),
            "environment": environment(),
            "depends_on": dict(run.depends_on),
        }
        for path in work.iterdir():
            if path.name not in self.keep:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        # An array's name may hold characters that a file's name may not.
        stored: dict[str, Any] = {str(number): array for number, array in enumerate(arrays.values())}
        np.savez_compressed(work / _ARRAYS, **stored)
        (work / _FACTS).write_text(json.dumps(sealed(facts), indent=1) + "\n", encoding="utf-8")
        sync_tree(work)
        target = self.path(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise DataError(f"{target}: is in the way of a run and has no {_FACTS}; move it away.")
        os.replace(work, target)
        sync(target.parent)
        if not any((self.folder / "work").iterdir()):
            (self.folder / "work").rmdir()


def _unsealed_before(text: str) -> dict[str, Any]:
    """Return the facts of a run that was stored before they had a digest; ValueError if they had one, or none are."""
    facts = json.loads(text)
    if not isinstance(facts, dict) or "sha256" in facts:
        raise ValueError("it is not as it was written")
    return facts
