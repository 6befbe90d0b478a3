"""The three tissues: all numbers behind images and counts, except for the defaults in `parameters.py`.

The numbers are frozen, and so are the seeds that tests and benchmarks use for scoring. Tune nothing on the test seeds.
If you change a number, raise the version: scores of different versions cannot be compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pixnet.digest import digest
from pixnet.virtual.parameters import CellType, Population, TissuePreset, Zone
from pixnet.virtual.shifts import Shifts

# These cells look similar in every tissue. A lymphocyte's nucleus is about as large as a red blood cell.
_LYMPHOCYTE = CellType("lymphocyte", (6.6, 6.0), (8.6, 8.0), 0.7, chromatin=1.35, clumping=0.35, eosin=0.3)
_FIBROBLAST = CellType(
    "fibroblast", (12.0, 3.6), (24.0, 6.5), 0.6, "fibre", size_sd=0.18, chromatin=1.1, clumping=0.3, eosin=0.5
)
_ENDOTHELIUM = CellType(
    "endothelium", (9.5, 3.2), (17.0, 5.5), 0.6, "tangent", size_sd=0.15, chromatin=1.15, clumping=0.3, eosin=0.5
)
_MACROPHAGE = CellType(
    "macrophage", (8.5, 6.5), (15.0, 12.5), 1.0, size_sd=0.15, irregularity=0.1, chromatin=0.85, eosin=0.5
)
# Fat cells are 30-50 um and up to 120 um across (BioNumbers 107466).
_ADIPOCYTE = CellType("adipocyte", (10.0, 3.2), (84.0, 80.0), 1.0, size_sd=0.15, eosin=0.5, vacuole="fat")

BREAST = TissuePreset(
    name="breast",
    layout="breast",
    profile_seed=101,
    cells=(
        # Nuclear areas in ductal lesions of low and high grade: 44 and 72 um^2 (Tan et al., 2001).
        CellType("luminal", (8.2, 6.8), (13.5, 8.5), 1.0, "normal", 0.15, chromatin=0.95, nucleolus=0.15, eosin=0.5),
        CellType("myoepithelial", (9.0, 4.0), (13.0, 5.5), 0.7, "tangent", chromatin=1.15, clumping=0.3, eosin=0.4),
        CellType(
            "carcinoma",
            (10.4, 8.8),
            (15.5, 13.0),
            1.4,
            size_sd=0.22,
            irregularity=0.1,
            chromatin=0.9,
            clumping=0.4,
            nucleolus=0.45,
            eosin=0.5,
            basophilia=0.1,
        ),
        _FIBROBLAST,
        _ENDOTHELIUM,
        _LYMPHOCYTE,
        _MACROPHAGE,
        _ADIPOCYTE,
    ),
    zones=(
        Zone("lumen", 0.0, open=True),
        Zone("duct", 0.4, 0.03, 0.08),
        Zone("tumour", 0.38, 0.05, 0.1),
        Zone("stroma", 0.55, 0.0, 0.45),
        Zone("fat", 0.14, 0.0, 0.4),
        Zone("immune", 0.3, 0.05, 0.2),
    ),
    populations=(
        Population("adipocyte", "fat", 330.0, 46.0),
        Population("myoepithelial", "duct", 3300.0, 8.0, (0.5, 4.0)),
        Population("luminal", "duct", 9000.0, 6.6, (5.0, 40.0)),
        Population("carcinoma", "tumour", 5200.0, 9.5),
        Population("lymphocyte", "tumour", 350.0, 7.0),
        Population("fibroblast", "stroma", 1000.0, 10.0),
        Population("endothelium", "stroma", 220.0, 8.0),
        Population("lymphocyte", "stroma", 250.0, 6.5),
        Population("macrophage", "stroma", 130.0, 10.0),
        Population("fibroblast", "fat", 60.0, 8.0),
        Population("lymphocyte", "immune", 9500.0, 6.6),
        Population("macrophage", "immune", 500.0, 9.0),
        Population("endothelium", "immune", 250.0, 8.0),
    ),
    niches=("gland", "front"),
)

COLON = TissuePreset(
    name="colon",
    layout="colon",
    profile_seed=202,
    cells=(
        CellType("colonocyte", (8.5, 4.6), (23.0, 6.5), 1.2, "normal", 0.4, chromatin=1.0, nucleolus=0.1, eosin=0.45),
        CellType("goblet", (6.5, 5.0), (23.0, 8.5), 1.0, "normal", 0.75, chromatin=1.2, eosin=0.4, vacuole="mucin"),
        CellType(
            "plasma",
            (6.8, 6.2),
            (12.0, 9.0),
            1.5,
            nucleus_shift=0.3,
            chromatin=1.25,
            clumping=0.45,
            eosin=0.4,
            basophilia=0.22,
        ),
        _LYMPHOCYTE,
        _MACROPHAGE,
        _FIBROBLAST,
        CellType("smooth muscle", (15.0, 3.2), (55.0, 7.0), 0.9, "fibre", chromatin=1.0, clumping=0.2, eosin=0.78),
        _ENDOTHELIUM,
        _ADIPOCYTE,
    ),
    zones=(
        Zone("lumen", 0.0, open=True),
        Zone("crypt", 0.4, 0.03, 0.05),
        Zone("lamina propria", 0.33, 0.02, 0.3),
        Zone("muscle", 0.68, 0.02, 0.3),
        Zone("submucosa", 0.45, 0.0, 0.5),
        Zone("follicle", 0.28, 0.06, 0.15),
        Zone("fat", 0.14, 0.0, 0.4),
    ),
    populations=(
        Population("adipocyte", "fat", 330.0, 46.0),
        # Goblet cells are 23 to 25 % of the cells of a crypt (Arai et al., 1989).
        Population("goblet", "crypt", 1400.0, 8.0, (8.5, 14.0)),
        Population("colonocyte", "crypt", 4500.0, 5.6, (8.5, 14.0)),
        Population("plasma", "lamina propria", 2200.0, 9.0),
        Population("lymphocyte", "lamina propria", 1800.0, 6.8),
        Population("macrophage", "lamina propria", 700.0, 9.0),
        Population("fibroblast", "lamina propria", 900.0, 9.0),
        Population("endothelium", "lamina propria", 400.0, 8.0),
        Population("smooth muscle", "muscle", 1500.0, 8.5),
        Population("fibroblast", "muscle", 120.0, 9.0),
        Population("fibroblast", "submucosa", 600.0, 10.0),
        Population("endothelium", "submucosa", 200.0, 8.0),
        Population("macrophage", "submucosa", 100.0, 9.0),
        Population("lymphocyte", "submucosa", 120.0, 7.0),
        Population("lymphocyte", "follicle", 10500.0, 6.4),
        Population("macrophage", "follicle", 450.0, 9.0),
        Population("lymphocyte", "crypt", 60.0, 6.0),
    ),
    niches=("depth", "follicle"),
)

# The mouse cortex has 9e4 neurons per mm^3 (Braitenberg and Schuz, 1998). In a section of 10 um with nuclei of 10 um,
# by Abercrombie's (1946) rule, these are 9e4 * 0.020 = 1800 profiles per mm^2. Layer 1 has few; layer 4 has most.
CORTEX = TissuePreset(
    name="cortex",
    layout="cortex",
    profile_seed=303,
    cells=(
        CellType(
            "upper neuron",
            (9.5, 8.8),
            (15.0, 12.0),
            1.6,
            "normal",
            chromatin=0.6,
            nucleolus=0.7,
            eosin=0.34,
            basophilia=0.26,
        ),
        CellType(
            "deep neuron",
            (11.0, 9.8),
            (19.0, 14.0),
            1.8,
            "normal",
            chromatin=0.58,
            nucleolus=0.8,
            eosin=0.35,
            basophilia=0.28,
        ),
        CellType(
            "interneuron", (9.0, 8.0), (13.0, 11.0), 1.5, chromatin=0.7, nucleolus=0.5, eosin=0.34, basophilia=0.2
        ),
        CellType("astrocyte", (8.8, 7.6), (15.0, 14.0), 0.8, chromatin=0.7, eosin=0.33),
        CellType("oligodendrocyte", (6.6, 6.1), (9.5, 9.0), 0.9, chromatin=1.25, clumping=0.3, eosin=0.2),
        CellType("microglia", (8.5, 3.6), (13.0, 7.0), 0.7, irregularity=0.1, chromatin=1.25, eosin=0.35),
        _ENDOTHELIUM,
    ),
    zones=(
        Zone("lumen", 0.0, open=True),
        Zone("layer 1", 0.36, 0.03, 0.06),
        Zone("upper layers", 0.39, 0.04, 0.06),
        Zone("layer 4", 0.39, 0.05, 0.06),
        Zone("deep layers", 0.4, 0.04, 0.08),
        Zone("white matter", 0.5, 0.02, 0.35),
        Zone("vessel wall", 0.5, 0.02, 0.2),
    ),
    populations=(
        Population("endothelium", "vessel wall", 3500.0, 8.0, (0.5, 4.0)),
        Population("upper neuron", "upper layers", 1600.0, 13.0),
        Population("upper neuron", "layer 4", 2500.0, 11.0),
        Population("deep neuron", "deep layers", 1250.0, 15.0),
        # About one neuron in six of the rodent cortex is inhibitory. There are about as many non-neuronal cells as
        # neurons (Herculano-Houzel et al., 2006): mostly oligodendrocytes, then astrocytes, then microglia (von
        # Bartheld et al., 2016).
        Population("interneuron", "layer 1", 130.0, 12.0),
        Population("interneuron", "upper layers", 300.0, 12.0),
        Population("interneuron", "layer 4", 350.0, 12.0),
        Population("interneuron", "deep layers", 250.0, 12.0),
        Population("astrocyte", "layer 1", 500.0, 12.0),
        Population("astrocyte", "upper layers", 450.0, 11.0),
        Population("astrocyte", "layer 4", 450.0, 11.0),
        Population("astrocyte", "deep layers", 450.0, 11.0),
        Population("astrocyte", "white matter", 500.0, 11.0),
        Population("oligodendrocyte", "upper layers", 250.0, 8.0),
        Population("oligodendrocyte", "layer 4", 350.0, 8.0),
        Population("oligodendrocyte", "deep layers", 600.0, 8.0),
        Population("oligodendrocyte", "white matter", 2600.0, 8.0),
        Population("microglia", "layer 1", 130.0, 9.0),
        Population("microglia", "upper layers", 130.0, 9.0),
        Population("microglia", "layer 4", 130.0, 9.0),
        Population("microglia", "deep layers", 130.0, 9.0),
        Population("microglia", "white matter", 180.0, 9.0),
        Population("endothelium", "upper layers", 220.0, 9.0),
        Population("endothelium", "deep layers", 220.0, 9.0),
        Population("endothelium", "white matter", 120.0, 9.0),
    ),
    niches=("depth", "vessel"),
)

PRESETS: Mapping[str, TissuePreset] = MappingProxyType({preset.name: preset for preset in (BREAST, COLON, CORTEX)})

VIRTUAL_VERSION = "2"
_WITHOUT_SHIFTS = "1"

# For each preset: (slide seed, donor seed). Do not use these slides or donors for training or tuning.
TEST_SEEDS: Mapping[str, tuple[tuple[int, int], ...]] = MappingProxyType(
    {
        "breast": ((9001, 901), (9002, 902), (9003, 903)),
        "colon": ((9101, 911), (9102, 912), (9103, 913)),
        "cortex": ((9201, 921), (9202, 922), (9203, 923)),
    }
)


# The same for tissue with shifts: four donors, each left out in turn.
DONOR_SEEDS: Mapping[str, tuple[tuple[int, int], ...]] = MappingProxyType(
    {
        "breast": ((9011, 904), (9012, 905), (9013, 906), (9014, 907)),
        "colon": ((9111, 914), (9112, 915), (9113, 916), (9114, 917)),
        "cortex": ((9211, 924), (9212, 925), (9213, 926), (9214, 927)),
    }
)


def tissue_version(shifts: Shifts | None = None) -> str:
    """Return the version that last changed the tissue with these shifts; without any it is that of version 1."""
    return _WITHOUT_SHIFTS if shifts is None else VIRTUAL_VERSION


def frozen_digest(shifts: Shifts | None = None) -> str:
    """Return the SHA-256, in hexadecimal, of all that tissue depends on beside its seeds and size.

    That is the version, the parameters of the presets, the seeds that are kept for tests, and the shifts.
    """
    content: dict[str, Any] = {
        "version": tissue_version(shifts),
        "presets": {name: dataclasses.asdict(preset) for name, preset in PRESETS.items()},
        "test_seeds": dict(TEST_SEEDS),
    }
    if shifts is not None:
        content |= {"shifts": dataclasses.asdict(shifts), "donor_seeds": dict(DONOR_SEEDS)}
    return digest(content)
