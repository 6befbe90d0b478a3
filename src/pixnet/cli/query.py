"""`pixnet query`: from a field to a table, over regions of any shape."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixnet.cli.options import OverwriteOption, names
from pixnet.errors import DataError

if TYPE_CHECKING:
    import anndata

    from pixnet.field import ExpressionField
    from pixnet.regions import Regions

_LARGEST_GB = 4.0
_ONE_KIND = "query needs one of --disks, --grid-um and --polygons, and only one."
_ROW_BYTES = 400  # names, positions and areas of one region


def query(
    field: Annotated[Path, typer.Argument(metavar="FIELD", help="Folder that `pixnet predict` wrote.")],
    out: Annotated[Path, typer.Option(metavar="TABLE.h5ad", help="Table to write, in AnnData's format.")],
    disks: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Centres x_um,y_um of disks; also id and diameter_um, if you like."),
    ] = None,
    diameter_um: Annotated[float | None, typer.Option(metavar="D", help="Diameter of the disks.")] = None,
    grid_um: Annotated[float | None, typer.Option(metavar="S", help="Cover the slide with squares this wide.")] = None,
    polygons: Annotated[
        Path | None, typer.Option(metavar="FILE.geojson", help="Polygons in full-resolution pixels, as from QuPath.")
    ] = None,
    genes: Annotated[str | None, typer.Option(metavar="A,B", help="Genes to read; all by default.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Read the expression of regions off a field."""
    if sum(given is not None for given in (disks, grid_um, polygons)) != 1:
        raise DataError(_ONE_KIND)
    if diameter_um is not None and disks is None:
        raise DataError("--diameter-um is the size of --disks; leave it out.")
    if out.suffix != ".h5ad":
        raise DataError(f"--out {out}: the table is written in AnnData's format; give a name that ends in .h5ad.")
    if out.exists() and not overwrite:
        raise DataError(f"{out}: exists already; give another place, or --overwrite.")
    wanted = names(genes, "--genes")
    from pixnet.field import ExpressionField
    from pixnet.regions import Squares

    opened = ExpressionField.open(field)
    columns = len(wanted or opened.gene_names)
    regions: Regions
    labels: list[str] | None = None
    if grid_um is not None:
        regions = _squares(opened, grid_um, columns)
    elif disks is not None:
        regions, labels = _read_disks(disks, diameter_um)
    else:
        regions = _read_polygons(polygons, opened.attributes.slide.mpp)
    _check_size(opened, len(regions), columns)
    table = opened.query(regions, wanted)
    if labels is not None:
        table.obs_names = labels
    if isinstance(regions, Squares):
        table.obs["row"], table.obs["col"] = regions.rows, regions.cols
    _write(table, out)
    typer.echo(f"Table: {out} ({table.n_obs} regions x {table.n_vars} genes; {table.uns['pixnet']['units']})")


def _squares(field: ExpressionField, side_um: float, columns: int) -> Regions:
    from pixnet.regions import Squares

    if not (math.isfinite(side_um) and side_um > 0):
        raise DataError(f"--grid-um {side_um}: must be a positive number of um.")
    slide = field.attributes.lattice
    # Counted before any is made: a slip of the point would ask for billions.
    _check_size(field, math.ceil(slide.width_um / side_um) * math.ceil(slide.height_um / side_um), columns)
    return Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, side_um)


def _check_size(field: ExpressionField, rows: int, columns: int) -> None:
    """Refuse a table that would not fit in memory."""
    values = 2 if field.head.kind == "rate" else 1  # counts, and log-normalised values beside them
    gigabytes = rows * (columns * 4 * values + _ROW_BYTES) / 1e9
    if gigabytes > _LARGEST_GB:
        raise DataError(
            f"the table would have {rows} regions x {columns} genes, {gigabytes:.1f} GB (at most {_LARGEST_GB:g} GB); "
            "name fewer genes with --genes, or give a coarser grid."
        )


def _read_polygons(path: Path | None, um_per_px: float) -> Regions:
    from pixnet.regions import Polygons

    if path is None:
        raise DataError(_ONE_KIND)
    return Polygons.from_geojson(path, um_per_px)


def _read_disks(path: Path, diameter_um: float | None) -> tuple[Regions, list[str] | None]:
    """Read centres, and diameters and names where the file has them."""
    import numpy as np
    import pandas as pd

    from pixnet.regions import Disks

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is no CSV table ({str(error).splitlines()[0]}).") from error
    table.columns = [str(column).strip() for column in table.columns]
    missing = [column for column in ("x_um", "y_um") if column not in table]
    if missing:
        found = ", ".join(map(repr, table.columns[:8]))
        raise DataError(f"{path}: has no column {missing[0]!r}, found {found}; give centres in um as x_um and y_um.")
    if table.empty:
        raise DataError(f"{path}: holds a header but no disks.")
    sized = "diameter_um" in table
    if sized and diameter_um is not None:
        raise DataError(f"{path}: has a column diameter_um, and --diameter-um {diameter_um:g} is given; choose one.")
    if not sized and diameter_um is None:
        raise DataError(f"{path}: the disks have no size; give --diameter-um, or a column diameter_um.")
    values = {}
    for column in ("x_um", "y_um", "diameter_um") if sized else ("x_um", "y_um"):
        numbers = np.asarray(pd.to_numeric(table[column], errors="coerce"), np.float64)
        bad = np.flatnonzero(~np.isfinite(numbers) | ((numbers <= 0) & (column == "diameter_um")))
        if len(bad):
            cell = table[column].iloc[bad[0]]
            raise DataError(f"{path}: line {bad[0] + 2} has {cell!r} as {column}; it must be a number of um.")
        values[column] = numbers
    centers = np.column_stack([values["x_um"], values["y_um"]])
    labels = next((list(table[column]) for column in ("id", "name") if column in table), None)
    if labels is not None and len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DataError(f"{path}: two disks are called {twice!r}; give each a name of its own.")
    return Disks(centers, values["diameter_um"] if sized else float(diameter_um or 0.0)), labels


def _write(table: anndata.AnnData, out: Path) -> None:
    """Write beside the place, then rename: a table is there whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.", dir=out.parent) as place:
        partial = Path(place) / out.name
        table.write_h5ad(partial, compression="gzip")
        os.replace(partial, out)
