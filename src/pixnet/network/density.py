"""The density map: how much expression there is at a place, whatever genes it is of.

Regions tell two things, what they express and how much of it. The programs answer the first, this map the second, and
the head keeps them apart (`pixnet.network.heads.Head`): a region's total is the integral of the density, and nothing
else has a part in it. The finest levels see little beyond a cell, so what they add explains the totals of regions by
what lies inside of them: cells. D_1 adds what the wider surroundings tell. Totals teach this map and nothing that it
reads: features that learn from them are worse at the rest on another section (docs/tried.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from pixnet.network.blocks import Standardise
from pixnet.network.projections import Projections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.network.crop import Crop

_LEVELS = 3  # of the finest that are read; never the deepest, beside which the surroundings stand
_HIDDEN = 16  # channels between the two convolutions on each level


class Density(nn.Module):
    """One map from projections of the finest levels and from the decoder's map.

    Parameters
    ----------
    encoder_channels
        Channels of F_1 .. F_L, finest first.
    channels
        Channels of the decoder's map.
    """

    def __init__(self, encoder_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.fine = Projections(encoder_channels[: max(1, min(_LEVELS, len(encoder_channels) - 1))], 1, _HIDDEN)
        self.context = Projections((channels,), 1, channels)
        # What is finer than this at the finest stride is texture, and differs from training to training.
        self.smooth = nn.AvgPool2d(3, stride=1, padding=1)
        self.out = Standardise(1)

    def forward(self, levels: Sequence[Crop], decoded: Crop) -> Tensor:
        """Give the map (T, 1, h, w), before any activation, on the decoder's cells.

        Parameters
        ----------
        levels
            The standardised features, finest first, each on its crop; the finest reaches a cell further than is wanted.
            Those of coarser levels are left alone.
        decoded
            The decoder's map (T, C, h, w).
        """
        fine = self.fine(levels)
        smooth = fine._replace(feature=self.smooth(fine.feature)).cut(decoded.boxes).feature
        context = self.context([decoded._replace(feature=decoded.feature.detach())]).feature
        scaled: Tensor = self.out(smooth + context)
        return scaled
