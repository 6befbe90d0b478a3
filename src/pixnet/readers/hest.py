"""HEST-1k: a table of counts, a slide and a JSON of metadata for each sample, whatever platform it was measured on.

`st/{id}.h5ad` holds positions in pixels of `wsis/{id}.tif`. Spots of Visium and ST are disks. Xenium and Visium HD come
pooled into squares without gaps: how large those are follows from their own pitch, not from the metadata, which name
other sizes in places.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, SlideError
from pixnet.readers.anndata.counts import dropped, table_counts, tell, with_notes
from pixnet.readers.anndata.reader import coordinates, placed
from pixnet.readers.anndata.source import open_table
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.formats.pitch import fit_squares, pitch
from pixnet.regions import Disks, Regions
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.pixel_size import AGREES, positive

_IMAGES = (".tif", ".tiff", ".ome.tif", ".ome.tiff", ".svs", ".ndpi", ".jpg", ".jpeg", ".png")
_SIZE_AGREES = 0.01
# Diameter and pitch in um, by what the technology's name begins with.
_SPOTS = {"visium": (55.0, 100.0), "spatial transcriptomics": (100.0, 200.0)}
_POOLED = ("xenium", "visium hd")


@dataclass(frozen=True)
class _Files:
    """Where a sample's files are, and what its metadata say."""

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
    id: str | None = None,
    image: str | Path | None = None,
    mpp: float | None = None,
    mpp_source: str | None = None,
    donor: str | None = None,
    swap_xy: bool = False,
    diameter_um: float | None = None,
    image_transform: GivenTransform = None,
) -> Sample:
    """Read a sample of HEST-1k.

    Parameters
    ----------
    path
        The data set's folder, with `st/`, `wsis/` and `metadata/`; or one h5ad file, there or with image and JSON of
        the same name beside it.
    id
        Which sample of the folder, where it holds several; with an h5ad file, what to call the sample.
    image
        The slide, if it is not where the data set has it.
    mpp
        um per pixel of the slide. By default the metadata's `pixel_size_um_estimated`, which HEST measured from the
        spots; else what the slide itself states; else `pixel_size_um_embedded`.
    mpp_source
        Where `mpp` is from, if not from an argument.
    donor
        The person that the tissue is from; by default the metadata's `patient` with the title of the study, as
        studies number their patients alike.
    swap_xy
        Whether the first coordinate is y.
    diameter_um
        Take the regions for disks of this diameter, in um. By default they follow from the technology: disks of the
        metadata's `spot_diameter` for Visium (else 55 um) and ST (else 100 um), squares for pooled Xenium and Visium
        HD. Where the metadata name a `cell_diameter`, which is in pixels, disks of that.
    image_transform
        Where `image` is not the one that the positions were written for: CSV file of, or array with, the (3, 3) matrix
        from pixels of that one to pixels of `image`. It turns, scales and shifts.

    Returns
    -------
    Sample
        Of platform "hest".

    Raises
    ------
    DataError
        If a file is missing, damaged or of another kind, if the folder holds several samples and `id` names none, if
        pixel size and spot pitch contradict each other by over 5 %, if the slide is not of the size that the metadata
        state, if no size of the regions is known, or if regions lie outside the slide.
    SlideError
        If the slide cannot be read, or no pixel size is known.
    """
    transform = ImageTransform.of(image_transform)
    files = _find(Path(path), id, None if image is None else Path(image))
    name = str(files.table)
    with open_table(files.table) as source:
        counts = table_counts(source)
        xy, unit, where = coordinates(source, swap_xy)
    if unit != "px":
        raise DataError(
            f"{name}: {where} is in um; HEST's positions are pixels. "
            'Give `platform` = "anndata" (--set platform=anndata).'
        )
    files, xy = _onto(files, transform), transform.points(xy)
    slide = _open_slide(files, mpp, mpp_source)
    said = dropped(counts.notes)
    regions, made = _regions(files, xy, slide, diameter_um, said)
    tell(files.id, said)
    if donor is None:
        donor = _donor(files.metadata)
    counts = with_notes(counts, coordinates_from=where, regions_from=made, technology=files.technology or "unknown")
    return placed(name, files.id, slide, regions, counts, donor, "hest")


def _find(path: Path, id: str | None, image: Path | None) -> _Files:
    """Find the files of one sample."""
    if path.is_dir():
        tables = sorted((path / "st" if (path / "st").is_dir() else path).glob("*.h5ad"))
        if not tables:
            raise DataError(f"{path}: holds no h5ad file, neither in st/ nor beside it. Give HEST's folder or a file.")
        chosen = [table for table in tables if id in (None, table.stem)]
        if len(chosen) != 1:
            found = ", ".join(table.stem for table in tables[:10]) + (", ..." if len(tables) > 10 else "")
            asked = "several samples" if id is None else f"no sample {id!r}"
            raise DataError(
                f"{path}: holds {asked}; there are {len(tables)}: {found}. Choose one with `id` (--set id=NAME)."
            )
        table = chosen[0]
    elif path.is_file():
        table = path
    else:
        raise DataError(f"{path}: does not exist. Give the data set's folder, or an h5ad file.")
    stem, root = table.stem, table.parent.parent
    ordered = table.parent.name == "st"
    beside = root / "wsis" if ordered else table.parent
    if image is None:
        image = next((beside / (stem + kind) for kind in _IMAGES if (beside / (stem + kind)).is_file()), None)
    if image is None:
        raise DataError(
            f"{table}: there is no slide {stem}.tif in {beside}. Download it, or give its path as `image` (--image)."
        )
    metadata = (root / "metadata" if ordered else table.parent) / f"{stem}.json"
    return _Files(id or stem, table, image, _read_metadata(metadata), metadata)


def _read_metadata(path: Path) -> dict[str, Any]:
    """Read a sample's JSON; one that is missing says nothing."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Check the file's rights.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({error}). Download it again, or remove it.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no table of metadata. Download it again, or remove it.")
    return content


def _onto(files: _Files, transform: ImageTransform) -> _Files:
    """Bring what the metadata say in pixels to the given image."""
    if transform.matrix is None:
        return files
    powers = {"pixel_size_um_estimated": -1, "pixel_size_um_embedded": -1, "cell_diameter": 1}
    scaled = {key: transform.scale**power * (files.number(key) or 0.0) for key, power in powers.items()}
    # The slide that the metadata give the size of is another one.
    unknown = {"fullres_px_height": None, "fullres_px_width": None}
    return replace(files, metadata={**files.metadata, **scaled, **unknown})


def _open_slide(files: _Files, mpp: float | None, mpp_source: str | None) -> Slide:
    estimated, embedded = (files.number(f"pixel_size_um_{kind}") for kind in ("estimated", "embedded"))
    if mpp is None:
        mpp_source = None if estimated is None else "pixel_size_um_estimated"
        mpp = estimated
    if mpp is not None or embedded is None:
        slide = Slide.open(files.image, mpp, mpp_source)
    else:
        try:
            slide = Slide.open(files.image)
        except SlideError:  # it states no pixel size
            slide = Slide.open(files.image, embedded, "pixel_size_um_embedded")
    height, width = files.number("fullres_px_height"), files.number("fullres_px_width")
    if height is not None and width is not None:
        stated, found = np.array([height, width]), np.array(slide.shape)
        if (np.abs(stated - found) > _SIZE_AGREES * stated).any():
            raise DataError(
                f"{files.image}: is {found[1]} x {found[0]} px, but the positions refer to a slide of {width:.0f} x "
                f"{height:.0f} px ({files.metadata_path}). Give the full-resolution slide as `image` (--image)."
            )
    return slide


def _donor(metadata: dict[str, Any]) -> str | None:
    patient, title = (metadata.get(key) for key in ("patient", "dataset_title"))
    if isinstance(patient, float) or patient in (None, ""):  # NaN stands for nobody
        return None
    return f"{patient}, {title}" if isinstance(title, str) and title else str(patient)


def _regions(
    files: _Files, xy: NDArray[np.float64], slide: Slide, diameter_um: float | None, said: list[str]
) -> tuple[Regions, str]:
    """Make the regions, and say what they follow from; add to `said` what is odd about them."""
    centres, technology = xy * slide.mpp, files.technology
    if diameter_um is not None:
        if positive(diameter_um) is None:
            raise DataError(
                f"{files.table}: `diameter_um` (--set diameter_um=UM) must be a positive number of um, not "
                f"{diameter_um!r}."
            )
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
                "give `diameter_um` (--set diameter_um=UM)."
            )
        usual = stated or (100.0 if technology.startswith("xenium") else None)
        if usual is not None and abs(squares.side_um - usual) > AGREES * usual:
            said.append(
                f"squares are {squares.side_um:.1f} um apart, not {usual:g}, and are taken to be as large; if that is "
                f"wrong, so is the pixel size of {slide.mpp:.4g} um ({slide.mpp_source})"
            )
        return squares, f"pitch ({squares.side_um:.4g} um)"
    diameter, usual_pitch = next((sizes for kind, sizes in _SPOTS.items() if technology.startswith(kind)), (None, None))
    diameter = files.number("spot_diameter") or diameter
    if diameter is None:
        raise DataError(
            f"{files.table}: neither technology nor spot diameter are known ({_metadata_told(files)}). Give "
            "`diameter_um` (--set diameter_um=UM)."
        )
    _check_pitch(files, xy, slide, stated or usual_pitch)
    return Disks(centres, diameter), f"spot_diameter ({diameter:g} um)"


def _metadata_told(files: _Files) -> str:
    path = files.metadata_path
    return f"{path} does not say" if path.is_file() else f"there is no {path}"


def _check_pitch(files: _Files, xy: NDArray[np.float64], slide: Slide, pitch_um: float | None) -> None:
    """Compare the pixel size with the distance of neighbouring spots."""
    pitch_px = pitch(xy)
    if pitch_px is None or pitch_um is None:
        return
    measured = pitch_um / pitch_px
    if abs(slide.mpp - measured) > AGREES * measured:
        raise DataError(
            f"{files.table}: spots are {pitch_px:.1f} px apart, which at a pitch of {pitch_um:g} um means "
            f"{measured:.4g} um per pixel, but {slide.mpp:.4g} was given ({slide.mpp_source}). Give that of the "
            f"slide as `mpp` (--mpp), or mend inter_spot_dist in {files.metadata_path}."
        )
