from __future__ import annotations

import numpy as np
import pytest

from pixnet.regions import Squares
from pixnet.virtual import PRESETS, VirtualTissue
from pixnet.virtual.expression import draw_profiles, hidden_log_rates, visible_log_rates
from pixnet.virtual.noise import fibres, smooth, stream
from pixnet.virtual.render import donor_stain


def test_donors_differ_in_stain_by_a_few_degrees():
    stain = PRESETS["breast"].stain
    nominal = np.array([stain.haematoxylin, stain.eosin])
    nominal /= np.linalg.norm(nominal, axis=1, keepdims=True)
    angles, amounts = [], []
    for donor in range(60):
        directions, amount = donor_stain(stain, donor)
        cosine = (directions * nominal).sum(axis=1) / np.linalg.norm(directions, axis=1)
        angles.append(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
        amounts.append(amount)
    assert 1.0 < np.sqrt(np.mean(np.square(angles))) < 5.0
    assert 0.05 < np.log(amounts).std() < 0.25


def test_donors_change_the_colours_and_not_the_tissue():
    one, two = (VirtualTissue.generate("colon", 4, donor, 300.0, 300.0) for donor in (1, 2))
    assert np.array_equal(one.labels, two.labels)
    pixels = [t.slide.read(0, 0, 300, 300, 1.0)[0].astype(float) for t in (one, two)]
    assert np.abs(pixels[0].mean(axis=(0, 1)) - pixels[1].mean(axis=(0, 1))).max() > 1.0
    # The same structures: dark where the other is dark.
    assert np.corrcoef(pixels[0].mean(axis=2).ravel(), pixels[1].mean(axis=2).ravel())[0, 1] > 0.9


@pytest.mark.parametrize("preset", PRESETS)
def test_a_picture_has_the_colours_of_haematoxylin_and_eosin(preset):
    tissue = VirtualTissue.generate(preset, 6, 3, 500.0, 500.0)
    pixels = tissue.slide.read(0, 0, 500, 500, 1.0)[0].astype(float)
    stained = pixels[pixels.min(axis=2) < 215]
    red, green, blue = stained.mean(axis=0)
    assert green < blue < red + 25
    assert green < red
    # Nuclei are the dark, bluish part of it.
    dark = stained[stained.sum(axis=1) < np.percentile(stained.sum(axis=1), 8)]
    assert dark[:, 2].mean() > dark[:, 0].mean()


def test_no_colour_tells_what_is_hidden(tissue):
    """Within a type, neither the colour of a cell nor that of its pixels goes with its hidden expression."""
    pixels = tissue.slide.read(0, 0, 400, 300, 1.0)[0].astype(float)
    profiles = draw_profiles(tissue.preset)
    owner = tissue.labels.ravel()
    size = np.bincount(owner, minlength=len(tissue.cells) + 1)
    colour = np.stack(
        [np.bincount(owner, pixels[..., c].ravel(), len(size)) / np.maximum(size, 1) for c in range(3)], axis=1
    )[1:]
    drawn = [hidden_log_rates(tissue.preset, profiles, tissue.cells, seed) for seed in (3, 301, 302, 303)]
    kept = size[1:] > 0
    scores = []
    for kind in np.unique(tissue.cells.kind):
        cells = np.flatnonzero((tissue.cells.kind == kind) & kept)
        if cells.size < 30:
            continue
        centred = colour[cells] - colour[cells].mean(axis=0)
        for hidden in drawn:
            rest = hidden[cells] - hidden[cells].mean(axis=0)
            correlation = (centred.T @ rest) / np.outer(np.linalg.norm(centred, axis=0), np.linalg.norm(rest, axis=0))
            # Without an association a correlation has mean 0 and variance 1 / (n - 1).
            scores.append(correlation * np.sqrt(cells.size - 1))
    # Genes share states and smooth fields (and stain varies smoothly), so they are far from independent: the bounds
    # allow that, while a colour code of r = 0.3 in 300 cells would be a score of 5.
    scores = np.concatenate([s.ravel() for s in scores])
    assert abs(scores.mean()) < 0.35
    assert np.sqrt(np.mean(scores**2)) < 1.6


def test_colour_alone_does_not_separate_the_types(tissue):
    """A threshold on darkness must not sort the round nuclei: their ranges overlap."""
    pixels = tissue.slide.read(0, 0, 400, 300, 1.0)[0].astype(float).sum(axis=2)
    names = tissue.preset.cell_names
    place = np.clip(tissue.cells.nucleus_xy_um.astype(int), 0, [399, 299])
    value = pixels[place[:, 1], place[:, 0]]
    carcinoma = value[tissue.cells.kind == names.index("carcinoma")]
    fibroblast = value[tissue.cells.kind == names.index("fibroblast")]
    above = (carcinoma[:, None] > fibroblast[None, :]).mean()
    assert 0.1 < above < 0.9


def test_hidden_parts_have_the_stated_variance():
    preset = PRESETS["cortex"]
    tissue = VirtualTissue.generate(preset, 2, 2, 300.0, 300.0)
    profiles = draw_profiles(preset)
    drawn = np.stack([hidden_log_rates(preset, profiles, tissue.cells, seed) for seed in range(300)])
    # Over redraws each cell and gene is normal with mean -s^2/2 and variance s^2: averaged over many of both.
    ratio = drawn.var(axis=0, ddof=1).mean(axis=0) / profiles.hidden_variance
    assert abs(ratio.mean() - 1) < 0.03
    mean = drawn.mean(axis=(0, 1)) + profiles.hidden_variance / 2
    assert np.abs(mean / np.sqrt(profiles.hidden_variance)).max() < 0.3


def test_the_hidden_share_is_the_stated_one():
    for preset in PRESETS.values():
        profiles = draw_profiles(preset)
        visible = profiles.log_rate.var(axis=0) + 0.4 * (profiles.slope**2).sum(axis=0)
        share = profiles.hidden_variance / (profiles.hidden_variance + visible)
        group = np.array(profiles.groups)
        floor = profiles.hidden_variance <= preset.expression.least_hidden_variance
        np.testing.assert_allclose(share[(group != "hidden") & ~floor], preset.expression.hidden_share)
        np.testing.assert_allclose(share[(group == "hidden") & ~floor], preset.expression.hidden_gene_share)
        parts = np.square(profiles.states).sum(axis=0) + np.square(profiles.fields).sum(axis=0)
        np.testing.assert_allclose(
            parts / profiles.hidden_variance, preset.expression.state_part + preset.expression.field_part
        )


def test_donors_differ_mildly_in_expression():
    tissue = VirtualTissue.generate("breast", 2, 2, 200.0, 200.0)
    profiles = draw_profiles(tissue.preset)
    one, two = (visible_log_rates(tissue.preset, profiles, tissue.cells, donor) for donor in (1, 2))
    difference = one - two
    assert 0.1 < difference.std() < 0.35
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], difference.shape), atol=1e-12)


def test_markers_mark_their_type():
    for preset in PRESETS.values():
        profiles = draw_profiles(preset)
        for kind, name in enumerate(preset.cell_names):
            genes = [i for i, group in enumerate(profiles.groups) if group == f"marker:{name}"]
            assert len(genes) == preset.expression.genes_per_type
            others = np.delete(profiles.log_rate[:, genes], kind, axis=0)
            # On average a marker is well above; a type with less RNA starts lower.
            assert (profiles.log_rate[kind, genes] - others.mean(axis=0)).mean() > 1.0


def test_smooth_fields_have_unit_variance():
    rng = stream("layout", 1)
    assert smooth(rng, (400, 500), 6.0).std() == pytest.approx(1.0, abs=0.15)
    angle = np.full((400, 500), 0.4, np.float32)
    texture = fibres(rng, angle, 8.0, 1.2)
    assert texture.std() == pytest.approx(1.0, abs=0.15)
    # Neighbours are more similar along the fibre than across it.
    dx, dy = round(8 * np.cos(0.4)), round(8 * np.sin(0.4))
    along = np.corrcoef(texture[:-dy, :-dx].ravel(), texture[dy:, dx:].ravel())[0, 1]
    across = np.corrcoef(texture[:-dx, dy:].ravel(), texture[dx:, :-dy].ravel())[0, 1]
    assert along > 0.5 > across + 0.3


def test_truth_follows_cells_and_not_pixels(tissue):
    """All pixels of a footprint hold the same density."""
    cell = int(np.argmax(np.bincount(tissue.labels.ravel())[1:])) + 1
    rows, cols = np.nonzero(tissue.labels == cell)
    truth = tissue.truth(Squares(0.0, 0.0, 1.0, rows, cols))
    np.testing.assert_allclose(truth, np.broadcast_to(truth[0], truth.shape), rtol=1e-9)
