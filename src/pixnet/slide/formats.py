"""Which class reads which file: OpenSlide what scanners write, then tifffile, then PIL."""

from __future__ import annotations

from pathlib import Path

from pixnet.errors import SlideError, first_line
from pixnet.slide.pixel_size import from_tiff
from pixnet.slide.sources import OpenSlideSource, PilSource, Source
from pixnet.slide.tiff import TiffSource, resolution_tags

SUFFIXES = (".tif", ".tiff", ".btf", ".jpg", ".jpeg", ".png", ".svs", ".ndpi", ".qptiff")
"""Endings of files that are looked at where an image may lie; any other can be given."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PALETTE = 3  # of TIFF's PhotometricInterpretation


def open_source(path: Path) -> Source:
    """Open an image with the first of OpenSlide, tifffile and PIL that knows its format.

    Raises
    ------
    SlideError
        If the file is missing, damaged, or holds something else than an 8-bit RGB or grey image.
    """
    import openslide

    magic = _first_bytes(path)
    try:
        slide = OpenSlideSource(path)
    except openslide.OpenSlideUnsupportedFormatError:
        return _open_tiff(path) if magic in _TIFF else PilSource(path)
    except openslide.OpenSlideError as error:
        if magic in _TIFF and "Unsupported TIFF" in str(error):
            return _open_tiff(path)
        raise SlideError(
            f"{path}: OpenSlide knows this format but cannot read the file ({first_line(error)}). "
            "It may be damaged or incomplete: copy it again, or convert it to a tiled TIFF."
        ) from error
    if slide.vendor != "generic-tiff":
        return slide
    # Of a TIFF that is no scanner's own, OpenSlide shows 16 bits and fluorescence as 8-bit RGB unasked, misses the
    # pyramid of an OME-TIFF, and ends the process over some damaged tiles. So it is used there only for a pyramid
    # that tifffile does not see.
    other = _open_tiff(path)
    if isinstance(other, TiffSource) and len(other.levels) < len(slide.levels):
        slide.found = other.found
        other.release()
        return slide
    return other


def _first_bytes(path: Path) -> bytes:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise SlideError(f"{path}: {found}. Give the path of an image file.")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise SlideError(f"{path}: cannot be read ({error.strerror or error}). Check the file's rights.") from error
    if not magic:
        raise SlideError(f"{path}: the file is empty. Copy or download it again.")
    return magic


def _open_tiff(path: Path) -> Source:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.series[0].keyframe
            if page.photometric == _PALETTE or page.bitspersample == 1:  # PIL knows how to show these
                return PilSource(path, from_tiff(resolution_tags(page)))
        return TiffSource(path)
    except SlideError:
        raise
    except Exception as error:  # a damaged TIFF makes tifffile raise nearly anything
        raise SlideError(
            f"{path}: the TIFF cannot be read ({first_line(error)}). It may be damaged or incomplete: copy it again."
        ) from error
