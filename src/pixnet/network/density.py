"""The density map: the amount of expression at a place, over all genes.

A measured region holds two kinds of information: which genes it expresses, and how much in total. The programs learn
the first, this map the second, and the head keeps them apart (`pixnet.network.heads.Head`): a region's total is the
integral of the density and of nothing else. The finest levels see little beyond a single cell of the tissue, so they
explain the total of a region by the cells inside it. D_1 adds the wider surroundings. Totals teach this map but not the
features that it reads: features that learn from totals do worse at the rest on another section (docs/tried.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from pixnet.network.blocks import Standardise
from pixnet.network.projections import Projections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.network.crop import Crop

_LEVELS = 3  # finest levels that are read; never the deepest, which holds the surroundings too
_HIDDEN = 16  # channels between the two convolutions on each level


class Density(nn.Module):
    """Makes one map from projections of the finest levels and of the decoder's map.

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
        # Details finer than this at the finest stride are texture, which differs from training to training.
        self.smooth = nn.AvgPool2d(3, stride=1, padding=1)
        self.out = Standardise(1)

    def forward(self, levels: Sequence[Crop], decoded: Crop) -> Tensor:
        """Return the map (T, 1, h, w), before any activation, on the pixels of the decoder's map.

        Parameters
        ----------
        levels
            The standardised features, finest first, each on its crop. The finest must reach one pixel further than the
            decoder's map. Levels coarser than those that are read are ignored.
        decoded
            The decoder's map, shape (T, C, h, w).
        """
        fine = self.fine(levels)
        smooth = fine._replace(feature=self.smooth(fine.feature)).cut(decoded.boxes).feature
        context = self.context([decoded._replace(feature=decoded.feature.detach())]).feature
        scaled: Tensor = self.out(smooth + context)
        return scaled
