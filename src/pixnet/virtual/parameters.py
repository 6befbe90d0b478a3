"""Parameters of a virtual tissue: cell types, zones, populations, stain and expression.

Their values are in `presets.py`; values that all tissues share are the defaults here. A comment names the paper that a
number comes from; the documentation of the virtual tissue lists them. Numbers without a paper were chosen so that the
image looks like the tissue. Lengths are in um, densities in cells per mm^2 as seen in a section.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CellType:
    """Appearance and RNA content of one type of cell."""

    name: str
    nucleus_um: tuple[float, float]  # full axes of a typical nucleus
    cell_um: tuple[float, float]  # full axes of a typical cell, the first one along its direction
    # Expected counts per um^2 of the cell, relative to the other types. Counts are proportional to the cell's size, as
    # measured by Padovan-Merhar et al. (2015).
    rna: float
    # Of the long axis: "fibre", "normal" (towards the lumen), "tangent" (along the basement membrane) or "free".
    direction: str = "free"
    nucleus_shift: float = 0.0  # from the cell's centre against the direction, as a fraction of the half-axis
    size_sd: float = 0.12  # standard deviation of the logarithm of a nucleus' size
    irregularity: float = 0.05  # relative standard deviation of the nuclear outline
    chromatin: float = 1.0  # haematoxylin in the nucleus
    clumping: float = 0.25  # relative amplitude of its texture
    nucleolus: float = 0.0  # haematoxylin in a nucleolus; 0 for none
    eosin: float = 0.45  # in the cytoplasm
    basophilia: float = 0.05  # haematoxylin in the cytoplasm
    # "none", "fat" (the cell is an empty droplet except for a thin rim) or "mucin" (a pale drop towards the lumen).
    vacuole: str = "none"


@dataclass(frozen=True)
class Zone:
    """The stain of the matrix between the cells in one kind of zone."""

    name: str  # as in `layout.py`
    eosin: float
    haematoxylin: float = 0.0
    fibres: float = 0.2  # relative amplitude of the fibre texture
    open: bool = False  # whether the zone is empty space (a lumen)


@dataclass(frozen=True)
class Population:
    """Cells of one type in one zone."""

    cell: str
    zone: str
    per_mm2: float  # cells per mm^2 of the zone
    spacing_um: float  # least distance between two centres; for two types, the mean of both
    depth_um: tuple[float, float] | None = None  # of the centres below the zone's border; None for any depth


@dataclass(frozen=True)
class Stain:
    """Optics and dyes. Optical densities follow Beer and Lambert, with natural logarithms.

    The dyes' directions of the optical density in red, green and blue are those of the model of Ruifrok and Johnston
    (2001), with the default values of QuPath (Bankhead et al., 2017).
    """

    haematoxylin: tuple[float, float, float] = (0.651, 0.701, 0.290)
    eosin: tuple[float, float, float] = (0.216, 0.801, 0.558)
    hue_sd_degrees: float = 2.5  # standard deviation, over donors, of the angle by which a direction is turned
    amount_sd: float = 0.12  # standard deviation, over donors, of the logarithm of a dye's amount
    thickness_sd: float = 0.06  # relative variation of the section's thickness over a slide
    thickness_um: float = 250.0  # length scale of that variation
    blur_um: float = 0.4  # standard deviation of the optical blur
    noise: float = 0.012  # standard deviation of the sensor's noise in white light, as a fraction of white


@dataclass(frozen=True)
class Expression:
    """How expression depends on cells. Logarithms are natural."""

    genes_per_type: int = 10  # markers of each cell type
    niche_genes: int = 40  # genes that depend on the niche
    hidden_genes: int = 30  # genes that depend mostly on hidden states
    genes: int = 200  # all genes; the remaining ones are shared by all types
    abundance_sd: float = 1.0  # standard deviation of the log abundance over genes
    marker_log: float = 2.5  # log fold change of a marker in its type
    shared_sd: float = 0.25  # log differences of a shared gene between types
    niche_sd: float = 0.8  # log slope along a niche coordinate
    # Share of a gene's log variance over cells that the image does not show, for most genes and for hidden genes.
    hidden_share: float = 0.3
    hidden_gene_share: float = 0.9
    # Shares of that hidden variance that come from states that many genes of a cell share, and from a smooth hidden
    # field. The remainder is independent between the genes of a cell.
    state_part: float = 0.4
    field_part: float = 0.35
    states: int = 4
    fields: int = 3
    field_um: float = 120.0  # length scale of the fields
    least_hidden_variance: float = 0.05  # of a gene's log: even cells of one type in one place differ
    donor_sd: float = 0.15  # standard deviation of a gene's log differences between donors
    counts_per_um2: float = 15.0  # of a cell with `rna` 1, of all genes together, at capture 1
    # The same outside of cells: debris and leaked RNA, which occur even beside the tissue (Ni et al., 2022).
    ambient_per_um2: float = 0.4
    capture: float = 0.07  # typical captured fraction of a sample; Stahl et al. (2016) found 7 %
    capture_sd: float = 0.2  # standard deviation of its logarithm
    # Standard deviation of the lateral diffusion. Stahl et al. (2016) report 2 um; later platforms have more.
    diffusion_um: float = 2.0


@dataclass(frozen=True)
class TissuePreset:
    """One kind of tissue.

    Parameters
    ----------
    layout
        Name of the function in `layout.py` that draws the zones.
    profile_seed
        Seed of the gene profiles: the same for every slide and donor of the preset.
    cells, zones, populations
        Types of cells, zones, and which cells live in which zone. A zone's index in a layout is its index here.
    niches
        Names of the two smooth coordinates of the layout.
    stain, expression
        Parameters of the image and of the counts.
    """

    name: str
    layout: str
    profile_seed: int
    cells: tuple[CellType, ...]
    zones: tuple[Zone, ...]
    populations: tuple[Population, ...]
    niches: tuple[str, str]
    stain: Stain = Stain()
    expression: Expression = Expression()

    @property
    def cell_names(self) -> tuple[str, ...]:
        """Names of the cell types, in order."""
        return tuple(cell.name for cell in self.cells)

    @property
    def zone_names(self) -> tuple[str, ...]:
        """Names of the zones, in order."""
        return tuple(zone.name for zone in self.zones)
