"""PixNet: dense spatial gene expression from H&E images.

The names below are loaded when they are first used, so that `import pixnet` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixnet.config import Config
    from pixnet.errors import DataError, FieldError, ModelError, PixNetError, PixNetWarning, SlideError
    from pixnet.field import ExpressionField
    from pixnet.inspection import inspect
    from pixnet.model import PixNet
    from pixnet.readers.anndata_table import read_anndata
    from pixnet.readers.hest import read_hest
    from pixnet.readers.legacy_st import read_legacy_st
    from pixnet.readers.manifest import read_manifest
    from pixnet.readers.recognise import read, recognise
    from pixnet.readers.spatialdata_zarr import read_spatialdata
    from pixnet.readers.visium import read_visium
    from pixnet.readers.visium_hd import read_visium_hd
    from pixnet.readers.visium_hd_cells import read_visium_hd_cells
    from pixnet.readers.xenium import read_xenium
    from pixnet.regions import Disks, LabelMask, Polygons, Regions, Squares
    from pixnet.sample import Sample
    from pixnet.slide import Slide

__version__ = "0.1.0"

__all__ = [
    "PixNet",
    "Config",
    "Slide",
    "Sample",
    "Regions",
    "Disks",
    "Squares",
    "Polygons",
    "LabelMask",
    "ExpressionField",
    "read",
    "recognise",
    "inspect",
    "read_manifest",
    "read_legacy_st",
    "read_visium",
    "read_visium_hd",
    "read_visium_hd_cells",
    "read_xenium",
    "read_hest",
    "read_anndata",
    "read_spatialdata",
    "PixNetError",
    "SlideError",
    "DataError",
    "ModelError",
    "FieldError",
    "PixNetWarning",
    "__version__",
]

_HOMES = {
    "PixNet": "pixnet.model",
    "Config": "pixnet.config",
    "Slide": "pixnet.slide",
    "Sample": "pixnet.sample",
    "Regions": "pixnet.regions",
    "Disks": "pixnet.regions",
    "Squares": "pixnet.regions",
    "Polygons": "pixnet.regions",
    "LabelMask": "pixnet.regions",
    "ExpressionField": "pixnet.field",
    "read": "pixnet.readers.recognise",
    "recognise": "pixnet.readers.recognise",
    "inspect": "pixnet.inspection",
    "read_manifest": "pixnet.readers.manifest",
    "read_visium": "pixnet.readers.visium",
    "read_visium_hd": "pixnet.readers.visium_hd",
    "read_visium_hd_cells": "pixnet.readers.visium_hd_cells",
    "read_xenium": "pixnet.readers.xenium",
    "read_hest": "pixnet.readers.hest",
    "read_anndata": "pixnet.readers.anndata_table",
    "read_spatialdata": "pixnet.readers.spatialdata_zarr",
    "read_legacy_st": "pixnet.readers.legacy_st",
    "PixNetError": "pixnet.errors",
    "SlideError": "pixnet.errors",
    "DataError": "pixnet.errors",
    "ModelError": "pixnet.errors",
    "FieldError": "pixnet.errors",
    "PixNetWarning": "pixnet.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pixnet' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
