"""What `train` and `evaluate` look at before hours are spent: the same that `pixnet inspect` does."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pixnet.errors import DataError, PixNetWarning

if TYPE_CHECKING:
    from pixnet.inspection.findings import Inspection
    from pixnet.readers.platforms import Entry
    from pixnet.sample import Sample

SkipChecksOption = Annotated[
    bool, typer.Option("--skip-checks", help="Do not inspect the samples first, and use them whatever is wrong.")
]


def read_checked(entries: Sequence[Entry], mpp: float, skip: bool = False) -> list[Sample]:
    """Read samples, and inspect each as it is read.

    Parameters
    ----------
    entries
        Of manifests.
    mpp
        Working resolution of the network, in um per pixel.
    skip
        Only read them.

    Raises
    ------
    DataError
        If a sample cannot be used; the message tells all that was found.
    PixNetError
        From a reader, if `skip`.

    Warns
    -----
    PixNetWarning
        Of each finding that is a warning.
    """
    if skip:
        return [entry.read() for entry in entries]
    from pixnet.inspection import inspect_entry
    from pixnet.inspection.trained_on import TrainedOn

    samples = []
    for entry in entries:
        found = inspect_entry(entry, "the manifest says so", trained=TrainedOn(mpp))
        if found.sample is None or found.inspection.status == 2:
            raise DataError(_refusal(found.inspection, found.sample is not None))
        for finding in found.inspection.of_level("warning"):
            warnings.warn(f"{entry.id}: {finding.code}: {finding.text}", PixNetWarning, stacklevel=2)
        # What was decoded would take memory until the sample's turn comes.
        found.sample.slide.close()
        samples.append(found.sample)
    return samples


def _refusal(inspection: Inspection, was_read: bool) -> str:
    """Say what is wrong with a sample, and how to go on all the same, where that can be."""
    errors = [each for each in inspection.of_level("error") if not each.advice.startswith("See ")]
    said = " ".join(f"{each.code}: {each.text} {each.advice}".rstrip() for each in errors)
    way_out = " Use it as it is with --skip-checks." if was_read else ""
    return f"sample {inspection.id!r} cannot be used. {said}{way_out}"
