"""The virtual tissue: an image like H&E whose expression is known everywhere."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.grid import Grid
from pixnet.regions import Disks, Regions, Squares
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.slide import Slide
from pixnet.virtual.cells import Cells, footprints, place_cells
from pixnet.virtual.diffusion import diffused_areas
from pixnet.virtual.expression import draw_profiles, hidden_log_rates, visible_log_rates
from pixnet.virtual.layout import Layout, draw_layout
from pixnet.virtual.noise import Seeds, stream
from pixnet.virtual.parameters import TissuePreset
from pixnet.virtual.presets import PRESETS
from pixnet.virtual.render import render
from pixnet.virtual.shifts import Shifts, donor_imaging, donor_preset, donor_programs

Array = NDArray[np.float64]


class VirtualTissue:
    """A tissue drawn from seeds, with its image, its cells and their expression.

    Make one with `generate`. Expected counts are uniform over a cell's footprint (pixels of 1 um), on top of a uniform
    ambient level; they add up over the parts of any partition.

    Attributes
    ----------
    preset, layout, cells : TissuePreset, Layout, Cells
        Parameters of the donor's tissue, its zones and its cells.
    shifts : Shifts or None
        How much donors differ beyond the preset.
    seed, donor_seed, hidden_seed : int
        Seeds of the slide, of the donor's stain and levels, and of what the image does not show.
    slide : Slide
        The image.
    genes, gene_groups : tuple of str
        Gene names, and what each gene depends on: "marker:<type>", "niche", "hidden" or "shared".
    grid : Grid
        Grid of the footprints, with pixels of 1 um.
    labels : (rows, columns) int32
        1 + index of the cell that owns a pixel; 0 for none.
    rates : (1 + cells, genes) float64
        Expected counts per um^2 of each owner at capture 1: first what is outside of cells, then the cells.
    visible_rates : (1 + cells, genes) float64
        Expectation of `rates` given what the image shows.
    """

    def __init__(
        self, preset: TissuePreset, shifts: Shifts | None, seeds: Seeds, slide: Slide, layout: Layout, cells: Cells,
        labels: NDArray[np.int32],
    ) -> None:  # fmt: skip
        self.preset = preset
        self.shifts = shifts
        self.seed = seeds.slide
        self.donor_seed = seeds.donor
        self.hidden_seed = seeds.hidden
        self.slide = slide
        self.layout = layout
        self.cells = cells
        self.labels = labels
        self.grid = Grid(0.0, 0.0, 1.0, *labels.shape)
        profiles = draw_profiles(preset)
        self.genes = profiles.names
        self.gene_groups = profiles.groups
        visible = visible_log_rates(preset, profiles, cells, seeds.donor)
        if shifts is not None:
            visible += donor_programs(preset, shifts, seeds.donor, len(self.genes))[cells.kind]
        hidden = hidden_log_rates(preset, profiles, cells, seeds.hidden)
        # Row 0 is what is outside of cells; the ambient level is everywhere.
        self.visible_rates = np.vstack([np.zeros(len(self.genes)), np.exp(visible)]) + profiles.ambient
        self.rates = np.vstack([np.zeros(len(self.genes)), np.exp(visible + hidden)]) + profiles.ambient

    @property
    def donor(self) -> str:
        """Name of the donor."""
        return f"{self.preset.name}-donor-{self.donor_seed}"

    def sample_id(self, seed: int) -> str:
        """Return the name of the sample that is measured with a seed."""
        return f"{self.slide.name}-{seed}"

    @classmethod
    def generate(
        cls,
        preset: str | TissuePreset,
        seed: int,
        donor_seed: int,
        width_um: float = 1000.0,
        height_um: float = 1000.0,
        mpp: float = 1.0,
        shifts: Shifts | None = None,
    ) -> VirtualTissue:
        """Draw a tissue.

        Parameters
        ----------
        preset
            Name of a preset, or a preset.
        seed, donor_seed
            Seed of the slide (layout, cells, hidden states, texture), and of the donor (stain, mild differences of
            expression).
        width_um, height_um
            Size in um, from 100 to 20,000.
        mpp
            Pixel size of the image in um, from 0.1 to 10. The tissue itself does not depend on it.
        shifts
            How much donors differ in composition, section, stain, scanner and assay, such as `SHIFTS`. Without them,
            donors differ mildly, in stain and levels alone.

        Raises
        ------
        DataError
            If there is no such preset, or if a size or a seed cannot be used.
        """
        if isinstance(preset, str):
            if preset not in PRESETS:
                raise DataError(f"there is no virtual tissue '{preset}'; choose one of {', '.join(PRESETS)}")
            preset = PRESETS[preset]
        if not (100 <= width_um <= 20_000 and 100 <= height_um <= 20_000 and 0.1 <= mpp <= 10):
            raise DataError(
                f"a virtual tissue of {width_um} x {height_um} um at {mpp} um per pixel cannot be drawn; give sides of "
                "100 to 20000 um and 0.1 to 10 um per pixel"
            )
        if min(seed, donor_seed) < 0:
            raise DataError(f"the seeds {seed} and {donor_seed} cannot be used; give whole numbers from 0 upwards")
        if shifts is not None:
            preset = donor_preset(preset, shifts, donor_seed)
        shape = math.ceil(height_um), math.ceil(width_um)
        pixels = round(height_um / mpp), round(width_um / mpp)
        layout = draw_layout(preset, stream("layout", seed), shape)
        cells = place_cells(preset, layout, stream("cells", seed))
        outlines, labels = footprints(preset, layout, cells)
        seeds = Seeds(slide=seed, donor=donor_seed, hidden=seed)
        imaging = None if shifts is None else donor_imaging(shifts, donor_seed)
        rgb = render(preset, layout, cells, outlines, labels, seeds, pixels, mpp, imaging)
        slide = Slide.from_array(rgb, mpp, name=f"{preset.name}-{seed}-{donor_seed}")
        return cls(preset, shifts, seeds, slide, layout, cells, labels)

    def redrawn(self, hidden_seed: int) -> VirtualTissue:
        """Return the same image with the hidden part of the expression drawn again from this seed."""
        seeds = Seeds(self.seed, self.donor_seed, hidden_seed)
        return VirtualTissue(self.preset, self.shifts, seeds, self.slide, self.layout, self.cells, self.labels)

    def truth(self, regions: Regions) -> Array:
        """Return the expected counts in n regions at capture 1, without diffusion and noise, (n, genes).

        Parts of a region outside of the tissue have no counts.
        """
        return np.asarray(self.areas(regions) @ self.rates)

    def visible(self, regions: Regions) -> Array:
        """Return the expectation of `truth` given every cell's type, outline, niche and donor, (n, genes).

        No method that sees only the image can do better on average. It is exact, because the hidden part is lognormal
        with mean 1.
        """
        return np.asarray(self.areas(regions) @ self.visible_rates)

    def truth_map(self, gene: str, pitch_um: float) -> Array:
        """Return a gene's expected counts per um^2, at capture 1, on a grid of squares of `pitch_um`, (rows, columns).

        Of squares at the right and bottom edge, only the part inside the tissue counts.

        Raises
        ------
        DataError
            If there is no such gene.
        """
        if gene not in self.genes:
            raise DataError(f"the virtual tissue has no gene '{gene}'; its genes are VG001 to {self.genes[-1]}")
        _, _, right, bottom = self.grid.bounds_um
        areas = self.areas(Squares.tiling(0.0, 0.0, right, bottom, pitch_um))
        density = areas @ self.rates[:, self.genes.index(gene)] / areas.sum(axis=1)
        columns = math.ceil(right / pitch_um - 1e-9)
        return np.asarray(density).reshape(-1, columns)

    def measure(
        self,
        regions: Regions,
        seed: int,
        *,
        counts_per_um2: float | None = None,
        capture: float | None = None,
        diffusion_um: float | None = None,
    ) -> Sample:
        """Measure the tissue as a spatial assay would.

        RNA diffuses laterally (a Gaussian blur, see `diffusion.py`), a fraction of it is captured, and the captured
        molecules are counted (Poisson).

        Parameters
        ----------
        regions
            Regions to measure.
        seed
            Seed of the capture and of the counts.
        counts_per_um2
            Mean counts per um^2 over the whole tissue; can be given instead of `capture`.
        capture
            Captured fraction. If None, it is drawn around the preset's, as it differs between samples.
        diffusion_um
            Standard deviation of the diffusion, in um; None for the preset's.

        Returns
        -------
        Sample
            A sample of the platform "virtual", with `capture` and `diffusion_um` in `counts.notes`.

        Raises
        ------
        DataError
            If both `counts_per_um2` and `capture` are given, or if a value is negative or not finite.
        """
        given = {"counts_per_um2": counts_per_um2, "capture": capture, "diffusion_um": diffusion_um}
        for name, value in given.items():
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise DataError(f"`{name}` is {value}; give a finite number that is not negative")
        if counts_per_um2 is not None and capture is not None:
            raise DataError("`counts_per_um2` and `capture` both set the number of counts; give only one of them")
        settings = self.preset.expression
        rng = stream("counts", self.seed, self.donor_seed, seed)
        drawn = settings.capture * math.exp(settings.capture_sd * rng.standard_normal())
        if counts_per_um2 is not None:
            owned_um2 = np.bincount(self.labels.ravel(), minlength=len(self.rates))
            capture = counts_per_um2 * self.labels.size / float(owned_um2 @ self.rates.sum(axis=1))
        elif capture is None:
            capture = drawn
        spread = settings.diffusion_um if diffusion_um is None else diffusion_um
        areas = self.areas(regions, spread)
        expected = capture * np.asarray(areas @ self.rates)
        counts = sparse.csr_matrix(rng.poisson(expected).astype(np.float32))
        table = Counts(counts, pd.Index(self.genes), notes={"capture": capture, "diffusion_um": spread})
        return Sample(self.sample_id(seed), self.slide, regions, table, donor=self.donor, platform="virtual")

    def areas(self, regions: Regions, diffusion_um: float = 0.0) -> sparse.csr_array:
        """Return the area in um^2 that each region covers of each owner, shape (n, 1 + cells).

        The owners are in the order of `rates`, so `areas @ rates` are the expected counts. With a lateral diffusion, of
        standard deviation `diffusion_um`, the areas are those that end up in the region.
        """
        if diffusion_um:
            return diffused_areas(regions, self.grid, self.labels, len(self.rates), diffusion_um)
        size = self.labels.size
        entries = (np.ones(size), self.labels.ravel(), np.arange(size + 1))
        owner = sparse.csr_array(entries, shape=(size, len(self.rates)))
        return sparse.csr_array(regions.coverage(self.grid) @ owner)


def spots(
    width_um: float,
    height_um: float,
    diameter_um: float = 100.0,
    pitch_um: float = 200.0,
    margin_um: float | None = None,
    hexagonal: bool = False,
) -> Disks:
    """Return an array of spots, centred on the tissue, row by row.

    The defaults are those of the first arrays: spots of 100 um on a square lattice of 200 um (Stahl et al., 2016).
    Visium has spots of 55 um on a hexagonal lattice of 100 um.

    Parameters
    ----------
    width_um, height_um, diameter_um, pitch_um
        Size of the tissue, diameter of a spot, and distance between neighbouring centres, in um.
    margin_um
        Least distance from a spot's centre to the edge, in um; None for the radius of a spot.
    hexagonal
        Whether every other row is shifted by half a pitch.

    Raises
    ------
    DataError
        If a size is not positive, or if no spot fits.
    """
    if not (diameter_um > 0 and pitch_um > 0):
        raise DataError(f"spots of {diameter_um} um at a pitch of {pitch_um} um are not possible; give sizes above 0")
    margin = diameter_um / 2 if margin_um is None else margin_um
    rise = pitch_um * math.sqrt(0.75) if hexagonal else pitch_um
    room_x = width_um - 2 * margin - (pitch_um / 2 if hexagonal else 0.0)
    room_y = height_um - 2 * margin
    if min(room_x, room_y) < 0:
        raise DataError(
            f"no spot of {diameter_um} um with a margin of {margin} um fits into {width_um} x {height_um} um; use a "
            "larger tissue or smaller spots"
        )
    columns = int(room_x / pitch_um + 1e-9) + 1
    rows = int(room_y / rise + 1e-9) + 1
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    x = margin + (room_x - (columns - 1) * pitch_um) / 2 + column * pitch_um
    y = margin + (room_y - (rows - 1) * rise) / 2 + row * rise
    if hexagonal:
        x = x + pitch_um / 2 * (row % 2)
    return Disks(np.stack([x, y], axis=1), diameter_um)
