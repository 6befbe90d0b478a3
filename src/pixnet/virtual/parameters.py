"""What describes a virtual tissue: cell types, zones, populations, stain, expression.

The values are in `presets.py`; those that all tissues share are the defaults here. A comment names the paper where
a number comes from one; the list is in `docs/virtual-tissue.md`. Numbers without a paper are choices, made so that
the picture looks like the tissue. Lengths are in um, densities in cells per mm^2 of a section's profile.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CellType:
    """The look and the RNA content of one type of cell.

    Parameters
    ----------
    name
        Plain name.
    nucleus_um
        Full axes of a typical nucleus, in um.
    cell_um
        Full axes of a typical cell, in um. The first axis lies along the cell's direction.
    rna
        Expected counts per um^2 of the cell, relative to the other types. Counts scale with the cell's size, as
        measured by Padovan-Merhar et al. (2015).
    direction
        What the long axis follows: "fibre", "normal" (towards the lumen), "tangent" (along the basement membrane)
        or "free".
    nucleus_shift
        Shift of the nucleus from the cell's centre, in parts of the half-axis, against the direction.
    size_sd
        Standard deviation of the logarithm of a nucleus' size.
    irregularity
        Relative standard deviation of the nuclear outline.
    chromatin, clumping
        Haematoxylin in the nucleus, and the relative amplitude of its texture.
    nucleolus
        Haematoxylin in a nucleolus; 0 for none.
    eosin, basophilia
        Eosin and haematoxylin in the cytoplasm.
    vacuole
        "none", "fat" (all but a thin rim of the cell is an empty droplet) or "mucin" (a pale drop towards the lumen).
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
    """The matrix between the cells of one kind of region.

    Parameters
    ----------
    name
        Name that the layout uses.
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
        Least distance of a centre from the next one; for two types the mean of both.
    depth_um
        Range of depth below the zone's border in which the centres lie; None for anywhere.
    """

    cell: str
    zone: str
    per_mm2: float
    spacing_um: float
    depth_um: tuple[float, float] | None = None


@dataclass(frozen=True)
class Stain:
    """The optics and the dyes. Optical densities follow Beer and Lambert, with natural logarithms.

    Parameters
    ----------
    haematoxylin, eosin
        Direction of the optical density in red, green and blue (Ruifrok and Johnston, 2001, for the model; the
        values are the defaults of QuPath, Bankhead et al., 2017).
    hue_sd_degrees
        Standard deviation over donors of the angle by which a direction is turned.
    amount_sd
        Standard deviation over donors of the logarithm of a dye's amount.
    thickness_sd, thickness_um
        Relative variation of the section's thickness over a slide, and its length.
    blur_um
        Standard deviation of the optical blur.
    noise
        Standard deviation of the sensor's noise in white light, as part of white.
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
    """How genes depend on cells. Logarithms are natural.

    Parameters
    ----------
    genes_per_type
        Markers of each cell type.
    niche_genes, hidden_genes, genes
        Genes that follow the niche, genes that follow mostly hidden states, and the total; the rest is shared.
    abundance_sd
        Standard deviation of the log abundance over genes.
    marker_log, shared_sd, niche_sd
        Log fold of a marker in its type; log differences of a shared gene between types; log slope along a niche.
    hidden_share, hidden_gene_share
        Part of a gene's log variance over cells that the picture does not show.
    state_part, field_part
        Parts of that hidden variance which come from states shared by many genes in one cell, and from a smooth
        hidden field; the remainder is independent between the genes of a cell.
    states, fields, field_um
        Number of both, and the field's length.
    least_hidden_variance
        Least hidden log variance of a gene: cells of one type in one place differ too.
    donor_sd
        Log differences of a gene between donors.
    counts_per_um2
        Expected counts per um^2 of a cell with `rna` 1, of all genes, at capture 1.
    ambient_per_um2
        The same outside of cells: debris and leaked RNA (Ni et al., 2022, find it even beside the tissue).
    capture, capture_sd
        Typical capture of a sample, and the standard deviation of its logarithm (Stahl et al., 2016, found 7 %).
    diffusion_um
        Standard deviation of the lateral diffusion (Stahl et al., 2016, report 2 um; later platforms more).
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
        What there is. Zone 0 is the first one, and so on.
    niches
        Names of the smooth coordinates that the layout gives.
    stain, expression
        See there.
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
