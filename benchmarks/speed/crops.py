"""A dense field against one crop for each 8-um bin: the same encoder, with the same context and with a wider one.

A crop shows 112 um, as much as the network sees without surroundings, which is the default for several donors. With
surroundings, the default for one donor, the network sees 1,200 um.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.models import untrained
from benchmarks.speed.slides import write_slide
from pixnet.network.config import PRESETS, NetworkConfig
from pixnet.regions import Squares
from pixnet.slide import Slide

_SIDE_UM = 2000
_BIN_UM = 8
_CONTEXT_UM = 112
_BATCH = 64
_STEP, _QUICK_STEP = 10, 200  # the crop of one bin in so many is computed; each takes the same time
_GENES = 250
_ROUNDS = 3  # the fastest counts


def run(quick: bool = False) -> Figures:
    """Predict 2 x 2 mm and query all bins; run the encoder alone on the crop of every tenth bin, in batches."""
    default = PRESETS["small"].model_copy(update={"surroundings_um": (300.0, 600.0, 1200.0)})
    networks = {"same context": default.model_copy(update={"surroundings_um": ()}), "1,200 um around": default}
    encoder = untrained(_GENES).network.for_prediction("cpu").encoder
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        write_slide(Path(folder) / "slide.tif", 4 * _SIDE_UM)
        dense = {name: _dense(Path(folder), name, network) for name, network in networks.items()}
        slide = Slide.open(Path(folder) / "slide.tif")
        bins = Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, _BIN_UM)
        margin = (_CONTEXT_UM - _BIN_UM) // 2  # pixels of 1 um
        start = time.perf_counter()
        rgb = slide.read(0.0, 0.0, slide.width_um, slide.height_um, 1.0)[0]
        wide = np.pad(rgb, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        windows = sliding_window_view(wide, (_CONTEXT_UM, _CONTEXT_UM), axis=(0, 1))[::_BIN_UM, ::_BIN_UM]
        read_seconds = time.perf_counter() - start
        step = _QUICK_STEP if quick else _STEP
        chosen = np.arange(0, len(bins), step)
        cols = windows.shape[1]
        start = time.perf_counter()
        for first in range(0, len(chosen), _BATCH):
            crops = np.stack([windows[bin_ // cols, bin_ % cols] for bin_ in chosen[first : first + _BATCH]])
            encoder(torch.from_numpy(crops).contiguous(memory_format=torch.channels_last))
        crops_seconds = read_seconds + (time.perf_counter() - start) * len(bins) / len(chosen)
    figures: Figures = {"bins": len(bins), f"encoder on all crops, from every {step}th, s": round(crops_seconds, 1)}
    for name, seconds in dense.items():
        figures[f"{name}: crops over the dense field, time"] = Target(round(crops_seconds / seconds, 1), at_least=40.0)
        figures[f"{name}: predict 2 x 2 mm and query all bins, s"] = round(seconds, 2)
    return figures


def _dense(folder: Path, name: str, network: NetworkConfig) -> float:
    """Predict the slide and query all bins several times; return the least time."""
    model = untrained(_GENES, network)
    times = []
    for number in range(_ROUNDS):
        start = time.perf_counter()
        slide = Slide.open(folder / "slide.tif")
        field = model.predict(slide, folder / f"{name} {number}")
        for _ in field.query_parts(Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, _BIN_UM)):
            pass
        times.append(time.perf_counter() - start)
    return min(times)
