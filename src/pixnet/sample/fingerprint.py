"""Hashes of a sample's parts, by which results tell whether their inputs changed."""

from __future__ import annotations

import hashlib

import numpy as np

from pixnet.sample.sample import Sample


def counts_hash(sample: Sample) -> str:
    """Hash a sample's counts and the names of its genes."""
    matrix, content = sample.counts.matrix, hashlib.sha256()
    for part in (matrix.indptr.astype("<i8"), matrix.indices.astype("<i8"), matrix.data.astype("<f4")):
        content.update(part.tobytes())
    content.update("\n".join(map(str, sample.genes)).encode())
    return content.hexdigest()


def positions_hash(sample: Sample) -> str:
    """Hash where a sample's regions are, how large they are, and how large the slide's pixels are.

    In units of 1e-4 um, or um^2: where a pixel size is fitted to the spots, processors differ in the last of 16 digits.
    """
    regions = sample.regions
    content = hashlib.sha256(f"{type(regions).__name__} {sample.slide.mpp:.9g}".encode())
    for part in (regions.centers_um, regions.bounds_um, regions.areas_um2):
        content.update(np.rint(np.asarray(part, np.float64) * 1e4).astype("<i8").tobytes())
    return content.hexdigest()


def sample_hashes(sample: Sample) -> dict[str, str]:
    """Return the three hashes of a sample: of its slide, its counts and its positions."""
    return {
        "slide_sha256": sample.slide.fingerprint(),
        "counts_sha256": counts_hash(sample),
        "positions_sha256": positions_hash(sample),
    }
