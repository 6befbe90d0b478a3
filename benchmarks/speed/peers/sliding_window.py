"""MONAI's SlidingWindowInferer over the whole network, head to genes included; the result as one .npy file."""

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
from pixnet.network.encoders import as_image
from pixnet.network.network import Network
from pixnet.slide import Slide

_WINDOW, _BATCH = 512, 4
_SPARE = 2  # cells: the far side of a level's box can reach further than the near one


class Genes(nn.Module):
    """The network as a plain module: windows (N, 3, H, W) in, maps of all genes (N, G, H / 2, W / 2) out.

    What the decoder needs beyond a window is repeated from its edge, and its far image is made of the window, both of
    which costs next to nothing.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        weight, bias = network.head.linear()
        self.weight, self.bias = weight[:, :-1].T.contiguous(), bias[:-1, None]  # without the pooled rest

    def forward(self, windows: Tensor) -> Tensor:
        """Give the genes' maps of some windows."""
        network, many = self.network, len(windows)
        want = Box(0, 0, *(side // network.strides[0] for side in windows.shape[2:]))
        crops = []
        far = F.avg_pool2d(windows, network.zoom)
        for level, box in zip(network.pyramid(windows, far), network.level_boxes(want), strict=True):
            around = _SPARE - box.row
            wide = F.pad(level, (around,) * 4, mode="replicate")
            crops.append(Crop(wide, [-around] * many, [-around] * many).cut([box] * many))
        latent = network.decode(crops, [want] * many)
        maps = torch.baddbmm(self.bias, self.weight.expand(many, -1, -1), latent.flatten(2))
        return maps.unflatten(2, (want.height, want.width))


def predict(path: str, genes: str, out: str) -> dict[str, float]:
    """Predict all genes of a slide at 1 um per pixel; seconds from opening the slide to the closed file."""
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
