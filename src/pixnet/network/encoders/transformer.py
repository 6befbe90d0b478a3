"""Vision transformers: the tokens of several blocks are the levels, all at the pitch of the patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pixnet.errors import ModelError
from pixnet.network.encoders.base import Encoder

if TYPE_CHECKING:
    from torch import nn

    from pixnet.network.config import EncoderConfig
    from pixnet.network.encoders.registry import Colour

# Windows that go through the model together, always as many: the sums of a product of matrices are rounded in another
# order where it has another size, and a window would get other tokens.
_BATCH = {"cpu": 1, "cuda": 64}


class TransformerEncoder(Encoder):
    """A plain vision transformer that works on windows of its native size, which overlap by a quarter.

    A transformer's tokens depend on their complete window. The windows are therefore on a fixed lattice, and the tokens
    of overlapping windows are blended with weights that add up to one. So a feature depends on the slide alone, not on
    how it was cut into tiles. Tokens stay at the pitch of the patches; the network resamples them where it needs them.

    Parameters
    ----------
    model
        A transformer of timm, without its classifier.
    config
        Which of its blocks are read, and for how many levels.
    mean, std, window, patch
        Normalisation of its input, and sides of its windows and patches in pixels.
    """

    model: Any

    def __init__(
        self, model: nn.Module, config: EncoderConfig, mean: Colour, std: Colour, window: int, patch: int
    ) -> None:
        super().__init__(mean, std)
        self.model = model
        self.window, self.patch = window, patch
        depth, levels = len(self.model.blocks), len(config.strides)
        # Early blocks hold fine detail, late ones tissue context: the finest level takes the earliest block.
        self.blocks = config.blocks or tuple(round((level + 1) * depth / levels) - 1 for level in range(levels))
        ascending = list(self.blocks) == sorted(set(self.blocks))
        if len(self.blocks) != levels or not ascending or self.blocks[0] < 0 or self.blocks[-1] >= depth:
            raise ModelError(
                f"[network.encoder] blocks = {list(self.blocks)}: the pyramid has {levels} levels and encoder "
                f"{config.name!r} has blocks 0 to {depth - 1}; give one block for each level, in ascending order."
            )
        self.channels = (int(self.model.embed_dim),) * levels
        self.pitches = (patch,) * levels
        tokens = window // patch
        self.overlap = max(1, round(tokens / 4))  # tokens that neighbouring windows share
        self.step = (tokens - self.overlap) * patch  # pixels from one window to the next
        self.phase = patch

    def forward(self, image: Tensor, rim: int = 0, origin: tuple[int, int] = (0, 0)) -> list[Tensor]:
        """Return the maps of an image of bytes (N, 3, H, W) whose sides are multiples of the patch."""
        image, step, window, patch = self.standardise(image), self.step, self.window, self.patch
        sides = image.shape[-2:]
        # All windows that reach into the part that is needed; the first may start, and the last end, outside.
        (rows, top), (cols, left) = (
            _windows_over(side, rim, step, window, start) for side, start in zip(sides, origin, strict=True)
        )
        height, width = ((count - 1) * step + window for count in (rows, cols))
        bottom, right = (
            start + extent - side for start, extent, side in zip((top, left), (height, width), sides, strict=True)
        )
        # A negative padding cuts.
        outside = [max(0, pad) for pad in (-left, right, -top, bottom)]
        covered = F.pad(image, outside, mode="replicate")
        covered = F.pad(covered, [pad - out for pad, out in zip((-left, right, -top, bottom), outside, strict=True)])
        maps = [
            image.new_zeros(len(image), count, height // patch, width // patch, dtype=torch.float32)
            for count in self.channels
        ]
        # A few rows of windows at a time: all of them would take several times the memory of the maps.
        together = max(1, _BATCH.get(image.device.type, 16) // cols)
        for first in range(0, rows, together):
            count = min(together, rows - first)
            strip = covered[:, :, first * step : (first + count - 1) * step + window]
            windows = F.unfold(strip, window, stride=step).transpose(1, 2).reshape(-1, 3, window, window)
            part = slice(first * step // patch, ((first + count - 1) * step + window) // patch)
            for target, tokens in zip(maps, self._encoded(windows), strict=True):
                target[:, :, part] += self._blended(tokens, count, cols)
        needed = [-pad // patch for pad in (-left, right, -top, bottom)]
        return [F.pad(level, needed) for level in maps]

    def _encoded(self, windows: Tensor) -> list[Tensor]:
        """Return the tokens of windows (k, 3, side, side) for each level, (k, C, tokens, tokens)."""
        size, parts = _BATCH.get(windows.device.type, 16), []
        for batch in torch.split(windows, size):
            complete = F.pad(batch, (0, 0, 0, 0, 0, 0, 0, size - len(batch)))
            with torch.autocast(windows.device.type, torch.bfloat16, enabled=_has_bfloat16(windows.device)):
                tokens = self.model.forward_intermediates(
                    complete, indices=list(self.blocks), intermediates_only=True, norm=True
                )
            parts.append([level[: len(batch)].float() for level in tokens])
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    def _blended(self, tokens: Tensor, rows: int, cols: int) -> Tensor:
        """Return the weighted sum of the tokens of N x rows x cols windows, (N, C, height, width) in tokens."""
        side, step = self.window // self.patch, self.step // self.patch
        ramp = ((torch.arange(side, device=tokens.device, dtype=tokens.dtype) + 0.5) / self.overlap).clamp(max=1.0)
        weight = torch.minimum(ramp, ramp.flip(0))  # where two windows overlap, their weights add up to one
        tokens = tokens * weight[:, None] * weight
        columns = tokens.reshape(-1, rows * cols, tokens.shape[1] * side * side).transpose(1, 2)
        return F.fold(columns, ((rows - 1) * step + side, (cols - 1) * step + side), side, stride=step)


def _windows_over(side: int, rim: int, step: int, window: int, origin: int) -> tuple[int, int]:
    """Return the number of windows that reach into an axis without its rims, and where the first starts, in pixels."""
    first, last = (origin + rim - window) // step + 1, -(-(origin + side - rim) // step) - 1
    return last - first + 1, first * step - origin


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices of bfloat16 faster than those of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
