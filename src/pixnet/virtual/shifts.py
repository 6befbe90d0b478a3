"""Shifts between donors: how patients, sections, scanners and assays differ beyond what the presets hold.

The presets alone let donors differ by a few degrees of hue, a little dye and mild levels of expression. Slides of
different hospitals differ by far more. A comment says where a range comes from; ranges without a source are choices.
How strong all of them are together was set by what ridge loses on a new donor of real tissue (see the documentation of
the virtual tissue).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pixnet.virtual.noise import stream
from pixnet.virtual.parameters import TissuePreset

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shifts:
    """How much donors differ: standard deviations, and ranges of uniform values. Logarithms are natural.

    All slides of a donor share the donor's values.
    """

    # Patient. The cells of one type in one zone are several times as dense in one patient as in another.
    composition_sd: float = 0.6  # log density of each population
    nucleus_sd: float = 0.08  # log diameter of the nuclei and size of the cells of each type
    levels_sd: float = 0.4  # log level of each gene, batch effects of the assay included
    programs_sd: float = 0.6  # log level of each gene in each type of cell
    # Section. Pathology cuts 3 to 5 um, and a microtome is exact to about 1 um. A thicker section takes up more dye,
    # and shows nuclei above and below the plane of focus.
    thickness_sd: float = 0.25  # log thickness
    # Stain. Strong augmentation, which carries over between laboratories, scales each dye by up to 20 % (Tellez et al.,
    # 2019); fitted directions differ by several degrees between slides (Macenko et al., 2009).
    amount_sd: float = 0.3  # log amount of each dye
    hue_sd_degrees: float = 8.0
    # Scanner. Scanners render the same slide visibly differently (Cheng et al., 2013, and Clarke and Treanor, 2017).
    crosstalk_sd: float = 0.08  # of each entry of the colour matrix beside the diagonal; grey stays grey
    white_sd: float = 0.03  # log light of the empty glass in each channel
    gamma_sd: float = 0.2  # log exponent
    sharpening: tuple[float, float] = (0.0, 1.0)  # amount of unsharp masking
    # The depth of focus of an objective of 20x / 0.75 is about 1 um. One focus error of 2 um spreads a point over a
    # disk of 2 to 4 um across.
    defocus_um: tuple[float, float] = (0.0, 2.0)  # standard deviation of the blur where the focus is worst
    # Quality of the JPEG tiles: 30 in many files of Aperio, 70 to 95 elsewhere.
    quality: tuple[int, int] = (30, 90)
    # Assay.
    capture_sd: float = 0.5  # log captured fraction of a sample: depths differ by factors of two and three


SHIFTS = Shifts()
"""The shifts of the benchmark over donors."""


@dataclass(frozen=True)
class Imaging:
    """How the sections of one donor were cut and scanned; the values of `Shifts` that belong to it, drawn."""

    thickness: float  # over the usual
    matrix: Array  # light of red, green and blue from the camera's channels, (3, 3); its rows add up to 1
    white: Array  # factor of each channel, (3,)
    gamma: float
    sharpening: float
    defocus_um: float
    quality: int


def donor_imaging(shifts: Shifts, donor_seed: int) -> Imaging:
    """Draw how a donor's sections are cut and scanned."""
    rng = stream("shifts", donor_seed)
    beside = shifts.crosstalk_sd * rng.standard_normal((3, 3)) * (1 - np.eye(3))
    return Imaging(
        matrix=beside + np.diag(1 - beside.sum(axis=1)),
        white=np.exp(shifts.white_sd * rng.standard_normal(3)),
        thickness=math.exp(shifts.thickness_sd * rng.standard_normal()),
        gamma=math.exp(shifts.gamma_sd * rng.standard_normal()),
        sharpening=rng.uniform(*shifts.sharpening),
        defocus_um=rng.uniform(*shifts.defocus_um),
        quality=round(rng.uniform(*shifts.quality)),
    )


def donor_preset(preset: TissuePreset, shifts: Shifts, donor_seed: int) -> TissuePreset:
    """Return the preset of a donor's slides: its composition and sizes drawn, its stain and levels spread out.

    Genes keep their meaning, since their profiles depend on none of this.
    """
    rng = stream("shifts", donor_seed, 1)
    density = np.exp(shifts.composition_sd * rng.standard_normal(len(preset.populations)))
    size = np.exp(shifts.nucleus_sd * rng.standard_normal(len(preset.cells)))
    return replace(
        preset,
        populations=tuple(
            replace(population, per_mm2=population.per_mm2 * float(factor))
            for population, factor in zip(preset.populations, density, strict=True)
        ),
        cells=tuple(
            replace(cell, nucleus_um=_scaled(cell.nucleus_um, factor), cell_um=_scaled(cell.cell_um, factor))
            for cell, factor in zip(preset.cells, size, strict=True)
        ),
        stain=replace(preset.stain, amount_sd=shifts.amount_sd, hue_sd_degrees=shifts.hue_sd_degrees),
        expression=replace(preset.expression, donor_sd=shifts.levels_sd, capture_sd=shifts.capture_sd),
    )


def donor_programs(preset: TissuePreset, shifts: Shifts, donor_seed: int, genes: int) -> Array:
    """Draw what a donor adds to the log level of each gene in each type of cell, shape (types, genes)."""
    added: Array = shifts.programs_sd * stream("shifts", donor_seed, 2).standard_normal((len(preset.cells), genes))
    return added


def _scaled(axes: tuple[float, float], factor: float) -> tuple[float, float]:
    return axes[0] * float(factor), axes[1] * float(factor)
