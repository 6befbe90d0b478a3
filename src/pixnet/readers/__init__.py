"""Readers of all platforms, and of manifests that list samples of any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.readers.anndata import read_anndata as read_anndata
    from pixnet.readers.common import SampleOptions as SampleOptions
    from pixnet.readers.hest import read_hest as read_hest
    from pixnet.readers.legacy_st import read_legacy_st as read_legacy_st
    from pixnet.readers.manifest import read_manifest as read_manifest
    from pixnet.readers.recognition import read as read
    from pixnet.readers.recognition import recognise as recognise
    from pixnet.readers.spatialdata import read_spatialdata as read_spatialdata
    from pixnet.readers.visium import read_visium as read_visium
    from pixnet.readers.visium_hd import read_visium_hd as read_visium_hd
    from pixnet.readers.visium_hd import read_visium_hd_cells as read_visium_hd_cells
    from pixnet.readers.xenium import read_xenium as read_xenium

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "recognition": ["read", "recognise"],
        "common": ["SampleOptions"],
        "manifest": ["read_manifest"],
        "legacy_st": ["read_legacy_st"],
        "visium": ["read_visium"],
        "visium_hd": ["read_visium_hd", "read_visium_hd_cells"],
        "xenium": ["read_xenium"],
        "hest": ["read_hest"],
        "anndata": ["read_anndata"],
        "spatialdata": ["read_spatialdata"],
    },
)
