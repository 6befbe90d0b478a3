"""Write virtual samples in the layout of HEST-1k: `st/{id}.h5ad`, `wsis/{id}.tif`, `metadata/{id}.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import spatial

from pixnet.errors import DataError
from pixnet.regions import Disks, Squares
from pixnet.sample import Sample
from pixnet.virtual.write.parts import Entry, manifest_entry, write_pyramid

_THUMBNAIL = 1000  # px


def write_hest(sample: Sample, folder: str | Path) -> Entry:
    """Write one sample into a folder in the layout of HEST-1k, which may have other samples.

    Its regions are disks of one size ("Visium", or "Spatial Transcriptomics" at 100 um) or squares ("Visium HD" at 2,
    8, 16 or 128 um, else "Xenium").

    Raises
    ------
    DataError
        If the regions are of another kind.
    """
    regions = sample.regions
    spot_um: float
    if isinstance(regions, Disks) and np.ptp(regions.diameters_um) <= 1e-6:
        spot_um = float(regions.diameters_um[0])
        technology = "Spatial Transcriptomics" if abs(spot_um - 100) < 1 else "Visium"
        pitch_um = _median_distance(regions.centers_um)
    elif isinstance(regions, Squares):
        spot_um = pitch_um = regions.side_um
        technology = "Visium HD" if round(spot_um, 6) in (2, 8, 16, 128) else "Xenium"
    else:
        raise DataError(
            f"sample {sample.id!r} cannot be written as HEST: its regions are not disks of one size or squares"
        )
    folder = Path(folder)
    for part in ("st", "wsis", "metadata"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    slide = sample.slide
    height, width = slide.shape
    write_pyramid(slide, folder / "wsis" / f"{sample.id}.tif")
    _table(sample, spot_um).write_h5ad(folder / "st" / f"{sample.id}.h5ad", compression="gzip")
    metadata: dict[str, Any] = {
        "pixel_size_um_embedded": 1.0,  # as in HEST, where the pixel size in the slide's file is often wrong
        "pixel_size_um_estimated": slide.mpp,
        "fullres_px_width": width,
        "fullres_px_height": height,
        "spots_under_tissue": len(regions),
        # HEST has no spot diameter for platforms without spots.
        "spot_diameter": spot_um if isinstance(regions, Disks) else float("nan"),
        "inter_spot_dist": pitch_um,
        "st_technology": technology,
        "patient": float("nan") if sample.donor is None else sample.donor,
        "nb_genes": len(sample.genes),
        "image_filename": f"{sample.id}.tif",
        "id": sample.id,
    }
    (folder / "metadata" / f"{sample.id}.json").write_text(json.dumps(metadata, indent=1), encoding="utf-8")
    return manifest_entry(sample, "hest", path=f"st/{sample.id}.h5ad")


def _table(sample: Sample, spot_um: float) -> anndata.AnnData:
    """Return the sample's table with HEST's columns and thumbnail."""
    table = sample.to_anndata()
    places = table.obsm["spatial"]
    table.obs = pd.DataFrame(
        {"in_tissue": True, "pxl_col_in_fullres": places[:, 0], "pxl_row_in_fullres": places[:, 1]},
        index=table.obs_names,
    )
    thumbnail, um_per_px = sample.slide.thumbnail(_THUMBNAIL)
    factors = {
        "tissue_downscaled_fullres_scalef": sample.slide.mpp / um_per_px,
        "spot_diameter_fullres": spot_um / sample.slide.mpp,
    }
    table.uns = {"spatial": {"ST": {"images": {"downscaled_fullres": thumbnail}, "scalefactors": factors}}}
    return table


def _median_distance(centres: NDArray[np.float64]) -> float:
    """Return the median distance to the nearest neighbour; NaN for a single spot."""
    if len(centres) < 2:
        return float("nan")
    distances = np.asarray(spatial.cKDTree(centres).query(centres, k=2)[0])
    return float(np.median(distances[:, 1]))
