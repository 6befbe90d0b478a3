r"""Expression of a virtual tissue: profiles of its genes, and visible and hidden rates of its cells.

The rate of gene g in cell i, in expected counts per um^2 of the cell at capture 1, is

    log r_ig = log p_g(type_i) + a_g . niche_i + d_g(donor)  +  h_ig - s_g^2 / 2

The first three terms are visible: the image shows types and niches, and the donor is known. The last is hidden:
h_ig = cell states + smooth hidden fields + independent variation, jointly normal with variance s_g^2. So the
expectation of r_ig over everything hidden is exactly exp of the visible part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixnet.virtual.cells import Cells
from pixnet.virtual.noise import stream
from pixnet.virtual.parameters import TissuePreset

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Profiles:
    """The genes of a preset, which are the same for all of its slides."""

    names: tuple[str, ...]
    groups: tuple[str, ...]  # what each gene depends on: "marker:<type>", "niche", "hidden" or "shared"
    log_rate: Array  # logarithm of the expected counts per um^2 of a cell at niche 0, shape (types, genes)
    slope: Array  # change of that logarithm along each niche coordinate, shape (2, genes)
    hidden_variance: Array  # variance of the hidden part, s_g^2, shape (genes,)
    states: Array  # loadings of the hidden states, shape (states, genes)
    fields: Array  # loadings of the smooth hidden fields, shape (fields, genes)
    ambient: Array  # expected counts per um^2 outside of cells, shape (genes,)


def draw_profiles(preset: TissuePreset) -> Profiles:
    """Draw the genes of a preset from the preset's own seed."""
    settings = preset.expression
    rng = stream("profiles", preset.profile_seed)
    groups = [f"marker:{name}" for name in preset.cell_names for _ in range(settings.genes_per_type)]
    groups += ["niche"] * settings.niche_genes + ["hidden"] * settings.hidden_genes
    groups += ["shared"] * (settings.genes - len(groups))
    group = np.array(groups)
    count, types = len(groups), len(preset.cells)

    log_rate = settings.abundance_sd * rng.standard_normal(count) + settings.shared_sd * rng.standard_normal(
        (types, count)
    )
    fold = settings.marker_log * rng.uniform(0.6, 1.2, count)
    for k, name in enumerate(preset.cell_names):
        log_rate[k] += np.where(group == f"marker:{name}", fold, 0.0)
    # The total of a type is set by its RNA density.
    log_rate -= np.log(np.exp(log_rate).sum(axis=1, keepdims=True))
    log_rate += np.log(settings.counts_per_um2 * np.array([cell.rna for cell in preset.cells]))[:, None]

    slope = settings.niche_sd * rng.standard_normal((2, count)) * rng.dirichlet([0.5, 0.5], count).T
    slope *= np.where(group == "niche", 1.0, 0.15)

    share = np.where(group == "hidden", settings.hidden_gene_share, settings.hidden_share)
    # Each gene's log variance over types that are equally frequent and niches of about unit spread.
    visible = log_rate.var(axis=0) + 0.4 * (slope**2).sum(axis=0)
    hidden = np.maximum(share / (1 - share) * visible, settings.least_hidden_variance)
    states = _loadings(rng, settings.states, settings.state_part * hidden)
    fields = _loadings(rng, settings.fields, settings.field_part * hidden)
    # RNA that leaks is a mixture of all types.
    ambient = np.exp(log_rate).mean(axis=0)
    ambient *= settings.ambient_per_um2 / ambient.sum()
    names = tuple(f"VG{i + 1:03d}" for i in range(count))
    return Profiles(names, tuple(groups), log_rate, slope, hidden, states, fields, ambient)


def _loadings(rng: np.random.Generator, count: int, variance: Array) -> Array:
    """Draw weights of a few common causes, (count, genes), whose squares add up to each gene's variance."""
    weight = rng.standard_normal((count, variance.size))
    result: Array = weight / np.linalg.norm(weight, axis=0) * np.sqrt(variance)
    return result


def visible_log_rates(preset: TissuePreset, profiles: Profiles, cells: Cells, donor_seed: int) -> Array:
    """Return the logarithm of the visible part of every cell's rates, shape (cells, genes)."""
    donor = preset.expression.donor_sd * stream("donor", donor_seed, 1).standard_normal(len(profiles.names))
    return profiles.log_rate[cells.kind] + cells.niche @ profiles.slope + donor


def hidden_log_rates(preset: TissuePreset, profiles: Profiles, cells: Cells, hidden_seed: int) -> Array:
    """Draw the logarithm of the hidden part of every cell's rates, shape (cells, genes).

    Its mean is -s_g^2 / 2 and its variance s_g^2.
    """
    settings = preset.expression
    rng = stream("hidden", hidden_seed)
    states = rng.standard_normal((len(cells), settings.states))
    fields = _smooth_at(rng, cells.xy_um, settings.field_um, settings.fields)
    rest = (1 - settings.state_part - settings.field_part) * profiles.hidden_variance
    independent = np.sqrt(rest) * rng.standard_normal((len(cells), len(profiles.names)))
    hidden: Array = states @ profiles.states + fields @ profiles.fields + independent - profiles.hidden_variance / 2
    return hidden


def _smooth_at(rng: np.random.Generator, xy_um: Array, length_um: float, count: int) -> Array:
    """Draw smooth fields at scattered places, (n, count); each value is exactly standard normal.

    A field is a sum of waves with normal amplitudes. Its covariance tends to exp(-distance^2 / (2 length^2)).
    """
    waves = 64
    result = np.empty((len(xy_um), count))
    for k in range(count):
        phase = xy_um @ (rng.standard_normal((2, waves)) / length_um)
        cosine, sine = rng.standard_normal((2, waves)) / np.sqrt(waves)
        result[:, k] = np.cos(phase) @ cosine + np.sin(phase) @ sine
    return result
