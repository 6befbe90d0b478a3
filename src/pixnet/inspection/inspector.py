"""Look at a sample from all sides, also at one that its reader refuses."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from pixnet.inspection.geometry import Layout, check_full_resolution, check_pixel_size, check_places
from pixnet.inspection.image_checks import check_blur, check_damage, check_resolution
from pixnet.inspection.raw_counts import raw_counts
from pixnet.inspection.raw_files import RawFiles, raw_files
from pixnet.inspection.shift import check_shift
from pixnet.inspection.trained_on import TrainedOn, check_resolution_of, check_stain
from pixnet.readers.formats.pitch import pitch
from pixnet.readers.manifest import chosen_entries, entry_of, manifest_entries
from pixnet.readers.platforms import Entry
from pixnet.readers.recognition import recognise, telling_name
from pixnet.regions import Disks, Squares
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.tissue import TissueMask

_MOST_PLACES = 100_000
_TELLING_PLACES = 20_000  # for a pitch; neighbours mostly follow each other
_NO_PIXEL_SIZE = 1.0  # um, made up: positions in pixels can be looked at without one


@dataclass(frozen=True)
class Inspected:
    """An inspection, and what its pictures are drawn from.

    Attributes
    ----------
    inspection
        What was found.
    layout
        Regions over the slide; None if either could not be had.
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
        What `pixnet.recognise` knows, or a manifest (`.toml`).
    image, mpp
        The image and its um per pixel, instead of what is found or listed.
    samples
        Ids of a manifest's samples; all of them if None.
    platform
        What to take a folder or file for, instead of what it is recognised as.
    card
        The card of a model (`PixNet.card`), to be told whether the slides are like those that it was trained on.
    **options
        What else the platform's entry in a manifest may say.

    Raises
    ------
    DataError
        If nothing is known at that path, the manifest cannot be used, an option is unknown, or `image`, `mpp` or an
        option are given for several samples.
    """
    given = {key: value for key, value in (("image", image), ("mpp", mpp)) if value is not None}
    given |= options if platform is None else {**options, "platform": platform}
    path = Path(path)
    if mpp is not None and not (np.isfinite(mpp) and mpp > 0):
        raise DataError(f"{path}: `mpp` (--mpp) must be a positive number of um per pixel, not {mpp!r}.")
    trained = None if card is None else TrainedOn.of(card)
    if path.suffix == ".toml":
        entries = chosen_entries(path, manifest_entries(path), samples)
        if given and len(entries) > 1:
            raise DataError(
                f"{path}: lists {len(entries)} samples, but one {next(iter(given))} is given. Choose one sample."
            )
        if given:
            told = {key: value for key, value in entries[0] if value is not None}
            entries = [entry_of(Path.cwd(), f"{path}: sample {entries[0].id!r}", {**told, **given}, {})]
        return [
            inspect_entry(entry, "the manifest says so", given=mpp is not None, trained=trained) for entry in entries
        ]
    if samples is not None:
        raise DataError(f"{path}: is no manifest, so there is no sample to choose from it.")
    taken_for, why = (platform, "as was asked") if platform is not None else recognise(path)
    table = {"id": telling_name(path), "path": path, **given, "platform": taken_for}
    entry = entry_of(Path.cwd(), str(path), table, {})
    return [inspect_entry(entry, why, given=mpp is not None, trained=trained)]


def inspect_entry(
    entry: Entry, recognised_by: str, *, given: bool = False, trained: TrainedOn | None = None
) -> Inspected:
    """Read and inspect one sample.

    Parameters
    ----------
    entry
        Where its files are.
    recognised_by
        What its platform is known from.
    given
        Whether the pixel size is an argument rather than the manifest's.
    trained
        What a model was trained on.
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
    told = [str(warning.message) for warning in caught if issubclass(warning.category, PixNetWarning)]
    findings += findings_of_warnings(told)
    raw = raw_files(entry, was_read=sample is not None)
    options = type(entry).model_fields.keys()
    layout: Layout | None
    if sample is None:
        layout, more = _of_refused(entry, raw, source, options)
    else:
        findings = weigh_duplicates(findings, len(sample.genes))
        layout, more = _of_sample(sample, raw, options, trained)
    findings += more
    return Inspected(Inspection(entry.id, entry.platform, recognised_by, tuple(findings)), layout, sample)


def inspect_sample(sample: Sample, *, card: Mapping[str, Any] | None = None) -> Inspected:
    """Inspect a sample that has been read; what only its files tell stays unsaid.

    Parameters
    ----------
    sample
        The sample.
    card
        The card of a model, as of `inspect`.
    """
    trained = None if card is None else TrainedOn.of(card)
    layout, findings = _of_sample(sample, RawFiles(), (), trained)
    return Inspected(Inspection(sample.id, sample.platform, "it was read so", tuple(findings)), layout, sample)


def _of_sample(
    sample: Sample, raw: RawFiles, options: Collection[str], trained: TrainedOn | None
) -> tuple[Layout, list[Finding]]:
    """Look at a sample that could be read."""
    slide = sample.slide
    step = max(1, len(sample.regions) // _MOST_PLACES)
    chosen = sample.regions.take(np.arange(0, len(sample.regions), step))
    layout = Layout(slide, chosen.centers_um, _width(chosen.areas_um2), options, step)
    tissue = TissueMask(slide)
    findings = check_pixel_size(slide.mpp, slide.mpp_source, _pitch_px(sample, raw), raw.pitch_um)
    findings += check_full_resolution(slide, raw.pictures, None)
    findings += check_places(layout, tissue, _written(raw, slide))
    if trained is None:
        findings += check_resolution(slide)
    else:
        findings += check_resolution_of(slide, trained) + check_stain(slide, trained, tissue)
    findings += check_blur(slide, tissue)
    findings += check_sample_counts(sample.counts)
    if not {"flipped", "swapped"} & {found.code for found in findings}:
        places = layout.xy_um if step == 1 else sample.regions.centers_um
        findings += check_shift(slide, places, layout.width_um, sample.depth)
    return layout, findings + check_damage(slide)


def _written(raw: RawFiles, slide: Slide) -> NDArray[np.float64] | None:
    """Give the places of all regions in um, where the reader leaves out those beside the image."""
    if raw.slide is None or raw.xy_px is None:
        return None
    return raw.xy_px * (slide.mpp / raw.slide.mpp)


def _pitch_px(sample: Sample, raw: RawFiles) -> float | None:
    """Give the distance of neighbours as the files have it, or else as the reader made it of them."""
    if raw.pitch_px is not None or raw.pitch_um is None or not isinstance(sample.regions, Disks | Squares):
        return raw.pitch_px
    some = sample.regions.take(np.arange(min(len(sample.regions), _TELLING_PLACES)))
    return pitch(some.centers_um / sample.slide.mpp)


def _of_refused(
    entry: Entry, raw: RawFiles, source: str, options: Collection[str]
) -> tuple[Layout | None, list[Finding]]:
    """Look for the cause in the files as they are."""
    findings: list[Finding] = []
    if entry.mpp is not None:
        findings += [
            found for found in check_pixel_size(entry.mpp, source, raw.pitch_px, raw.pitch_um) if found.level == "error"
        ]
    layout = _raw_layout(entry, raw, options)
    if layout is not None:
        smaller = check_full_resolution(layout.slide, raw.pictures, layout.xy_um / layout.slide.mpp)
        findings += smaller
        # On another image, no orientation says anything.
        if not smaller:
            findings += check_places(layout, TissueMask(layout.slide))
    counted = raw_counts(entry)
    if counted is not None:
        findings += check_raw_counts(*counted, has_layers="layer" in options, merges=entry.platform != "legacy-st")
    return layout, findings


def _raw_layout(entry: Entry, raw: RawFiles, options: Collection[str]) -> Layout | None:
    """Lay the positions over the image as they are written; the pixel size is the pitch's, if that tells one."""
    if raw.xy_px is None or not len(raw.xy_px) or not np.isfinite(raw.xy_px).all():
        return None
    measured = raw.pitch_um / raw.pitch_px if raw.pitch_um and raw.pitch_px else None
    slide = raw.slide or _open(raw.image, measured or entry.mpp)
    if slide is None:
        return None
    scale = slide.mpp if raw.unit == "px" else 1.0
    # Regions of an array are about half as wide as they lie apart; cells, which lie anyhow, are taken for points.
    width = 0.0 if measured is None or raw.pitch_px is None else raw.pitch_px * slide.mpp / 2
    return Layout(slide, raw.xy_px * scale, width, options)


def _open(image: Path | None, mpp: float | None) -> Slide | None:
    for size, source in ((mpp, None), (_NO_PIXEL_SIZE, "none known")):
        try:
            return None if image is None else Slide.open(image, size, source)
        except PixNetError:
            continue
    return None


def _width(areas_um2: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.median(areas_um2)))
