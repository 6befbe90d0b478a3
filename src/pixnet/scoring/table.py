"""The long table of scores: one row for each number, whatever it is a score of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

KEYS = ("method", "variant", "fold", "seed", "sample", "regions", "target", "metric", "gene")
COLUMNS = (*KEYS, "value", "low", "high")
ALL = "all"
"""Value of a key over which a score is averaged: all folds, seeds, samples or genes."""

_DEFAULTS = {
    "variant": "", "fold": ALL, "seed": ALL, "sample": ALL, "regions": "enough", "target": "measured", "gene": ALL,
}  # fmt: skip


def rows(values: Mapping[str, Any], **where: Any) -> pd.DataFrame:
    """Return rows of the long table: by metric, a number or a number with its interval (value, low, high).

    `where` has the other keys: `method` at least. `regions` are those with enough counts unless it says otherwise.
    """
    entries = [
        (metric, *(found if isinstance(found, tuple) else (found, math.nan, math.nan)))
        for metric, found in values.items()
    ]
    frame = pd.DataFrame(entries, columns=["metric", "value", "low", "high"])
    return frame.assign(**{**_DEFAULTS, **where})[list(COLUMNS)]


def gene_rows(metric: str, genes: Iterable[str], values: Any, **where: Any) -> pd.DataFrame:
    """Return rows of one metric, one for each gene."""
    frame = pd.DataFrame({"gene": list(genes), "value": values, "low": math.nan, "high": math.nan})
    return frame.assign(**{**_DEFAULTS, "metric": metric, **where, "gene": frame["gene"]})[list(COLUMNS)]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores by their keys.

    Attributes
    ----------
    frame
        The long table, its columns `COLUMNS`. `seed` is text, as other keys are.
    """

    frame: pd.DataFrame

    @cached_property
    def _entries(self) -> dict[tuple[str, ...], tuple[float, float, float]]:
        frame = self.frame[self.frame["gene"] == ALL]
        keys = zip(*(frame[name].astype(str) for name in KEYS), strict=True)
        return dict(zip(keys, zip(frame["value"], frame["low"], frame["high"], strict=True), strict=True))

    def entry(self, **where: Any) -> tuple[float, float, float]:
        """Return a score with the ends of its interval, NaN where there is none; keys that are left out are `all`."""
        key = {**_DEFAULTS, **where}
        return self._entries.get(tuple(str(key[name]) for name in KEYS), (math.nan, math.nan, math.nan))

    def value(self, method: str, metric: str, **where: Any) -> float:
        """Return a score, NaN where there is none."""
        return self.entry(method=method, metric=metric, **where)[0]

    def interval(self, method: str, metric: str, **where: Any) -> list[float]:
        """Return both ends of a score's 95 % interval, NaN where there is none."""
        return list(self.entry(method=method, metric=metric, **where)[1:])

    def values(self, key: str, **where: Any) -> list[str]:
        """Return the values of a key among the rows that match, in their order; `all` is left out."""
        return [value for value in dict.fromkeys(self._matching(where)[key].astype(str)) if value != ALL]

    def genes(self, metric: str, method: str, **where: Any) -> pd.Series[float]:
        """Return a metric by gene, mean over folds and seeds; a gene that has no value in one of them has none."""
        frame = self._matching({"metric": metric, "method": method, **where})
        of_gene = frame[frame["gene"] != ALL].groupby("gene", sort=False)["value"]
        return of_gene.agg(lambda values: values.mean(skipna=False))

    def _matching(self, where: Mapping[str, Any]) -> pd.DataFrame:
        """Return the rows with these values of their keys."""
        frame = self.frame
        for name, wanted in where.items():
            frame = frame[frame[name].astype(str) == str(wanted)]
        return frame
