"""Predicting a field, against MONAI's SlidingWindowInferer with the same network, slide and pitch of the output."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.processes import answer, call

_SIDE, _QUICK_SIDE = 4096, 1024  # pixels of 1 um
_GENES, _QUICK_GENES = (250, 2000), (50, 200)
_FEWER = (500, 600, 700, 800, 900, 1000, 1100, 1250, 1500, 1750)  # tried with MONAI if it cannot hold all genes
_LIMIT_GB = 20.0
_SPARE_GB = 1.5  # left for other programs
_AT_ONCE = 32  # maps in memory


def run(quick: bool = False) -> Figures:
    """Predict few and many genes, and as many as MONAI can hold."""
    from benchmarks.speed.slides import write_slide

    side, (few, many) = (_QUICK_SIDE, _QUICK_GENES) if quick else (_SIDE, _GENES)
    limit = min(_LIMIT_GB, _free_gb() - _SPARE_GB)
    figures: Figures = {"memory limit of MONAI, GB": round(limit, 1)}
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "slide.tif"
        write_slide(slide, 4 * side)
        for genes in (few, many):
            try:
                peer = _peer(slide, genes, limit)
            except MemoryError:
                figures[f"{genes} genes: MONAI"] = f"does not finish in {limit:.1f} GB"
                figures[f"{genes} genes: predict"] = _cost(_ours(slide, genes, with_maps=False))
                genes, peer = _largest(slide, limit)
            figures |= _compared(genes, _ours(slide, genes), peer, last=genes != few)
    return figures


def _compared(genes: int, ours: dict[str, float], peer: dict[str, float], last: bool) -> Figures:
    """Return the figures of both for one number of genes; `last` has the targets."""
    speed = round(peer["seconds"] / ours["seconds"], 2)
    memory = round(ours["peak_gb"] / peer["peak_gb"], 3)
    with_maps = ours["seconds"] + ours["maps_seconds"]
    return {
        f"{genes} genes: MONAI over predict, time": Target(speed, at_least=5.0) if last else speed,
        f"{genes} genes: MONAI over predict with the maps of all genes, time": round(peer["seconds"] / with_maps, 2),
        f"{genes} genes: predict over MONAI, memory": Target(memory, at_most=0.2) if last else memory,
        f"{genes} genes: predict": _cost(ours),
        f"{genes} genes: MONAI": _cost(peer),
    }


def _cost(answer: dict[str, float]) -> str:
    text = f"{answer['seconds']:.1f} s, {answer['peak_gb']:.2f} GB of memory, {answer['file_gb']:.2f} GB on disk"
    if "maps_seconds" in answer:
        text += f"; the maps of all genes take {answer['maps_seconds']:.1f} s more"
    if "predicted" in answer:
        text += f"; {answer['predicted']:.1f} s until the result was in memory"
    return text


def _ours(slide: Path, genes: int, with_maps: bool = True) -> dict[str, float]:
    """Predict, and write the maps of all genes as MONAI does, unless they are too large: 34 GB for 2,000 genes."""
    with tempfile.TemporaryDirectory() as folder:
        answer: dict[str, float] = call("sliding_window", "predict", slide, genes, f"{folder}/field")
        if with_maps:
            maps = call("sliding_window", "maps", f"{folder}/field", f"{folder}/maps.npy")
            answer |= {"maps_seconds": maps["seconds"], "peak_gb": max(answer["peak_gb"], maps["peak_gb"])}
        return answer


def _peer(slide: Path, genes: int, limit: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        answer: dict[str, float] = call(
            "peers.sliding_window", "predict", slide, genes, f"{folder}/maps.npy", peer=True, limit_gb=limit
        )
        return answer


def _largest(slide: Path, limit: float) -> tuple[int, dict[str, float]]:
    """Find the largest number of genes that MONAI can hold, by bisection; return it with its answer."""
    held: dict[int, dict[str, float]] = {}
    low, high = 0, len(_FEWER)
    while low < high:
        middle = (low + high) // 2
        try:
            held[_FEWER[middle]] = _peer(slide, _FEWER[middle], limit)
            low = middle + 1
        except MemoryError:
            high = middle
    if not held:
        raise SystemExit(f"MONAI cannot hold {_FEWER[0]} genes in {limit:.1f} GB")
    return max(held.items())


def predict(path: str, genes: str, out: str) -> dict[str, float]:
    """Predict the field of a slide."""
    from benchmarks.speed.models import untrained
    from pixnet.slide import Slide

    model = untrained(int(genes))
    start = time.perf_counter()
    model.predict(Slide.open(path), out)
    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
    return {"seconds": seconds, "file_gb": size / 1e9}


def maps(path: str, out: str) -> dict[str, float]:
    """Write the maps of all genes of a field as one .npy file of float32, as MONAI does."""
    from pixnet.field import ExpressionField

    start = time.perf_counter()
    field = ExpressionField.open(path)
    names = field.gene_names
    header: Any = {"descr": "<f4", "fortran_order": False, "shape": (len(names), *field.grid.shape)}
    with Path(out).open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for first in range(0, len(names), _AT_ONCE):
            np.ascontiguousarray(field.genes(names[first : first + _AT_ONCE]).values).tofile(file)
    return {"seconds": time.perf_counter() - start}


def _free_gb() -> float:
    available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(available[1]) * 1024 / 1e9 if available else _LIMIT_GB + _SPARE_GB


if __name__ == "__main__":
    answer({"predict": predict, "maps": maps})
