"""A dense field against one crop for each 8-um bin: the same encoder, the same 112 um of context."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.figures import Figures, Reached
from benchmarks.models import untrained
from benchmarks.slides import write_slide
from pixnet.regions import Squares
from pixnet.slide import Slide

_SIDE_UM = 2000
_BIN_UM, _CONTEXT = 8, 112  # um, which are pixels
_BATCH = 64
_SHARE, _QUICK_SHARE = 10, 200  # every so many bins' crops are computed; each costs the same
_GENES = 250


def run(quick: bool = False) -> Figures:
    """Predict 2 x 2 mm and query all bins; and give a tenth of the bins' crops to the encoder alone, in batches."""
    model = untrained(_GENES)
    network = model.network.for_prediction("cpu")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        write_slide(Path(folder) / "slide.tif", 4 * _SIDE_UM)
        start = time.perf_counter()
        slide = Slide.open(Path(folder) / "slide.tif")
        field = model.predict(slide, Path(folder) / "field")
        predicted = time.perf_counter() - start
        bins = Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, _BIN_UM)
        for _ in field.query_parts(bins):
            pass
        dense = time.perf_counter() - start

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
            network.pyramid(torch.from_numpy(crops))
        crops_seconds = read + (time.perf_counter() - start) * len(bins) / len(chosen)
    return {
        "bins": len(bins),
        "crops over the dense field, time": Reached(round(crops_seconds / dense, 1), at_least=40.0),
        "predict 2 x 2 mm and query all bins, s": round(dense, 2),
        "of that, predict, s": round(predicted, 2),
        f"encoder over the crops, from every {every}th of them, s": round(crops_seconds, 1),
        "crops of one bin overlap so many times": math.floor((_CONTEXT / _BIN_UM) ** 2),
    }
