"""Run all checks on a sample, including one that its reader refuses."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, PixNetError, PixNetWarning
from pixnet.inspection.counts_checks import (
    check_raw_counts,
    check_sample_counts,
    findings_of_warnings,
    weigh_duplicates,
)
from pixnet.inspection.findings import Finding, Inspection
from pixnet.inspection.geometry import Layout, check_full_resolution, check_pixel_size, check_places, check_regions
from pixnet.inspection.image_checks import check_blur, check_damage, check_resolution
from pixnet.inspection.shift import check_shift
from pixnet.inspection.trained_on import TrainedOn, check_resolution_of, check_stain
from pixnet.readers.entry import Entry
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.formats.pitch import pitch
from pixnet.readers.manifest import chosen_entries, entry_of, manifest_entries
from pixnet.readers.platforms import PLATFORMS
from pixnet.readers.raw import MOST_PLACES, RawFiles
from pixnet.readers.recognition import entry_at, recognise
from pixnet.regions import Disks, Squares
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.pixel_size import PixelSize
from pixnet.slide.slide import open_slide
from pixnet.slide.tissue import TissueMask

_T = TypeVar("_T")

_MOST_PLACES = 100_000
_PITCH_PLACES = 20_000  # places that a pitch is measured from; neighbours mostly follow each other
_NO_PIXEL_SIZE = 1.0  # um, made up: positions in pixels can be checked without one


@dataclass(frozen=True)
class Inspected:
    """An inspection, and the data that its figures are drawn from.

    Attributes
    ----------
    layout
        Regions over the slide; None if one of the two is not known.
    sample
        The sample; None if its reader refused it.
    """

    inspection: Inspection
    layout: Layout | None
    sample: Sample | None


def inspect(
    path: str | Path,
    *,
    image: str | Path | None = None,
    mpp: float | None = None,
    samples: Sequence[str] | None = None,
    platform: str | None = None,
    card: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Inspected]:
    """Inspect a folder or file of a known platform, or the samples of a manifest.

    Parameters
    ----------
    path
        A folder or file that `pixnet.recognise` knows, or a manifest (`.toml`).
    image
        The full-resolution image, instead of the one that is found or listed.
    mpp
        Its pixel size in um, instead of the one that is found or listed.
    samples
        Ids of the manifest's samples to inspect; None for all.
    platform
        Platform that a folder or file is treated as, instead of the one that is recognised.
    card
        Card of a model (`PixNet.card`), to check whether the slides are like those that it was trained on.
    **options
        Other keys of the platform's entry in a manifest.

    Returns
    -------
    list of Inspected
        One for each sample.

    Raises
    ------
    DataError
        If nothing is known at that path, the manifest cannot be used, an option is unknown, or `image`, `mpp` or an
        option is given for several samples.
    """
    given = {key: value for key, value in (("image", image), ("mpp", mpp)) if value is not None}
    given |= options if platform is None else {**options, "platform": platform}
    path = Path(path)
    if mpp is not None and not (np.isfinite(mpp) and mpp > 0):
        raise DataError(f"{path}: `mpp` must be a positive number of um per pixel, not {mpp!r}.")
    trained = None if card is None else TrainedOn.from_card(card)
    if path.suffix == ".toml":
        entries = chosen_entries(path, manifest_entries(path), samples)
        if given and len(entries) > 1:
            raise DataError(
                f"{path}: lists {len(entries)} samples, but `{next(iter(given))}` can be given for one only. Choose "
                "one sample, or write the keys into the manifest."
            )
        if given:
            listed = {key: value for key, value in entries[0] if value is not None}
            entries = [entry_of(Path.cwd(), f"{path}: sample {entries[0].id!r}", {**listed, **given}, {})]
        return [
            inspect_entry(entry, "the manifest says so", given=mpp is not None, trained=trained) for entry in entries
        ]
    if samples is not None:
        raise DataError(f"{path}: is not a manifest, so no samples can be chosen from it. Leave out `samples`.")
    name, why = (platform, "given as `platform`") if platform is not None else recognise(path)
    entry = entry_at(path, name, given)
    return [inspect_entry(entry, why, given=mpp is not None, trained=trained)]


def inspect_entry(
    entry: Entry, recognised_by: str, *, given: bool = False, trained: TrainedOn | None = None
) -> Inspected:
    """Read and inspect one sample by its entry in a manifest.

    `recognised_by` is the reason for its platform, and `given` whether the pixel size is an argument instead of a key
    of the manifest.
    """
    source = "argument" if given else "manifest"
    findings: list[Finding] = []
    sample = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", PixNetWarning)
        try:
            sample = entry.read(source)
        except PixNetError as error:
            findings.append(Finding("error", "refused", str(error)))
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, PixNetWarning)]
    contradicted = [] if sample is None else check_regions(sample)
    told = [finding.text for finding in contradicted]
    messages = [message for message in dict.fromkeys(messages) if not any(text in message for text in told)]
    findings += findings_of_warnings(messages) + contradicted
    options = type(entry).model_fields.keys()
    with warnings.catch_warnings():
        # What is read a second time, or with a pixel size that is made up, was told or means nothing.
        warnings.simplefilter("ignore", PixNetWarning)
        raw = _raw_files(entry, was_read=sample is not None)
        if sample is None:
            layout, checks = _check_refused(entry, raw, source, options)
        else:
            findings = weigh_duplicates(findings, len(sample.genes))
            layout, checks = _check_sample(sample, raw, options, trained)
    findings += checks
    # These slides belong to no sample; an overlay that is drawn later opens its slide again.
    if raw.slide is not None:
        raw.slide.close()
    if sample is None and layout is not None:
        layout.slide.close()
    return Inspected(Inspection(entry.id, entry.platform, recognised_by, tuple(findings)), layout, sample)


def inspect_sample(sample: Sample, *, card: Mapping[str, Any] | None = None) -> Inspected:
    """Inspect a sample that is in memory, without the checks that need its files; `card` is as for `inspect`."""
    trained = None if card is None else TrainedOn.from_card(card)
    layout, findings = _check_sample(sample, RawFiles(), (), trained)
    findings += check_regions(sample)
    return Inspected(Inspection(sample.id, sample.platform, "the sample says so", tuple(findings)), layout, sample)


def _check_sample(
    sample: Sample, raw: RawFiles, options: Collection[str], trained: TrainedOn | None
) -> tuple[Layout, list[Finding]]:
    """Check a sample that could be read."""
    slide = sample.slide
    step = max(1, len(sample.regions) // _MOST_PLACES)
    chosen = sample.regions.take(np.arange(0, len(sample.regions), step))
    layout = Layout(slide, chosen.centers_um, float(np.sqrt(np.median(chosen.areas_um2))), options, step)
    tissue = TissueMask(slide)
    findings = check_pixel_size(slide.mpp, slide.mpp_source, _pitch_px(sample, raw), raw.pitch_um)
    findings += check_full_resolution(slide, raw.pictures, None)
    findings += check_places(layout, tissue, _written_um(raw, slide))
    if trained is None:
        findings += check_resolution(slide)
    else:
        findings += check_resolution_of(slide, trained) + check_stain(slide, trained, tissue)
    findings += check_blur(slide, tissue)
    findings += check_sample_counts(sample.counts)
    if not {"flipped", "swapped"} & {finding.code for finding in findings}:
        places = layout.xy_um if step == 1 else sample.regions.centers_um
        findings += check_shift(slide, places, layout.width_um, sample.depth)
    return layout, findings + check_damage(slide)


def _written_um(raw: RawFiles, slide: Slide) -> NDArray[np.float64] | None:
    """Return the centres of all regions in um if the reader leaves out those outside the image, (n, 2); else None."""
    if raw.slide is None or raw.xy_px is None:
        return None
    return raw.xy_px * (slide.mpp / raw.slide.mpp)


def _pitch_px(sample: Sample, raw: RawFiles) -> float | None:
    """Return the distance between neighbours in pixels by the files, or else by the regions that were read."""
    if raw.pitch_px is not None or raw.pitch_um is None or not isinstance(sample.regions, Disks | Squares):
        return raw.pitch_px
    first = sample.regions.take(np.arange(min(len(sample.regions), _PITCH_PLACES)))
    return pitch(first.centers_um / sample.slide.mpp)


def _check_refused(
    entry: Entry, raw: RawFiles, source: str, options: Collection[str]
) -> tuple[Layout | None, list[Finding]]:
    """Check the files of a sample that its reader refused, to find the cause."""
    findings: list[Finding] = []
    if entry.mpp is not None:
        sizes = check_pixel_size(entry.mpp, source, raw.pitch_px, raw.pitch_um)
        findings += [finding for finding in sizes if finding.level == "error"]
    layout = _raw_layout(entry, raw, options)
    if layout is not None:
        smaller = check_full_resolution(layout.slide, raw.pictures, layout.xy_um / layout.slide.mpp)
        findings += smaller
        # On another image, no orientation means anything.
        if not smaller:
            findings += check_places(layout, TissueMask(layout.slide))
    counted = _attempt(partial(PLATFORMS[entry.platform].raw.raw_counts, entry))
    if counted is not None:
        findings += check_raw_counts(*counted, has_layers="layer" in options)
    return layout, findings


def _raw_layout(entry: Entry, raw: RawFiles, options: Collection[str]) -> Layout | None:
    """Place the positions on the image as they are written, with the pixel size that the pitch gives, if known."""
    if raw.xy_px is None or not len(raw.xy_px) or not np.isfinite(raw.xy_px).all():
        return None
    measured = raw.pitch_um / raw.pitch_px if raw.pitch_um and raw.pitch_px else None
    slide = raw.slide or _open(raw.image, measured or entry.mpp)
    if slide is None:
        return None
    scale = slide.mpp if raw.unit == "px" else 1.0
    # Regions of an array are about half as wide as their distance. Cells have no fixed distance: they count as points.
    width = 0.0 if measured is None or raw.pitch_px is None else raw.pitch_px * slide.mpp / 2
    return Layout(slide, raw.xy_px * scale, width, options)


def _open(image: Path | None, mpp: float | None) -> Slide | None:
    """Open an image, with a made-up pixel size if none is known; return None if it cannot be read."""
    if image is None:
        return None
    for size in (PixelSize.given(mpp), PixelSize(_NO_PIXEL_SIZE, "none known")):
        try:
            return open_slide(image, size)
        except PixNetError:
            continue
    return None


def _raw_files(entry: Entry, was_read: bool = False) -> RawFiles:
    """Read positions as they are written, and find the image; what cannot be read stays None.

    If the reader could use the files (`was_read`), the shapes of a SpatialData store are not read a second time.
    """
    raw = RawFiles(image=entry.image)
    platform = PLATFORMS[entry.platform]
    if not (was_read and platform.slow_places):
        _attempt(partial(platform.raw.raw_places, entry, raw))
    if entry.image_transform is not None:
        _attempt(partial(_onto_image, entry.image_transform, raw))
    if raw.xy_px is not None and len(raw.xy_px) > MOST_PLACES:
        raw.xy_px = raw.xy_px[:: len(raw.xy_px) // MOST_PLACES]
    return raw


def _attempt(read: Callable[[], _T]) -> _T | None:
    """Return what a function reads, or None if a file is damaged or missing."""
    try:
        return read()
    except (PixNetError, OSError, ValueError, LookupError, TypeError, EOFError, zlib.error):
        # The reader has already reported what is wrong with the file.
        return None


def _onto_image(given: GivenTransform, raw: RawFiles) -> None:
    """Bring positions that were written for another image onto the given one."""
    transform = ImageTransform.read(given)
    raw.pictures.clear()  # they are of the other image
    if raw.unit == "px" and raw.xy_px is not None:
        raw.xy_px = transform.points(raw.xy_px)
        raw.pitch_px = None if raw.pitch_px is None else raw.pitch_px * transform.scale
