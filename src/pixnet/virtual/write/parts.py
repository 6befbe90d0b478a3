"""Files that several platforms have in common: images, thumbnails and the count matrix of 10x Genomics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy import sparse

from pixnet.grid import Box
from pixnet.sample import Sample
from pixnet.slide import Slide

Entry = dict[str, str | float]
"""A sample's entry in a manifest."""

_TILE = 256


def manifest_entry(sample: Sample, platform: str, **keys: str | float) -> Entry:
    """Return a sample's entry in a manifest, with the other keys that the platform needs."""
    entry: Entry = {"id": sample.id, "platform": platform, **keys}
    if sample.donor is not None:
        entry["donor"] = sample.donor
    return entry


def write_pyramid(slide: Slide, path: Path) -> None:
    """Write a slide, all of it in memory, as a tiled TIFF, lossless; its resolution tags state the pixel size.

    Each level has half as many pixels a side as the one before.
    """
    import tifffile

    shapes = [slide.shape]
    while max(shapes[-1]) > 2 * _TILE:
        shapes.append((math.ceil(shapes[-1][0] / 2), math.ceil(shapes[-1][1] / 2)))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level, shape in enumerate(shapes):
            mpp = slide.mpp * 2**level
            pixels, _ = slide.read_box(Box(0, 0, *shape), mpp)
            file.write(
                pixels,
                tile=(_TILE, _TILE),
                photometric="rgb",
                compression="zlib",
                predictor=True,
                resolution=(1e4 / mpp, 1e4 / mpp),
                resolutionunit="CENTIMETER",
                subifds=0 if level else len(shapes) - 1,
                subfiletype=1 if level else 0,
                metadata=None,
                software=False,
            )


def write_thumbnails(slide: Slide, spatial: Path, sides: Mapping[str, int], most: float = 1.0) -> dict[str, float]:
    """Write Space Ranger's thumbnails of a slide as PNG, and return their scale factors, at most `most`, by key.

    `sides` are the pixels of their longer sides, by kind.
    """
    factors = {}
    for kind, side in sides.items():
        scale = factors[f"tissue_{kind}_scalef"] = min(most, side / max(slide.shape))
        pixels, _ = slide.read(0, 0, slide.width_um, slide.height_um, slide.mpp / scale)
        Image.fromarray(pixels).save(spatial / f"tissue_{kind}_image.png")
    return factors


def write_tenx_matrix(
    path: Path,
    counts: sparse.csr_matrix | sparse.csr_array,
    barcodes: Sequence[str],
    features: Mapping[str, Sequence[str]],
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write counts (n, g) as HDF5 in the layout of Cell Ranger 3 and later; their indices are sorted in place.

    `features` has the columns of the table of the genes: `id`, `name` and `feature_type`.
    """
    counts.sort_indices()
    texts = {
        "barcodes": barcodes,
        "features/_all_tag_keys": ["genome"],
        "features/genome": ["virtual"] * counts.shape[1],
        **{f"features/{column}": values for column, values in features.items()},
    }
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes or {})
        group = file.create_group("matrix")
        for name, values in texts.items():
            group.create_dataset(name, data=np.array(values, dtype="S"), compression="gzip")
        for name, array in (("data", counts.data.astype(np.int32)), ("indices", counts.indices.astype(np.int64))):
            group.create_dataset(name, data=array, compression="gzip", chunks=True, maxshape=(None,))
        group["indptr"] = counts.indptr.astype(np.int64)
        group["shape"] = np.array(counts.shape[::-1], np.int32)
