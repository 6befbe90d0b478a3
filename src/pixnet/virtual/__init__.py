"""Virtual tissue: images like H&E, drawn from seeds, whose expression is known everywhere."""

from __future__ import annotations

from pixnet.virtual.parameters import TissuePreset
from pixnet.virtual.presets import DONOR_SEEDS, PRESETS, TEST_SEEDS, VIRTUAL_VERSION, frozen_digest, tissue_version
from pixnet.virtual.shifts import SHIFTS, Shifts
from pixnet.virtual.tissue import VirtualTissue, spots
from pixnet.virtual.write.dataset import write_dataset, write_legacy_st
from pixnet.virtual.write.hest import write_hest
from pixnet.virtual.write.visium import write_visium
from pixnet.virtual.write.visium_hd import write_visium_hd
from pixnet.virtual.write.xenium import write_xenium

__all__ = [
    "DONOR_SEEDS",
    "PRESETS",
    "SHIFTS",
    "TEST_SEEDS",
    "VIRTUAL_VERSION",
    "Shifts",
    "TissuePreset",
    "VirtualTissue",
    "frozen_digest",
    "spots",
    "tissue_version",
    "write_dataset",
    "write_hest",
    "write_legacy_st",
    "write_visium",
    "write_visium_hd",
    "write_xenium",
]
