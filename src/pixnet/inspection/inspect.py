"""Look at a sample from all sides, also at one that its reader refuses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
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
from pixnet.inspection.image_checks import check_blur, check_resolution
from pixnet.inspection.raw_files import RawFiles, raw_counts, raw_files
from pixnet.inspection.shift import check_shift
from pixnet.inspection.tissue_mask import TissueMask
from pixnet.readers.lattice import pitch
from pixnet.readers.manifest import chosen_entries, entry_of, manifest_entries
from pixnet.readers.platforms import Entry
from pixnet.readers.recognise import recognise
from pixnet.regions import Disks, Squares
from pixnet.sample import Sample
from pixnet.slide import Slide

_MOST_PLACES = 100_000
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
    **options
        What else the platform's entry in a manifest may say.

    Raises
    ------
    DataError
        If nothing is known at that path, the manifest cannot be used, or `image` or `mpp` are given for several
        samples.
    """
    given = {key: value for key, value in (("image", image), ("mpp", mpp)) if value is not None}
    path = Path(path)
    if mpp is not None and not (np.isfinite(mpp) and mpp > 0):
        raise DataError(f"{path}: mpp must be a positive number of um per pixel, not {mpp!r}.")
    if path.suffix == ".toml":
        entries = chosen_entries(path, manifest_entries(path), samples)
        if given and len(entries) > 1:
            raise DataError(f"{path}: lists {len(entries)} samples, but one {next(iter(given))} is given. Choose one.")
        told = {**given, **({"image": Path.cwd() / image} if image is not None else {}), **options}
        return [
            inspect_entry(entry.model_copy(update=told), "the manifest says so", given="mpp" in given)
            for entry in entries
        ]
    if samples is not None:
        raise DataError(f"{path}: is no manifest, so there is no sample to choose from it.")
    platform, why = recognise(path)
    table = {"id": _name(path, platform), "path": path, **given, **options, "platform": platform}
    return [inspect_entry(entry_of(Path.cwd(), str(path), table, {}), why, given="mpp" in given)]


def inspect_entry(entry: Entry, recognised_by: str, *, given: bool = False) -> Inspected:
    """Inspect one sample.

    Parameters
    ----------
    entry
        Where its files are.
    recognised_by
        What its platform is known from.
    given
        Whether the pixel size is an argument rather than the manifest's.
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
    raw = raw_files(entry)
    layout: Layout | None
    if sample is None:
        layout, more = _of_refused(entry, raw, source)
    else:
        findings = weigh_duplicates(findings, len(sample.genes))
        layout, more = _of_sample(entry, raw, sample)
    findings += more
    return Inspected(Inspection(entry.id, entry.platform, recognised_by, tuple(findings)), layout, sample)


def _of_sample(entry: Entry, raw: RawFiles, sample: Sample) -> tuple[Layout, list[Finding]]:
    """Look at a sample that could be read."""
    slide = sample.slide
    step = max(1, len(sample.regions) // _MOST_PLACES)
    chosen = sample.regions.take(np.arange(0, len(sample.regions), step))
    centres, width = chosen.centers_um, _width(chosen.areas_um2)
    layout = Layout(slide, centres, width, "swap_xy" in type(entry).model_fields)
    tissue = TissueMask(slide)
    pitch_px, pitch_um = raw.pitch_px, raw.pitch_um
    if pitch_px is None and pitch_um is not None and isinstance(sample.regions, Disks | Squares):
        pitch_px = pitch(centres / slide.mpp)
    findings = check_pixel_size(slide.mpp, slide.mpp_source, pitch_px, pitch_um)
    findings += check_full_resolution(slide, raw.pictures, None)
    findings += check_places(layout, tissue)
    findings += check_resolution(slide) + check_blur(slide, tissue)
    findings += check_sample_counts(sample.counts)
    if "flipped" not in {found.code for found in findings} and "swapped" not in {found.code for found in findings}:
        depth, places = sample.depth, centres
        if step > 1:
            places = sample.regions.centers_um
        findings += check_shift(slide, places, width, depth)
    if slide.no_data_reads:
        text = f"{slide.no_data_reads} parts of the image cannot be read and count as no data."
        findings.append(Finding("warning", "damaged-image", text, "Copy or export the image again."))
    return layout, findings


def _of_refused(entry: Entry, raw: RawFiles, source: str) -> tuple[Layout | None, list[Finding]]:
    """Look for the cause in the files as they are."""
    findings: list[Finding] = []
    if entry.mpp is not None:
        findings += [
            found for found in check_pixel_size(entry.mpp, source, raw.pitch_px, raw.pitch_um) if found.level == "error"
        ]
    layout = _raw_layout(entry, raw)
    if layout is not None:
        smaller = check_full_resolution(layout.slide, raw.pictures, layout.xy_um / layout.slide.mpp)
        findings += smaller
        # On another image, no orientation says anything.
        if not smaller:
            findings += check_places(layout, TissueMask(layout.slide))
    counted = raw_counts(entry)
    if counted is not None:
        findings += check_raw_counts(
            *counted, has_layers="layer" in type(entry).model_fields, merges=entry.platform != "legacy-st"
        )
    return layout, findings


def _raw_layout(entry: Entry, raw: RawFiles) -> Layout | None:
    """Lay the positions over the image as they are written; the pixel size is the pitch's, if that tells one."""
    if raw.xy_px is None or raw.image is None or not np.isfinite(raw.xy_px).all():
        return None
    measured = raw.pitch_um / raw.pitch_px if raw.pitch_um and raw.pitch_px else None
    try:
        slide = Slide.open(raw.image, measured or entry.mpp)
    except PixNetError:
        try:
            slide = Slide.open(raw.image, _NO_PIXEL_SIZE, "none known")
        except PixNetError:
            return None
    scale = slide.mpp if raw.unit == "px" else 1.0
    # Regions of an array are about half as wide as they lie apart; cells, which lie anyhow, are taken for points.
    width = 0.0 if measured is None or raw.pitch_px is None else raw.pitch_px * slide.mpp / 2
    return Layout(slide, raw.xy_px * scale, width, "swap_xy" in type(entry).model_fields)


def _width(areas_um2: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.median(areas_um2)))


def _name(path: Path, platform: str) -> str:
    """Name a sample after its folder or file."""
    tables = list((path / "st").glob("*.h5ad")) if platform == "hest" else []
    if tables:
        return tables[0].stem
    usual = ("outs", "binned_outputs", "segmented_outputs")
    names = (name for name in (path.resolve().name, *(parent.name for parent in path.resolve().parents)) if name)
    return next((name.split(".")[0] or name for name in names if name not in usual), "sample")
