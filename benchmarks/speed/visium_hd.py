"""A whole Visium HD capture area of 2-um bins: read, pooled to 8 um, a batch drawn; seconds and the peak memory.

`python -m benchmarks.speed.visium_hd 1000000` measures a tenth of one.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

from benchmarks.speed.figures import Figures, Reached
from pixnet.grid import Lattice
from pixnet.readers.visium_hd import read_visium_hd
from pixnet.sample import Sample
from pixnet.sample.panel import choose_panel
from pixnet.training.batches import Batcher
from pixnet.training.targets import Targets
from pixnet.training.views import View

_GENES, _ENTRIES = 18_000, 12  # genes in the panel and in a bin
_MPP, _TURN = 2.0, math.radians(1.0)  # the image only has to be there
_LEAN = 1.3e-7  # perspective per pixel, as a real chip has
_ROWS = 256  # rows of bins written at a time


def run(bins: int = 10_000_000) -> Figures:
    """Make a capture area of about so many bins in a temporary folder, and read it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        entries = make_area(Path(folder) / "area", round(math.sqrt(bins)))
        made = time.perf_counter() - start
        figures: Figures = {"bins": round(math.sqrt(bins)) ** 2, "non-zeros, millions": entries / 1e6}
        for step in ("read", "pool"):
            # The peak of a process never falls again, so each step has one of its own.
            call = [sys.executable, "-m", "benchmarks.speed.visium_hd", step, f"{folder}/area"]
            output = subprocess.run(call, check=True, stdout=subprocess.PIPE, env=os.environ)  # noqa: S603
            for figure, value in json.loads(output.stdout).items():
                figures[figure] = Reached(value, at_most=6.0) if figure.endswith("peak memory, GB") else value
        return figures | {"made in, s": round(made, 1)}


def make_area(folder: Path, side: int) -> int:
    """Write side x side bins of 2 um with random counts as Space Ranger lays them out; give their non-zeros."""
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
    """Make `s_002um_00012_00345-1` of many bins without a Python string for each."""
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
        depth = 1 + _LEAN * x
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
    many = rng.poisson(_ENTRIES, side * side)
    indptr = np.concatenate([[0], np.cumsum(many)])
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
            # Steps of at least 1 along the genes: sorted and each once, as in a real file.
            place = np.arange(first, last) - np.repeat(
                indptr[top * side : bottom * side], many[top * side : bottom * side]
            )
            indices[first:last] = (place * (_GENES // 64) + rng.integers(0, _GENES // 64, last - first)) % _GENES
            data[first:last] = rng.geometric(0.8, last - first)
    return int(indptr[-1])


def _measured(step: str, path: str) -> dict[str, float]:
    """Do one step, and give its figures; the peak is that of the whole process."""
    start = time.perf_counter()
    sample = read_visium_hd(path, bin_um=2 if step == "read" else 8)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    bins = len(sample.regions) * (1 if step == "read" else 16) / 1e6
    name = "2 um" if step == "read" else "pooled to 8 um"
    start = time.perf_counter()
    drawn = _draw(sample)
    return {
        f"{name}: read, s per million bins": round(seconds / bins, 2),
        f"{name}: read, peak memory, GB": round(peak, 2),
        f"{name}: targets and a batch, s per million bins": round((time.perf_counter() - start) / bins, 2),
        f"{name}: regions in the batch": drawn,
        f"{name}: all, peak memory, GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def _draw(sample: Sample) -> int:
    """Draw a batch of 32 tiles as training does; give the number of its regions."""
    panel = choose_panel([sample], 250, min_counts=1)
    targets = Targets.of(sample, panel, 1, True, len(sample.genes))
    lattice = Lattice(sample.slide.width_um, sample.slide.height_um, 1.0, 64, 256)
    batcher = Batcher([targets], [[View(sample, lattice)]], 2.0, 2, 104.0)
    return len(batcher.draw(32, np.random.default_rng(0)).total)


def main(arguments: list[str]) -> None:
    """Run the benchmark, or one step of it on a folder that is there."""
    if arguments and arguments[0] in ("read", "pool"):
        import warnings

        warnings.simplefilter("ignore")
        print(json.dumps(_measured(*arguments[:2])))
        return
    for figure, value in run(*map(int, arguments)).items():
        print(f"{figure:60} {value}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
