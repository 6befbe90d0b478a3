"""What each shift between donors does to image and expression, alone."""

from __future__ import annotations

import io
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pixnet.virtual import PRESETS, SHIFTS, Shifts, VirtualTissue, spots
from pixnet.virtual.noise import stream
from pixnet.virtual.scanner import out_of_plane, scan
from pixnet.virtual.shifts import Imaging, donor_imaging, donor_preset, donor_programs

NEUTRAL = Imaging(
    thickness=1.0, matrix=np.eye(3), white=np.ones(3), gamma=1.0, sharpening=0.0, defocus_um=0.0, quality=95
)
DONORS = range(300)


def pixels(tissue: VirtualTissue) -> np.ndarray:
    slide = tissue.slide
    return slide.read(0, 0, slide.width_um, slide.height_um, slide.mpp)[0].astype(float)


def shifted(donor: int = 7, shifts: Shifts = SHIFTS, preset: str = "breast") -> VirtualTissue:
    return VirtualTissue.generate(preset, 3, donor, 300.0, 260.0, shifts=shifts)


@pytest.fixture(scope="module")
def light() -> np.ndarray:
    """Light behind a section with edges, texture and empty glass."""
    dark = ndimage.gaussian_filter(np.random.default_rng(0).random((200, 220)), 1)
    result = 0.9 - dark[..., None] * [0.6, 0.8, 0.5]
    result[:, 150:] = 1.0
    return result


def scanned(light: np.ndarray, **changes: object) -> np.ndarray:
    return scan(light, replace(NEUTRAL, **changes), stream("scanner", 1, 2), 1.0).astype(float)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", PRESETS)
def test_same_seeds_give_the_same_bytes(preset: str) -> None:
    first, second = (shifted(preset=preset) for _ in range(2))
    assert first.slide.fingerprint() == second.slide.fingerprint()
    regions = spots(300, 260, 55, 60)
    counts = [tissue.measure(regions, 4).counts.matrix.toarray() for tissue in (first, second)]
    assert np.array_equal(*counts)
    assert first.slide.fingerprint() != shifted(8, preset=preset).slide.fingerprint()


def test_a_donor_looks_the_same_on_all_of_its_slides_and_in_every_preset() -> None:
    for field in fields(Imaging):
        values = [getattr(donor_imaging(SHIFTS, donor), field.name) for donor in (1, 1, 2)]
        assert np.array_equal(values[0], values[1])
        assert not np.array_equal(values[0], values[2])


def test_donors_spread_as_the_shifts_say() -> None:
    drawn = [donor_imaging(SHIFTS, donor) for donor in DONORS]
    for name in ("thickness", "gamma"):
        values = np.log([getattr(imaging, name) for imaging in drawn])
        assert values.std() == pytest.approx(getattr(SHIFTS, f"{name}_sd"), rel=0.15)
        assert abs(values.mean()) < 0.05
    assert np.log([imaging.white for imaging in drawn]).std() == pytest.approx(SHIFTS.white_sd, rel=0.15)
    matrices = np.array([imaging.matrix for imaging in drawn])
    np.testing.assert_allclose(matrices.sum(axis=2), 1.0)  # grey stays grey
    beside = matrices[:, ~np.eye(3, dtype=bool)]
    assert beside.std() == pytest.approx(SHIFTS.crosstalk_sd, rel=0.1)
    for name in ("sharpening", "defocus_um", "quality"):
        values, (low, high) = np.array([getattr(imaging, name) for imaging in drawn]), getattr(SHIFTS, name)
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high


def test_a_donors_preset_keeps_genes_and_changes_composition_sizes_stain_and_levels() -> None:
    preset = PRESETS["colon"]
    donors = [donor_preset(preset, SHIFTS, donor) for donor in DONORS]
    per_mm2 = np.array([[population.per_mm2 for population in donor.populations] for donor in donors])
    factors = per_mm2 / [population.per_mm2 for population in preset.populations]
    assert np.log(factors).std() == pytest.approx(SHIFTS.composition_sd, rel=0.1)
    sizes = np.array([[cell.nucleus_um for cell in donor.cells] for donor in donors])
    assert np.log(sizes).std(axis=0) == pytest.approx(SHIFTS.nucleus_sd, rel=0.2)
    assert {(donor.stain.amount_sd, donor.stain.hue_sd_degrees) for donor in donors} == {
        (SHIFTS.amount_sd, SHIFTS.hue_sd_degrees)
    }
    assert {donor.expression.donor_sd for donor in donors} == {SHIFTS.levels_sd}
    assert donor_programs(preset, SHIFTS, 1, 200).std() == pytest.approx(SHIFTS.programs_sd, rel=0.1)
    assert shifted().genes == VirtualTissue.generate("breast", 3, 7, 300.0, 260.0).genes


def test_programs_of_a_donor_are_in_the_truth_and_visible() -> None:
    """They differ between types of cells, and what the image does not show stays apart from them."""
    plain, other = shifted(shifts=replace(SHIFTS, programs_sd=0.0)), shifted()
    assert np.array_equal(plain.labels, other.labels)
    ratio = np.log(other.visible_rates[1:] / plain.visible_rates[1:])
    kind = plain.cells.kind
    within = [ratio[kind == k].std(axis=0).mean() for k in np.unique(kind)]
    between = np.std([ratio[kind == k].mean(axis=0) for k in np.unique(kind)], axis=0).mean()
    # Ambient counts, which are the same for all cells, are in the rates too: a ratio varies a little within a type.
    assert max(within) < 0.25 * between
    assert 0.5 * SHIFTS.programs_sd < between < 1.2 * SHIFTS.programs_sd


def test_captures_of_samples_differ_by_more() -> None:
    tissue, regions = shifted(), spots(300, 260, 55, 120)
    captures = [np.log(tissue.measure(regions, seed).counts.notes["capture"]) for seed in range(80)]
    assert np.std(captures) == pytest.approx(SHIFTS.capture_sd, rel=0.25)


def test_a_neutral_scanner_keeps_the_light(light: np.ndarray) -> None:
    assert np.abs(scanned(light)[:, 160:] - 255).max() <= 2
    assert np.abs(scanned(light) - 255 * light).mean() < 3.0  # what JPEG at quality 95 leaves


def test_white_and_gamma_change_the_light_as_they_say(light: np.ndarray) -> None:
    glass = scanned(light, white=np.array([1.0, 0.9, 0.8]))[20:180, 170:200].mean(axis=(0, 1))
    np.testing.assert_allclose(glass, [255, 229.5, 204], atol=2.0)
    bright, plain = scanned(light, gamma=0.7), scanned(light)
    inside = np.s_[20:180, 20:130]
    np.testing.assert_allclose(bright[inside].mean(), (255 * (light**0.7)[inside]).mean(), atol=1.5)
    assert bright[inside].mean() > plain[inside].mean() + 5


def test_a_colour_matrix_mixes_channels_and_keeps_grey(light: np.ndarray) -> None:
    matrix = np.array([[1.2, -0.2, 0.0], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]])
    grey = np.repeat(light[..., :1], 3, axis=2)
    assert np.abs(scanned(grey, matrix=matrix) - scanned(grey)).max() <= 1
    tinted = np.full((64, 64, 3), [0.8, 0.4, 0.6])
    np.testing.assert_allclose(scanned(tinted, matrix=matrix).mean(axis=(0, 1)) / 255, [0.88, 0.4, 0.6], atol=0.01)


def roughness(image: np.ndarray) -> float:
    inside = image[10:190, 10:140]
    return float(np.abs(np.diff(inside, axis=0)).mean())


def test_defocus_blurs_and_not_everywhere_alike(light: np.ndarray) -> None:
    plain, blurred = scanned(light), scanned(light, defocus_um=3.0)
    assert roughness(blurred) < 0.9 * roughness(plain)
    wide = np.tile(light[:, :150], (5, 7, 1))
    parts = scanned(wide, defocus_um=3.0)
    rough = [np.abs(np.diff(parts[r : r + 200, c : c + 150], axis=0)).mean() for r in range(0, 1000, 200)
             for c in range(0, 1050, 150)]  # fmt: skip
    assert max(rough) > 1.3 * min(rough)


def test_sharpening_raises_contrast_at_edges(light: np.ndarray) -> None:
    assert roughness(scanned(light, sharpening=1.0)) > 1.15 * roughness(scanned(light))


def test_lower_quality_keeps_less_of_the_image(light: np.ndarray) -> None:
    errors = [np.abs(scanned(light, quality=quality) - 255 * light).mean() for quality in (90, 60, 30)]
    assert errors[0] < errors[1] < errors[2]


def test_compression_is_that_of_jpeg_tiles() -> None:
    """Compressing the image once more at the same quality changes next to nothing; blocks of 8 pixels show."""
    image = scan(
        np.random.default_rng(1).random((256, 512, 3)), replace(NEUTRAL, quality=30), stream("scanner", 1), 1.0
    )
    file = io.BytesIO()
    Image.fromarray(image[:, :256]).save(file, "JPEG", quality=30, subsampling="4:2:0")
    again = np.asarray(Image.open(file)).astype(float)
    assert np.abs(again - image[:, :256]).mean() < 6.0
    columns = np.abs(np.diff(image.astype(float), axis=1)).mean(axis=(0, 2))
    borders = np.arange(1, 512) % 8 == 0
    assert columns[borders].mean() > columns[~borders].mean()


def test_a_thicker_section_is_darker_and_shows_nuclei_out_of_plane() -> None:
    nuclei = np.zeros((120, 120))
    nuclei[50:60, 50:60] = 1.0
    rng = stream("scanner", 5)
    thick = out_of_plane(nuclei, replace(NEUTRAL, thickness=1.4), rng, 1.0)
    assert thick.sum() == pytest.approx(0.4 * nuclei.sum())
    distance = np.hypot(*(np.array(ndimage.center_of_mass(thick)) - ndimage.center_of_mass(nuclei)))
    assert distance == pytest.approx(15.0, abs=1.0)
    assert thick.max() < 0.4  # out of focus
    assert not out_of_plane(nuclei, replace(NEUTRAL, thickness=0.8), rng, 1.0).any()

    thickness = [donor_imaging(SHIFTS, donor).thickness for donor in range(12)]
    thin, thick = int(np.argmin(thickness)), int(np.argmax(thickness))
    calm = replace(
        SHIFTS, composition_sd=0, nucleus_sd=0, amount_sd=0, hue_sd_degrees=0, crosstalk_sd=0, white_sd=0, gamma_sd=0
    )
    dark, pale = (pixels(shifted(donor, calm)).mean() for donor in (thick, thin))
    assert dark < pale - 10


def test_nothing_is_hidden_in_the_image_that_belongs_to_expression() -> None:
    """The image of a donor is the same whatever happens to levels, programs and capture."""
    image = replace(SHIFTS, levels_sd=1.0, programs_sd=1.0, capture_sd=1.0)
    assert shifted().slide.fingerprint() == shifted(shifts=image).slide.fingerprint()
