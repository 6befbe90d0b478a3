"""Regions with their values as a CSV table, for anything."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd

from pixnet.field.export.request import Order
from pixnet.field.export.table import read_rows

_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB = 60, 12, 8.0


def write_csv(order: Order, path: Path) -> None:
    """Write a row for each region: name, centre in um, valid area in um^2, and a column for each gene."""
    regions = order.make_regions(_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        header = True
        for rows in read_rows(order, regions):
            table = pd.DataFrame(rows.values, rows.obs.index, order.genes)
            places = rows.obs[["x_um", "y_um", "valid_area_um2"]]
            pd.concat([places, table], axis=1).to_csv(file, header=header, index_label="region", float_format="%.7g")
            header = False
