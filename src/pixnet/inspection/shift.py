"""Whether the counts lie a little beside the tissue that they were taken from.

Where there is more tissue and there are more nuclei, more is counted. So the picture, shifted to and fro, explains the
depth best where it belongs. How far that place can be trusted is told by drawing the regions anew, in blocks, as
neighbours err alike; where the draws disagree nothing is said.
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

_REACH_UM, _STEP_UM = 150.0, 10.0
_MAP_PX = 1500  # of a side of the picture that is looked at
_MOST_REGIONS = 4000
_LEAST_REGIONS = 40
_DRAWS = 60
_BLOCKS = 8  # a side
_TELLING_UM = 20.0  # standard deviation up to which an estimate is told
_NOTABLE_UM, _NOTABLE_SD = 15.0, 3.0
_LEAST_EXPLAINED = 0.05


@dataclass(frozen=True)
class Shift:
    """How far the counts lie from the tissue that explains them best.

    Attributes
    ----------
    x_um, y_um
        What to add to the positions, so that they fit.
    sd_um
        Standard deviation of either, in um: the larger one.
    explained
        Share of the variance of depth that the picture explains there.
    """

    x_um: float
    y_um: float
    sd_um: float
    explained: float


def check_shift(slide: Slide, xy_um: Floats, width_um: float, depth: Floats) -> list[Finding]:
    """Warn of a shift that is surely there; say nothing if none can be measured."""
    found = estimate_shift(slide, xy_um, width_um, depth)
    if found is None:
        return []
    far = float(np.hypot(found.x_um, found.y_um))
    value = {"x_um": found.x_um, "y_um": found.y_um, "sd_um": found.sd_um, "explained": found.explained}
    told = f"({found.x_um:+.0f}, {found.y_um:+.0f}) um, each +- {found.sd_um:.0f}"
    if far > max(_NOTABLE_UM, _NOTABLE_SD * found.sd_um):
        text = f"The counts fit the tissue best if the positions are moved by {told}."
        advice = (
            "Check the registration of image and spots; if overlay.png shows the same, add this to the positions "
            "(in pixels: divided by the mpp)."
        )
        return [Finding("warning", "shift", text, advice, value)]
    return [Finding("info", "shift", f"Counts and tissue fit: best shift {told}.", value=value)]


def estimate_shift(slide: Slide, xy_um: Floats, width_um: float, depth: Floats, seed: int = 0) -> Shift | None:
    """Estimate by how much positions are off.

    Parameters
    ----------
    slide
        The image.
    xy_um
        (n, 2) centres of the regions.
    width_um
        Their width.
    depth
        (n,) counts of each.
    seed
        Of the draws that give the uncertainty.

    Returns
    -------
    Shift or None
        None if it cannot be told: too few regions, a depth that the picture does not explain, a best place at the rim
        of the 150 um that are searched, or draws that disagree.
    """
    places, depth, width_um = _pooled(xy_um, depth, width_um)
    if len(places) < _LEAST_REGIONS or np.ptp(depth) == 0:
        return None
    maps, um_per_px = _density_maps(slide, width_um)
    offsets = np.arange(-_REACH_UM, _REACH_UM + 1, _STEP_UM)
    # (features, shifts, n): what each region would lie on.
    grid_y, grid_x = (axis.ravel() for axis in np.meshgrid(offsets, offsets, indexing="ij"))
    seen = np.stack([_sampled(each, places, grid_x, grid_y, um_per_px) for each in maps])
    target = np.log1p(depth)
    weights = np.ones((1, len(target)))
    best, explained = _peaks(seen, target, weights, len(offsets))
    if explained[0] < _LEAST_EXPLAINED or np.abs(best[0]).max() >= _REACH_UM - _STEP_UM:
        return None
    draws, _ = _peaks(seen, target, _block_draws(places, seed), len(offsets))
    sd = float(draws.std(axis=0).max())
    if sd > _TELLING_UM:
        return None
    return Shift(float(best[0, 0]), float(best[0, 1]), max(sd, _STEP_UM / 3), float(explained[0]))


def _pooled(xy_um: Floats, depth: Floats, width_um: float) -> tuple[Floats, Floats, float]:
    """Pool many small regions into squares: as many as there are, each says too little."""
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
    """Give maps of nuclear and of other density, each averaged over a region's width, and their resolution."""
    rgb, um_per_px = slide.thumbnail(_MAP_PX)
    white = np.maximum(np.quantile(rgb.reshape(-1, 3), 0.99, axis=0), 1.0)
    absorbed = -np.log(np.clip(rgb / white, 1 / 255, 1.0))
    # Least squares for the two stains in every pixel.
    stains = absorbed @ np.linalg.pinv(np.stack([HAEMATOXYLIN, EOSIN]))
    side = max(1, round(width_um * 0.9 / um_per_px))  # a square as large as the disk
    smooth = [ndimage.uniform_filter(np.clip(stains[..., index], 0.0, 3.0), side, mode="nearest") for index in range(2)]
    return smooth, um_per_px


def _sampled(image: Floats, places: Floats, x: Floats, y: Floats, um_per_px: float) -> NDArray[np.float32]:
    """Read a map at all places, for every shift: (shifts, n)."""
    rows = (places[:, 1] + y[:, None]) / um_per_px - 0.5
    cols = (places[:, 0] + x[:, None]) / um_per_px - 0.5
    found = ndimage.map_coordinates(image, [rows.ravel(), cols.ravel()], order=1, mode="nearest", output=np.float32)
    return np.asarray(found.reshape(rows.shape), np.float32)


def _peaks(seen: NDArray[np.float32], target: Floats, weights: Floats, side: int) -> tuple[Floats, Floats]:
    """Find the shift at which a line through both maps explains the target best.

    Returns
    -------
    shifts, explained
        (draws, 2) x and y in um, and (draws,) share of variance.
    """
    total = weights.sum(axis=1, keepdims=True)

    def mean(values: Floats) -> Floats:
        return np.asarray(weights @ values.T / total)

    first, second = seen.astype(np.float64)
    goal = np.asarray(weights @ target / total[:, 0])[:, None]
    spread = np.asarray(weights @ target**2 / total[:, 0])[:, None] - goal**2
    m1, m2 = mean(first), mean(second)
    v1, v2 = mean(first**2) - m1**2, mean(second**2) - m2**2
    both = mean(first * second) - m1 * m2
    c1, c2 = mean(first * target) - m1 * goal, mean(second * target) - m2 * goal
    determinant = v1 * v2 - both**2
    # Two maps that say the same count as one.
    ridge = 1e-3 * v1 * v2 + 1e-18
    explained = (c1**2 * v2 - 2 * c1 * c2 * both + c2**2 * v1) / (determinant + ridge) / np.maximum(spread, 1e-18)
    shifts = np.empty((len(weights), 2))
    for draw, surface in enumerate(explained.reshape(-1, side, side)):
        shifts[draw] = _refined(surface)
    return shifts, explained.max(axis=1)


def _refined(surface: Floats) -> tuple[float, float]:
    """Give the top of a surface over all shifts, between its points, as x and y in um."""
    row, col = np.unravel_index(int(np.argmax(surface)), surface.shape)
    found = []
    for index, line in ((int(col), surface[row, :]), (int(row), surface[:, col])):
        part = 0.0
        if 0 < index < len(line) - 1:
            low, top, high = line[index - 1 : index + 2]
            bend = low - 2 * top + high
            part = 0.0 if bend >= 0 else float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5))
        found.append((index + part) * _STEP_UM - _REACH_UM)
    return found[0], found[1]


def _block_draws(places: Floats, seed: int) -> Floats:
    """Draw blocks of neighbours with replacement; give how often each region comes, (draws, n)."""
    low, extent = places.min(axis=0), np.maximum(np.ptp(places, axis=0), 1e-9)
    block = np.minimum((places - low) / extent * _BLOCKS, _BLOCKS - 1).astype(np.int64) @ [_BLOCKS, 1]
    _, index = np.unique(block, return_inverse=True)
    number = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=_DRAWS)
    return np.asarray(drawn[:, index], np.float64)
