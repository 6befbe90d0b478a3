"""The levels of a pyramid: by what factor each is smaller than the full resolution.

Files state the size of a level, not its factor, and the size is not the exact quotient. It may be rounded, which makes
a difference of one pixel at most, or filled up to whole tiles, which at coarse levels doubles it. So the factor is a
likely one that explains the size, and not the ratio of the sizes. A level that no factor explains is another picture,
and is not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Size = tuple[int, int]
"""Height and width in pixels."""

Levels = tuple[tuple[float, Size], ...]
"""Downsampling and (height, width) of each pyramid level."""

_LARGEST_POWER = 20
_STEPS = (2, 3, 4, 5, 6, 8, 10)  # factors between successive levels


@dataclass(frozen=True)
class LevelFacts:
    """What a file states about a level: its size and that of its tiles, and its factor if it is stated."""

    size: Size
    tile: Size | None = None
    stated: float | None = None


def usable_levels(facts: Sequence[LevelFacts]) -> tuple[list[int], Levels]:
    """Return the indices of the levels that can be used, and their factors and sizes; the first is the full resolution.

    Rows and columns of a level that are beyond the full resolution, because it was filled up to whole tiles, do not
    count.
    """
    base = facts[0].size
    index, levels = [0], [(1.0, base)]
    for number, level in enumerate(facts[1:], start=1):
        factor = _factor(base, level, levels[-1][0])
        if factor is not None:
            height, width = (min(part, math.ceil(full / factor)) for full, part in zip(base, level.size, strict=True))
            index.append(number)
            levels.append((factor, (height, width)))
    return index, tuple(levels)


def _factor(base: Size, level: LevelFacts, finer: float) -> float | None:
    """Return the most likely factor that explains a level's size; None if none does.

    `finer` is the factor of the level before.
    """
    ratios = [full / part if part else math.inf for full, part in zip(base, level.size, strict=True)]
    if max(ratios) == math.inf or min(ratios) < 1:
        return None
    for factor in _candidates(level, finer):
        if _is_rounded(base, level.size, factor):
            return float(factor)
    if level.tile is not None:
        powers = (2.0**power for power in range(1, _LARGEST_POWER))
        for factor in (*((level.stated,) if level.stated else ()), *(power for power in powers if power > finer)):
            if _is_filled_up(base, level.size, level.tile, factor):
                return float(factor)
    mean = sum(ratios) / 2
    for factor in (float(round(mean)), mean):
        if factor > finer and _is_rounded(base, level.size, factor):
            return factor
    return None


def _candidates(level: LevelFacts, finer: float) -> Iterator[float]:
    """Yield factors that a pyramid may have, the more likely ones first."""
    if level.stated is not None and level.stated > finer:
        yield level.stated
    yield from (2.0**power for power in range(1, _LARGEST_POWER) if 2.0**power > finer)
    yield from (finer * step for step in _STEPS)


def _is_rounded(base: Size, size: Size, factor: float) -> bool:
    """Return whether a size is that of the full resolution by a factor, but for rounding."""
    return all(abs(full / factor - part) <= 1 for full, part in zip(base, size, strict=True))


def _is_filled_up(base: Size, size: Size, tile: Size, factor: float) -> bool:
    """Return whether a size is that of the full resolution by a factor, filled up to whole tiles.

    The full resolution may itself be filled up, so that its true size is up to a tile smaller.
    """
    for full, part, side in zip(base, size, tile, strict=True):
        least = full - side + 1 if full % side == 0 else full
        low, high = (math.ceil(math.ceil(true / factor) / side) * side for true in (least, full))
        if not (part % side == 0 and low <= part <= high):
            return False
    return True
