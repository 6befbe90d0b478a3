"""Choose the class that reads an image: OpenSlide for files of scanners, then tifffile, then PIL."""

from __future__ import annotations

from pathlib import Path

from pixnet.errors import SlideError, first_line
from pixnet.slide.pixel_size import from_tiff
from pixnet.slide.sources import OpenSlideSource, PilSource, Source
from pixnet.slide.tiff import TiffSource, resolution_tags

SUFFIXES = (".tif", ".tiff", ".btf", ".jpg", ".jpeg", ".png", ".svs", ".ndpi", ".qptiff")
"""Suffixes of files that are taken for images in a folder. Images with other suffixes can be given by their path."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PALETTE = 3  # of TIFF's PhotometricInterpretation


def open_source(path: Path) -> Source:
    """Open an image with the first of OpenSlide, tifffile and PIL that knows its format.

    SlideError is raised if the file is missing, damaged, or not an 8-bit RGB or grey image.
    """
    import openslide

    is_tiff = _first_bytes(path) in _TIFF
    try:
        slide = OpenSlideSource(path)
    except openslide.OpenSlideUnsupportedFormatError:
        return _open_tiff(path) if is_tiff else PilSource(path)
    except openslide.OpenSlideError as error:
        if is_tiff and "Unsupported TIFF" in str(error):
            return _open_tiff(path)
        raise SlideError(
            f"{path}: OpenSlide knows this format but cannot read the file ({first_line(error)}). "
            "It may be damaged or incomplete: copy it again, or convert it to a tiled TIFF."
        ) from error
    if slide.vendor != "generic-tiff":
        return slide
    # For a TIFF that is not of a scanner's own format, OpenSlide silently returns 16-bit and fluorescence images as
    # 8-bit RGB, misses the pyramid of an OME-TIFF, takes the first page for the slide, and ends the process at some
    # damaged tiles. So it reads only those whose pyramid tifffile does not find.
    tiff = _open_tiff(path)
    if not isinstance(tiff, TiffSource) or tiff.levels[0] != slide.levels[0]:
        return tiff
    if len(tiff.levels) < len(slide.levels):
        slide.found = tiff.found
        tiff.release()
        return slide
    tiff.bounds = slide.bounds
    return tiff


def _first_bytes(path: Path) -> bytes:
    """Return the first four bytes of a file; raise SlideError if it cannot be read or is empty."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise SlideError(f"{path}: {problem}. Give the path of an image file.")
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise SlideError(
            f"{path}: cannot be read ({error.strerror or error}). Check the permissions of the file."
        ) from error
    if not head:
        raise SlideError(f"{path}: the file is empty. Copy or download it again.")
    return head


def _open_tiff(path: Path) -> Source:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.series[0].keyframe
            # PIL converts these to RGB. It reads the first page alone.
            if len(tif.series) == 1 and (page.photometric == _PALETTE or page.bitspersample == 1):
                return PilSource(path, from_tiff(resolution_tags(page)))
        return TiffSource(path)
    except SlideError:
        raise
    except Exception as error:  # tifffile raises nearly any exception for a damaged TIFF
        raise SlideError(
            f"{path}: the TIFF cannot be read ({first_line(error)}). It may be damaged or incomplete: copy it again."
        ) from error
