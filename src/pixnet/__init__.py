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
    from pixnet.model import PixNet
    from pixnet.readers.legacy_st import read_legacy_st
    from pixnet.readers.manifest import read_manifest
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
    "read_manifest",
    "read_legacy_st",
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
    "read_manifest": "pixnet.readers.manifest",
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
