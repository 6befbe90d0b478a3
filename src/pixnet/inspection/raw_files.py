"""What a sample's files say before a reader judges them, so that one that refuses can still be told why."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import PixNetError
from pixnet.pixel_size import positive
from pixnet.readers.lattice import pitch
from pixnet.readers.platforms import AnnDataEntry, Entry, HestEntry, LegacyStEntry, VisiumEntry, VisiumHDEntry

Counted = tuple[sparse.csr_matrix, list[str]]
Places = NDArray[np.float64]
_T = TypeVar("_T")

_MATRICES = ("filtered_feature_bc_matrix.h5", "raw_feature_bc_matrix.h5")
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
    spatial: Path | None = None
    pictures: dict[str, tuple[float, float]] = field(default_factory=dict)


def raw_files(entry: Entry) -> RawFiles:
    """Read positions as they are written, and find the image; what cannot be had stays None."""
    found = RawFiles(image=entry.image)
    for kind, read in _PLACES.items():
        if isinstance(entry, kind):
            _attempt(partial(read, entry, found))
    if found.xy_px is not None and len(found.xy_px) > _MOST_PLACES:
        found.xy_px = found.xy_px[:: len(found.xy_px) // _MOST_PLACES]
    return found


def raw_counts(entry: Entry) -> Counted | None:
    """Read the table of counts as it is written, with its genes; None if there is none to be had."""
    for kind, read in _COUNTS.items():
        if isinstance(entry, kind):
            return _attempt(partial(read, entry))
    return None


def _attempt(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except (PixNetError, OSError, ValueError, LookupError, TypeError, EOFError, zlib.error):
        # The reader has said already what is wrong with the file.
        return None


def _legacy_places(entry: LegacyStEntry, found: RawFiles) -> None:
    from pixnet.readers.legacy_st import pitch_in_pixels

    table = pd.read_csv(entry.spots, sep="\t")
    adjusted = ["new_x", "new_y"] if "new_x" in table and "new_y" in table else ["x", "y"]
    pixels = table[["pixel_x", "pixel_y"]].to_numpy(np.float64)
    kept = table["selected"].to_numpy() == 1 if "selected" in table else np.ones(len(table), bool)
    found.xy_px, found.pitch_um = pixels[kept], entry.spot_pitch_um
    pitch = pitch_in_pixels(table[adjusted].to_numpy(np.float64), pixels)
    if not isinstance(pitch, str):
        found.pitch_px = float(np.sqrt(pitch[0] * pitch[1]))


def _visium_places(entry: VisiumEntry, found: RawFiles) -> None:
    from pixnet.readers.tenx_spatial import POSITION_FILES, find_file, find_image, read_positions
    from pixnet.readers.visium import PITCH_UM

    outs = _outs(entry.path)
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
        found.pitch_px, found.pitch_um = pitch(places), PITCH_UM


def _hd_places(entry: VisiumHDEntry, found: RawFiles) -> None:
    from pixnet.readers.tenx_spatial import POSITION_FILES, find_file, read_positions
    from pixnet.readers.visium_hd_files import bin_folders, full_resolution_image, read_spatial

    # The largest bins: they lie where the small ones do, and are few.
    size, folder = max(bin_folders(entry.path).items())
    found.spatial, _ = read_spatial(folder, size)
    _pictured(found)
    positions = find_file(found.spatial, POSITION_FILES)
    if positions is not None:
        table = read_positions(positions, ("in_tissue", "pxl_row_in_fullres", "pxl_col_in_fullres"))
        table = table[table["in_tissue"] == 1]
        found.xy_px = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(np.float64)
        # Rows of the lattice that follow each other: enough of them to tell.
        found.pitch_px, found.pitch_um = pitch(found.xy_px[:_TELLING_PLACES]), size
    found.image = full_resolution_image(entry.path, folder, entry.image)


def _table_places(entry: HestEntry | AnnDataEntry, found: RawFiles) -> None:
    from pixnet.readers.anndata_source import open_table
    from pixnet.readers.anndata_table import coordinates

    path = _table_of(entry)
    if found.image is None:
        beside = path.parent.parent / "wsis" if path.parent.name == "st" else path.parent
        found.image = next((file for file in sorted(beside.glob(f"{path.stem}.*")) if file.suffix in _IMAGES), None)
    with open_table(path) as source:
        found.xy_px, found.unit, _ = coordinates(source, entry.swap_xy)
        obs = source.obs()
    if {"array_row", "array_col"} <= set(obs) and ((obs["array_row"] + obs["array_col"]) % 2 == 0).all():
        found.pitch_um = 100.0  # only Visium counts half spots
    if isinstance(entry, HestEntry):
        _hest_metadata(path, found)
    if found.unit == "px":
        found.pitch_px = pitch(found.xy_px)


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


_IMAGES = (".tif", ".tiff", ".svs", ".ndpi", ".jpg", ".jpeg", ".png", ".btf")
_PLACES: dict[type[Entry], Callable[[Any, RawFiles], None]] = {
    LegacyStEntry: _legacy_places,
    VisiumEntry: _visium_places,
    VisiumHDEntry: _hd_places,
    HestEntry: _table_places,
    AnnDataEntry: _table_places,
}


def _outs(path: Path) -> Path:
    return path / "outs" if (path / "outs").is_dir() else path


def _table_of(entry: HestEntry | AnnDataEntry) -> Path:
    if isinstance(entry, HestEntry) and entry.path.is_dir():
        folder = entry.path / "st" if (entry.path / "st").is_dir() else entry.path
        tables = sorted(folder.glob("*.h5ad"))
        return next((table for table in tables if table.stem == entry.id), tables[0])
    return entry.path


def _pictured(found: RawFiles) -> None:
    """Work out from Space Ranger's pictures and their scale factors how large the full-resolution image is."""
    from pixnet.readers.tenx_spatial import SCALEFACTOR_FILES, find_file, read_scalefactors
    from pixnet.slide import Slide

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


def _legacy_counts(entry: LegacyStEntry) -> Counted:
    data = entry.counts.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    table = pd.read_csv(io.StringIO(text), sep="\t", skiprows=1, header=None, index_col=0)
    # Read apart from the rest: pandas would rename a gene that comes twice.
    genes = text.split("\n", 1)[0].rstrip("\r").split("\t")[-table.shape[1] :]
    return sparse.csr_matrix(table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)), genes


def _visium_counts(entry: VisiumEntry) -> Counted:
    from pixnet.readers.tenx_matrix import read_tenx_matrix
    from pixnet.readers.tenx_spatial import find_file

    outs = _outs(entry.path)
    folders = [name.removesuffix(".h5") for name in _MATRICES]
    found = read_tenx_matrix(find_file(outs, [*_MATRICES, *folders]) or outs)
    return found.matrix, found.names


def _table_counts(entry: HestEntry | AnnDataEntry) -> Counted:
    from pixnet.readers.anndata_counts import gene_names
    from pixnet.readers.anndata_source import open_table

    layer = getattr(entry, "layer", None) or "X"
    with open_table(_table_of(entry)) as source:
        return source.matrix(layer), gene_names(source.genes(layer))[0]


_COUNTS: dict[type[Entry], Callable[[Any], Counted]] = {
    LegacyStEntry: _legacy_counts,
    VisiumEntry: _visium_counts,
    HestEntry: _table_counts,
    AnnDataEntry: _table_counts,
}
