"""Querying a stored field, against sopa and exactextract on the same maps as an array in memory."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.processes import answer, call

_SIDE_UM, _QUICK_SIDE_UM = 4000, 1000  # 2000 x 2000 pixels of 2 um
_GENES, _QUICK_GENES = 250, 20
_DISKS, _QUICK_DISKS = 10_000, 600
_BIN_UM, _DISK_UM = 8.0, 72.0  # 36 pixels wide
_ROUNDS = 3  # the fastest counts
_AT_ONCE = 32  # maps in memory
_CHANNELS = (2, 6)  # numbers of maps for exactextract, whose time grows linearly with them


def run(quick: bool = False) -> Figures:
    """Query all bins and many disks of one field, and do the same with sopa and exactextract."""
    from benchmarks.speed.models import untrained
    from benchmarks.speed.slides import write_slide
    from pixnet.slide import Slide

    side, genes, disks = (_QUICK_SIDE_UM, _QUICK_GENES, _QUICK_DISKS) if quick else (_SIDE_UM, _GENES, _DISKS)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_slide(folder / "slide.tif", 4 * side)
        untrained(genes).predict(Slide.open(folder / "slide.tif"), folder / "field", tissue_mask=False)
        call("query", "maps", folder / "field", folder / "maps.npy")
        for kind in ("bins", "disks"):
            means = folder / f"{kind}.npy"
            rounds = [call("query", "query", folder / "field", kind, disks, means) for _ in range(_ROUNDS)]
            ours = min(rounds, key=lambda answer: float(answer["seconds"]))
            figures[f"{kind}: query of {ours['regions']:,}"] = _cost(ours)
            for peer, theirs in _peers(folder, kind, disks, genes).items():
                figures[f"{kind}: {peer} over query, time"] = Target(
                    round(theirs["seconds"] / ours["seconds"], 1), at_least=20.0
                )
                figures[f"{kind}: {peer}"] = _cost(theirs)
                figures[f"{kind}: {peer}, median difference of a mean"] = f"{theirs['difference']:.1e} of the mean"
    return figures


def _peers(folder: Path, kind: str, disks: int, genes: int) -> dict[str, dict[str, float]]:
    """Return the answers of the other programs."""
    arguments = (folder / "maps.npy", kind, disks, folder / f"{kind}.npy")
    sopa = call("peers.aggregate", "sopa", *arguments, peer=True)
    few, more = (call("peers.aggregate", "exactextract", *arguments, channels, peer=True) for channels in _CHANNELS)
    # Without the part that does not grow with the channels, so rather less than the time for all genes.
    per_channel = (more["seconds"] - few["seconds"]) / (_CHANNELS[1] - _CHANNELS[0])
    return {"sopa": sopa, "exactextract": more | {"seconds": genes * per_channel}}


def _cost(answer: dict[str, float]) -> str:
    return f"{answer['seconds']:.2f} s, {answer['peak_gb']:.2f} GB of memory"


def regions(kind: str, disks: int, side_um: float) -> Any:
    """Return the bins that tile a square, or random disks in it."""
    from pixnet.regions import Disks, Squares

    if kind == "bins":
        return Squares.tiling(0.0, 0.0, side_um, side_um, _BIN_UM)
    reach = _DISK_UM / 2
    return Disks(np.random.default_rng(0).uniform(reach, side_um - reach, (disks, 2)), _DISK_UM)


def query(path: str, kind: str, disks: str, out: str) -> dict[str, float]:
    """Query from the closed store to the table, and write the first gene's means for comparison.

    Libraries are imported before the clock starts, as for the other programs.
    """
    import anndata  # noqa: F401

    from pixnet.field import ExpressionField

    start = time.perf_counter()
    field = ExpressionField.open(path)
    queried = regions(kind, int(disks), field.grid.bounds_um[2])
    table = field.query(queried)
    seconds = time.perf_counter() - start
    np.save(out, np.asarray(table.X)[:, 0] / queried.areas_um2)
    return {"seconds": seconds, "regions": len(queried)}


def maps(path: str, out: str) -> dict[str, float]:
    """Write the maps of all genes as float32 in counts per um^2, shape (genes, rows, columns)."""
    from pixnet.field import ExpressionField

    field = ExpressionField.open(path)
    names = field.gene_names
    shape = (len(names), *field.grid.shape)
    array = np.lib.format.open_memmap(out, "w+", np.float32, shape)
    for first in range(0, len(names), _AT_ONCE):
        array[first : first + _AT_ONCE] = field.genes(names[first : first + _AT_ONCE]).values
    array.flush()
    return {}


if __name__ == "__main__":
    answer({"query": query, "maps": maps})
