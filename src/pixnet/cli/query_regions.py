"""The regions that `pixnet query` is asked for: read from whatever file they are in."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixnet.errors import DataError, PixNetWarning

if TYPE_CHECKING:
    from pixnet.field import ExpressionField
    from pixnet.regions import Polygons, Regions
    from pixnet.slide import Slide

_ONE_KIND = "query needs one of --disks, --grid-um, --polygons, --labels and --like, and only one."
_MOST_SQUARES = 100_000_000  # 4 GB to count them
_OTHER_SLIDE = 0.05  # by which extents differ only if the slides do
_VERTICES = (".parquet", ".csv", ".csv.gz")

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
    alignment: Path | None
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
            "--alignment": (self.alignment, "--polygons"),
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
    if wanted.grid_um is not None:
        return _squares(field, wanted.grid_um, wanted.angle_deg or 0.0), None
    if wanted.disks is not None:
        return _disks(wanted.disks, wanted.diameter_um)
    if wanted.labels is not None:
        return _labels(field, wanted.labels, wanted.labels_mpp), None
    if wanted.polygons is not None:
        shapes = _polygons(field, wanted.polygons, wanted.alignment)
        return _by_class(wanted.polygons, shapes) if wanted.by_class else shapes, None
    if wanted.like is not None:
        return _of_sample(field, wanted.like, wanted)
    raise DataError(_ONE_KIND)


def _squares(field: ExpressionField, side_um: float, angle_deg: float) -> Regions:
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
    return Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, side_um, angle_deg)


def _polygons(field: ExpressionField, path: Path, alignment: Path | None) -> Polygons:
    """Read polygons by what the file is called: vertices in um as of Xenium, or GeoJSON in pixels."""
    from pixnet.readers.xenium.outlines import read_boundaries
    from pixnet.regions import Polygons

    mpp = field.attributes.slide.mpp
    if path.name.lower().endswith(_VERTICES):
        return read_boundaries(path, mpp, alignment)
    if alignment is not None:
        raise DataError(
            f"--alignment is for Xenium's boundaries ({', '.join(_VERTICES)}), not for {path}; leave it out."
        )
    return Polygons.from_geojson(path, mpp)


def _by_class(path: Path, polygons: Polygons) -> Polygons:
    try:
        return polygons.by_class()
    except DataError as error:
        raise DataError(f"{path}: {error}.") from error


def _labels(field: ExpressionField, path: Path, mpp: float | None) -> Regions:
    from pixnet.readers.formats.label_image import read_label_mask

    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise DataError(f"--labels-mpp {mpp}: must be a positive number of um.")
    slide = field.attributes.slide
    shape = slide.height_px, slide.width_px
    return read_label_mask(path, shape, slide.mpp, mpp, f"the slide {slide.name!r}")


def _of_sample(field: ExpressionField, path: Path, wanted: Wanted) -> Found:
    from pixnet.readers.manifest import chosen_entries, manifest_entries
    from pixnet.readers.recognition import read

    if path.suffix == ".toml":
        if wanted.image is not None:
            raise DataError(f"--image {wanted.image}: {path} says which image each sample has; leave it out.")
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
    _check_slide(field, path, found.slide)
    return found.regions, None if found.counts.names is None else list(map(str, found.counts.names))


def _check_slide(field: ExpressionField, path: Path, slide: Slide) -> None:
    """Compare the extents of a sample's slide and the field's: they cannot be the same if these differ."""
    ours, theirs = field.attributes.slide, slide.shape
    there = slide.width_um, slide.height_um
    here = ours.width_px * ours.mpp, ours.height_px * ours.mpp
    off = max(abs(one - other) for one, other in zip(there, here, strict=True))
    if off <= field.attributes.pitch_um:
        return
    both = (
        f"{path}: lies on {slide.path or slide.name} of {theirs[1]} x {theirs[0]} px at {slide.mpp:.4g} um, "
        f"the field on {ours.name!r} of {ours.width_px} x {ours.height_px} px at {ours.mpp:.4g} um"
    )
    if off > _OTHER_SLIDE * max(here):
        raise DataError(f"{both}: another slide, or another size of its pixels. Give the sample of the field's slide.")
    warnings.warn(f"{both}: up to {off:.0f} um apart. Predict with the same --mpp.", PixNetWarning, stacklevel=4)


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
