"""The whole network: image -> pyramid -> latent map -> regions -> expression."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pixnet.grid import Box, Lattice, round_up
from pixnet.network.crop import Crop
from pixnet.network.decoder import Decoder
from pixnet.network.encoders import make_encoder
from pixnet.network.fast.folding import folded
from pixnet.network.fast.stripwise import stripwise
from pixnet.network.fusion import fusion_reach
from pixnet.network.heads import Head
from pixnet.network.receptive import receptive_radius
from pixnet.network.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.network.config import NetworkConfig
    from pixnet.slide import Slide

# What one step up needs around a coarse cell, in coarse cells. DSUB: two 3x3 on the fine side (one coarse cell) and
# one on the coarse side. Bilinear: a 3x3 and the interpolation on the fine side, a 3x3 on the coarse one.
_STEP_MARGIN = 2
_PART = 256  # side of the latent cells decoded at once: such maps stay in the processor's cache
_ROWS = 8  # of such a map, copied at once


class Network(nn.Module):
    """PixNet's network.

    Parameters
    ----------
    config
        Encoder, decoder, head, working resolution; settled (see `NetworkConfig.settled`).
    outputs
        Number of outputs of the head: genes, and one more for the rest if the head is `rate`.

    Attributes
    ----------
    strides, channels : tuple of int
        Strides, in pixels, and channels of all levels, finest first. The deepest holds the surroundings too.
    stride : int
        Tiles start and end on multiples of it: the deepest stride, or a multiple that the far image and a transformer's
        windows ask for.
    halo : int
        Pixels around a tile's core that can influence it: the decoder's margin and the encoder's reach.
    zoom : int
        Pixels along one of the coarser image, the far one, that the surroundings are seen in.
    far_halo : int
        Pixels of the far image around a tile's core that can influence it: the same and the surroundings' radius; 0
        if there are no surroundings.
    """

    def __init__(self, config: NetworkConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config.encoder)
        self.strides = config.encoder.strides
        if config.surroundings_um is None:
            raise ValueError("the surroundings are left to the training samples: give a configuration that is settled")
        self.zoom = config.surroundings_zoom if config.surroundings_um else 1
        far_cell_um = config.mpp * self.zoom * self.strides[-1]
        self.surroundings = Surroundings(config.surroundings_um, far_cell_um, self.zoom)
        *finer, deepest = self.encoder.channels
        self.channels = (*finer, deepest + len(self.surroundings.widths) * sum(self.encoder.channels))
        # Of log-normalised values there is no density.
        self.decoder = Decoder(self.channels, config.decoder, with_density=config.head == "rate")
        self.head = Head(config.head, config.decoder.channels[0], outputs)
        phase = math.lcm(self.strides[-1], self.encoder.phase)
        self.stride = phase * self.zoom
        self._reach = fusion_reach(config.decoder)
        self.decoder_margin = self._decoder_margin()
        # A window that reaches over a tile's edge touches at most half a window of the tile.
        self.encoder_halo = self.encoder.window or receptive_radius(self.encoder)
        self.halo = round_up(self.decoder_margin + self.encoder_halo, self.stride)
        far_reach = self.surroundings.reach(-(-self.decoder_margin // self.strides[-1])) * self.strides[-1]
        self.far_halo = round_up(far_reach + self.encoder_halo, phase) if self.surroundings.widths else 0
        self.encoder.requires_grad_(config.encoder.trainable)
        # Depthwise convolutions on a CPU run about twice as fast on channels-last memory.
        self.to(memory_format=torch.channels_last)

    def _decoder_margin(self) -> int:
        boxes = self.level_boxes(Box(0, 0, 1, 1))
        return max(-box.row * stride for box, stride in zip(boxes, self.strides, strict=True))

    def level_boxes(self, want: Box) -> list[Box]:
        """Give, for each level, the cells that the latent cells `want` depend on (finest level first).

        Working upwards the decoder computes no more than these, so the dear fine levels see hardly any halo.
        """
        # `right` is where the decoder's map must be right. What enters its fusion is needed as much further as the
        # fusion looks.
        right, boxes = want, []
        for _ in self.strides:
            # The density's average looks one further.
            boxes.append(right.grown(max(1, self._reach.feature)))
            fine = right.grown(self._reach.upsampled)
            # Half the height, and one more for a box that starts on an odd cell: all tiles of a batch are alike.
            height, width = (side // 2 + 1 + 2 * _STEP_MARGIN for side in (fine.height, fine.width))
            right = Box(fine.row // 2 - _STEP_MARGIN, fine.col // 2 - _STEP_MARGIN, height, width)
        return boxes

    def lattice(self, slide: Slide) -> Lattice:
        """Give the lattice of pixels on which this network sees a slide."""
        mpp = self.config.mpp
        return Lattice(slide.width_um, slide.height_um, mpp, self.stride, self.halo, self.zoom, self.far_halo)

    def pyramid(self, near: Tensor, far: Tensor | None = None) -> list[Tensor]:
        """Give all levels, the surroundings beside the deepest one.

        Parameters
        ----------
        near
            Bytes, (T, 3, H, W): tiles with `halo` pixels on every side.
        far
            Bytes, (T, 3, h, w): the same tiles in the far image, with `far_halo` of its pixels on every side. Not
            looked at where there are no surroundings.
        """
        *finer, deepest = self._encoded(near)
        return [*finer, self._beside(deepest, self._means(far), Box(0, 0, *deepest.shape[-2:]), deepest.shape[-2:])]

    def _encoded(self, image: Tensor) -> list[Tensor]:
        levels: list[Tensor] = self.encoder(image.contiguous(memory_format=torch.channels_last))
        return levels

    def _means(self, far: Tensor | None) -> Tensor | None:
        """Give the surroundings at the far image's deepest stride, if this network looks at them."""
        if not self.surroundings.widths:
            return None
        if far is None:
            raise ValueError("a network with surroundings needs the far image beside the near one")
        return self.surroundings(self._encoded(far))

    def _beside(self, deepest: Tensor, means: Tensor | None, box: Box, whole: Sequence[int]) -> Tensor:
        """Set the surroundings beside a box of the deepest level, whose whole map has some height and width."""
        if means is None:
            return deepest
        # The far and the near image are both centred on the tile.
        top, left = (
            (self.zoom * far - near) // 2 + first
            for far, near, first in zip(means.shape[-2:], whole, (box.row, box.col), strict=True)
        )
        around = self.surroundings.finer(means, slice(top, top + box.height), slice(left, left + box.width))
        return torch.cat([deepest, around], dim=1)

    def decode(self, crops: Sequence[Crop], want: Sequence[Box]) -> Tensor:
        """Give the latent map D on the wanted cells.

        Parameters
        ----------
        crops
            The pyramid, finest level first, each level at least on `level_boxes`.
        want
            One box of latent cells for each tile, all of one size.

        Returns
        -------
        Tensor
            (T, C, h, w).
        """
        return self.head.activate(*self.decoder(crops, want))

    def forward(self, near: Tensor, far: Tensor | None, core: Box) -> Tensor:
        """Give the latent map of a tile's core from its padded images.

        Parameters
        ----------
        near, far
            As for `pyramid`, of one tile.
        core
            The core in pixels of the near image.

        Returns
        -------
        Tensor
            (1, C, h, w), h and w the core's pixels over the finest stride.
        """
        finest = self.strides[0]
        want = Box(core.row // finest, core.col // finest, core.height // finest, core.width // finest)
        levels, means = self._encoded(near), self._means(far)
        # The row reading of the attention sees whole rows: of the tile, if nothing else bounds them.
        decoder = self.config.decoder
        rows = decoder.fusion == "safb" and decoder.attention == "row"
        part = max(want.height, want.width) if rows else _PART
        latent = levels[0].new_empty((1, self.config.decoder.channels[0], want.height, want.width))
        for row in range(0, want.height, part):
            for col in range(0, want.width, part):
                box = Box(want.row + row, want.col + col, min(part, want.height - row), min(part, want.width - col))
                boxes = self.level_boxes(box)
                *finer, deepest = (Crop(level, [0], [0]).cut([b]) for level, b in zip(levels, boxes, strict=True))
                beside = self._beside(deepest.feature, means, boxes[-1], levels[-1].shape[-2:])
                decoded = self.decode([*finer, deepest._replace(feature=beside)], [box])
                _put(latent[:, :, row : row + box.height, col : col + box.width], decoded)
        return latent

    @torch.inference_mode()
    def latent(self, near: Tensor, far: Tensor | None = None) -> Tensor:
        """Give the latent map of a tile's core, (C, h, w), from its padded images of bytes, (3, H, W) each."""
        core = Box(self.halo, self.halo, near.shape[1] - 2 * self.halo, near.shape[2] - 2 * self.halo)
        return self.forward(near[None], None if far is None else far[None], core)[0].float()

    def for_prediction(self, device: str) -> Network:
        """Give a copy on a device, in evaluation mode, that computes the same with less time and memory."""
        result = copy.deepcopy(self).to(device).eval()
        result.decoder = folded(result.decoder)
        if device == "cpu":
            result.encoder = stripwise(result.encoder)
        return result


def _put(target: Tensor, part: Tensor) -> None:
    """Copy a map whose channels lie side by side to where they do not, some rows at a time that the cache holds."""
    for row in range(0, part.shape[2], _ROWS):
        rows = slice(row, row + _ROWS)
        target[:, :, rows] = part[:, :, rows].contiguous()
