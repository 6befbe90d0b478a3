"""Coverage of a grid: analytic areas against shapely's intersection of each region with each pixel."""

from __future__ import annotations

import time

import numpy as np
import shapely

from pixnet.grid import Grid
from pixnet.regions import Disks, Squares


def run() -> dict[str, float | str]:
    """Time 10,000 disks and 250,000 squares, and compare the time of a disk with shapely's."""
    rng = np.random.default_rng(0)
    grid = Grid(0.0, 0.0, 2.0, 2500, 2500)
    centres = rng.uniform(60.0, 4940.0, (10_000, 2))
    start = time.perf_counter()
    Disks(centres, 100.0).coverage(grid)
    disks = time.perf_counter() - start
    start = time.perf_counter()
    Squares.tiling(0.0, 0.0, 4000.0, 4000.0, side_um=8.0).coverage(grid)
    squares = time.perf_counter() - start

    few = 20
    start = time.perf_counter()
    for x, y in centres[:few]:
        col, row = int((x - 50) // 2), int((y - 50) // 2)
        pixels = [
            shapely.box(2 * c, 2 * r, 2 * c + 2, 2 * r + 2) for r in range(row, row + 52) for c in range(col, col + 52)
        ]
        shapely.area(shapely.intersection(pixels, shapely.Point(x, y).buffer(50.0, quad_segs=64)))
    shapely_disk = (time.perf_counter() - start) / few
    return {
        "10,000 disks of 100 um on 2-um pixels, s": round(disks, 2),
        "250,000 squares of 8 um on 2-um pixels, s": round(squares, 2),
        "shapely over pixnet, time of a disk": round(shapely_disk / (disks / 10_000), 1),
    }
