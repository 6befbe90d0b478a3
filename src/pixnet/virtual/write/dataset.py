"""Virtual samples as files: the layout of a legacy ST data set, so that every command can run on them."""

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

Entry = dict[str, str | float]


def write_legacy_st(sample: Sample, folder: str | Path, pitch_um: float = 200.0) -> Entry:
    """Write one sample as image (PNG), counts (TSV, gzipped) and spot positions (TSV).

    Parameters
    ----------
    sample
        A sample whose regions are disks of one size on an upright square lattice.
    folder
        Where to write; made if missing.
    pitch_um
        Pitch of the lattice.

    Returns
    -------
    dict
        The sample's entry in a manifest in that folder.

    Raises
    ------
    DataError
        If the regions are not such disks.
    """
    regions = sample.regions
    sizes = regions.bounds_um[:, 2] - regions.bounds_um[:, 0]
    if not isinstance(regions, Disks) or np.ptp(sizes) > 1e-6:
        raise DataError(f"sample '{sample.id}' cannot be written as legacy ST: its regions are not disks of one size")
    places = _lattice_places(sample, pitch_um)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    slide = sample.slide
    pixels, _ = slide.read_box(Box(0, 0, *slide.shape), slide.mpp)
    Image.fromarray(pixels).save(folder / f"{sample.id}.png")

    names = [f"{x}x{y}" for x, y in places]
    counts = pd.DataFrame(sample.counts.matrix.toarray().astype(np.int64), index=names, columns=sample.genes)
    packed = io.BytesIO()
    # No name and no time inside, so that the same counts give the same bytes.
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
    entry: Entry = {
        "id": sample.id,
        "platform": "legacy-st",
        "image": f"{sample.id}.png",
        "counts": f"{sample.id}.tsv.gz",
        "spots": f"{sample.id}_spots.tsv",
        "spot_diameter_um": float(sizes[0]),
        "spot_pitch_um": float(pitch_um),
        "mpp": float(slide.mpp),
    }
    if sample.donor is not None:
        entry["donor"] = sample.donor
    return entry


def write_dataset(folder: str | Path, samples: Sequence[Sample], pitch_um: float = 200.0) -> Path:
    """Write several samples and the manifest that lists them.

    Parameters
    ----------
    folder
        Where to write; made if missing.
    samples
        Samples as `write_legacy_st` takes them.
    pitch_um
        Pitch of their lattices.

    Returns
    -------
    Path
        The manifest, `samples.toml`.

    Raises
    ------
    DataError
        As `write_legacy_st`; and if two samples have the same id, or there is none.
    """
    ids = [sample.id for sample in samples]
    if not ids or len(set(ids)) < len(ids):
        raise DataError(f"a data set needs samples with ids of their own, not {ids}")
    parts = ["# Virtual tissue: drawn pictures with known expression, not real patients.\n"]
    for sample in samples:
        entry = write_legacy_st(sample, folder, pitch_um)
        # A JSON string or number is also one in TOML.
        lines = [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
        parts.append("\n".join(["[[sample]]", *lines, ""]))
    manifest = Path(folder) / "samples.toml"
    manifest.write_text("\n".join(parts), encoding="utf-8")
    return manifest


def _lattice_places(sample: Sample, pitch_um: float) -> NDArray[np.int64]:
    """Give each disk's place on the array, (n, 2), counted from 1."""
    centres = sample.regions.centers_um
    exact = (centres - centres.min(axis=0)) / pitch_um
    places: NDArray[np.int64] = np.rint(exact).astype(np.int64) + 1
    off = np.abs(exact + 1 - places).max() * pitch_um
    if off > 1e-3 or len(np.unique(places, axis=0)) < len(places):
        raise DataError(
            f"sample '{sample.id}' cannot be written as legacy ST: its disks do not lie on a square lattice of "
            f"{pitch_um} um; give the pitch they were laid out with"
        )
    return places
