"""Columns of flags that say which regions are under tissue, however they are called and written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError

IN_TISSUE = ("in_tissue", "on_tissue", "under_tissue", "is_in_tissue", "tissue")
"""Names of the column, in any case, with any marks between their words, in the order of preference."""

_WORDS = {"1": True, "1.0": True, "true": True, "t": True, "yes": True, "in tissue": True}
_WORDS |= {"0": False, "0.0": False, "false": False, "f": False, "no": False, "not in tissue": False}
_NONE = frozenset({"", "nan", "na", "none", "<na>"})


def as_flags(column: pd.Series) -> NDArray[np.float64]:
    """Return 1 and 0 for flags, however they are written, and NaN for what is none."""
    texts = column.astype(object).map(lambda value: str(value).strip().lower())
    return np.asarray(texts.map(_WORDS).astype(float).to_numpy(), np.float64)


def under_tissue(name: str, table: pd.DataFrame, columns: Sequence[str] = IN_TISSUE) -> NDArray[np.bool_]:
    """Return which rows of a table are under tissue by its flags; all of them if it has no column of flags.

    A row without a flag is not under tissue. A column of that name without any flag, such as the organ, is none; one
    of which most rows hold something else is an error.
    """
    for column in _of_name(table, columns):
        flags = as_flags(table[column])
        known = np.isfinite(flags)
        missing = table[column].astype(object).map(lambda value: str(value).strip().lower()).isin(_NONE).to_numpy()
        odd = ~known & ~missing
        if not known.any():
            continue
        if 2 * odd.sum() > len(table):
            example = str(table[column].iloc[int(np.argmax(odd))])[:40]
            raise DataError(
                f"{name}: {odd.sum()} of {len(table)} rows have neither 0 nor 1 as {column}, such as {example!r}. "
                "Correct the column, or remove it."
            )
        return np.asarray(flags == 1, np.bool_)
    return np.ones(len(table), np.bool_)


def _of_name(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns of a table that have one of the names, in the order of the names."""
    present: dict[str, str] = {}
    for column in table:
        present.setdefault(letters(str(column)), str(column))
    return [present[letters(name)] for name in names if letters(name) in present]


def letters(name: str) -> str:
    """Return a name in lower case without the marks between its words, so that spellings of it are the same."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
