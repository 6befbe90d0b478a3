"""HEST-1k: a table of counts, a slide and a JSON of metadata for each sample, whatever platform it was measured on.

`st/{id}.h5ad` has positions in pixels of `wsis/{id}.tif`. Spots of Visium and ST are disks. Xenium and Visium HD come
pooled into squares without gaps; their size follows from their own pitch, not from the metadata, which state other
sizes in places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, SlideError
from pixnet.readers.anndata.counts import table_counts, with_notes
from pixnet.readers.anndata.reader import counts_of, measure_pitch, table_errors, table_places
from pixnet.readers.anndata.rows import placed_rows
from pixnet.readers.anndata.source import open_table
from pixnet.readers.common import SampleOptions, agreed_pixel_size, given_options, warn_once, weighed
from pixnet.readers.formats.files import read_json
from pixnet.readers.formats.image_transform import ImageTransform
from pixnet.readers.formats.pitch import fit_squares, pitch
from pixnet.readers.platforms import HestEntry
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.regions import Disks, Regions
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.pixel_size import AGREES, PixelSize, positive
from pixnet.slide.slide import open_slide

_IMAGES = (".tif", ".tiff", ".ome.tif", ".ome.tiff", ".svs", ".ndpi", ".jpg", ".jpeg", ".png")
_SIZE_AGREES = 0.01
# Diameter and pitch in um, by the beginning of the technology's name.
_SPOTS = {"visium": (55.0, 100.0), "spatial transcriptomics": (100.0, 200.0)}
_POOLED = ("xenium", "visium hd")


@dataclass(frozen=True)
class _Files:
    """The files of a sample, and its metadata."""

    id: str
    table: Path
    image: Path
    metadata: dict[str, Any]
    metadata_path: Path

    @property
    def technology(self) -> str:
        return str(self.metadata.get("st_technology", "")).strip().lower()

    def number(self, key: str) -> float | None:
        return positive(self.metadata.get(key))


def read_hest(
    path: str | Path,
    *,
    image: str | Path | None = None,
    swap_xy: bool = False,
    diameter_um: float | None = None,
    **options: Unpack[SampleOptions],
) -> Sample:
    """Read a sample of HEST-1k.

    Parameters
    ----------
    path
        The data set's folder, with `st/`, `wsis/` and `metadata/`; or one h5ad file, in that folder or with image and
        JSON of the same name beside it.
    image
        The slide, if it is not where the data set has it.
    swap_xy
        Whether the first coordinate is y.
    diameter_um
        Diameter of the regions in um; they are disks then. By default they follow from the technology: disks of the
        metadata's `spot_diameter` for Visium (else 55 um) and ST (else 100 um), squares for pooled Xenium and Visium
        HD. If the metadata have a `cell_diameter`, which is in pixels, disks of that.
    **options
        `id`, `donor`, `mpp` and `image_transform`, as in `SampleOptions`. `id` also chooses among several samples of
        a folder. By default `donor` is the metadata's `patient` with the title of the study, because studies number
        their patients in the same way. By default `mpp` is the metadata's `pixel_size_um_estimated`, which HEST
        measured from the spots; else what the slide itself states; else `pixel_size_um_embedded`.

    Returns
    -------
    Sample
        Of platform "hest".

    Raises
    ------
    DataError
        If a file is missing, damaged or of another kind, if the folder has several samples and `id` names none, if
        pixel size and spot pitch contradict each other by over 5 %, if the slide is not of the size that the metadata
        state, if no size of the regions is known, or if regions are outside the slide.
    SlideError
        If the slide cannot be read, or no pixel size is known.
    """
    given = given_options(**options)
    files = _find(Path(path), given.id, None if image is None else Path(image))
    name = str(files.table)
    with open_table(files.table) as source:
        placed = placed_rows(source, swap_xy)
        counts, rows, left = table_counts(source, None, placed.rows)
    if placed.unit != "px":
        raise DataError(f'{name}: {placed.origin} is in um; HEST\'s positions are pixels. Give `platform="anndata"`.')
    xy = given.transform.points(placed.xy[np.isin(placed.rows, rows)])
    files = _onto(files, given.transform)
    slide = _open_slide(files, given.pixel)
    notes = [*placed.notes, *left]
    regions, regions_from = _regions(files, xy, slide, diameter_um, notes)
    warn_once(files.id, notes)
    donor = _donor(files.metadata) if given.donor is None else given.donor
    counts = with_notes(
        counts, coordinates_from=placed.origin, regions_from=regions_from, technology=files.technology or "unknown"
    )
    with table_errors(name):
        return weighed(Sample(files.id, slide, regions, counts, donor, "hest"))


def _find(path: Path, id: str | None, image: Path | None) -> _Files:
    """Find the files of one sample."""
    if path.is_dir():
        tables = _tables(path)
        if not tables:
            raise DataError(
                f"{path}: h5ad file not found, in st/ or in the folder itself. Give HEST's folder or a file."
            )
        chosen = [table for table in tables if id in (None, table.stem)]
        if len(chosen) != 1:
            names = ", ".join(table.stem for table in tables[:10]) + (", ..." if len(tables) > 10 else "")
            finding = "has several samples" if id is None else f"has no sample {id!r}"
            raise DataError(f"{path}: {finding}; it has {len(tables)}: {names}. Choose one with `id`.")
        table = chosen[0]
    elif path.is_file():
        table = path
    else:
        raise DataError(f"{path}: does not exist. Give the data set's folder, or an h5ad file.")
    folder = table.parent.parent / "wsis" if table.parent.name == "st" else table.parent
    if image is None:
        candidates = (folder / (table.stem + ending) for ending in _IMAGES)
        image = next((candidate for candidate in candidates if candidate.is_file()), None)
    if image is None:
        raise DataError(
            f"{table}: slide {table.stem}.tif not found in {folder}. Download it, or give its path as `image`."
        )
    metadata_path = _metadata_path(table)
    return _Files(id or table.stem, table, image, _read_metadata(metadata_path), metadata_path)


def _tables(folder: Path) -> list[Path]:
    return sorted((folder / "st" if (folder / "st").is_dir() else folder).glob("*.h5ad"))


def _metadata_path(table: Path) -> Path:
    folder = table.parent.parent / "metadata" if table.parent.name == "st" else table.parent
    return folder / f"{table.stem}.json"


def _read_metadata(path: Path) -> dict[str, Any]:
    """Read a sample's JSON; a missing file has no metadata."""
    return read_json(path, "a table of metadata", "Download it again, or remove it.") if path.exists() else {}


def _onto(files: _Files, transform: ImageTransform) -> _Files:
    """Convert what the metadata state in pixels to the given image."""
    if transform.matrix is None:
        return files
    powers = {"pixel_size_um_estimated": -1, "pixel_size_um_embedded": -1, "cell_diameter": 1}
    scaled = {key: transform.scale**power * (files.number(key) or 0.0) for key, power in powers.items()}
    # The metadata state the size of another slide.
    unknown = {"fullres_px_height": None, "fullres_px_width": None}
    return replace(files, metadata={**files.metadata, **scaled, **unknown})


def _open_slide(files: _Files, given: PixelSize | None) -> Slide:
    estimated, embedded = (files.number(f"pixel_size_um_{kind}") for kind in ("estimated", "embedded"))
    if given is None and estimated is not None:
        given = PixelSize(estimated, "pixel_size_um_estimated")
    try:
        slide = open_slide(files.image, given)
    except SlideError:
        if given is not None or embedded is None:
            raise
        # The slide may state no pixel size.
        slide = open_slide(files.image, PixelSize(embedded, "pixel_size_um_embedded"))
    height, width = files.number("fullres_px_height"), files.number("fullres_px_width")
    if height is not None and width is not None:
        stated, actual = np.array([height, width]), np.array(slide.shape)
        if (np.abs(stated - actual) > _SIZE_AGREES * stated).any():
            raise DataError(
                f"{files.image}: is {actual[1]} x {actual[0]} px, but the positions refer to a slide of {width:.0f} x "
                f"{height:.0f} px ({files.metadata_path}). Give the full-resolution slide as `image`."
            )
    return slide


def _donor(metadata: dict[str, Any]) -> str | None:
    patient, title = (metadata.get(key) for key in ("patient", "dataset_title"))
    if isinstance(patient, float) or patient in (None, ""):  # NaN: unknown
        return None
    return f"{patient}, {title}" if isinstance(title, str) and title else str(patient)


def _regions(
    files: _Files, xy: NDArray[np.float64], slide: Slide, diameter_um: float | None, notes: list[str]
) -> tuple[Regions, str]:
    """Return the regions, and what their size is from; add to `notes` what is odd about them."""
    centres, technology = xy * slide.mpp, files.technology
    if diameter_um is not None:
        if positive(diameter_um) is None:
            raise DataError(f"{files.table}: `diameter_um` must be a positive number of um, not {diameter_um!r}.")
        return Disks(centres, diameter_um), "diameter_um"
    cell = files.number("cell_diameter")
    if cell is not None:
        return Disks(centres, cell * slide.mpp), f"cell_diameter ({cell:g} px)"
    stated = files.number("inter_spot_dist")
    if technology.startswith(_POOLED):
        squares = fit_squares(centres, stated) or fit_squares(centres)
        if squares is None:
            raise DataError(
                f"{files.table}: its regions do not tile squares, as pooled {technology} does. If they are cells, "
                "give `diameter_um`."
            )
        usual = stated or (100.0 if technology.startswith("xenium") else None)
        if usual is not None and abs(squares.side_um - usual) > AGREES * usual:
            notes.append(
                f"squares are {squares.side_um:.1f} um apart, not {usual:g} um, and are assumed to be as large; if "
                f"that is wrong, so is the pixel size of {slide.mpp:.4g} um ({slide.mpp_source})"
            )
        return squares, f"pitch ({squares.side_um:.4g} um)"
    diameter, usual_pitch = next((sizes for kind, sizes in _SPOTS.items() if technology.startswith(kind)), (None, None))
    diameter = files.number("spot_diameter") or diameter
    if diameter is None:
        reason = "does not state them" if files.metadata_path.is_file() else "does not exist"
        raise DataError(
            f"{files.table}: technology and spot diameter are not known ({files.metadata_path} {reason}). Give "
            "`diameter_um`."
        )
    _check_pitch(files, xy, slide, stated or usual_pitch)
    return Disks(centres, diameter), f"spot_diameter ({diameter:g} um)"


def _check_pitch(files: _Files, xy: NDArray[np.float64], slide: Slide, pitch_um: float | None) -> None:
    """Compare the pixel size with the distance of neighbouring spots."""
    pitch_px = pitch(xy)
    if pitch_px is None or pitch_um is None:
        return
    measured = pitch_um / pitch_px
    agreed_pixel_size(
        PixelSize(slide.mpp, slide.mpp_source),
        PixelSize(measured),
        f"{files.table}: spots are {pitch_px:.1f} px apart, which at a pitch of {pitch_um:g} um means {measured:.4g} "
        "um per pixel",
        f"Give the pixel size of the slide as `mpp`, or correct inter_spot_dist in {files.metadata_path}.",
    )


def raw_places(entry: HestEntry, raw: RawFiles) -> None:
    """Fill in the coordinates of a table, and what its metadata state; see `RawReader`."""
    table = _table_of(entry)
    table_places(table, entry.swap_xy, raw)
    path = _metadata_path(table)
    if path.is_file():
        metadata = read_json(path, "metadata of a sample")
        technology = str(metadata.get("st_technology", "")).lower()
        # Not pooled squares, whose names only begin in the same way: they are as far apart as they are wide.
        if technology in _SPOTS:
            raw.pitch_um = positive(metadata.get("inter_spot_dist")) or _SPOTS[technology][1]
        height, width = positive(metadata.get("fullres_px_height")), positive(metadata.get("fullres_px_width"))
        if height is not None and width is not None:
            raw.pictures[path.name] = height, width
    measure_pitch(raw)


def raw_counts(entry: HestEntry) -> RawCounts:
    """Return the counts as written; see `RawReader`."""
    with open_table(_table_of(entry)) as source:
        return counts_of(source, "X")


def _table_of(entry: HestEntry) -> Path:
    """Return the table of the entry's sample, or the first one if there is none of that name."""
    if not entry.path.is_dir():
        return entry.path
    tables = _tables(entry.path)
    return next((table for table in tables if table.stem == entry.id), tables[0])
