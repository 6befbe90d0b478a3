"""A query of 20,000 genes against one of 250, streamed and discarded."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.processes import answer, call

_MANY, _FEW = 20_000, 250
_SIDE_UM, _QUICK_SIDE_UM = 4000, 1000  # 2000 x 2000 pixels of 2 um
_DISKS, _QUICK_DISKS = 10_000, 1000
_ROUNDS = 3  # the fastest of each counts


def run(quick: bool = False) -> Figures:
    """Query a field of 20,000 genes for all and for 250 of them, each time in a process of its own."""
    from benchmarks.speed.models import untrained
    from benchmarks.speed.slides import write_slide
    from pixnet.slide import Slide

    side, disks = (_QUICK_SIDE_UM, _QUICK_DISKS) if quick else (_SIDE_UM, _DISKS)
    with tempfile.TemporaryDirectory() as folder:
        write_slide(Path(folder) / "slide.tif", 4 * side)
        untrained(_MANY).predict(Slide.open(Path(folder) / "slide.tif"), Path(folder) / "field")
        answers = {
            genes: [call("many_genes", "query", f"{folder}/field", genes, disks) for _ in range(_ROUNDS)]
            for genes in (_FEW, _MANY)
        }
    seconds = {genes: min(answer["seconds"] for answer in rounds) for genes, rounds in answers.items()}
    memory = {genes: min(answer["peak_gb"] for answer in rounds) for genes, rounds in answers.items()}
    return {
        f"{_MANY:,} genes over {_FEW}, time": Target(round(seconds[_MANY] / seconds[_FEW], 2), at_most=3.0),
        f"{_MANY:,} genes over {_FEW}, memory": Target(round(memory[_MANY] / memory[_FEW], 2), at_most=1.5),
        **{f"{genes:,} genes": f"{seconds[genes]:.2f} s, {memory[genes]:.2f} GB" for genes in (_FEW, _MANY)},
    }


def query(path: str, genes: str, disks: str) -> dict[str, float]:
    """Query disks of 100 um, and discard every part."""
    import numpy as np

    from pixnet.field import ExpressionField
    from pixnet.regions import Disks

    field = ExpressionField.open(path)
    _, _, right, bottom = field.grid.bounds_um
    centers = np.random.default_rng(0).uniform((50.0, 50.0), (right - 50.0, bottom - 50.0), (int(disks), 2))
    start = time.perf_counter()
    for _ in field.query_parts(Disks(centers, 100.0), field.gene_names[: int(genes)]):
        pass
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    answer({"query": query})
