"""Write virtual samples as a legacy ST data set, which every command can use."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pixnet.errors import DataError
from pixnet.grid import Box
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.virtual.write.parts import Entry, manifest_entry


def write_legacy_st(sample: Sample, folder: str | Path, pitch_um: float = 200.0) -> Entry:
    """Write one sample as image (PNG), counts (TSV, gzipped) and spot positions (TSV).

    Raises
    ------
    DataError
        If the regions are not disks of one size on an upright square lattice of `pitch_um`.
    """
    regions = sample.regions
    sizes = regions.bounds_um[:, 2] - regions.bounds_um[:, 0]
    if not isinstance(regions, Disks) or np.ptp(sizes) > 1e-6:
        raise DataError(f"sample {sample.id!r} cannot be written as legacy ST: its regions are not disks of one size")
    places = _array_places(sample, pitch_um)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    slide = sample.slide
    pixels, _ = slide.read_box(Box(0, 0, *slide.shape), slide.mpp)
    Image.fromarray(pixels).save(folder / f"{sample.id}.png")

    names = [f"{x}x{y}" for x, y in places]
    counts = pd.DataFrame(sample.counts.matrix.toarray().astype(np.int64), index=names, columns=sample.genes)
    packed = io.BytesIO()
    # Without the file's name and time, so that the same counts give the same bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(counts.to_csv(sep="\t", lineterminator="\n").encode())
    (folder / f"{sample.id}.tsv.gz").write_bytes(packed.getvalue())

    centres = regions.centers_um / slide.mpp
    table = pd.DataFrame(
        {
            "x": places[:, 0],
            "y": places[:, 1],
            "new_x": places[:, 0].astype(float),
            "new_y": places[:, 1].astype(float),
            "pixel_x": centres[:, 0].round(6),
            "pixel_y": centres[:, 1].round(6),
            "selected": 1,
        }
    )
    table.to_csv(folder / f"{sample.id}_spots.tsv", sep="\t", index=False, lineterminator="\n")
    return manifest_entry(
        sample,
        "legacy-st",
        image=f"{sample.id}.png",
        counts=f"{sample.id}.tsv.gz",
        spots=f"{sample.id}_spots.tsv",
        spot_diameter_um=float(sizes[0]),
        spot_pitch_um=float(pitch_um),
        mpp=float(slide.mpp),
    )


def write_dataset(folder: str | Path, samples: Sequence[Sample], pitch_um: float = 200.0) -> Path:
    """Write several samples, as `write_legacy_st` does, and the manifest that lists them, which is returned.

    Raises
    ------
    DataError
        If there are no samples, if two of them have the same id, or if `write_legacy_st` cannot write one.
    """
    ids = [sample.id for sample in samples]
    if not ids or len(set(ids)) < len(ids):
        raise DataError(f"a data set needs at least one sample, and a different id for each; the ids are {ids}")
    parts = ["# Virtual tissue: drawn pictures with known expression, not real patients.\n"]
    for sample in samples:
        entry = write_legacy_st(sample, folder, pitch_um)
        # A JSON string or number is also one in TOML.
        lines = [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
        parts.append("\n".join(["[[sample]]", *lines, ""]))
    manifest = Path(folder) / "samples.toml"
    manifest.write_text("\n".join(parts), encoding="utf-8")
    return manifest


def _array_places(sample: Sample, pitch_um: float) -> NDArray[np.int64]:
    """Return each disk's column and row in the array, (n, 2), counted from 1."""
    centres = sample.regions.centers_um
    exact = (centres - centres.min(axis=0)) / pitch_um
    places: NDArray[np.int64] = np.rint(exact).astype(np.int64) + 1
    off = np.abs(exact + 1 - places).max() * pitch_um
    if off > 1e-3 or len(np.unique(places, axis=0)) < len(places):
        raise DataError(
            f"sample {sample.id!r} cannot be written as legacy ST: its disks are not on a square lattice of "
            f"{pitch_um} um; give their own pitch as `pitch_um`"
        )
    return places
