"""Positions and image as the files have them before a reader judges them, so that a refusal can be explained."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import PixNetError, SlideError
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.formats.pitch import pitch, pitch_in_pixels
from pixnet.readers.platforms import (
    AnnDataEntry,
    Entry,
    HestEntry,
    LegacyStEntry,
    SpatialDataEntry,
    VisiumEntry,
    VisiumHDEntry,
    XeniumEntry,
)
from pixnet.slide import Slide
from pixnet.slide.formats import SUFFIXES
from pixnet.slide.pixel_size import positive

if TYPE_CHECKING:
    from pixnet.readers.spatialdata.reader import Parts

Places = NDArray[np.float64]
_T = TypeVar("_T")

_MOST_PLACES = 100_000
_TELLING_PLACES = 20_000
_HEST_PITCHES = {"visium": 100.0, "spatial transcriptomics": 200.0}  # pooled squares lie as far apart as they are wide


@dataclass
class RawFiles:
    """Parts that could be had; the rest is None.

    Attributes
    ----------
    xy_px
        (n, 2) x and y as written, in pixels of the image, or (unit "um") in um.
    unit
        "px" or "um".
    pitch_px, pitch_um
        Distance of neighbouring regions as written, and as the platform makes it.
    image
        Where the image is.
    slide
        The image, where it had to be opened to bring the positions into um.
    spatial
        Space Ranger's folder of pictures.
    pictures
        Side lengths (height, width) of what the positions refer to, by where that stands.
    """

    xy_px: Places | None = None
    unit: str = "px"
    pitch_px: float | None = None
    pitch_um: float | None = None
    image: Path | None = None
    slide: Slide | None = None
    spatial: Path | None = None
    pictures: dict[str, tuple[float, float]] = field(default_factory=dict)


def raw_files(entry: Entry, was_read: bool = False) -> RawFiles:
    """Read positions as they are written, and find the image; what cannot be had stays None.

    Parameters
    ----------
    entry
        Where the files are.
    was_read
        Whether the reader could use them: then a SpatialData store, whose shapes would be read twice, is left alone.
    """
    found = RawFiles(image=entry.image)
    for kind, read in _PLACES.items():
        if isinstance(entry, kind) and not (was_read and kind is SpatialDataEntry):
            attempt(partial(read, entry, found))
    if entry.image_transform is not None:
        attempt(partial(_onto_image, entry.image_transform, found))
    if found.xy_px is not None and len(found.xy_px) > _MOST_PLACES:
        found.xy_px = found.xy_px[:: len(found.xy_px) // _MOST_PLACES]
    return found


def _onto_image(given: GivenTransform, found: RawFiles) -> None:
    """Bring positions that were written for another image onto the given one."""
    transform = ImageTransform.of(given)
    found.pictures.clear()  # they are of the other image
    if found.unit == "px" and found.xy_px is not None:
        found.xy_px = transform.points(found.xy_px)
        found.pitch_px = None if found.pitch_px is None else found.pitch_px * transform.scale


def attempt(read: Callable[[], _T]) -> _T | None:
    """Read what may be damaged or missing: then None."""
    try:
        return read()
    except (PixNetError, OSError, ValueError, LookupError, TypeError, EOFError, zlib.error):
        # The reader has said already what is wrong with the file.
        return None


def _legacy_places(entry: LegacyStEntry, found: RawFiles) -> None:
    table = pd.read_csv(entry.spots, sep="\t")
    adjusted = ["new_x", "new_y"] if "new_x" in table and "new_y" in table else ["x", "y"]
    pixels = table[["pixel_x", "pixel_y"]].to_numpy(np.float64)
    kept = table["selected"].to_numpy() == 1 if "selected" in table else np.ones(len(table), bool)
    found.xy_px, found.pitch_um = pixels[kept], entry.spot_pitch_um
    pitch = pitch_in_pixels(table[adjusted].to_numpy(np.float64), pixels)
    if not isinstance(pitch, str):
        found.pitch_px = float(np.sqrt(pitch[0] * pitch[1]))


def _visium_places(entry: VisiumEntry, found: RawFiles) -> None:
    from pixnet.readers.formats.tenx_spatial import POSITION_FILES, find_image, read_positions
    from pixnet.readers.visium import PITCH_UM

    outs = outs_of(entry.path)
    found.spatial = find_file(outs, ["spatial"]) or outs
    if found.image is None:
        beside = [outs.resolve().parent] if outs.resolve().name == "outs" else []
        found.image = find_image([outs, found.spatial, *beside], found.spatial)
    _pictured(found)
    positions = find_file(found.spatial, POSITION_FILES)
    if positions is not None:
        table = read_positions(positions)
        places = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(np.float64)
        under = table["in_tissue"].to_numpy() == 1
        found.xy_px = places[under] if under.any() else places
        found.pitch_px, found.pitch_um = _hexagonal_pitch(table, places), PITCH_UM


def _hexagonal_pitch(spots: pd.DataFrame, places: Places) -> float | None:
    """Measure the pitch by the spots' places in the array: of a few scattered spots the nearest is no neighbour."""
    array = spots[["array_col", "array_row"]].to_numpy(np.float64) * [0.5, np.sqrt(0.75)]
    along = pitch_in_pixels(array, places)
    return pitch(places) if isinstance(along, str) else float(np.sqrt(along[0] * along[1]))


def _hd_places(entry: VisiumHDEntry, found: RawFiles) -> None:
    from pixnet.readers.formats.tenx_spatial import POSITION_FILES
    from pixnet.readers.visium_hd.files import DEFAULT_BIN_UM, bin_folders, full_resolution_image, read_spatial

    # The largest bins: they lie where the small ones do, and are few.
    sizes = bin_folders(entry.path)
    size, folder = max(sizes.items())
    found.spatial, _ = read_spatial(folder, size)
    _pictured(found)
    positions = find_file(found.spatial, POSITION_FILES[:1])
    if positions is not None:
        head, found.xy_px = _lattice_places(positions)
        measured = pitch(head)
        # Told as that of the bins that are asked for.
        wanted = entry.bin_um or (size if entry.path in sizes.values() or entry.cells else DEFAULT_BIN_UM)
        found.pitch_px, found.pitch_um = None if measured is None else measured * wanted / size, wanted
    found.image = full_resolution_image(entry.path, folder, entry.image)


def _lattice_places(path: Path) -> tuple[Places, Places]:
    """Give the first places under tissue, which are neighbours, and some of all; never all of ten million at once."""
    import pyarrow.parquet as pq

    x, y = "pxl_col_in_fullres", "pxl_row_in_fullres"
    head, some = np.empty((0, 2)), []
    with pq.ParquetFile(path) as file:
        step = max(1, file.metadata.num_rows // _MOST_PLACES)
        for batch in file.iter_batches(1 << 18, columns=["in_tissue", x, y]):
            table = batch.to_pandas()
            places = table.loc[table["in_tissue"] == 1, [x, y]].to_numpy(np.float64)
            if len(head) < _TELLING_PLACES:
                head = np.concatenate([head, places])[:_TELLING_PLACES]
            some.append(places[::step])
    return head, np.concatenate(some)


def _xenium_places(entry: XeniumEntry, found: RawFiles) -> None:
    from pixnet.readers.formats.affine import moved
    from pixnet.readers.xenium.run import he_image, place_run, run_folder
    from pixnet.readers.xenium.tables import parquet_batches

    folder = run_folder(entry.path)
    # Without the given pixel size, which may be what is wrong.
    run = place_run(folder, entry.image, entry.alignment, None, None, entry.image_transform)
    cells = find_file(folder, ["cells.parquet"])
    if cells is not None:
        x, y = "x_centroid", "y_centroid"
        batches = [np.column_stack([each[x], each[y]]) for each in parquet_batches(cells, [x, y], [])]
        found.xy_px, found.unit, found.slide = moved(np.concatenate(batches), run.to_slide), "um", run.slide
    own = he_image(folder)
    if entry.image is not None and entry.alignment is None and own is not None:
        # The run's alignment is that of its own image.
        found.pictures[own.name] = Slide.open(own, mpp=1.0).shape


def parts_of(entry: SpatialDataEntry) -> Parts:
    """Find the elements of a store; if that can be, without the given pixel size, which may be what is wrong."""
    from pixnet.readers.spatialdata.reader import open_parts

    find = partial(
        open_parts, entry.path, entry.table, entry.element, entry.region, coordinate_system=entry.coordinate_system
    )
    try:
        return find(mpp=None, mpp_source=None)
    except SlideError:  # the store states none
        return find(mpp=entry.mpp, mpp_source=None)


def _store_places(entry: SpatialDataEntry, found: RawFiles) -> None:
    parts = parts_of(entry)
    found.slide = parts.slide()
    found.xy_px, found.unit = parts.regions()[0].centers_um, "um"


def _table_places(entry: HestEntry | AnnDataEntry, found: RawFiles) -> None:
    from pixnet.readers.anndata.reader import coordinates
    from pixnet.readers.anndata.source import open_table

    path = table_of(entry)
    if found.image is None:
        beside = path.parent.parent / "wsis" if path.parent.name == "st" else path.parent
        found.image = next(
            (file for file in sorted(beside.glob(f"{path.stem}.*")) if file.suffix.lower() in SUFFIXES), None
        )
    with open_table(path) as source:
        found.xy_px, found.unit, _ = coordinates(source, entry.swap_xy)
        obs = source.obs()
    if {"array_row", "array_col"} <= set(obs) and _half_spots(obs["array_row"], obs["array_col"]):
        found.pitch_um = 100.0
        if found.unit == "px":
            found.pitch_px = _hexagonal_pitch(obs, found.xy_px)
    if isinstance(entry, HestEntry):
        _hest_metadata(path, found)
    if found.unit == "px" and found.pitch_px is None:
        found.pitch_px = pitch(found.xy_px)


def _half_spots(row: pd.Series, col: pd.Series) -> bool:
    """Tell Visium's places in its array from others: its odd rows have odd columns only."""
    return bool(((row + col) % 2 == 0).all() and (row % 2 == 1).any())


def _hest_metadata(table: Path, found: RawFiles) -> None:
    """Take pitch and image size from a sample's JSON, where it states them."""
    path = table.parent.parent / "metadata" / f"{table.stem}.json"
    if table.parent.name != "st":
        path = table.with_suffix(".json")
    if not path.is_file():
        return
    stated = json.loads(path.read_text(encoding="utf-8-sig"))
    technology = str(stated.get("st_technology", "")).lower()
    if technology in _HEST_PITCHES:
        found.pitch_um = positive(stated.get("inter_spot_dist")) or _HEST_PITCHES[technology]
    height, width = positive(stated.get("fullres_px_height")), positive(stated.get("fullres_px_width"))
    if height is not None and width is not None:
        found.pictures[path.name] = height, width


_PLACES: dict[type[Entry], Callable[[Any, RawFiles], None]] = {
    LegacyStEntry: _legacy_places,
    VisiumEntry: _visium_places,
    VisiumHDEntry: _hd_places,
    XeniumEntry: _xenium_places,
    SpatialDataEntry: _store_places,
    HestEntry: _table_places,
    AnnDataEntry: _table_places,
}


def outs_of(path: Path) -> Path:
    """Give the folder `outs` in a folder, or that folder."""
    return path / "outs" if (path / "outs").is_dir() else path


def table_of(entry: HestEntry | AnnDataEntry) -> Path:
    """Give the table of a sample."""
    if isinstance(entry, HestEntry) and entry.path.is_dir():
        folder = entry.path / "st" if (entry.path / "st").is_dir() else entry.path
        tables = sorted(folder.glob("*.h5ad"))
        return next((table for table in tables if table.stem == entry.id), tables[0])
    return entry.path


def _pictured(found: RawFiles) -> None:
    """Work out from Space Ranger's pictures and their scale factors how large the full-resolution image is."""
    from pixnet.readers.formats.tenx_spatial import SCALEFACTOR_FILES, read_scalefactors

    folder = found.spatial
    stated = find_file(folder, SCALEFACTOR_FILES) if folder else None
    if folder is None or stated is None:
        return
    factors = read_scalefactors(stated)
    for kind in ("hires", "lowres"):
        picture = find_file(folder, [f"tissue_{kind}_image.png", f"tissue_{kind}_image.jpg"])
        factor = factors.get(f"tissue_{kind}_scalef")
        if picture is not None and factor is not None:
            height, width = Slide.open(picture, mpp=1.0).shape
            found.pictures[picture.name] = height / factor, width / factor
