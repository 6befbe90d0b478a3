"""A dense field against one crop for each 8-um bin: the same encoder, the same context, and a wider one.

A crop shows 112 um. So does the network without surroundings, the default for several donors; that for one donor sees
1,200 um.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.speed.figures import Figures, Reached
from benchmarks.speed.models import untrained
from benchmarks.speed.slides import write_slide
from pixnet.network.config import PRESETS, NetworkConfig
from pixnet.regions import Squares
from pixnet.slide import Slide

_SIDE_UM = 2000
_BIN_UM, _CONTEXT = 8, 112  # um, which are pixels
_BATCH = 64
_SHARE, _QUICK_SHARE = 10, 200  # every so many bins' crops are computed; each costs the same
_GENES = 250
_ROUNDS = 3  # the fastest counts


def run(quick: bool = False) -> Figures:
    """Predict 2 x 2 mm and query all bins; and give every tenth bin's crop to the encoder alone, in batches."""
    default = PRESETS["small"].settled(["A"])
    networks = {"same context": default.model_copy(update={"surroundings_um": ()}), "1,200 um around": default}
    encoder = untrained(_GENES).network.for_prediction("cpu").encoder
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        write_slide(Path(folder) / "slide.tif", 4 * _SIDE_UM)
        dense = {name: _dense(Path(folder), name, network) for name, network in networks.items()}
        slide = Slide.open(Path(folder) / "slide.tif")
        bins = Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, _BIN_UM)
        margin = (_CONTEXT - _BIN_UM) // 2
        start = time.perf_counter()
        rgb = slide.read(0.0, 0.0, slide.width_um, slide.height_um, 1.0)[0]
        wide = np.pad(rgb, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        windows = sliding_window_view(wide, (_CONTEXT, _CONTEXT), axis=(0, 1))[::_BIN_UM, ::_BIN_UM]
        read = time.perf_counter() - start
        every = _QUICK_SHARE if quick else _SHARE
        chosen = np.arange(0, len(bins), every)
        cols = windows.shape[1]
        start = time.perf_counter()
        for first in range(0, len(chosen), _BATCH):
            crops = np.stack([windows[bin_ // cols, bin_ % cols] for bin_ in chosen[first : first + _BATCH]])
            encoder(torch.from_numpy(crops).contiguous(memory_format=torch.channels_last))
        crops_seconds = read + (time.perf_counter() - start) * len(bins) / len(chosen)
    figures: Figures = {"bins": len(bins), f"encoder over crops, from every {every}th, s": round(crops_seconds, 1)}
    for name, seconds in dense.items():
        figures[f"{name}: crops over the dense field, time"] = Reached(round(crops_seconds / seconds, 1), at_least=40.0)
        figures[f"{name}: predict 2 x 2 mm and query all bins, s"] = round(seconds, 2)
    return figures


def _dense(folder: Path, name: str, network: NetworkConfig) -> float:
    """Predict the slide and query all bins, some times; give the least time."""
    model, taken = untrained(_GENES, network), []
    for number in range(_ROUNDS):
        start = time.perf_counter()
        slide = Slide.open(folder / "slide.tif")
        field = model.predict(slide, folder / f"{name} {number}")
        for _ in field.query_parts(Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, _BIN_UM)):
            pass
        taken.append(time.perf_counter() - start)
    return min(taken)
