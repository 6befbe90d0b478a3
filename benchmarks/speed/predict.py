"""Time of predicting a slide, against the bare network on the same tiles in memory; cost of the tiles' margins."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.models import untrained
from benchmarks.speed.slides import write_slide
from pixnet.field.build.tile import TileImages, read_tile
from pixnet.network.encoders.base import Encoder, as_image
from pixnet.network.network import Network
from pixnet.slide import Slide

_SIDE, _QUICK_SIDE = 4096, 1024  # pixels of the slide at the network's 1 um
_CORE, _QUICK_CORE = 2048, 512
_ROUNDS = 5  # alternating; the fastest of each counts, as other programs may disturb some


class Watch:
    """Counts the pixels that the encoder processes, and the time that it takes."""

    def __init__(self) -> None:
        self.pixels = 0
        self.seconds = 0.0
        self._began = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Watch all encoders, including those of copies of the network."""
        before = nn.modules.module.register_module_forward_pre_hook(self._before)
        after = nn.modules.module.register_module_forward_hook(self._after)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _before(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, Encoder):
            image: Tensor = inputs[0]
            self.pixels += len(image) * image.shape[2] * image.shape[3]
            self._began = time.perf_counter()

    def _after(self, module: nn.Module, *_: object) -> None:
        if isinstance(module, Encoder):
            self.seconds += time.perf_counter() - self._began


def run(quick: bool = False) -> Figures:
    """Predict a pyramidal slide of 4096 x 4096 um full of tissue, and run its tiles through the bare network."""
    side, core = (_QUICK_SIDE, _QUICK_CORE) if quick else (_SIDE, _CORE)
    model = untrained(250)
    network = model.network.for_prediction("cpu")
    with tempfile.TemporaryDirectory() as folder:
        write_slide(Path(folder) / "slide.tif", 4 * side)
        slide = Slide.open(Path(folder) / "slide.tif")
        lattice = network.lattice(slide)
        tiles = [read_tile(slide, lattice, box)[0] for box in lattice.tiles(core)]
        _latent(network, tiles[0])  # kernels are chosen in the first pass
        bare, predict, encoder = [], [], []
        for number in range(_ROUNDS):
            start = time.perf_counter()
            for tile in tiles:
                _latent(network, tile)
            bare.append(time.perf_counter() - start)
            watch = Watch()
            start = time.perf_counter()
            # A new slide has nothing cached from the round before.
            with watch(), Slide.open(Path(folder) / "slide.tif") as fresh:
                field = model.predict(fresh, Path(folder) / f"field{number}", core=core)
            predict.append(time.perf_counter() - start)
            encoder.append(watch.seconds)
        valid_pixels = float(field.valid[:].astype(float).sum()) * network.strides[0] ** 2
    best = predict.index(min(predict))
    return {
        "predict over the bare network on the same tiles": Target(round(min(predict) / min(bare), 3), at_most=1.15),
        "the same in each round": ", ".join(f"{p / b:.3f}" for p, b in zip(predict, bare, strict=True)),
        "pixels that the network computes over pixels of the result": Target(
            round(watch.pixels / valid_pixels, 3), at_most=2.5
        ),
        "megapixels of the slide per second": round(side**2 / 1e6 / min(predict), 3),
        "megapixels through the network per second": round(watch.pixels / 1e6 / min(bare), 3),
        "encoder's share of predict": round(encoder[best] / min(predict), 3),
        "seconds that predict takes longer than the bare network": round(min(predict) - min(bare), 2),
    }


def _latent(network: Network, tile: TileImages) -> None:
    network.latent(*(as_image(rgb) for rgb in tile[:2] if rgb is not None))
