"""Check whether the counts are shifted against the tissue that they were measured in.

More is counted where there is more tissue and where there are more nuclei. So when the image is shifted to and fro, it
explains the depth best at the right place. The uncertainty of that place comes from a bootstrap over blocks of
neighbouring regions, whose errors are correlated; if the draws disagree, there is no estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.inspection.findings import Finding
from pixnet.slide import Slide
from pixnet.slide.stain import EOSIN, HAEMATOXYLIN

Floats = NDArray[np.float64]

_REACH_UM = 150.0
_STEP_UM = 10.0
_MAP_PX = 1500  # longest side of the thumbnail
_MOST_REGIONS = 4000
_LEAST_REGIONS = 40
_DRAWS = 60
_BLOCKS = 8  # a side
_MOST_SD_UM = 20.0
_NOTABLE_UM = 15.0
_NOTABLE_SD = 3.0
_LEAST_EXPLAINED = 0.05


@dataclass(frozen=True)
class Shift:
    """What to add to the positions to make them fit, in um, with the larger standard deviation of the two.

    `explained` is the share of the variance of the depth that the image explains there.
    """

    x_um: float
    y_um: float
    sd_um: float
    explained: float


def check_shift(slide: Slide, xy_um: Floats, width_um: float, depth: Floats) -> list[Finding]:
    """Warn of a significant shift; return no finding if none can be estimated (see `estimate_shift`)."""
    shift = estimate_shift(slide, xy_um, width_um, depth)
    if shift is None:
        return []
    distance = float(np.hypot(shift.x_um, shift.y_um))
    value = {"x_um": shift.x_um, "y_um": shift.y_um, "sd_um": shift.sd_um, "explained": shift.explained}
    offset = f"({shift.x_um:+.0f}, {shift.y_um:+.0f}) um, each +- {shift.sd_um:.0f} um"
    if distance > max(_NOTABLE_UM, _NOTABLE_SD * shift.sd_um):
        text = f"The counts fit the tissue best if the positions are moved by {offset}."
        advice = (
            "Check the registration of the image and the regions. If overlay.png, which `pixnet inspect --out DIR` "
            "writes, shows the same shift, add it to the positions (divided by `mpp` if they are in pixels)."
        )
        return [Finding("warning", "shift", text, advice, value)]
    text = f"The counts fit the tissue where it is: the best shift is {offset}."
    return [Finding("info", "shift", text, value=value)]


def estimate_shift(slide: Slide, xy_um: Floats, width_um: float, depth: Floats, seed: int = 0) -> Shift | None:
    """Estimate how far regions of a width are off, from their centres (n, 2) in um and their depth (n,).

    Return None if no estimate can be made: there are too few regions, the image does not explain the depth, the best
    place is at the edge of the 150 um that are searched, or the draws disagree. `seed` is that of the draws.
    """
    places, depth, width_um = _pooled(xy_um, depth, width_um)
    if len(places) < _LEAST_REGIONS or np.ptp(depth) == 0:
        return None
    maps, um_per_px = _density_maps(slide, width_um)
    offsets = np.arange(-_REACH_UM, _REACH_UM + 1, _STEP_UM)
    grid_y, grid_x = (axis.ravel() for axis in np.meshgrid(offsets, offsets, indexing="ij"))
    # What is under each region at each shift, (maps, shifts, n).
    sampled = np.stack([_sampled(density, places, grid_x, grid_y, um_per_px) for density in maps])
    target = np.log1p(depth)
    weights = np.ones((1, len(target)))
    best, explained = _peaks(sampled, target, weights, len(offsets))
    if explained[0] < _LEAST_EXPLAINED or np.abs(best[0]).max() >= _REACH_UM - _STEP_UM:
        return None
    draws, _ = _peaks(sampled, target, _block_draws(places, seed), len(offsets))
    sd = float(draws.std(axis=0).max())
    if sd > _MOST_SD_UM:
        return None
    return Shift(float(best[0, 0]), float(best[0, 1]), max(sd, _STEP_UM / 3), float(explained[0]))


def _pooled(xy_um: Floats, depth: Floats, width_um: float) -> tuple[Floats, Floats, float]:
    """Pool many small regions into squares: a single one of them has too few counts."""
    if len(xy_um) <= _MOST_REGIONS:
        return xy_um, depth, width_um
    area = float(np.prod(np.ptp(xy_um, axis=0)))
    side = max(width_um, float(np.sqrt(area / _MOST_REGIONS)))
    cols, rows = np.floor((xy_um - xy_um.min(axis=0)) / side).astype(np.int64).T
    index = rows * (cols.max() + 1) + cols
    number = np.bincount(index)
    full = number > number.max() / 2
    mean = [np.bincount(index, values)[full] / number[full] for values in (xy_um[:, 0], xy_um[:, 1], depth)]
    return np.column_stack(mean[:2]), mean[2], side


def _density_maps(slide: Slide, width_um: float) -> tuple[list[Floats], float]:
    """Return maps of nuclear and of other density, averaged over a region's width, and their um per pixel."""
    rgb, um_per_px = slide.thumbnail(_MAP_PX)
    white = np.maximum(np.quantile(rgb.reshape(-1, 3), 0.99, axis=0), 1.0)
    absorbed = -np.log(np.clip(rgb / white, 1 / 255, 1.0))
    # Least squares for the two stains in every pixel.
    stains = absorbed @ np.linalg.pinv(np.stack([HAEMATOXYLIN, EOSIN]))
    side = max(1, round(width_um * 0.9 / um_per_px))  # of a square as large as the disk
    smooth = [ndimage.uniform_filter(np.clip(stains[..., index], 0.0, 3.0), side, mode="nearest") for index in range(2)]
    return smooth, um_per_px


def _sampled(image: Floats, places: Floats, x: Floats, y: Floats, um_per_px: float) -> NDArray[np.float32]:
    """Read a map at all places for every shift, (shifts, n)."""
    rows = (places[:, 1] + y[:, None]) / um_per_px - 0.5
    cols = (places[:, 0] + x[:, None]) / um_per_px - 0.5
    values = ndimage.map_coordinates(image, [rows.ravel(), cols.ravel()], order=1, mode="nearest", output=np.float32)
    return np.asarray(values.reshape(rows.shape), np.float32)


def _peaks(sampled: NDArray[np.float32], target: Floats, weights: Floats, side: int) -> tuple[Floats, Floats]:
    """Find the shift at which a linear regression on both maps explains the target (n,) best.

    From the values of the maps, shape (2, shifts, n), the weights of the regions, shape (draws, n), and the number of
    shifts along each axis, return the best shifts along x and y in um, shape (draws, 2), and the shares of the variance
    that they explain, shape (draws,).
    """
    total = weights.sum(axis=1, keepdims=True)

    def mean(values: Floats) -> Floats:
        return np.asarray(weights @ values.T / total)

    first, second = sampled.astype(np.float64)
    mean_target = np.asarray(weights @ target / total[:, 0])[:, None]
    variance = np.asarray(weights @ target**2 / total[:, 0])[:, None] - mean_target**2
    m1, m2 = mean(first), mean(second)
    v1, v2 = mean(first**2) - m1**2, mean(second**2) - m2**2
    both = mean(first * second) - m1 * m2
    c1, c2 = mean(first * target) - m1 * mean_target, mean(second * target) - m2 * mean_target
    determinant = v1 * v2 - both**2
    # With the ridge, two maps that are proportional count as one.
    ridge = 1e-3 * v1 * v2 + 1e-18
    explained = (c1**2 * v2 - 2 * c1 * c2 * both + c2**2 * v1) / (determinant + ridge) / np.maximum(variance, 1e-18)
    shifts = np.empty((len(weights), 2))
    for draw, surface in enumerate(explained.reshape(-1, side, side)):
        row, col = np.unravel_index(int(np.argmax(surface)), surface.shape)
        shifts[draw] = _peak_um(int(col), surface[row, :]), _peak_um(int(row), surface[:, col])
    return shifts, explained.max(axis=1)


def _peak_um(index: int, line: Floats) -> float:
    """Return the place, in um, of the top of the parabola through the highest point of a line and its neighbours."""
    part = 0.0
    if 0 < index < len(line) - 1:
        low, top, high = line[index - 1 : index + 2]
        bend = low - 2 * top + high
        part = 0.0 if bend >= 0 else float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5))
    return (index + part) * _STEP_UM - _REACH_UM


def _block_draws(places: Floats, seed: int) -> Floats:
    """Draw blocks of neighbours with replacement; return how often each region was drawn, (draws, n)."""
    low, extent = places.min(axis=0), np.maximum(np.ptp(places, axis=0), 1e-9)
    block = np.minimum((places - low) / extent * _BLOCKS, _BLOCKS - 1).astype(np.int64) @ [_BLOCKS, 1]
    _, index = np.unique(block, return_inverse=True)
    number = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=_DRAWS)
    return np.asarray(drawn[:, index], np.float64)
