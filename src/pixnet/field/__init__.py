"""The dense expression field of a slide: built block by block, stored as Zarr, read over regions of any shape."""

from __future__ import annotations

from pixnet.field.build.build import build_field
from pixnet.field.build.inputs import BuildOptions, LatentSource, PredictOptions
from pixnet.field.field import ExportOptions, ExpressionField
from pixnet.field.head import LinearHead

__all__ = [
    "BuildOptions",
    "ExportOptions",
    "ExpressionField",
    "LatentSource",
    "LinearHead",
    "PredictOptions",
    "build_field",
]
