"""SpatialData stores."""

from __future__ import annotations

from pixnet.readers.spatialdata.reader import read_spatialdata

__all__ = ["read_spatialdata"]
