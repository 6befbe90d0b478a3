"""The regions of `pixnet query`, read from files or made."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixnet.errors import DataError, PixNetWarning, first_line

if TYPE_CHECKING:
    from pixnet.field import ExpressionField
    from pixnet.readers.annotations import OutlineFrame
    from pixnet.regions import Polygons, Regions
    from pixnet.slide import Slide

_ONE_KIND = "query needs one of --disks, --grid-um, --polygons, --labels and --like, and only one."
_LARGEST_UM = 1e6  # a metre
_MOST_SQUARES = 100_000_000  # 4 GB to count them
_OTHER_SLIDE = 0.05  # share of the extent; a larger difference means another slide

NamedRegions = tuple["Regions", list[str] | None]
"""Regions, and their names if the file has names that the regions do not hold."""


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """Options of `pixnet query` that describe the regions, as its help does; None if an option is not given."""

    disks: Path | None = None
    diameter_um: float | None = None
    grid_um: float | None = None
    angle_deg: float | None = None
    polygons: Path | None = None
    polygons_frame: OutlineFrame | None = None
    alignment: Path | None = None
    by_class: bool = False
    labels: Path | None = None
    labels_mpp: float | None = None
    like: Path | None = None
    sample: str | None = None
    image: Path | None = None

    def check(self) -> None:
        """Check that the options describe exactly one kind of regions, with numbers that make sense."""
        kinds = {
            "--disks": self.disks,
            "--grid-um": self.grid_um,
            "--polygons": self.polygons,
            "--labels": self.labels,
            "--like": self.like,
        }
        given = [option for option, value in kinds.items() if value is not None]
        if len(given) != 1:
            raise DataError(_ONE_KIND)
        kind_of = {
            "--diameter-um": (self.diameter_um, "--disks"),
            "--angle-deg": (self.angle_deg, "--grid-um"),
            "--alignment": (self.alignment, "--polygons"),
            "--by-class": (self.by_class or None, "--polygons"),
            "--polygons-frame": (self.polygons_frame, "--polygons"),
            "--labels-mpp": (self.labels_mpp, "--labels"),
            "--sample": (self.sample, "--like"),
            "--image": (self.image, "--like"),
        }
        for option, (value, kind) in kind_of.items():
            if value is not None and kind not in given:
                raise DataError(f"{option} goes with {kind}; leave it out.")
        if self.angle_deg is not None and not math.isfinite(self.angle_deg):
            raise DataError(f"--angle-deg {self.angle_deg}: must be a number of degrees.")
        for option, size in (("--grid-um", self.grid_um), ("--labels-mpp", self.labels_mpp)):
            if size is not None and not 0 < size <= _LARGEST_UM:
                raise DataError(f"{option} {size}: must be a positive number of um, at most {_LARGEST_UM:g}.")
        if self.polygons is not None:
            self._check_polygons(self.polygons)
        if self.like is not None and self.like.suffix == ".toml" and self.image is not None:
            raise DataError(f"--image {self.image}: {self.like} states the image of each sample; leave the option out.")
        if self.like is not None and self.like.suffix != ".toml" and self.sample is not None:
            raise DataError(
                f"{self.like}: is not a manifest, so --sample cannot choose a sample from it; leave it out."
            )

    def _check_polygons(self, path: Path) -> None:
        """Check that the options for outlines are for this kind of file."""
        from pixnet.readers.annotations import VERTEX_FILES, holds_vertices

        if self.alignment is not None and not holds_vertices(path):
            raise DataError(
                f"--alignment is for outlines of Xenium ({', '.join(VERTEX_FILES)}), not for {path}; leave it out."
            )
        if self.polygons_frame is not None and holds_vertices(path):
            raise DataError(f"--polygons-frame is for GeoJSON; {path} is in um of its run. Leave it out.")


def regions_of(field: ExpressionField, options: RegionOptions) -> NamedRegions:
    """Read or make the regions that checked options describe."""
    slide = field.attributes.slide
    if options.grid_um is not None:
        return _squares(field, options.grid_um, options.angle_deg or 0.0), None
    if options.disks is not None:
        return _disks(options.disks, options.diameter_um)
    if options.labels is not None:
        from pixnet.readers.formats.label_image import read_label_mask

        return read_label_mask(options.labels, slide.frames, options.labels_mpp, f"the slide {slide.name!r}"), None
    if options.polygons is not None:
        return _polygons(field, options.polygons, options), None
    if options.like is not None:
        return _sample_regions(field, options.like, options)
    raise DataError(_ONE_KIND)


def _squares(field: ExpressionField, side_um: float, angle_deg: float) -> Regions:
    from pixnet.regions import Squares

    slide = field.attributes.lattice
    # Counted before they are made: a misplaced decimal point would mean billions of squares.
    count = math.ceil(slide.width_um / side_um) * math.ceil(slide.height_um / side_um)
    if count > _MOST_SQUARES:
        raise DataError(f"--grid-um {side_um:g}: makes {count:,} squares (at most {_MOST_SQUARES:,}); give wider ones.")
    return Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, side_um, angle_deg)


def _polygons(field: ExpressionField, path: Path, options: RegionOptions) -> Polygons:
    from pixnet.cli.query_evidence import weigh_frame
    from pixnet.readers.annotations import holds_vertices, read_annotations

    frame = options.polygons_frame
    polygons = read_annotations(path, field.attributes.slide.frames, frame, alignment=options.alignment)
    if not holds_vertices(path):
        weigh_frame(field, path, polygons, frame)
    if not options.by_class:
        return polygons
    try:
        return polygons.by_class()
    except DataError as error:
        raise DataError(f"{path}: {error}.") from error


def told_reading(field: ExpressionField, options: RegionOptions) -> str | None:
    """Return in a sentence how the coordinates of outlines were read; None if their file leaves no choice."""
    from pixnet.cli.query_evidence import reading_of
    from pixnet.readers.annotations import holds_vertices

    if options.polygons is None or holds_vertices(options.polygons):
        return None
    return reading_of(field, options.polygons, options.polygons_frame)


def _sample_regions(field: ExpressionField, path: Path, options: RegionOptions) -> NamedRegions:
    from pixnet.readers.manifest import chosen_entries, manifest_entries
    from pixnet.readers.recognition import read

    if path.suffix == ".toml":
        entries = chosen_entries(path, manifest_entries(path), None if options.sample is None else [options.sample])
        if len(entries) != 1:
            raise DataError(
                f"{path}: lists {len(entries)} samples ({', '.join(e.id for e in entries)}); choose one with --sample."
            )
        sample = entries[0].read()
    else:
        keys: dict[str, Any] = {} if options.image is None else {"image": options.image}
        sample = read(path, **keys)
    _check_slide(field, path, sample.slide)
    return sample.regions, None if sample.counts.names is None else list(map(str, sample.counts.names))


def _check_slide(field: ExpressionField, path: Path, slide: Slide) -> None:
    """Check that the extent of a sample's slide is that of the field's slide, as it must be for the same slide."""
    expected = field.attributes.slide
    width_um, height_um = expected.width_px * expected.mpp, expected.height_px * expected.mpp
    difference_um = max(abs(slide.width_um - width_um), abs(slide.height_um - height_um))
    if difference_um <= field.attributes.pitch_um:
        from pixnet.cli.query_evidence import check_same_picture

        check_same_picture(field, path, slide)
        return
    height_px, width_px = slide.shape[:2]
    comparison = (
        f"{path}: its slide {slide.path or slide.name} is {width_px} x {height_px} px at {slide.mpp:.4g} um, "
        f"but the field's slide is {expected.name!r} of {expected.width_px} x {expected.height_px} px at "
        f"{expected.mpp:.4g} um"
    )
    if difference_um > _OTHER_SLIDE * max(width_um, height_um):
        raise DataError(
            f"{comparison}: this is another slide, or its pixel size differs. Give the sample of the field's slide."
        )
    warnings.warn(
        f"{comparison}: their extents differ by up to {difference_um:.0f} um. Predict with the same --mpp.",
        PixNetWarning,
        stacklevel=4,
    )


def _disks(path: Path, diameter_um: float | None) -> NamedRegions:
    """Read centres, and diameters and names if the file has them."""
    import numpy as np
    import pandas as pd

    from pixnet.readers.formats.files import read_plain_or_gzip
    from pixnet.regions import Disks

    try:
        content = io.BytesIO(read_plain_or_gzip(path))
        table = pd.read_csv(content, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is not a CSV table ({first_line(error)}).") from error
    table.columns = [str(column).strip() for column in table.columns]
    missing = [column for column in ("x_um", "y_um") if column not in table]
    if missing:
        columns = ", ".join(map(repr, table.columns[:8]))
        raise DataError(f"{path}: has no column {missing[0]!r}, found {columns}; give centres in um as x_um and y_um.")
    if table.empty:
        raise DataError(f"{path}: has a header but no disks.")
    has_sizes = "diameter_um" in table
    if has_sizes and diameter_um is not None:
        raise DataError(f"{path}: has a column diameter_um, and --diameter-um {diameter_um:g} is given; choose one.")
    if not has_sizes and diameter_um is None:
        raise DataError(f"{path}: the disks have no size; give --diameter-um, or a column diameter_um.")
    values = {}
    for column in ("x_um", "y_um", "diameter_um") if has_sizes else ("x_um", "y_um"):
        numbers = np.asarray(pd.to_numeric(table[column], errors="coerce"), np.float64)
        bad = np.flatnonzero(~np.isfinite(numbers) | ((numbers <= 0) & (column == "diameter_um")))
        if len(bad):
            entry = table[column].iloc[bad[0]]
            raise DataError(f"{path}: line {bad[0] + 2} has {entry!r} as {column}; it must be a number of um.")
        values[column] = numbers
    centers = np.column_stack([values["x_um"], values["y_um"]])
    labels = next((list(table[column]) for column in ("id", "name") if column in table), None)
    if labels is not None and len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DataError(f"{path}: two disks are called {twice!r}; give each its own name.")
    return Disks(centers, values["diameter_um"] if has_sizes else float(diameter_um or 0.0)), labels
