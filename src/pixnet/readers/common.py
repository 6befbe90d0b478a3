"""What the readers share: common options, names of samples, and how they warn and name the file in an error."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, PixNetError, PixNetWarning, counted, first_line
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.sample import Sample
from pixnet.sample.geometry import contradictions
from pixnet.slide.pixel_size import AGREES, PixelSize, positive

_PIPELINE_FOLDERS = re.compile(r"outs|binned_outputs|segmented_outputs|(?:.*_)?square_\d+um")


class SampleOptions(TypedDict, total=False):
    """Options of every reader."""

    id: str | None
    """Name of the sample; by default that of the folder or file."""

    donor: str | None
    """The person that the tissue is from."""

    mpp: float | None
    """um per pixel of the image. Each reader documents where it is from by default."""

    image_transform: GivenTransform
    """Only for an image that is not the one the positions were written for: CSV file of, or array with, the (3, 3)
    matrix from pixels of that image to pixels of the given one. It turns, scales and shifts."""


@dataclass(frozen=True)
class Given:
    """The values of `SampleOptions`, checked. The pixel size that a manifest gives names its source."""

    id: str | None
    donor: str | None
    pixel: PixelSize | None
    transform: ImageTransform


def given_options(
    *, id: str | None = None, donor: str | None = None, mpp: float | None = None, image_transform: GivenTransform = None
) -> Given:
    """Check the options that all readers take."""
    return Given(id, donor, PixelSize.given(mpp), ImageTransform.read(image_transform))


def agreed_pixel_size(given: PixelSize | None, known: PixelSize, reason: str, remedy: str) -> PixelSize:
    """Return the given pixel size, or else the known one; two that differ by over 5 % are an error.

    `reason` begins its message ("a pitch of 100 um means 0.5 um per pixel"), and `remedy` ends it.
    """
    if given is None:
        return known
    # A size that is not a positive number is refused when the slide is opened.
    if positive(given.mpp) is not None and abs(given.mpp - known.mpp) > AGREES * known.mpp:
        raise DataError(f"{reason}, but {given.mpp:.4g} was given ({given.source}). {remedy}")
    return given


def outs_of(path: Path) -> Path:
    """Return the folder `outs` in a folder, or the folder itself if it has none."""
    return path / "outs" if (path / "outs").is_dir() else path


def is_pipeline_folder(name: str) -> bool:
    """Return whether every run of a pipeline has a folder of this name."""
    return _PIPELINE_FOLDERS.fullmatch(name) is not None


def telling_name(path: Path) -> str:
    """Name a sample by the nearest folder or file whose name is not one that every run of a pipeline has."""
    path = path.resolve()
    names = (place.name for place in (path, *path.parents))
    return next((name for name in names if name and not is_pipeline_folder(name)), "sample")


def left_out(reasons: Mapping[str, int | Sequence[str] | pd.Index], remaining: int) -> list[str]:
    """Return a note on the elements that were left out, for each reason, and on those that remain.

    A reason begins with the noun in the plural: "spots without a position". It comes with the number of the elements,
    or with their names, of which the first one is told.
    """
    listed, total = [], 0
    for reason, elements in reasons.items():
        number = elements if isinstance(elements, int) else len(elements)
        example = (
            "" if isinstance(elements, int) or not number else f"({'such as ' * (number > 1)}{str(elements[0])!r})"
        )
        listed += [f"{counted(number, reason)} {example}".rstrip()] if number else []
        total += number
    if not listed:
        return []
    *others, last = listed
    listing = f"{', '.join(others)} and {last}" if others else last
    return [f"{listing} {'are' if total > 1 else 'is'} left out, {remaining} remain"]


def check_sound(origin: object, odd: NDArray[np.bool_], first: Callable[[int], str], remedy: str) -> None:
    """Check that at most half of a file's elements are odd: a few are left out, but most of them mean another file.

    `first` says what is wrong with an element, by its number; the error says it of the first one.
    """
    if 2 * np.count_nonzero(odd) > len(odd):
        number = int(np.argmax(odd))
        more = f" ({np.count_nonzero(odd)} of {len(odd)} are of that kind)" if len(odd) > 1 else ""
        raise DataError(f"{origin}: {first(number)}{more}. {remedy}")


def warn_once(id: str, notes: Sequence[str]) -> None:
    """Warn the caller of a reader, once, about everything that was put right or left out, one note each."""
    if notes:
        warnings.warn(f"sample {id!r}: {'; '.join(notes)}.", PixNetWarning, stacklevel=3)


def weighed(sample: Sample) -> Sample:
    """Return a sample, after warning of facts about its regions and its slide that contradict each other."""
    for found in contradictions(sample.slide, sample.regions):
        warnings.warn(f"sample {sample.id!r}: {found.text} {found.advice}", PixNetWarning, stacklevel=3)
    return sample


@contextmanager
def errors_of(origin: object) -> Iterator[None]:
    """Put a file's name before the message of a `DataError`."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{origin}: {error}") from error


@contextmanager
def damage(finding: str, remedy: str = "") -> Iterator[None]:
    """Explain whatever another library raises as a `DataError`: the finding, its message and a remedy."""
    try:
        yield
    except PixNetError:
        raise
    except Exception as error:  # a damaged file makes h5py, zarr, anndata and geopandas raise nearly anything
        raise DataError(f"{finding} ({first_line(error)}). {remedy}".rstrip()) from error
