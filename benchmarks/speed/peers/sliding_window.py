"""MONAI's SlidingWindowInferer with the complete network, including its head for the genes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from benchmarks.speed.models import untrained
from benchmarks.speed.processes import answer
from pixnet.grid import Box
from pixnet.network.crop import Crop
from pixnet.network.encoders.base import as_image
from pixnet.network.network import Network
from pixnet.slide import Slide

_WINDOW, _BATCH = 512, 4
_SPARE = 2  # pixels: the box of a level can reach further at its far side than at its near one


class Genes(nn.Module):
    """The network as a plain module: windows (N, 3, H, W) in, maps of all genes (N, G, H / 2, W / 2) out.

    The margin that the decoder needs around a window repeats the edge of the window, and the image of the surroundings
    is made of the window. Both take almost no time.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        weight, bias = network.head.linear()
        # Without the last output, which pools all other genes.
        self.weight = weight[:, :-1].T.contiguous()
        self.bias = bias[:-1, None]

    def forward(self, windows: Tensor) -> Tensor:
        """Return the maps of all genes for some windows."""
        network, count = self.network, len(windows)
        want = Box(0, 0, *(side // network.strides[0] for side in windows.shape[2:]))
        crops = []
        far = F.avg_pool2d(windows, network.zoom)
        for level, box in zip(network.pyramid(windows, far), network.level_boxes(want), strict=True):
            around = _SPARE - box.row
            wide = F.pad(level, (around,) * 4, mode="replicate")
            crops.append(Crop(wide, [-around] * count, [-around] * count).cut([box] * count))
        latent = network.decode(crops, [want] * count)
        maps = torch.baddbmm(self.bias, self.weight.expand(count, -1, -1), latent.flatten(2))
        return maps.unflatten(2, (want.height, want.width))


def predict(path: str, genes: str, out: str) -> dict[str, float]:
    """Predict all genes of a slide at 1 um per pixel; time it from opening the slide to closing the file."""
    genes_of = Genes(untrained(int(genes)).network.for_prediction("cpu"))
    inferer = SlidingWindowInferer(_WINDOW, _BATCH, overlap=0.25)
    start = time.perf_counter()
    slide = Slide.open(path)
    rgb = slide.read(0, 0, slide.width_um, slide.height_um, 1.0)[0]
    with torch.inference_mode():
        maps = inferer(as_image(rgb)[None].float(), genes_of)
    predicted = time.perf_counter() - start
    np.save(out, maps[0].numpy())
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "predicted": predicted, "file_gb": Path(out).stat().st_size / 1e9}


if __name__ == "__main__":
    answer({"predict": predict})
