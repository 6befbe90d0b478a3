"""The table of platforms: how each is recognised, what a manifest may say about its samples, and who reads them.

To add a platform, write its reader, and add its entry, its sign and a row of the table here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pixnet.readers.common import outs_of
from pixnet.readers.entry import Entry, Length
from pixnet.readers.formats.files import find_file
from pixnet.readers.formats.names import MATRIX_MARKET, POSITION_FILES, find_matrix

if TYPE_CHECKING:
    from pixnet.readers.raw import RawReader
    from pixnet.regions import Polygons
    from pixnet.slide.frame import Frames

_BIN_FOLDERS = ("binned_outputs", "segmented_outputs")


class LegacyStEntry(Entry):
    """A section on a legacy ST array; see `read_legacy_st`."""

    reader: ClassVar[str] = "pixnet.readers.legacy_st:read_legacy_st"
    image: Path
    counts: Path
    spots: Path
    spot_diameter_um: Length = 100.0
    spot_pitch_um: Length | None = None


class VisiumEntry(Entry):
    """A Space Ranger folder of Visium; see `read_visium`."""

    reader: ClassVar[str] = "pixnet.readers.visium:read_visium"
    path: Path
    filtered: bool | None = None


class VisiumHDEntry(Entry):
    """A Space Ranger folder of Visium HD, as bins or as segmented cells; see `read_visium_hd`."""

    reader: ClassVar[str] = "pixnet.readers.visium_hd.bins:read_visium_hd"
    path: Path
    bin_um: Length | None = None
    cells: bool = False
    filtered: bool | None = None

    def _reader_options(self) -> tuple[str, dict[str, Any]]:
        reader, options = super()._reader_options()
        if options.pop("cells"):
            del options["bin_um"]
            reader = "pixnet.readers.visium_hd.cells:read_visium_hd_cells"
        return reader, options


class XeniumEntry(Entry):
    """A Xenium run, as cells, nuclei or squares of transcripts; see `read_xenium`."""

    reader: ClassVar[str] = "pixnet.readers.xenium.reader:read_xenium"
    path: Path
    alignment: Path | None = None
    regions: Literal["cells", "nuclei"] | Length = "cells"

    def outlines(self, path: Path, frames: Frames) -> Polygons:
        """Read a file of outlines, which may be counted in um of the run."""
        from pixnet.readers.annotations import read_annotations
        from pixnet.readers.xenium.run import run_folder

        return read_annotations(path, frames, alignment=self.alignment, run=run_folder(self.path))


class HestEntry(Entry):
    """A sample of HEST-1k; see `read_hest`."""

    reader: ClassVar[str] = "pixnet.readers.hest:read_hest"
    path: Path
    diameter_um: Length | None = None
    swap_xy: bool = False


class SpatialDataEntry(Entry):
    """A SpatialData store; `table`, `element` (the image) and `region` choose among several; see `read_spatialdata`."""

    reader: ClassVar[str] = "pixnet.readers.spatialdata.reader:read_spatialdata"
    path: Path
    image: None = None
    image_transform: None = None
    table: str | None = None
    element: str | None = None
    region: str | None = None
    coordinate_system: str = "global"

    def _reader_options(self) -> tuple[str, dict[str, Any]]:
        reader, options = super()._reader_options()
        del options["image_transform"]
        options["image"] = options.pop("element")
        return reader, options


class AnnDataEntry(Entry):
    """An AnnData with coordinates, and its image; see `read_anndata`."""

    reader: ClassVar[str] = "pixnet.readers.anndata.reader:read_anndata"
    image: Path
    path: Path
    diameter_um: Length | None = None
    side_um: Length | None = None
    swap_xy: bool = False
    layer: str | None = None
    library_id: str | None = None

    def _reader_options(self) -> tuple[str, dict[str, Any]]:
        reader, options = super()._reader_options()
        options["table"] = options.pop("path")
        return reader, options


def _visium_hd_sign(path: Path) -> str:
    folder = outs_of(path)
    for name in _BIN_FOLDERS:
        if (folder / name).is_dir() or path.name == name:
            return f"it has {name}"
    if path.name.startswith("square_") or (folder.is_dir() and any(folder.glob("square_*um"))):
        return "it has bins called square_...um"
    return ""


def _visium_sign(path: Path) -> str:
    if not path.is_dir():
        return ""
    outs = outs_of(path)
    if not (find_matrix(outs, None) or find_file(outs, MATRIX_MARKET)):
        return ""
    if find_file(outs, ["spatial"]):
        return "it has a feature matrix beside spatial/"
    return "it has a feature matrix and positions" if find_file(outs, POSITION_FILES) else ""


def _xenium_sign(path: Path) -> str:
    return "it holds experiment.xenium" if (outs_of(path) / "experiment.xenium").is_file() else ""


def _hest_sign(path: Path) -> str:
    if (path / "st").is_dir() and (path / "wsis").is_dir():
        return "it has st/ and wsis/"
    if path.suffix == ".h5ad" and path.parent.name == "st":
        return "it is a table in a folder st/"
    if path.suffix == ".h5ad" and path.with_suffix(".json").is_file():
        return "metadata of the same name are beside the table"
    return ""


def _spatialdata_sign(path: Path) -> str:
    if _is_zarr(path) and (path / "tables").is_dir() and ((path / "images").is_dir() or (path / "shapes").is_dir()):
        return "it is a zarr store with tables and images or shapes"
    return ""


def _anndata_sign(path: Path) -> str:
    if path.suffix == ".h5ad":
        return "it is an h5ad file"
    if _is_zarr(path) and (path / "obs").exists() and (path / "var").exists():
        return "it is a zarr store with obs and var"
    return ""


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))


@dataclass(frozen=True)
class Platform:
    """All that the package knows about a platform, apart from its reader.

    Attributes
    ----------
    name
        Name in a manifest, and `Sample.platform`.
    entry
        What a manifest may say about a sample. It also names the reader, whose module has the functions of `RawReader`
        too.
    sign
        Returns what shows that a path is of this platform, in words; "" if it is not, and by default, for samples that
        have no folder of their own.
    missing_part
        What a folder that was copied in part lacks, by the file that it has.
    slow_places
        Whether `raw_places` takes as long as the reader; then it is only used to explain why a sample is refused.
    """

    name: str
    entry: type[Entry]
    sign: Callable[[Path], str] = lambda path: ""
    missing_part: Mapping[str, str] = field(default_factory=dict)
    slow_places: bool = False

    @property
    def raw(self) -> RawReader:
        """The functions that read the files as they are written."""
        return cast("RawReader", importlib.import_module(self.entry.reader.partition(":")[0]))


# A path may have the signs of two platforms; the more particular one comes first: a folder of Visium HD also has
# spatial/, and a table of HEST is also an AnnData.
_TABLE = (
    Platform("legacy-st", LegacyStEntry),
    Platform("visium-hd", VisiumHDEntry, _visium_hd_sign),
    Platform(
        "visium",
        VisiumEntry,
        _visium_sign,
        {"spatial": "no feature matrix beside it (filtered_feature_bc_matrix.h5), as Visium has"},
    ),
    Platform(
        "xenium",
        XeniumEntry,
        _xenium_sign,
        dict.fromkeys(("transcripts.parquet", "cell_feature_matrix.h5"), "no experiment.xenium, as Xenium has"),
    ),
    Platform("hest", HestEntry, _hest_sign, {"st": "no wsis/, as HEST has"}),
    Platform("spatialdata", SpatialDataEntry, _spatialdata_sign, slow_places=True),
    Platform("anndata", AnnDataEntry, _anndata_sign),
)

PLATFORMS: dict[str, Platform] = {platform.name: platform for platform in _TABLE}
"""All platforms, by name."""
