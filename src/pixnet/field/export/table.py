"""Regions with their values, read some at a time; shared by the formats that hold regions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import PixNetWarning
from pixnet.field.export.request import Request, steps
from pixnet.field.read.query import query_parts
from pixnet.regions import Regions

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 1 << 13  # regions written at once


class Rows(NamedTuple):
    """Some successive regions.

    Attributes
    ----------
    regions
        The r regions.
    obs
        Position and areas of each region.
    values
        Values, shape (r, g); NaN for regions without data.
    """

    regions: Regions
    obs: pd.DataFrame
    values: NDArray[np.float32]


def read_rows(request: Request, regions: Regions) -> Iterator[Rows]:
    """Read the values of regions, some at a time.

    Of squares that cover the slide, those without data are left out. Regions that the user gave are all written, with
    NaN where there is no data.
    """
    request.progress(0, len(regions))
    with warnings.catch_warnings():
        if request.regions is None:
            warnings.simplefilter("ignore", PixNetWarning)
        for part in query_parts(request.store, regions, request.genes):
            expression = part.log1p if request.log and part.log1p is not None else part.values
            empty = part.obs["valid_area_um2"].to_numpy() <= 0
            values = np.where(empty[:, None], np.float32(np.nan), expression)
            written = np.flatnonzero(~empty) if request.regions is None else np.arange(len(values))
            # As text or outlines a region takes far more memory than as numbers.
            for rows in (written[step] for step in steps(len(written), _ROWS)):
                yield Rows(regions.take(part.rows.start + rows), part.obs.iloc[rows], values[rows])
            request.progress(part.rows.stop, len(regions))
