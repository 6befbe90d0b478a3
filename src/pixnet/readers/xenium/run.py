"""The folder of a Xenium run, and where the run lies on the H&E image of its section."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.affine import Floats, read_affine
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.xenium.transcripts import Panel, Transcripts
from pixnet.slide import Slide, pixel_size
from pixnet.slide.formats import open_source
from pixnet.slide.pixel_size import AGREES


@dataclass
class Run:
    """A run, and where it lies on the slide.

    Attributes
    ----------
    folder
        The folder with `experiment.xenium`.
    slide
        The H&E image.
    to_slide
        (3, 3) matrix from the run's um to the slide's um.
    told
        What the user must be told; grows as the run is read.
    """

    folder: Path
    slide: Slide
    to_slide: Floats
    told: list[str]

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height of the slide."""
        return self.slide.width_um, self.slide.height_um

    def transcripts(self, panel: Panel, min_quality: float) -> Transcripts:
        """Give the transcripts, not yet read.

        Raises
        ------
        DataError
            If there is no file of them.
        """
        path = find_file(self.folder, ["transcripts.parquet"])
        if path is None:
            raise DataError(f"{self.folder}: holds no transcripts.parquet. Give the whole folder that the run wrote.")
        return Transcripts(path, self.to_slide, self.size_um, panel, min_quality)


def positive(value: float) -> bool:
    """Tell whether a number is finite and above 0."""
    return math.isfinite(value) and value > 0


def run_folder(path: Path) -> Path:
    """Find the folder of a run.

    Parameters
    ----------
    path
        The folder, one that has it as `outs`, or a file in it.

    Raises
    ------
    DataError
        If it is no run.
    """
    folder = path.parent if path.is_file() else path
    for place in (folder, folder / "outs"):
        if find_file(place, ["experiment.xenium"]):
            return place
    found = "no experiment.xenium in it" if folder.is_dir() else "no such folder"
    raise DataError(f"{path}: is no Xenium run ({found}). Give the folder that the instrument wrote.")


def he_image(folder: Path) -> Path | None:
    """Find the H&E image that lies beside a run."""
    return find_file(folder, ["he_image.ome.tif", "he_image.ome.tiff"])


def place_run(
    folder: Path,
    image: str | Path | None,
    alignment: str | Path | ArrayLike | None,
    mpp: float | None,
    mpp_source: str | None,
    image_transform: GivenTransform = None,
) -> Run:
    """Open the image and find out where the run lies on it.

    Parameters
    ----------
    folder
        The folder with `experiment.xenium`.
    image, alignment, mpp, mpp_source, image_transform
        As in `read_xenium`.

    Raises
    ------
    DataError
        If a file is missing or damaged, or if the pixel size of the image contradicts the alignment.
    SlideError
        If the image cannot be read.
    """
    pixel_um = _pixel_um(folder)
    picture = Path(image) if image is not None else he_image(folder)
    if picture is None:
        raise DataError(
            f"{folder}: holds no *he_image.ome.tif. Give the H&E image of the section as `image` (--image)."
        )
    matrix, origin = _alignment(folder, picture.parent, alignment)
    transform = ImageTransform.of(image_transform)
    if transform.matrix is not None:
        # Without an alignment the positions were written for the morphology image itself.
        back: Floats = np.linalg.inv(transform.matrix).astype(np.float64)
        matrix, origin = (back, "image_transform") if matrix is None else (matrix @ back, f"{origin}, image_transform")
    if mpp is not None:
        pixel_size.resolve(picture, mpp, mpp_source, None)
    told = []
    source = open_source(picture)
    source.release()
    if matrix is None:
        told.append(
            "there is no *he_imagealignment.csv, so the image is taken to lie exactly on the morphology image, "
            "unless a matrix is given as `alignment` (--set alignment=FILE)"
        )
        given = mpp if mpp is not None or source.found else pixel_um
        slide = Slide.open(picture, given, mpp_source if mpp is not None else "experiment.xenium")
        matrix = np.diag([slide.mpp / pixel_um, slide.mpp / pixel_um, 1.0])
    else:
        derived = pixel_um * math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        stated = (mpp, mpp_source or "argument") if mpp is not None else None
        if mpp is None and source.found is not None:
            stated = math.sqrt(source.found[0] * source.found[1]), source.found[2]
        if stated is not None and positive(stated[0]) and abs(stated[0] - derived) > AGREES * derived:
            raise DataError(
                f"{origin}: means {derived:.4g} um per pixel of {picture.name}, but {stated[0]:.4g} is stated "
                f"({stated[1]}). Give the image and the alignment that belong together"
                + (
                    ", or the right `mpp` (--mpp)."
                    if mpp is not None
                    else f", or `mpp` (--mpp {derived:.4g}) if what the image states is wrong."
                )
            )
        slide = Slide.open(picture, mpp if mpp is not None else derived, mpp_source if mpp is not None else "alignment")
    return Run(folder, slide, _to_slide(matrix, slide.mpp, pixel_um), told)


def place_on(folder: Path, mpp: float, alignment: str | Path | None) -> tuple[Floats, list[str]]:
    """Find out where a run lies on an image that is known by its pixel size alone.

    Parameters
    ----------
    folder
        The run's folder, or one with some of its files.
    mpp
        um per pixel of the image.
    alignment
        As in `read_xenium`.

    Returns
    -------
    to_slide, told
        (3, 3) matrix from the run's um to the image's, and what the user must be told.

    Raises
    ------
    DataError
        If a file is missing or damaged, or if the pixel size contradicts the alignment.
    """
    matrix, origin = _alignment(folder, folder, alignment)
    if matrix is None:
        return np.eye(3), ["there is no *he_imagealignment.csv, so the run's um are taken for those of the slide"]
    pixel_um = _pixel_um(folder)
    derived = pixel_um * math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if abs(mpp - derived) > AGREES * derived:
        raise DataError(
            f"{origin}: means {derived:.4g} um per pixel of the H&E image, but the slide has {mpp:.4g}. Give the "
            "alignment that belongs to it."
        )
    return _to_slide(matrix, mpp, pixel_um), []


def _to_slide(matrix: Floats, mpp: float, pixel_um: float) -> Floats:
    """Give the matrix from the run's um to the image's, from that from pixels of the image to the run's."""
    found: Floats = np.diag([mpp, mpp, 1.0]) @ np.linalg.inv(matrix) @ np.diag([1 / pixel_um, 1 / pixel_um, 1.0])
    return found


def _pixel_um(folder: Path) -> float:
    path = find_file(folder, ["experiment.xenium"])
    if path is None:
        raise DataError(f"{folder}: holds no experiment.xenium, which tells the scale of the alignment.")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({first_line(error)}). Copy it again.") from error
    size = content.get("pixel_size") if isinstance(content, dict) else None
    if isinstance(size, bool) or not isinstance(size, int | float) or not 1e-3 < size < 1e3:
        raise DataError(f"{path}: pixel_size must be the um per pixel of the morphology image, not {size!r}.")
    return float(size)


def _alignment(
    folder: Path, beside: Path, given: str | Path | ArrayLike | None
) -> tuple[Floats, str] | tuple[None, None]:
    """Give the matrix from pixels of the H&E image to pixels of the morphology image, and where it is from."""
    if given is None:
        names = ["he_imagealignment.csv"]
        given = find_file(folder, names) or find_file(beside, names)
    if given is None:
        return None, None
    what = "from pixels of the H&E image to pixels of the morphology image"
    origin = str(given) if isinstance(given, str | Path) else "alignment"
    return read_affine(given, origin, what), origin
