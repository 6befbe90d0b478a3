"""Peak memory of `pixnet predict` on a slide of 32,000 x 32,000 px against one of 8,000 x 8,000 px."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.models import untrained
from benchmarks.speed.programs import measured
from benchmarks.speed.slides import write_slide

_SIDES, _QUICK_SIDES = (8_000, 32_000), (4_000, 16_000)  # pixels of 0.25 um; the model works at 1 um
_GENES = 250


def run(quick: bool = False) -> Figures:
    """Predict both slides through the command line, each in a process of its own."""
    small, large = _QUICK_SIDES if quick else _SIDES
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        model = untrained(_GENES).save(Path(folder) / "model")
        for side in (small, large):
            slide = Path(folder) / f"{side}.tif"
            write_slide(slide, side)
            runs[side] = measured("predict", slide, "--model", model, "--out", f"{folder}/{side}.field")
    figures: Figures = {
        f"{large:,} px a side over {small:,} px, peak memory": Target(
            round(runs[large].peak_gb / runs[small].peak_gb, 3), at_most=1.10
        ),
        f"{large:,} px a side, peak memory in GB": Target(round(runs[large].peak_gb, 2), at_most=3.0),
        f"{small:,} px a side, peak memory in GB": round(runs[small].peak_gb, 2),
    }
    for side in (small, large):
        rate = (side / 4) ** 2 / 1e6 / runs[side].seconds
        figures[f"{side:,} px a side"] = f"{runs[side].seconds:.0f} s, {rate:.2f} megapixels of 1 um per second"
    return figures
