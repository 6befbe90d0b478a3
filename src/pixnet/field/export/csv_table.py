"""Regions with their values as a CSV table."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd

from pixnet.field.export.request import Request
from pixnet.field.export.table import read_rows

_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB = 60, 12, 8.0


def write_csv(request: Request, path: Path) -> None:
    """Write one row per region: name, centre in um, valid area in um^2 and the value of each gene."""
    regions = request.make_regions(_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB)
    open_file = gzip.open if path.suffix == ".gz" else open
    with open_file(path, "wt", encoding="utf-8", newline="") as file:
        header = True
        for rows in read_rows(request, regions):
            table = pd.DataFrame(rows.values, rows.obs.index, request.genes)
            positions = rows.obs[["x_um", "y_um", "valid_area_um2"]]
            pd.concat([positions, table], axis=1).to_csv(file, header=header, index_label="region", float_format="%.7g")
            header = False
