"""The complete network: image -> pyramid -> latent map -> regions -> expression."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pixnet.grid import Box, Lattice, round_up
from pixnet.network.crop import Crop
from pixnet.network.decoder import Decoder
from pixnet.network.encoders.make import make_encoder
from pixnet.network.encoders.receptive import reach_of
from pixnet.network.fast.folding import folded
from pixnet.network.fast.stripwise import stripwise
from pixnet.network.fusion import fusion_reach
from pixnet.network.heads import Head
from pixnet.network.linear_path import LinearPath
from pixnet.network.reassembly import Reassembly, resampled, token_box
from pixnet.network.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pixnet.network.config import NetworkConfig
    from pixnet.network.encoders.base import Encoder
    from pixnet.slide import Slide

# Pixels around a coarse pixel that one upsampling step needs. DSUB: two 3x3 on the fine side (one coarse pixel) and one
# on the coarse side. Bilinear: a 3x3 and the interpolation on the fine side, and a 3x3 on the coarse side.
_STEP_MARGIN = 2
_PART = 256  # side of the box of latent pixels decoded at once: maps of this size stay in the processor's cache
_ROWS = 8  # rows of such a map copied at once


class Network(nn.Module):
    """PixNet's network.

    Parameters
    ----------
    config
        Encoder, decoder, head and working resolution.
    outputs
        Number of outputs of the head: the genes, and one more for all other genes if the head is `rate`.
    encoder
        The encoder; by default it is made as the configuration says.

    Attributes
    ----------
    strides
        Strides of the pyramid's levels, in image pixels, finest first.
    pitches, channels
        Pitch, in image pixels, and channels of the map of each level. A convolutional encoder's maps have the pyramid's
        strides, a transformer's that of its patches. The deepest holds the surroundings too.
    stride
        Tiles start and end on multiples of it, in image pixels: the deepest stride, or a multiple of it that the far
        image or a transformer's tokens need.
    zoom
        Image pixels along a pixel of the far image, the coarser one in which the surroundings are seen.
    far_halo
        Pixels of the far image around a tile's core that can influence it: the decoder's margin, the encoder's reach
        and the radius of the surroundings; 0 without surroundings.
    far_rim
        Pixels of the far image along its edges whose features are not needed.
    decoder_margin
        Image pixels around a latent pixel whose features can influence it through the decoder.
    encoder_halo
        Image pixels around a feature that can influence it.
    """

    def __init__(self, config: NetworkConfig, outputs: int, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder or make_encoder(config.encoder)
        self.strides, self.pitches = config.encoder.strides, self.encoder.pitches
        around_um = config.surroundings_um or ()
        self.zoom = config.surroundings_zoom if around_um else 1
        far_pixel_um = config.mpp * self.zoom * self.pitches[-1]
        self.surroundings = Surroundings(around_um, far_pixel_um, self.zoom)
        *finer, deepest = self.encoder.channels
        self.channels = (*finer, deepest + len(self.surroundings.widths) * sum(self.encoder.channels))
        resampled, decoder = self.pitches != self.strides, config.decoder
        self.reassembly = Reassembly(self.pitches, self.strides, self.channels, decoder.channels) if resampled else None
        channels = self.reassembly.channels if self.reassembly else self.channels
        # Log-normalised values have no density.
        self.decoder = Decoder(channels, decoder, with_density=config.head == "rate")
        programs = config.decoder.channels[0]
        self.head = Head(config.head, programs, outputs)
        # Only the programs of the head `rate` have shares.
        linear = LinearPath(self.encoder.channels, self.pitches[-1], config.mpp, programs)
        self.linear = linear if config.head == "rate" else None
        # A tile starts on pixels of the deepest level, of the encoder's maps and of those of the far image.
        phase = self.encoder.phase
        self.stride = math.lcm(self.strides[-1], phase * self.zoom)
        self._reach = fusion_reach(config.decoder)
        one_pixel = self.level_boxes(Box(0, 0, 1, 1))
        # Interpolation between tokens reaches one and a half of them from the centre of a pixel.
        beyond = [
            math.ceil(1.5 * p - s / 2) if resampled else 0 for p, s in zip(self.pitches, self.strides, strict=True)
        ]
        self.decoder_margin = max(
            -box.row * stride + reach for box, stride, reach in zip(one_pixel, self.strides, beyond, strict=True)
        )
        self.encoder_halo = reach_of(self.encoder)
        far_reach = self.surroundings.reach(-(-self.decoder_margin // self.pitches[-1])) * self.pitches[-1]
        self.far_halo = round_up(far_reach + self.encoder_halo, phase) if self.surroundings.widths else 0
        self.far_rim = max(0, self.far_halo - far_reach)
        self.encoder.requires_grad_(config.encoder.trainable)
        # Depthwise convolutions on a CPU run about twice as fast on channels-last memory.
        self.to(memory_format=torch.channels_last)

    @property
    def margin(self) -> int:
        """Image pixels around a latent pixel whose features can influence it by the decoder or the linear path."""
        linear = self.linear.margin(self.strides[0]) if self.linear and self.linear.share else 0
        return max(self.decoder_margin, linear)

    @property
    def halo(self) -> int:
        """Image pixels around a tile's core that can influence it: the margin and the encoder's reach."""
        return round_up(self.margin + self.encoder_halo, self.stride)

    def level_boxes(self, want: Box) -> list[Box]:
        """Return, for each level, the box of pixels that the latent pixels `want` depend on, finest level first.

        The decoder computes no more than these on its way up, so the large fine levels have hardly any halo.
        """
        # `exact` is the box where the decoder's map must be exact. The inputs of its fusion must be exact as far beyond
        # it as the fusion reaches.
        exact, boxes = want, []
        for _ in self.strides:
            # The density's average reaches at least one pixel further.
            boxes.append(exact.grown(max(1, self._reach.feature)))
            fine = exact.grown(self._reach.upsampled)
            # Half the height, and one more for a box that starts on an odd pixel: all tiles of a batch have one size.
            height, width = (side // 2 + 1 + 2 * _STEP_MARGIN for side in (fine.height, fine.width))
            exact = Box(fine.row // 2 - _STEP_MARGIN, fine.col // 2 - _STEP_MARGIN, height, width)
        return boxes

    def map_boxes(self, want: Box) -> list[Box]:
        """Return, for each level, the box of pixels of the encoder's map that the latent pixels `want` depend on."""
        boxes = self.level_boxes(want)
        if not self.reassembly:
            return boxes
        grids = zip(boxes, self.pitches, self.strides, strict=True)
        return [token_box(box, pitch, stride) for box, pitch, stride in grids]

    def learn_scale(self, batches: Sequence[Sequence[Crop]], wants: Sequence[Sequence[Box]]) -> None:
        """Take the scale of the encoder's channels, and of the decoder's output, from batches of training tiles."""
        if self.reassembly:
            self.reassembly.learn_scale(batches)
            batches = [self._reassembled(crops, want) for crops, want in zip(batches, wants, strict=True)]
        self.decoder.learn_scale(batches, wants)

    def _reassembled(self, crops: Sequence[Crop], want: Sequence[Box]) -> Sequence[Crop]:
        if not self.reassembly:
            return crops
        levels: list[Crop] = self.reassembly(crops, list(zip(*map(self.level_boxes, want), strict=True)))
        return levels

    def lattice(self, slide: Slide) -> Lattice:
        """Return the lattice of image pixels on which this network sees a slide."""
        mpp = self.config.mpp
        return Lattice(slide.width_um, slide.height_um, mpp, self.stride, self.halo, self.zoom, self.far_halo)

    def pyramid(
        self, near: Tensor, far: Tensor | None = None, cores: Sequence[tuple[int, int]] | None = None
    ) -> list[Tensor]:
        """Return the encoder's maps, finest level first, with the surroundings concatenated to the deepest one.

        Parameters
        ----------
        near
            Tiles with `halo` pixels on every side, bytes, shape (T, 3, H, W).
        far
            The same tiles in the far image, with `far_halo` of its pixels on every side, bytes, shape (T, 3, h, w).
            Ignored by a network without surroundings.
        cores
            First row and column of each tile's core on the lattice; the slide's origin by default.
        """
        # Only a transformer's windows depend on where a tile is; a convolutional encoder takes all tiles together.
        if self.encoder.window and cores is not None and len(set(cores)) > 1:
            parts = (
                self.pyramid(near[i : i + 1], None if far is None else far[i : i + 1], [core])
                for i, core in enumerate(cores)
            )
            return [torch.cat(level) for level in zip(*parts, strict=True)]
        at = cores[0] if cores else (0, 0)
        *finer, deepest = self._encoded_near(near, (self.halo, self.halo), at)
        shape = deepest.shape[-2:]
        return [*finer, self._with_surroundings(deepest, self._means(far, at), Box(0, 0, *shape), shape)]

    def _encoded_near(self, near: Tensor, core: tuple[int, int], at: tuple[int, int]) -> list[Tensor]:
        """Return the maps of an image whose core starts at row and column `core`, and on the lattice at `at`."""
        return self._encoded(near, self.halo - self.margin, (at[0] - core[0], at[1] - core[1]))

    def _encoded(self, image: Tensor, rim: int, origin: tuple[int, int]) -> list[Tensor]:
        levels: list[Tensor] = self.encoder(image.contiguous(memory_format=torch.channels_last), rim, origin)
        return levels

    def _means(self, far: Tensor | None, at: tuple[int, int]) -> Tensor | None:
        """Return the surroundings at the pitch of the far image's deepest map; None for a network without them."""
        if not self.surroundings.widths:
            return None
        if far is None:
            raise ValueError("a network with surroundings needs the far image as well as the near one")
        return self.surroundings(self._encoded(far, self.far_rim, self.far_origin(*at)))

    def _with_surroundings(self, deepest: Tensor, means: Tensor | None, box: Box, shape: Sequence[int]) -> Tensor:
        """Return the part `box` of the deepest map, (T, C, h, w), with its surroundings concatenated.

        `means` are the surroundings of the complete map, of this shape (height, width), at the pitch of the far image's
        deepest map.
        """
        if means is None:
            return deepest
        # Both images are centred on the tile.
        top, left = (
            (self.zoom * far - near) // 2 + first
            for far, near, first in zip(means.shape[-2:], shape, (box.row, box.col), strict=True)
        )
        around = self.surroundings.finer(means, slice(top, top + box.height), slice(left, left + box.width))
        return torch.cat([deepest, around], dim=1)

    def decode(self, crops: Sequence[Crop], want: Sequence[Box]) -> Tensor:
        """Return the latent map D of each tile on the wanted latent pixels, shape (T, C, h, w).

        Parameters
        ----------
        crops
            The encoder's maps, finest level first, each at least on its box of `map_boxes`.
        want
            One box of latent pixels for each tile, all of the same size.
        """
        return self.head.activate(*self.decoder(self._reassembled(crops, want), want))

    def far_origin(self, row: int, col: int) -> tuple[int, int]:
        """Return the first pixel of the far image of a tile on the far lattice, by the start of the tile's core."""
        return row // self.zoom - self.far_halo, col // self.zoom - self.far_halo

    def forward(self, near: Tensor, far: Tensor | None, core: Box, at: tuple[int, int] = (0, 0)) -> Tensor:
        """Return the latent map of a tile's core, shape (1, C, h, w), computed from its padded images.

        `near` and `far` are those of one tile, as for `pyramid`; `core` is in pixels of the near image, and starts at
        row and column `at` of the lattice.
        """
        finest = self.strides[0]
        want = Box(core.row // finest, core.col // finest, core.height // finest, core.width // finest)
        levels, means = self._encoded_near(near, (core.row, core.col), at), self._means(far, at)
        logits = Crop(self.linear.logits(levels), [0], [0]) if self.linear and self.linear.share else None

        def maps(box: Box) -> tuple[list[Crop], Crop | None]:
            boxes = self.map_boxes(box)
            *finer, deepest = (Crop(level, [0], [0]).cut([needed]) for level, needed in zip(levels, boxes, strict=True))
            feature = self._with_surroundings(deepest.feature, means, boxes[-1], levels[-1].shape[-2:])
            return [*finer, deepest._replace(feature=feature)], logits

        return self.decode_in_parts(want, maps)

    def decode_in_parts(self, want: Box, maps: Callable[[Box], tuple[list[Crop], Crop | None]]) -> Tensor:
        """Return the latent map (1, C, h, w) of a box of latent pixels.

        `maps` returns, for a part of the box, the encoder's maps on those of `map_boxes`, and the map of the linear
        path (`LinearPath.logits`), or None where that has no share.
        """
        # Attention along rows sees complete rows, so such a tile is decoded in one part.
        decoder = self.config.decoder
        along_rows = decoder.fusion == "safb" and decoder.attention == "row"
        part = max(want.height, want.width) if along_rows else _PART
        latent = self.head.scale.new_empty((1, decoder.channels[0], want.height, want.width), dtype=torch.float32)
        for row in range(0, want.height, part):
            for col in range(0, want.width, part):
                box = Box(want.row + row, want.col + col, min(part, want.height - row), min(part, want.width - col))
                crops, logits = maps(box)
                decoded = self._with_linear_path(self.decode(crops, [box]), logits, box)
                _copy_rows(latent[:, :, row : row + box.height, col : col + box.width], decoded)
        return latent

    def _with_linear_path(self, decoded: Tensor, logits: Crop | None, box: Box) -> Tensor:
        """Return a part of the latent map with the linear path mixed in, whose map at the deepest pitch is `logits`."""
        if self.linear is None or logits is None:
            return decoded
        pitch, finest = self.pitches[-1], self.strides[0]
        needed = logits.cut([token_box(box, pitch, finest)])
        shares = self.linear.shares(resampled(needed, [box], pitch, finest).feature)
        return self.linear.mixed(decoded, shares, self.linear.share)

    @property
    def trained(self) -> nn.ModuleDict:
        """The parts that training changes: all but a frozen encoder. Their weights have the same names as here."""
        fixed = () if self.config.encoder.trainable else ("encoder",)
        return nn.ModuleDict({name: part for name, part in self.named_children() if name not in fixed})

    @torch.inference_mode()
    def latent(self, near: Tensor, far: Tensor | None = None, at: tuple[int, int] = (0, 0)) -> Tensor:
        """Return the latent map of a tile's core (C, h, w), computed from its padded images of bytes (3, H, W).

        `at` is the first row and column of the core on the lattice.
        """
        core = Box(self.halo, self.halo, near.shape[1] - 2 * self.halo, near.shape[2] - 2 * self.halo)
        return self.forward(near[None], None if far is None else far[None], core, at)[0].float()

    def for_prediction(self, device: str) -> Network:
        """Return a copy on a device, in evaluation mode, that computes the same in less time and memory."""
        encoder = self.encoder
        if encoder.mean.device.type != device:
            encoder = copy.deepcopy(encoder).to(device)
        if device == "cpu":
            encoder = stripwise(encoder)
        # The encoder is not copied again: the weights of a transformer take gigabytes.
        result = copy.deepcopy(self, {id(self.encoder): encoder}).to(device).eval()
        result.decoder = folded(result.decoder)
        return result


def _copy_rows(target: Tensor, part: Tensor) -> None:
    """Copy a channels-last map to one that is not, a few rows at a time so that the processor's cache holds them."""
    for row in range(0, part.shape[2], _ROWS):
        rows = slice(row, row + _ROWS)
        target[:, :, rows] = part[:, :, rows].contiguous()
