"""What the folder of an evaluation holds, as the report's sections ask for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.evaluation.report.canvas import Floats
from pixnet.evaluation.results import PREDICTIONS, RESULTS, SCORES
from pixnet.evaluation.scoring.summary import main_method
from pixnet.evaluation.scoring.table import Scores

if TYPE_CHECKING:
    import anndata


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What an evaluation's folder holds.

    Attributes
    ----------
    folder
        Where it lies.
    results
        Content of `results.json`.
    scores
        The long table of scores.
    table
        Truth and predictions of all held-out regions.
    card
        Of a model that was kept.
    """

    folder: Path
    results: dict[str, Any]
    scores: Scores
    table: anndata.AnnData
    card: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder.

        Raises
        ------
        DataError
            If it does not hold an evaluation.
        """
        import anndata
        import pandas as pd

        for name in (RESULTS, SCORES, PREDICTIONS):
            if not (folder / name).is_file():
                raise DataError(f"{folder / name}: is missing; give a folder that `pixnet evaluate` has written.")
        try:
            results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
            scores = Scores(pd.read_parquet(folder / SCORES))
            table = anndata.read_h5ad(folder / PREDICTIONS)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: cannot be read ({error}); evaluate again.") from error
        card = folder / "model" / "card.json"
        return cls(
            folder, results, scores, table, json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
        )

    @property
    def protocol(self) -> dict[str, Any]:
        """What was done."""
        found: dict[str, Any] = self.results["protocol"]
        return found

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
        found: list[dict[str, Any]] = self.results["folds"]
        return found

    @property
    def ids(self) -> list[str]:
        """Ids of the held-out samples."""
        return list(dict.fromkeys(str(name) for name in self.table.obs["sample"]))

    def rows(self, sample: str) -> NDArray[np.intp]:
        """Give the rows of a sample."""
        return np.flatnonzero(np.asarray(self.table.obs["sample"].astype(str)) == sample)

    def predicted(self, method: str) -> Floats:
        """(n, g) What a method predicts, with the first of its seeds."""
        return np.asarray(self.table.layers[self.results["methods"][method]["layers"][0]], np.float64)

    def correlations(self, method: str) -> Floats:
        """(g,) By gene, over the scored regions; of several folds and seeds, the mean. NaN: it does not vary."""
        return np.asarray(self.table.var[f"pcc_{method}"], np.float64)

    def ranked(self) -> NDArray[np.intp]:
        """Give the genes that vary under the main method, best first; where it can be, those of all folds."""
        r = self.correlations(self.main)
        everywhere = np.asarray(self.table.var["folds"]) == len(self.folds)
        if (np.isfinite(r) & everywhere).any():
            r = np.where(everywhere, r, np.nan)
        order = np.argsort(-np.nan_to_num(r, nan=-np.inf), kind="stable")
        return np.asarray(order[: max(int(np.isfinite(r).sum()), 1)])
