"""PixNet: dense spatial gene expression from H&E images.

Names are loaded at first use, so that `import pixnet` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from pixnet.version import __version__

if TYPE_CHECKING:
    from pixnet.config import Config as Config
    from pixnet.errors import DataError as DataError
    from pixnet.errors import FieldError as FieldError
    from pixnet.errors import ModelError as ModelError
    from pixnet.errors import PixNetError as PixNetError
    from pixnet.errors import PixNetWarning as PixNetWarning
    from pixnet.errors import SlideError as SlideError
    from pixnet.field import ExpressionField as ExpressionField
    from pixnet.inspection import inspect as inspect
    from pixnet.model import PixNet as PixNet
    from pixnet.readers import read as read
    from pixnet.readers import read_anndata as read_anndata
    from pixnet.readers import read_hest as read_hest
    from pixnet.readers import read_legacy_st as read_legacy_st
    from pixnet.readers import read_manifest as read_manifest
    from pixnet.readers import read_spatialdata as read_spatialdata
    from pixnet.readers import read_visium as read_visium
    from pixnet.readers import read_visium_hd as read_visium_hd
    from pixnet.readers import read_visium_hd_cells as read_visium_hd_cells
    from pixnet.readers import read_xenium as read_xenium
    from pixnet.readers import recognise as recognise
    from pixnet.regions import Disks as Disks
    from pixnet.regions import LabelMask as LabelMask
    from pixnet.regions import Polygons as Polygons
    from pixnet.regions import Regions as Regions
    from pixnet.regions import Squares as Squares
    from pixnet.sample import Sample as Sample
    from pixnet.slide import Slide as Slide

__getattr__, _, _names = lazy_loader.attach(
    __name__,
    submod_attrs={
        "model": ["PixNet"],
        "config": ["Config"],
        "slide": ["Slide"],
        "sample": ["Sample"],
        "regions": ["Regions", "Disks", "Squares", "Polygons", "LabelMask"],
        "field": ["ExpressionField"],
        "readers": [
            "read",
            "recognise",
            "read_manifest",
            "read_legacy_st",
            "read_visium",
            "read_visium_hd",
            "read_visium_hd_cells",
            "read_xenium",
            "read_hest",
            "read_anndata",
            "read_spatialdata",
        ],
        "inspection": ["inspect"],
        "errors": ["PixNetError", "SlideError", "DataError", "ModelError", "FieldError", "PixNetWarning"],
    },
)
__all__ = [*_names, "__version__"]


def __dir__() -> list[str]:
    return __all__
