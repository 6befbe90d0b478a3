"""The folder of a Xenium run, and its position on the H&E image of the section."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pixnet.errors import DataError
from pixnet.readers.formats.files import find_file, read_json, required_file
from pixnet.readers.formats.image_transform import Floats, ImageTransform, holds_affine, read_affine
from pixnet.readers.xenium.transcripts import Panel, Transcripts
from pixnet.slide import Slide, pixel_size
from pixnet.slide.formats import open_source
from pixnet.slide.pixel_size import AGREES, PixelSize
from pixnet.slide.slide import open_slide


@dataclass
class Run:
    """A run, and its position on the slide.

    `to_slide` is the (3, 3) matrix from the run's um to the slide's um. `notes` are what the user must know; they grow
    as the run is read.
    """

    folder: Path
    slide: Slide
    to_slide: Floats
    notes: list[str] = field(default_factory=list)

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height of the slide."""
        return self.slide.width_um, self.slide.height_um

    def transcripts(self, panel: Panel, min_quality: float) -> Transcripts:
        """Return the transcripts, not yet read."""
        path = required_file(self.folder, ["transcripts.parquet"])
        return Transcripts(path, self.to_slide, self.size_um, panel, min_quality)


def run_folder(path: Path) -> Path:
    """Find the folder of a run: the path, a folder `outs` in it, or the folder that the file is in."""
    folder = path.parent if path.is_file() else path
    for place in (folder, folder / "outs"):
        if find_file(place, ["experiment.xenium"]):
            return place
    finding = "experiment.xenium not found" if folder.is_dir() else "there is no such folder"
    raise DataError(f"{path}: is not a Xenium run: {finding}. Give the folder that the instrument wrote.")


def he_image(folder: Path) -> Path | None:
    """Find the H&E image in the folder of a run."""
    return find_file(folder, ["he_image.ome.tif", "he_image.ome.tiff"])


def place_run(
    folder: Path,
    image: str | Path | None,
    alignment: str | Path | ArrayLike | None,
    given: PixelSize | None,
    transform: ImageTransform,
) -> Run:
    """Open the image, and compute the position of the run on it; `image` and `alignment` are as in `read_xenium`.

    The transform is from the image that the alignment is for to the given one.
    """
    pixel_um = _pixel_um(folder)
    picture = Path(image) if image is not None else he_image(folder)
    if picture is None:
        raise DataError(f"{folder}: *he_image.ome.tif not found. Give the H&E image of the section as `image`.")
    matrix, origin = _alignment(folder, picture.parent, alignment)
    if transform.matrix is not None:
        # Without an alignment the positions were written for the morphology image itself.
        back: Floats = np.linalg.inv(transform.matrix).astype(np.float64)
        matrix, origin = (back, "image_transform") if matrix is None else (matrix @ back, f"{origin}, image_transform")
    if given is not None:
        given = pixel_size.resolve(picture, given, None)
    source = open_source(picture)
    source.release()
    if matrix is None:
        slide = open_slide(picture, given if given or source.found else PixelSize(pixel_um, "experiment.xenium"))
        matrix = np.diag([slide.mpp / pixel_um, slide.mpp / pixel_um, 1.0])
        note = (
            "no alignment matrix (such as *he_imagealignment.csv) found, so the image is assumed to coincide with the "
            "morphology image, unless a matrix is given as `alignment`"
        )
        return Run(folder, slide, _to_slide(matrix, slide.mpp, pixel_um), [note])
    derived = pixel_um * math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    stated = given
    if given is None and source.found is not None:
        stated = PixelSize(math.sqrt(source.found[0] * source.found[1]), source.found[2])
    if stated is not None and abs(stated.mpp - derived) > AGREES * derived:
        remedy = "the right `mpp`" if given else f"`mpp={derived:.4g}` if the image states a wrong one"
        raise DataError(
            f"{origin}: means {derived:.4g} um per pixel of {picture.name}, but {stated.mpp:.4g} is stated "
            f"({stated.source}). Give the image and the alignment that belong together, or {remedy}."
        )
    slide = open_slide(picture, given or PixelSize(derived, "alignment"))
    return Run(folder, slide, _to_slide(matrix, slide.mpp, pixel_um))


def place_on(folder: Path, mpp: float, alignment: str | Path | None) -> tuple[Floats, list[str]]:
    """Return the (3, 3) matrix from the run's um to those of an image of `mpp` um per pixel, and notes for the user."""
    matrix, origin = _alignment(folder, folder, alignment)
    if matrix is None:
        return np.eye(3), [
            "no alignment matrix (such as *he_imagealignment.csv) found, so the run's um are assumed to be those of "
            "the slide"
        ]
    pixel_um = _pixel_um(folder)
    derived = pixel_um * math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if abs(mpp - derived) > AGREES * derived:
        raise DataError(
            f"{origin}: means {derived:.4g} um per pixel of the H&E image, but the slide has {mpp:.4g}. Give the "
            "alignment that belongs to it."
        )
    return _to_slide(matrix, mpp, pixel_um), []


def _to_slide(matrix: Floats, mpp: float, pixel_um: float) -> Floats:
    """Return the matrix from the run's um to the image's um, by the one from the image's pixels to the run's."""
    to_slide: Floats = np.diag([mpp, mpp, 1.0]) @ np.linalg.inv(matrix) @ np.diag([1 / pixel_um, 1 / pixel_um, 1.0])
    return to_slide


def _pixel_um(folder: Path) -> float:
    path = required_file(folder, ["experiment.xenium"], "It states the scale of the alignment.")
    size = read_json(path, "pixel_size").get("pixel_size")
    if isinstance(size, bool) or not isinstance(size, int | float) or not 1e-3 < size < 1e3:
        raise DataError(f"{path}: pixel_size must be the um per pixel of the morphology image, not {size!r}.")
    return float(size)


def _alignment(
    folder: Path, beside: Path, given: str | Path | ArrayLike | None
) -> tuple[Floats, str] | tuple[None, None]:
    """Return the matrix from pixels of the H&E image to pixels of the morphology image, and where it is from."""
    if given is None:
        names = ["he_imagealignment.csv"]
        given = find_file(folder, names) or find_file(beside, names) or _unnamed_alignment({folder, beside})
    if given is None:
        return None, None
    what = "from pixels of the H&E image to pixels of the morphology image"
    origin = str(given) if isinstance(given, str | Path) else "alignment"
    return read_affine(given, origin, what), origin


def _unnamed_alignment(folders: set[Path]) -> Path | None:
    """Find the alignment by its content, as Xenium Explorer names it after the image: the only file with a matrix.

    The files may also be in a folder of their own, such as `he_image_alignment_files`.
    """
    places = folders | {place for folder in folders for place in folder.glob("*alignment*") if place.is_dir()}
    found = [path for place in sorted(places) for path in sorted(place.glob("*.csv")) if holds_affine(path)]
    if len(found) > 1:
        raise DataError(
            f"{found[0]}: holds an alignment matrix, and so does {found[1]}. Give the one that belongs to the image as "
            "`alignment`."
        )
    return found[0] if found else None
