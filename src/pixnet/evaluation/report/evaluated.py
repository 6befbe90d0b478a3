"""The content of an evaluation's folder, as the report's sections need it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.evaluation.report.canvas import Floats
from pixnet.evaluation.results import COMPARTMENTS, PREDICTIONS, RESULTS, SCORES
from pixnet.evaluation.summary import main_method
from pixnet.scoring.table import Scores

if TYPE_CHECKING:
    import anndata


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The content of an evaluation's folder."""

    folder: Path
    results: dict[str, Any]  # content of `results.json`
    scores: Scores
    table: anndata.AnnData  # truth and predictions of all held-out regions
    card: dict[str, Any] = field(default_factory=dict)  # of the model, if it was saved
    compartments: pd.DataFrame | None = None  # genes of the compartment test, if it was carried out

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder; raise `DataError` if it does not hold an evaluation."""
        from pixnet.readers.anndata.source import read_whole_h5ad

        for name in (RESULTS, SCORES, PREDICTIONS):
            if not (folder / name).is_file():
                raise DataError(f"{folder / name}: is missing; give a folder that `pixnet evaluate` has written.")
        try:
            results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
            scores = Scores(pd.read_parquet(folder / SCORES))
            table = read_whole_h5ad(folder / PREDICTIONS)
            genes = folder / COMPARTMENTS
            compartments = pd.read_csv(genes) if genes.is_file() else None
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: cannot be read ({error}); evaluate again.") from error
        path = folder / "model" / "card.json"
        card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return cls(folder, results, scores, table, card, compartments)

    @property
    def protocol(self) -> dict[str, Any]:
        """Data, folds and settings of the evaluation."""
        protocol: dict[str, Any] = self.results["protocol"]
        return protocol

    @property
    def has_blocks(self) -> bool:
        """Whether parts of slides, not complete slides, were held out."""
        return any(fold.get("blocks") for fold in self.protocol.get("folds", []))

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return list(self.results["methods"])

    @property
    def main(self) -> str:
        """The method that the others are compared with."""
        return main_method(self.methods)

    @property
    def guessing(self) -> list[str]:
        """The methods that look at the image: all but the mean, where there are others."""
        return [name for name in self.methods if name != "mean"] or self.methods

    @property
    def seeds(self) -> dict[str, list[int]]:
        """Seeds of each method."""
        return {name: list(scores["seeds"]) for name, scores in self.results["methods"].items()}

    @property
    def folds(self) -> list[dict[str, Any]]:
        """Scores of each fold."""
        folds: list[dict[str, Any]] = self.results["folds"]
        return folds

    @property
    def ids(self) -> list[str]:
        """Ids of the held-out samples."""
        return list(dict.fromkeys(str(name) for name in self.table.obs["sample"]))

    def rows(self, sample: str) -> NDArray[np.intp]:
        """Return the rows of a sample."""
        return np.flatnonzero(np.asarray(self.table.obs["sample"].astype(str)) == sample)

    def predicted(self, method: str) -> Floats:
        """Return the predictions of a method with the first of its seeds, (n, g)."""
        return np.asarray(self.table.layers[self.results["methods"][method]["layers"][0]], np.float64)

    def correlations(self, method: str) -> Floats:
        """Return the correlation of each gene over the scored regions, (g,); NaN if it does not vary.

        It is the mean over folds and seeds.
        """
        return np.asarray(self.table.var[f"pcc_{method}"], np.float64)

    def ranked(self) -> NDArray[np.intp]:
        """Return the genes that vary under the main method, best first; if possible, only those in all folds."""
        r = self.correlations(self.main)
        everywhere = np.asarray(self.table.var["folds"]) == len(self.folds)
        if (np.isfinite(r) & everywhere).any():
            r = np.where(everywhere, r, np.nan)
        order = np.argsort(-np.nan_to_num(r, nan=-np.inf), kind="stable")
        return np.asarray(order[: max(int(np.isfinite(r).sum()), 1)])
