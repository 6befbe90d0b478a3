"""Whether the regions of a query belong on the field's slide: what the slide's tissue says about them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, PixNetWarning

if TYPE_CHECKING:
    from pixnet.field import ExpressionField
    from pixnet.readers.annotations import OutlineFrame
    from pixnet.regions import Polygons
    from pixnet.slide import Slide

_MAP_PX = 1000  # longest side of the map of tissue
_MOST_OUTLINES = 100_000
_FEW, _MOST = 0.7, 0.7  # shares on tissue: of a doubtful frame at most, of a better one at least
_CLEARLY_MORE = 0.2
_SAME_TISSUE = 0.5  # of the tissue of either of two slides: less of it in common means two slides


class FieldTissue:
    """The pixels of a field that hold tissue, on a coarse level, shape (h, w)."""

    def __init__(self, field: ExpressionField) -> None:
        level = next((n for n in range(field.levels) if max(field.level_grid(n).shape) <= _MAP_PX), field.levels - 1)
        self.grid = field.level_grid(level)
        self.mask = np.asarray(field.valid_level(level)[...]) > 0.5

    def share(self, xy_um: NDArray[np.float64]) -> float:
        """Return the share of places, in um, shape (n, 2), that are on tissue."""
        col, row = np.floor((xy_um - [self.grid.x_um, self.grid.y_um]) / self.grid.pitch_um).astype(np.int64).T
        inside = (row >= 0) & (col >= 0) & (row < self.mask.shape[0]) & (col < self.mask.shape[1])
        return float(self.mask[row[inside], col[inside]].sum() / max(len(xy_um), 1))


def reading_of(field: ExpressionField, path: Path, frame: OutlineFrame | None) -> str:
    """Return in a sentence how the coordinates of a GeoJSON file were read."""
    from pixnet.readers.annotations import chosen_frame

    frames = field.attributes.slide.frames
    chosen = chosen_frame(path, frames, frame)
    corner = "the corner of the scanned part" if chosen == "bounds" else "the corner of the picture"
    unit = "um" if chosen == "um" else f"full-resolution pixels of {frames.canvas.mpp:.4g} um"
    return f"Outlines: {path} (coordinates read as {unit} from {corner}; --polygons-frame {chosen})"


def weigh_frame(field: ExpressionField, path: Path, polygons: Polygons, frame: OutlineFrame | None) -> None:
    """Warn if the outlines of a GeoJSON file fit the tissue clearly better in another frame than the one they have."""
    frames = field.attributes.slide.frames
    centres = polygons.centers_um[:: 1 + len(polygons) // _MOST_OUTLINES]
    mpp = frames.canvas.mpp
    # Where they would be in the other unit.
    other, there = ("canvas", centres * mpp) if frame == "um" else ("um", frames.canvas.to_pixels(centres))
    tissue = FieldTissue(field)
    share, share_there = tissue.share(centres), tissue.share(there)
    if share > _FEW or share_there < max(_MOST, share + _CLEARLY_MORE):
        return
    units = {"um": "um", "canvas": f"pixels of {mpp:.4g} um"}
    read_as = units["um"] if frame == "um" else units["canvas"]
    warnings.warn(
        f"{path}: its coordinates were read as {read_as}, and {share:.0%} of the outlines are on tissue; read as "
        f"{units[other]}, {share_there:.0%} would be. If that is what they are, give --polygons-frame {other}.",
        PixNetWarning,
        stacklevel=4,
    )


def check_same_picture(field: ExpressionField, path: Path, slide: Slide) -> None:
    """Check that a slide of the size of the field's slide shows the same section.

    The bytes of the file say so. Another file may be a copy in another format, or another section that was scanned at
    the same size; its tissue must be where the field's is.
    """
    from pixnet.slide.tissue import TissueMask

    expected = field.attributes.slide
    if slide.fingerprint() == expected.fingerprint:
        return
    tissue = FieldTissue(field)
    seen = TissueMask(slide)
    rows, cols = np.nonzero(seen.mask)
    places = np.column_stack([cols + 0.5, rows + 0.5]) * seen.um_per_px
    shared = tissue.share(places) if field.attributes.tissue_mask and len(places) else 1.0
    facts = f"{path}: its slide {slide.path or slide.name} is as large as the field's slide {expected.name!r}, but"
    if shared < _SAME_TISSUE:
        raise DataError(
            f"{facts} only {shared:.0%} of its tissue is where the field has tissue: it is another slide. Give the "
            "sample of the field's slide."
        )
    warnings.warn(
        f"{facts} another file: unless it is a copy of that slide, these are the places of another section.",
        PixNetWarning,
        stacklevel=5,
    )
