"""Memory that each further sample with a JPEG image adds to a training: 2, 4 and 8 samples."""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.processes import answer, call

_NUMBERS = (2, 4, 8)
_SIDE, _QUICK_SIDE = 9000, 2000  # pixels of 0.7 um, about as large as a section of Her2ST
_STEPS = 12  # enough to draw tiles from every sample


def run(quick: bool = False) -> Figures:
    """Train on 2, 4 and 8 samples, each in a process of its own; the slope is that from the fewest to the most."""
    side = _QUICK_SIDE if quick else _SIDE
    with tempfile.TemporaryDirectory() as folder:
        found = {number: call("samples", "train", folder, number, side) for number in _NUMBERS}
    fewest, most = _NUMBERS[0], _NUMBERS[-1]
    slope = 1024 * (found[most]["peak"] - found[fewest]["peak"]) / (most - fewest)
    figures: Figures = {"peak memory of a further sample, MiB": Target(round(slope, 1), at_most=30.0)}
    return figures | {f"{number} samples, peak memory in GiB": round(found[number]["peak"], 2) for number in _NUMBERS}


def train(folder: str, number: str, side: str) -> dict[str, float]:
    """Train on copies of a sample, whose images differ in one pixel, and return the peak of memory in GiB."""
    import torch
    from PIL import Image

    from pixnet import PixNet
    from pixnet.config import Config
    from pixnet.sample import Sample
    from pixnet.slide import Slide
    from pixnet.virtual import VirtualTissue, spots

    piece_um = 1050.0
    tissue = VirtualTissue.generate("breast", 1, 1, piece_um, piece_um, 0.7)
    piece = tissue.slide.thumbnail(1 << 20)[0]
    pixels = np.tile(piece, (-(-int(side) // len(piece)),) * 2 + (1,))[: int(side), : int(side)]
    measured = tissue.measure(spots(piece_um, piece_um, 100.0, 200.0), 1)
    samples = []
    for index in range(int(number)):
        path = Path(folder) / f"{side}-{index}.jpg"
        if not path.exists():
            pixels[0, 0] = index
            Image.fromarray(pixels).save(path)
        samples.append(Sample(f"s{index}", Slide.open(path, 0.7), measured.regions, measured.counts))
    torch.set_num_threads(1)
    settings = {"steps": _STEPS, "views": 1, "validation": "none", "min_counts": 20}
    config = Config.from_dict({"training": settings, "genes": {"number": 50}})
    PixNet(config).fit(samples, work=f"{folder}/work-{number}", cache=f"{folder}/cache", device="cpu")
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


if __name__ == "__main__":
    answer({"train": train})
