"""Regions with their values, some at a time; what the formats that hold regions have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import PixNetWarning
from pixnet.field.export.request import Order, steps
from pixnet.regions import Regions

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 1 << 13  # regions given at once


class Rows(NamedTuple):
    """Some regions: the regions, what is known of each, and their values (r, g), NaN where there is no data."""

    regions: Regions
    obs: pd.DataFrame
    values: NDArray[np.float32]


def read_rows(order: Order, regions: Regions) -> Iterator[Rows]:
    """Read the values of regions, some at a time.

    Squares that merely cover the slide are left out where they hold no data, as most do; a region that the user gave is
    kept, with NaN.
    """
    order.progress(0, len(regions))
    with warnings.catch_warnings():
        if order.regions is None:
            warnings.simplefilter("ignore", PixNetWarning)
        for part in order.field.query_parts(regions, order.genes):
            read = part.log1p if order.log and part.log1p is not None else part.values
            empty = part.obs["valid_area_um2"].to_numpy() <= 0
            values = np.where(empty[:, None], np.float32(np.nan), read)
            kept = np.flatnonzero(~empty) if order.regions is None else np.arange(len(values))
            # As text or outlines a region takes far more memory than as numbers.
            for few in (kept[one] for one in steps(len(kept), _ROWS)):
                yield Rows(regions.take(part.rows.start + few), part.obs.iloc[few], values[few])
            order.progress(part.rows.stop, len(regions))
