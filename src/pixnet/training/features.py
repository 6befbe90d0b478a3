"""Sources of the feature pyramids of a training step: cached features of a frozen encoder, or the encoder itself."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixnet.digest import digest
from pixnet.files import write_whole
from pixnet.grid import Box, round_up
from pixnet.network.crop import Crop
from pixnet.network.encoders.base import as_image
from pixnet.network.encoders.weights import weights_hash
from pixnet.network.fast.stripwise import stripwise
from pixnet.training.feature_costs import PreparedView
from pixnet.training.views import View

if TYPE_CHECKING:
    from pixnet.network.network import Network
    from pixnet.sample import Sample

_CORE = 1536  # side of a tile, in image pixels, while features are computed
_STRIP = 64  # rows of pixels of the deepest map whose surroundings are interpolated at a time
_NEAR = 64  # image pixels that a region's bounds are rounded to when looking for what is near
FEATURES_VERSION = 1
"""Version of the cached features. Raise it when the same slide, encoder and settings lead to other features: stored
ones are then computed again."""


class LiveEncoder:
    """Computes the pyramid of each tile when it is needed; gradients reach the encoder if it is trainable."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def crops(self, views: Sequence[View], wants: Sequence[Box]) -> list[Crop]:
        """Return the encoder's maps for a batch of tiles, each on the pixels that the decoder needs."""
        network, stride, finest = self.network, self.network.stride, self.network.strides[0]
        boxes = [network.map_boxes(want) for want in wants]
        side = round_up(finest * max(wants[0].height, wants[0].width), stride) + stride
        near, far, cores = [], [], []
        for view, want in zip(views, wants, strict=True):
            row, col = (finest * v // stride * stride for v in (want.row, want.col))
            core = Box(row, col, side, side)
            near.append(as_image(view.read(core.grown(network.halo))))
            if network.far_halo:
                far.append(as_image(view.read(view.lattice.far(core), network.zoom)))
            cores.append((row, col))
        device, halo = network.head.scale.device, network.halo
        levels = network.pyramid(torch.stack(near).to(device), torch.stack(far).to(device) if far else None, cores)
        return [
            Crop(level, [(row - halo) // p for row, _ in cores], [(col - halo) // p for _, col in cores]).cut(of_level)
            for level, p, of_level in zip(levels, network.pitches, zip(*boxes, strict=True), strict=True)
        ]

    def levels(self, view: View, box: Box) -> list[Tensor]:
        """Return the encoder's maps, (1, C, h, w) each, of a box of pixels of the deepest map."""
        network, pitch = self.network, self.network.pitches[-1]
        # The encoder's images start on multiples of the stride.
        row, col = (first * pitch // network.stride * network.stride for first in (box.row, box.col))
        height = round_up((box.row + box.height) * pitch - row, network.stride)
        width = round_up((box.col + box.width) * pitch - col, network.stride)
        halo = round_up(network.encoder_halo, network.stride)
        image = as_image(view.read(Box(row, col, height, width).grown(halo)))[None].to(network.head.scale.device)
        maps = network.encoder(image.contiguous(memory_format=torch.channels_last), 0, (row - halo, col - halo))
        return [
            Crop(level, [(row - halo) // p], [(col - halo) // p]).cut([_on_pitch(box, pitch, p)]).feature
            for level, p in zip(maps, network.pitches, strict=True)
        ]


class CachedFeatures:
    """The pyramids of complete views, computed once around their regions and stored on disk as float16.

    Each view has a folder, named by a hash of everything that its features depend on: the slide's bytes, the encoder's
    weights, the lattice, the view, and `FEATURES_VERSION`. Each level is a plain `.npy` array (rows, columns,
    channels), sparse where no region is near. Several trainings may share the cache; `tile` is in image pixels.
    """

    def __init__(self, network: Network, folder: Path, tile: int) -> None:
        self.network = network
        self.folder = folder
        # How far from a region's edge a tile that contains the region may need features.
        linear = network.linear.margin(network.strides[0]) if network.linear else 0
        self.reach = max(tile + network.decoder_margin, linear) + network.stride
        # A margin around the lattice, on the slide's background: tiles at the edge then need no special case.
        self.margin = round_up(self.reach, network.stride)
        self._encoder_hash = weights_hash(network.encoder)
        self._encoder = stripwise(network.encoder) if network.head.scale.device.type == "cpu" else network.encoder
        self._maps: dict[View, list[NDArray[np.float16]]] = {}

    def prepare(self, view: View) -> PreparedView:
        """Open the features of a view, and compute them first if they are not in the cache."""
        key = self._key(view)
        folder = self.folder / key
        made = not (folder / "complete.json").exists()
        if made:
            self._compute(view, folder)
        self._maps[view] = [np.load(folder / f"{stride}.npy", mmap_mode="r") for stride in self.network.strides]
        facts = json.loads((folder / "complete.json").read_text(encoding="utf-8"))
        return PreparedView(key, facts.get("seconds"), made)

    def crops(self, views: Sequence[View], wants: Sequence[Box]) -> list[Crop]:
        """Return the encoder's maps for a batch of tiles, each on the pixels that the decoder needs."""
        boxes = [self.network.map_boxes(want) for want in wants]
        device = self.network.head.scale.device
        crops = []
        for level, pitch in enumerate(self.network.pitches):
            shift = self.margin // pitch
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

    def levels(self, view: View, box: Box) -> list[Tensor]:
        """Return the encoder's maps, (1, C, h, w) each, of a box of pixels of the deepest map."""
        network, device = self.network, self.network.head.scale.device
        levels = []
        for stored, pitch, channels in zip(self._maps[view], network.pitches, network.encoder.channels, strict=True):
            shift = self.margin // pitch
            part = _on_pitch(box, network.pitches[-1], pitch)
            rows, cols = Box(part.row + shift, part.col + shift, part.height, part.width).window
            level = torch.from_numpy(stored[rows, cols, :channels].astype(np.float32))
            levels.append(level.permute(2, 0, 1)[None].to(device))
        return levels

    def _key(self, view: View) -> str:
        network, slide = self.network, view.sample.slide
        definition = network.config.encoder.definition
        facts = {
            "slide": slide.fingerprint(),
            "mpp": [slide.mpp, view.lattice.mpp],
            "encoder": self._encoder_hash,
            "network": network.config.encoder.model_dump(mode="json", exclude={"weights", "trainable", "definition"}),
            "definition": definition.construction if definition else None,
            "strides": network.strides,
            "surroundings": [network.surroundings.widths, network.zoom],
            "reach": self.reach,
            "view": [astuple(view.symmetry), view.stain, view.glass.rgb],
            "version": FEATURES_VERSION,
            "regions": bounds_hash(view.sample),
        }
        return digest(facts)[:32]

    def _compute(self, view: View, folder: Path) -> None:
        start = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        shape = tuple(side + 2 * self.margin for side in view.shape)

        def create(stride: int, pitch: int, channels: int) -> NDArray[np.float16]:
            size = (shape[0] // pitch, shape[1] // pitch, channels)
            return np.lib.format.open_memmap(folder / f"{stride}.npy", mode="w+", dtype=np.float16, shape=size)

        network = self.network
        maps = [create(*level) for level in zip(network.strides, network.pitches, network.channels, strict=True)]
        self._encode(view, maps)
        if network.far_halo:
            self._surround(view, maps[-1][:, :, network.encoder.channels[-1] :])
        for target in maps:
            target.flush()  # type: ignore[attr-defined]
        # Written last, so that an interrupted computation is never mistaken for a complete one.
        facts = {"slide": view.sample.slide.name, "seconds": time.monotonic() - start}
        write_whole(folder / "complete.json", json.dumps(facts))

    def _encode(self, view: View, maps: list[NDArray[np.float16]]) -> None:
        """Fill in the levels of the encoder."""
        network, halo = self.network, round_up(self.network.encoder_halo, self.network.stride)
        for core in self._cores_near(view, _CORE):
            image = self._tensor(view.read(core.grown(halo)))
            with torch.inference_mode():
                levels = self._encoder(image, halo, (core.row - halo, core.col - halo))
            for target, level, pitch in zip(maps, levels, network.pitches, strict=True):
                self._fill(target, level, core, pitch, halo)

    def _surround(self, view: View, target: NDArray[np.float16]) -> None:
        """Fill in the surroundings, computed from the coarser image."""
        network, pitch, zoom = self.network, self.network.pitches[-1], self.network.zoom
        halo = zoom * network.far_halo // pitch  # in pixels of the deepest map
        for core in self._cores_near(view, _CORE * zoom):
            image = self._tensor(view.read(view.lattice.far(core), zoom))
            cols = slice(halo, halo + core.width // pitch)
            with torch.inference_mode():
                means = network.surroundings(
                    self._encoder(image, network.far_rim, network.far_origin(core.row, core.col))
                )
                for first in range(0, core.height // pitch, _STRIP):
                    rows = min(_STRIP, core.height // pitch - first)
                    part = network.surroundings.finer(means, slice(halo + first, halo + first + rows), cols)
                    strip = Box(core.row + first * pitch, core.col, rows * pitch, core.width)
                    self._fill(target, part, strip, pitch, 0)

    def _cores_near(self, view: View, side: int) -> Iterator[Box]:
        """Cut the view and its margin into tiles of about `side` image pixels, and yield those near a region."""
        near = self._boxes_near(view)
        margin = self.margin
        side = round_up(side, self.network.stride)
        for row in range(-margin, view.shape[0] + margin, side):
            for col in range(-margin, view.shape[1] + margin, side):
                h, w = min(side, view.shape[0] + margin - row), min(side, view.shape[1] + margin - col)
                touched = (near[:, 0] < row + h) & (near[:, 2] > row) & (near[:, 1] < col + w) & (near[:, 3] > col)
                if touched.any():
                    yield Box(row, col, h, w)

    def _fill(self, target: NDArray[np.float16], level: Tensor, core: Box, pitch: int, halo: int) -> None:
        """Write the core of a tile's level into the map of the complete view; the halo is in image pixels."""
        row, col, cut = (core.row + self.margin) // pitch, (core.col + self.margin) // pitch, halo // pitch
        h, w = core.height // pitch, core.width // pitch
        inner = level[0, :, cut : cut + h, cut : cut + w].permute(1, 2, 0)
        target[row : row + h, col : col + w, : inner.shape[2]] = inner.cpu().numpy()

    def _tensor(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Return an image (h, w, 3) as the encoder's input (1, 3, h, w), on its device."""
        device = self.network.head.scale.device
        return as_image(rgb)[None].to(device).contiguous(memory_format=torch.channels_last)

    def _boxes_near(self, view: View) -> NDArray[np.float64]:
        """Return the boxes that the tiles around the regions may need, in image pixels, shape (k, 4).

        Each is first row, first column, last row, last column. Regions in the same square of 64 pixels share a box.
        """
        bounds = view.sample.regions.bounds_um[:, [1, 0, 3, 2]] / view.lattice.mpp
        coarse = np.concatenate([bounds[:, :2] // _NEAR, -(-bounds[:, 2:] // _NEAR)], axis=1).astype(np.int64)
        boxes = []
        for top, left, bottom, right in np.unique(coarse, axis=0) * _NEAR:
            turned = view.place(Box(int(top), int(left), int(bottom - top), int(right - left)))
            boxes.append((turned.row, turned.col, turned.row + turned.height, turned.col + turned.width))
        near: NDArray[np.float64] = np.asarray(boxes, np.float64) + np.array([-1, -1, 1, 1]) * self.reach
        return near


def _on_pitch(box: Box, pitch: int, finer: int) -> Box:
    """Return a box of pixels of one pitch in pixels of a finer one that divides it."""
    return Box(*(side * pitch // finer for side in (box.row, box.col, box.height, box.width)))


def bounds_hash(sample: Sample) -> str:
    """Return the SHA-256, in hex, of the bounds of a sample's regions."""
    return hashlib.sha256(sample.regions.bounds_um.tobytes()).hexdigest()


PyramidSource = LiveEncoder | CachedFeatures
