"""Projections of each pixel of several levels, upsampled to the finest level and added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.network.crop import Crop


class Projections(nn.Module):
    """On each level two 1x1 convolutions with a ReLU between them; coarser levels are upsampled bilinearly.

    Parameters
    ----------
    encoder_channels
        Channels of the levels, finest first.
    channels
        Channels of the output.
    hidden
        Channels between the convolutions.
    """

    def __init__(self, encoder_channels: Sequence[int], channels: int, hidden: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
            for count in encoder_channels
        )
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, crops: Sequence[Crop]) -> Crop:
        """Return the sum on the crop of the finest level; crops of levels without a projection are ignored."""
        *finer, total = (
            crop._replace(feature=project(crop.feature)) for project, crop in zip(self.levels, crops, strict=False)
        )
        for crop in reversed(finer):
            total = crop._replace(feature=crop.feature + total.doubled(self.up).cut(crop.boxes).feature)
        return total
