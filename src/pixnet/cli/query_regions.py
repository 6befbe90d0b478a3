"""The regions that `pixnet query` is asked for: read from whatever file they are in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixnet.errors import DataError

if TYPE_CHECKING:
    from pixnet.field import ExpressionField
    from pixnet.regions import Regions

_ONE_KIND = "query needs one of --disks, --grid-um, --polygons, --labels and --like, and only one."
_MOST_SQUARES = 1_000_000_000

Found = tuple["Regions", list[str] | None]
"""Regions, and their names where the file has them and the regions do not."""


@dataclass(frozen=True)
class Wanted:
    """What the command line says of the regions; see `pixnet.cli.query.query`."""

    disks: Path | None
    diameter_um: float | None
    grid_um: float | None
    angle_deg: float | None
    polygons: Path | None
    by_class: bool
    labels: Path | None
    labels_mpp: float | None
    like: Path | None
    sample: str | None
    image: Path | None

    def check(self) -> None:
        """Raise DataError if there is not one kind of regions, or if an option belongs to another kind."""
        kinds = {
            "--disks": self.disks, "--grid-um": self.grid_um, "--polygons": self.polygons, "--labels": self.labels,
            "--like": self.like,
        }  # fmt: skip
        given = [option for option, value in kinds.items() if value is not None]
        if len(given) != 1:
            raise DataError(_ONE_KIND)
        belong = {
            "--diameter-um": (self.diameter_um, "--disks"),
            "--angle-deg": (self.angle_deg, "--grid-um"),
            "--by-class": (self.by_class or None, "--polygons"),
            "--labels-mpp": (self.labels_mpp, "--labels"),
            "--sample": (self.sample, "--like"),
            "--image": (self.image, "--like"),
        }
        for option, (value, kind) in belong.items():
            if value is not None and kind not in given:
                raise DataError(f"{option} goes with {kind}; leave it out.")


def regions_of(field: ExpressionField, wanted: Wanted) -> Found:
    """Read or make the regions.

    Raises
    ------
    DataError
        If a file cannot be used, or what is asked for makes no sense for the field's slide.
    """
    from pixnet.regions import Polygons

    if wanted.grid_um is not None:
        return _squares(field, wanted.grid_um, wanted.angle_deg or 0.0), None
    if wanted.disks is not None:
        return _disks(wanted.disks, wanted.diameter_um)
    if wanted.labels is not None:
        return _labels(field, wanted.labels, wanted.labels_mpp), None
    if wanted.polygons is not None:
        shapes = Polygons.from_geojson(wanted.polygons, field.attributes.slide.mpp)
        return shapes.by_class() if wanted.by_class else shapes, None
    return _of_sample(Path(wanted.like or ""), wanted)


def _squares(field: ExpressionField, side_um: float, angle_deg: float) -> Regions:
    import numpy as np

    from pixnet.regions import Squares

    if not (math.isfinite(side_um) and side_um > 0):
        raise DataError(f"--grid-um {side_um}: must be a positive number of um.")
    if not math.isfinite(angle_deg):
        raise DataError(f"--angle-deg {angle_deg}: must be a number of degrees.")
    slide = field.attributes.lattice
    # Counted before any is made: a slip of the point would ask for billions.
    count = math.ceil(slide.width_um / side_um) * math.ceil(slide.height_um / side_um)
    if count > _MOST_SQUARES:
        raise DataError(f"--grid-um {side_um:g}: makes {count:,} squares (at most {_MOST_SQUARES:,}); give wider ones.")
    if angle_deg == 0:
        return Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, side_um)
    # The turned lattice begins at the slide's middle and reaches its corners.
    reach = math.ceil(math.hypot(slide.width_um, slide.height_um) / 2 / side_um) + 1
    rows, cols = (index.ravel() for index in np.mgrid[-reach:reach, -reach:reach])
    squares = Squares(slide.width_um / 2, slide.height_um / 2, side_um, rows, cols, angle_deg)
    left, top, right, bottom = squares.bounds_um.T
    return squares.take((right > 0) & (left < slide.width_um) & (bottom > 0) & (top < slide.height_um))


def _labels(field: ExpressionField, path: Path, mpp: float | None) -> Regions:
    import numpy as np

    from pixnet.regions import LabelMask

    slide = field.attributes.slide
    try:
        mask = _read_mask(path)
    except (OSError, ValueError, TypeError, KeyError, SyntaxError) as error:
        raise DataError(f"{path}: is no label mask that can be read ({error}). Give a TIFF, PNG or npy.") from error
    if mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer):
        raise DataError(f"{path}: holds {mask.dtype} of shape {mask.shape}; a mask is one plane of whole numbers.")
    if mpp is None and mask.shape != (slide.height_px, slide.width_px):
        raise DataError(
            f"{path}: is {mask.shape[1]} x {mask.shape[0]} pixels, but the slide {slide.name!r} is {slide.width_px} x "
            f"{slide.height_px}; give a mask of that size, or its um per pixel (--labels-mpp)."
        )
    try:
        return LabelMask(mask, 0.0, 0.0, mpp or slide.mpp)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read_mask(path: Path) -> Any:
    if path.suffix == ".npy":
        import numpy as np

        return np.load(path, mmap_mode="r", allow_pickle=False)
    if path.suffix in (".tif", ".tiff"):
        import tifffile

        return tifffile.imread(path)
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def _of_sample(path: Path, wanted: Wanted) -> Found:
    from pixnet.readers.manifest import chosen_entries, manifest_entries
    from pixnet.readers.recognise import read

    if path.suffix == ".toml":
        entries = chosen_entries(path, manifest_entries(path), None if wanted.sample is None else [wanted.sample])
        if len(entries) != 1:
            raise DataError(
                f"{path}: lists {len(entries)} samples ({', '.join(e.id for e in entries)}); choose one with --sample."
            )
        found = entries[0].read()
    elif wanted.sample is not None:
        raise DataError(f"{path}: is no manifest, so there is no sample to choose from it (--sample).")
    else:
        options: dict[str, Any] = {} if wanted.image is None else {"image": wanted.image}
        found = read(path, **options)
    own_names = found.counts.region_names()
    return found.regions, list(map(str, own_names))


def _disks(path: Path, diameter_um: float | None) -> Found:
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
