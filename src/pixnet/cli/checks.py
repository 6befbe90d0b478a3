"""Checks that `train` and `evaluate` do before they start: those of `pixnet inspect`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pixnet.errors import DataError, PixNetWarning

if TYPE_CHECKING:
    from pixnet.inspection.findings import Inspection
    from pixnet.readers.entry import Entry
    from pixnet.sample import Sample

SkipChecksOption = Annotated[bool, typer.Option("--skip-checks", help="Use the samples without inspecting them first.")]


def read_checked(entries: Sequence[Entry], mpp: float, skip: bool = False) -> list[Sample]:
    """Read samples, and unless `skip` is true, inspect each as it is read, for a network that works at `mpp` um/px."""
    if skip:
        return [entry.read() for entry in entries]
    from pixnet.inspection import inspect_entry
    from pixnet.inspection.trained_on import TrainedOn

    samples = []
    for entry in entries:
        inspected = inspect_entry(entry, "the manifest says so", trained=TrainedOn(mpp))
        if inspected.sample is None or inspected.inspection.status == 2:
            raise DataError(_refusal(inspected.inspection, inspected.sample is not None))
        for finding in inspected.inspection.of_level("warning"):
            warnings.warn(f"{entry.id}: {finding.code}: {finding.text}", PixNetWarning, stacklevel=2)
        # Decoded images would take up memory until it is the sample's turn.
        inspected.sample.slide.close()
        samples.append(inspected.sample)
    return samples


def _refusal(inspection: Inspection, was_read: bool) -> str:
    """Return what is wrong with a sample and how to fix it; a sample that was read can be used all the same."""
    # An error whose advice is "See ..." only repeats another one.
    errors = [error for error in inspection.of_level("error") if not error.advice.startswith("See ")]
    details = " ".join(f"{error.code}: {error.text} {error.advice}".rstrip() for error in errors)
    skip = " To use it all the same, give --skip-checks." if was_read else ""
    return f"sample {inspection.id!r} cannot be used. {details}{skip}"
