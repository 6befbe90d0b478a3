"""Where a training step gets its pyramids from: kept features of a frozen encoder, or the encoder itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pixnet.grid import Box, round_up
from pixnet.network.decoder import Crop
from pixnet.network.weights import weights_hash
from pixnet.training.views import View

if TYPE_CHECKING:
    from pixnet.network.network import Network

_CORE = 1536  # pixels of a tile while features are computed


class LiveEncoder:
    """Computes the pyramid of each tile anew; gradients reach the encoder if it is trainable."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def crops(self, views: Sequence[View], wants: Sequence[Box]) -> list[Crop]:
        """Give the pyramid of a batch of tiles, each level on the cells that the decoder needs."""
        network, stride, finest = self.network, self.network.stride, self.network.strides[0]
        boxes = [network.level_boxes(want) for want in wants]
        side = round_up(finest * max(wants[0].height, wants[0].width), stride) + stride + 2 * network.halo
        images, starts = [], []
        for view, want in zip(views, wants, strict=True):
            row, col = (finest * v // stride * stride - network.halo for v in (want.row, want.col))
            images.append(torch.from_numpy(view.read(Box(row, col, side, side))).permute(2, 0, 1))
            starts.append((row, col))
        device = network.head.scale.device
        levels = network.pyramid(torch.stack(images).to(device))
        return [
            Crop(
                torch.stack(
                    [
                        tile[:, b.row - r // s : b.row - r // s + b.height, b.col - c // s : b.col - c // s + b.width]
                        for tile, b, (r, c) in zip(maps, (b[level] for b in boxes), starts, strict=True)
                    ]
                ),
                [b[level].row for b in boxes],
                [b[level].col for b in boxes],
            )
            for level, (maps, s) in enumerate(zip(levels, network.strides, strict=True))
        ]


class KeptFeatures:
    """The pyramids of whole views, computed once around their regions and kept on disk as float16.

    A folder for each view, named by the hash of all that its features depend on: the slide's bytes, the encoder's
    weights, the lattice, the view. Each level is a plain `.npy` array (rows, columns, channels), sparse where no
    region is near.

    Parameters
    ----------
    network
        Its encoder is frozen.
    folder
        Where features are kept; other runs may share it.
    tile
        Side of a tile's core, in pixels.
    """

    def __init__(self, network: Network, folder: Path, tile: int) -> None:
        self.network = network
        self.folder = folder
        # How far from a region's edge a tile that holds the region may ask for features.
        self.reach = tile + network.decoder_margin + network.stride
        # A margin around the lattice, on the slide's background, so that tiles at the edge need no special case.
        self.margin = round_up(self.reach, network.stride)
        self._encoder = weights_hash(network.encoder)
        self._maps: dict[View, list[NDArray[np.float16]]] = {}

    def prepare(self, view: View) -> None:
        """Compute the features of a view, if no run has kept them yet."""
        folder = self.folder / self._key(view)
        if not (folder / "complete.json").exists():
            self._compute(view, folder)
        self._maps[view] = [np.load(folder / f"{stride}.npy", mmap_mode="r") for stride in self.network.strides]

    def crops(self, views: Sequence[View], wants: Sequence[Box]) -> list[Crop]:
        """Give the pyramid of a batch of tiles, each level on the cells that the decoder needs."""
        boxes = [self.network.level_boxes(want) for want in wants]
        device = self.network.head.scale.device
        crops = []
        for level, stride in enumerate(self.network.strides):
            shift = self.margin // stride
            tiles = [
                self._maps[view][level][
                    b[level].row + shift : b[level].row + shift + b[level].height,
                    b[level].col + shift : b[level].col + shift + b[level].width,
                ]
                for view, b in zip(views, boxes, strict=True)
            ]
            feature = torch.from_numpy(np.stack(tiles)).to(device).float().permute(0, 3, 1, 2)
            crops.append(Crop(feature, [b[level].row for b in boxes], [b[level].col for b in boxes]))
        return crops

    def _key(self, view: View) -> str:
        network, slide = self.network, view.sample.slide
        facts = {
            "slide": slide.fingerprint(),
            "mpp": [slide.mpp, view.lattice.mpp],
            "encoder": self._encoder,
            "network": network.config.encoder.model_dump(mode="json", exclude={"weights", "trainable"}),
            "strides": network.strides,
            "reach": self.reach,
            "view": [repr(view.symmetry), view.stain],
            "regions": hashlib.sha256(view.sample.regions.bounds_um.tobytes()).hexdigest(),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _compute(self, view: View, folder: Path) -> None:
        network, margin = self.network, self.margin
        height, width = (side + 2 * margin for side in view.shape)
        folder.mkdir(parents=True, exist_ok=True)
        maps = [
            np.lib.format.open_memmap(
                folder / f"{stride}.npy", mode="w+", dtype=np.float16, shape=(height // stride, width // stride, count)
            )
            for stride, count in zip(network.strides, network.channels, strict=True)
        ]
        near = self._boxes_near(view)
        device = network.head.scale.device
        halo = round_up(network.encoder_halo, network.stride)
        side = round_up(_CORE, network.stride)
        for row in range(-margin, view.shape[0] + margin, side):
            for col in range(-margin, view.shape[1] + margin, side):
                h, w = min(side, view.shape[0] + margin - row), min(side, view.shape[1] + margin - col)
                touched = (near[:, 0] < row + h) & (near[:, 2] > row) & (near[:, 1] < col + w) & (near[:, 3] > col)
                if not touched.any():
                    continue
                image = torch.from_numpy(view.read(Box(row, col, h, w).grown(halo))).permute(2, 0, 1)
                with torch.inference_mode():
                    levels = network.pyramid(image[None].to(device))
                for target, level, s in zip(maps, levels, network.strides, strict=True):
                    r, c, cut = (row + margin) // s, (col + margin) // s, halo // s
                    core = level[0, :, cut : cut + h // s, cut : cut + w // s].permute(1, 2, 0)
                    target[r : r + h // s, c : c + w // s] = core.cpu().numpy()
        for target in maps:
            target.flush()
        # Written last and renamed into place, so that an interrupted computation is never taken for a whole one.
        partial = folder / "complete.part"
        partial.write_text(json.dumps({"slide": view.sample.slide.name}))
        os.replace(partial, folder / "complete.json")

    def _boxes_near(self, view: View) -> NDArray[np.float64]:
        """Give (regions, 4) first row, first column, last row, last column that a region's tile may need, in pixels."""
        boxes = []
        for left, top, right, bottom in view.sample.regions.bounds_um / view.lattice.mpp:
            box = Box(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)
            turned = view.place(box)
            boxes.append((turned.row, turned.col, turned.row + turned.height, turned.col + turned.width))
        near: NDArray[np.float64] = np.asarray(boxes, np.float64) + np.array([-1, -1, 1, 1]) * self.reach
        return near


PyramidSource = LiveEncoder | KeptFeatures
