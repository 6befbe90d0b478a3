"""The dense expression field of a slide: built tile by tile, kept in a Zarr store, read off over any regions."""

from __future__ import annotations

from pixnet.field.build.build import build_field
from pixnet.field.field import ExpressionField
from pixnet.field.head import LinearHead

__all__ = ["ExpressionField", "LinearHead", "build_field"]
