"""Parameters of a virtual tissue: cell types, zones, populations, stain and expression.

Their values are in `presets.py`; values that all tissues share are the defaults here. A comment names the paper that a
number comes from; the documentation of the virtual tissue lists them. Numbers without a paper were chosen so that the
image looks like the tissue. Lengths are in um, densities in cells per mm^2 as seen in a section.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CellType:
    """Appearance and RNA content of one type of cell.

    Parameters
    ----------
    name
        Name of the type.
    nucleus_um
        Full axes of a typical nucleus, in um.
    cell_um
        Full axes of a typical cell, in um. The first axis is along the cell's direction.
    rna
        Expected counts per um^2 of the cell, relative to the other types. Counts are proportional to the cell's size,
        as measured by Padovan-Merhar et al. (2015).
    direction
        Direction of the long axis: "fibre", "normal" (towards the lumen), "tangent" (along the basement membrane) or
        "free".
    nucleus_shift
        Shift of the nucleus from the cell's centre against the direction, as a fraction of the half-axis.
    size_sd
        Standard deviation of the logarithm of a nucleus' size.
    irregularity
        Relative standard deviation of the nuclear outline.
    chromatin, clumping
        Haematoxylin in the nucleus, and relative amplitude of its texture.
    nucleolus
        Haematoxylin in a nucleolus; 0 for none.
    eosin, basophilia
        Eosin and haematoxylin in the cytoplasm.
    vacuole
        "none", "fat" (the cell is an empty droplet except for a thin rim) or "mucin" (a pale drop towards the lumen).
    """

    name: str
    nucleus_um: tuple[float, float]
    cell_um: tuple[float, float]
    rna: float
    direction: str = "free"
    nucleus_shift: float = 0.0
    size_sd: float = 0.12
    irregularity: float = 0.05
    chromatin: float = 1.0
    clumping: float = 0.25
    nucleolus: float = 0.0
    eosin: float = 0.45
    basophilia: float = 0.05
    vacuole: str = "none"


@dataclass(frozen=True)
class Zone:
    """The matrix between the cells in one kind of zone.

    Parameters
    ----------
    name
        Name that `layout.py` uses.
    eosin, haematoxylin
        Stain of the matrix.
    fibres
        Relative amplitude of the fibre texture.
    open
        Whether the zone is empty space (a lumen).
    """

    name: str
    eosin: float
    haematoxylin: float = 0.0
    fibres: float = 0.2
    open: bool = False


@dataclass(frozen=True)
class Population:
    """Cells of one type in one zone.

    Parameters
    ----------
    cell, zone
        Names of the type and of the zone.
    per_mm2
        Density, in cells per mm^2 of the zone.
    spacing_um
        Least distance between two centres, in um; for two types, the mean of both.
    depth_um
        Range of the centres' depth below the zone's border, in um; None for any depth.
    """

    cell: str
    zone: str
    per_mm2: float
    spacing_um: float
    depth_um: tuple[float, float] | None = None


@dataclass(frozen=True)
class Stain:
    """Optics and dyes. Optical densities follow Beer and Lambert, with natural logarithms.

    Parameters
    ----------
    haematoxylin, eosin
        Direction of the optical density in red, green and blue. The model is that of Ruifrok and Johnston (2001), the
        values are the defaults of QuPath (Bankhead et al., 2017).
    hue_sd_degrees
        Standard deviation, over donors, of the angle by which a direction is turned.
    amount_sd
        Standard deviation, over donors, of the logarithm of a dye's amount.
    thickness_sd, thickness_um
        Relative variation of the section's thickness over a slide, and its length scale in um.
    blur_um
        Standard deviation of the optical blur, in um.
    noise
        Standard deviation of the sensor's noise in white light, as a fraction of white.
    """

    haematoxylin: tuple[float, float, float] = (0.651, 0.701, 0.290)
    eosin: tuple[float, float, float] = (0.216, 0.801, 0.558)
    hue_sd_degrees: float = 2.5
    amount_sd: float = 0.12
    thickness_sd: float = 0.06
    thickness_um: float = 250.0
    blur_um: float = 0.4
    noise: float = 0.012


@dataclass(frozen=True)
class Expression:
    """How expression depends on cells. Logarithms are natural.

    Parameters
    ----------
    genes_per_type
        Number of markers of each cell type.
    niche_genes, hidden_genes, genes
        Number of genes that depend on the niche, of genes that depend mostly on hidden states, and of all genes. The
        others are shared by all types.
    abundance_sd
        Standard deviation of the log abundance over genes.
    marker_log, shared_sd, niche_sd
        Log fold change of a marker in its type, log differences of a shared gene between types, and log slope along a
        niche coordinate.
    hidden_share, hidden_gene_share
        Share of a gene's log variance over cells that the image does not show, for most genes and for hidden genes.
    state_part, field_part
        Shares of that hidden variance that come from states that many genes of a cell share, and from a smooth hidden
        field. The remainder is independent between the genes of a cell.
    states, fields, field_um
        Number of states, number of fields, and length scale of the fields in um.
    least_hidden_variance
        Least hidden log variance of a gene: even cells of one type in one place differ.
    donor_sd
        Standard deviation of a gene's log differences between donors.
    counts_per_um2
        Expected counts per um^2 of a cell with `rna` 1, of all genes together, at capture 1.
    ambient_per_um2
        The same outside of cells: debris and leaked RNA, which occur even beside the tissue (Ni et al., 2022).
    capture, capture_sd
        Typical captured fraction of a sample, and standard deviation of its logarithm. Stahl et al. (2016) found 7 %.
    diffusion_um
        Standard deviation of the lateral diffusion, in um. Stahl et al. (2016) report 2 um; later platforms have more.
    """

    genes_per_type: int = 10
    niche_genes: int = 40
    hidden_genes: int = 30
    genes: int = 200
    abundance_sd: float = 1.0
    marker_log: float = 2.5
    shared_sd: float = 0.25
    niche_sd: float = 0.8
    hidden_share: float = 0.3
    hidden_gene_share: float = 0.9
    state_part: float = 0.4
    field_part: float = 0.35
    states: int = 4
    fields: int = 3
    field_um: float = 120.0
    least_hidden_variance: float = 0.05
    donor_sd: float = 0.15
    counts_per_um2: float = 15.0
    ambient_per_um2: float = 0.4
    capture: float = 0.07
    capture_sd: float = 0.2
    diffusion_um: float = 2.0


@dataclass(frozen=True)
class TissuePreset:
    """One kind of tissue.

    Parameters
    ----------
    name
        Name of the preset.
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
