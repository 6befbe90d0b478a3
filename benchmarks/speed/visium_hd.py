"""A complete Visium HD capture area of 2-um bins is read, pooled to 8 um, and a batch of it is drawn."""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.processes import answer, call, peak_gb
from pixnet.features.views import View
from pixnet.grid import Lattice
from pixnet.readers.visium_hd import read_visium_hd
from pixnet.sample import Sample
from pixnet.sample.panel import choose_panel
from pixnet.training.batches import Batcher
from pixnet.training.targets import Targets

_GENES = 18_000
_GENES_OF_BIN = 12
_MPP = 2.0  # the content of the image does not matter
_TURN = math.radians(1.0)
_PERSPECTIVE = 1.3e-7  # per pixel, as a real chip has
_ROWS = 256  # rows of bins written at once


def run(bins: int = 10_000_000) -> Figures:
    """Write a capture area with about this number of bins, and read it in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        entries = make_area(Path(folder) / "area", round(math.sqrt(bins)))
        write_seconds = time.perf_counter() - start
        figures: Figures = {"bins": round(math.sqrt(bins)) ** 2, "non-zeros, millions": entries / 1e6}
        for bin_um, name in ((2, "2 um"), (8, "pooled to 8 um")):
            measured = call("visium_hd", "read", f"{folder}/area", bin_um)
            million = measured["bins"] / 1e6
            figures |= {
                f"{name}: read, s per million bins": round(measured["read_seconds"] / million, 2),
                f"{name}: read, peak memory, GB": Target(round(measured["read_peak_gb"], 2), at_most=6.0),
                f"{name}: targets and a batch, s per million bins": round(measured["draw_seconds"] / million, 2),
                f"{name}: regions in the batch": measured["drawn"],
                f"{name}: all, peak memory, GB": Target(round(measured["peak_gb"], 2), at_most=6.0),
            }
        return figures | {"writing the area, s": round(write_seconds, 1)}


def make_area(folder: Path, side: int) -> int:
    """Write side x side bins of 2 um with random counts as Space Ranger does; return the number of non-zero counts."""
    square = folder / "outs" / "binned_outputs" / "square_002um"
    (square / "spatial").mkdir(parents=True)
    pixel_side = 2.0 / _MPP
    factors = {"microns_per_pixel": _MPP, "bin_size_um": 2.0, "spot_diameter_fullres": pixel_side}
    (square / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    width = math.ceil(side * pixel_side * (math.cos(_TURN) + math.sin(_TURN))) + 2
    tile = np.full((512, 512), 230, np.uint8)
    tiles = (tile for _ in range(math.ceil(width / 512) ** 2))
    shape = (width, width)
    tifffile.imwrite(folder / "area.tif", tiles, shape=shape, dtype=np.uint8, tile=tile.shape, compression="zlib")
    _write_positions(square / "spatial" / "tissue_positions.parquet", side, pixel_side)
    return _write_matrix(square / "filtered_feature_bc_matrix.h5", side)


def _barcodes(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Return barcodes such as `s_002um_00012_00345-1`, made without a Python string for each."""
    letters = np.tile(np.frombuffer(b"s_002um_00000_00000-1", np.uint8), (len(row), 1))
    for number, start in ((row, 8), (col, 14)):
        letters[:, start : start + 5] += (number[:, None] // 10 ** np.arange(4, -1, -1) % 10).astype(np.uint8)
    return letters.view("S21")[:, 0]


def _write_positions(path: Path, side: int, pixel_side: float) -> None:
    writer: Any = None
    for top in range(0, side, _ROWS):
        row, col = (i.ravel() for i in np.mgrid[top : min(top + _ROWS, side), 0:side])
        across, down = (col + 0.5) * pixel_side, (row + 0.5) * pixel_side
        x = side * pixel_side * math.sin(_TURN) + math.cos(_TURN) * across - math.sin(_TURN) * down
        y = math.sin(_TURN) * across + math.cos(_TURN) * down
        depth = 1 + _PERSPECTIVE * x
        table = pa.table(
            {
                "barcode": pa.array(_barcodes(row, col)).cast(pa.string()),
                "in_tissue": np.ones(len(row), np.int32),
                "array_row": row.astype(np.int32),
                "array_col": col.astype(np.int32),
                "pxl_row_in_fullres": y / depth,
                "pxl_col_in_fullres": x / depth,
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def _write_matrix(path: Path, side: int) -> int:
    rng = np.random.default_rng(0)
    names = np.array([f"VG{gene:05d}" for gene in range(_GENES)], dtype="S")
    names[-1] = names[0]  # one pair of genes shares a name, as some do in any panel
    ids = np.array([f"ENSV{gene:011d}" for gene in range(_GENES)], dtype="S")
    genes_of_bin = rng.poisson(_GENES_OF_BIN, side * side)
    indptr = np.concatenate([[0], np.cumsum(genes_of_bin)])
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["features/id"], group["features/name"] = ids, names
        group["features/feature_type"] = np.full(_GENES, b"Gene Expression")
        group["indptr"], group["shape"] = indptr, np.array([_GENES, side * side], np.int32)
        options: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "chunks": (1 << 16,)}
        data = group.create_dataset("data", (indptr[-1],), np.int32, **options)
        indices = group.create_dataset("indices", (indptr[-1],), np.int64, **options)
        barcodes = group.create_dataset("barcodes", (side * side,), "S21", **options)
        for top in range(0, side, _ROWS):
            bottom = min(top + _ROWS, side)
            row, col = (i.ravel() for i in np.mgrid[top:bottom, 0:side])
            barcodes[top * side : bottom * side] = _barcodes(row, col)
            first, last = indptr[top * side], indptr[bottom * side]
            # Steps of at least 1 along the genes, so that each occurs once in a bin and in order, as in a real file.
            bins = slice(top * side, bottom * side)
            place = np.arange(first, last) - np.repeat(indptr[bins], genes_of_bin[bins])
            indices[first:last] = (place * (_GENES // 64) + rng.integers(0, _GENES // 64, last - first)) % _GENES
            data[first:last] = rng.geometric(0.8, last - first)
    return int(indptr[-1])


def read(path: str, bin_um: str) -> dict[str, float]:
    """Read bins of one size, and draw a batch of them."""
    start = time.perf_counter()
    sample = read_visium_hd(path, bin_um=int(bin_um))
    read_seconds = time.perf_counter() - start
    read_peak_gb = peak_gb()
    start = time.perf_counter()
    drawn = _draw(sample)
    return {
        "bins": len(sample.regions) * (int(bin_um) // 2) ** 2,
        "read_seconds": read_seconds,
        "read_peak_gb": read_peak_gb,
        "draw_seconds": time.perf_counter() - start,
        "drawn": drawn,
    }


def _draw(sample: Sample) -> int:
    """Draw a batch of 32 tiles as training does; return its number of regions."""
    panel = choose_panel([sample], 250, min_counts=1)
    targets = Targets.from_sample(sample, panel, 1, True, len(sample.genes))
    lattice = Lattice(sample.slide.width_um, sample.slide.height_um, 1.0, 64, 256)
    batcher = Batcher([targets], [[View(sample.slide, lattice)]], 2.0, 2, 104.0)
    return len(batcher.draw(32, np.random.default_rng(0)).total)


if __name__ == "__main__":
    answer({"read": read}, share_memory=False)
