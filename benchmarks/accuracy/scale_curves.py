"""The scores across scales as pictures: a line for each method over the sizes of regions, the ceiling above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.scales_tables import KINDS, TARGETS, groups_of
from pixnet.demo.curves import draw_sizes
from pixnet.demo.scores import CEILING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_group(results: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw the scores of one side, target and kind, with their intervals."""
    names = [name for name in rows[0]["methods"] if name != CEILING] + [CEILING]
    scores, intervals = (
        {name: [row["methods"][name][key] for row in rows] for name in names} for key in ("pcc_m", "interval")
    )
    first = rows[0]
    title = f"{results['name']}, {first['side']}: {KINDS[first['kind']]}"
    return draw_sizes([row["regions"] for row in rows], scores, title, TARGETS[first["target"]], intervals)


def draw_scales(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the scores against the noise-free truth, `NAME-SIDE-KIND.png` for each side and kind of value."""
    pages = []
    for (side, target, kind), rows in groups_of(results).items():
        if target == "truth":
            path = folder / f"{results['name']}-{side.replace(' ', '-')}-{kind}.png"
            draw_group(results, rows).savefig(path, dpi=140)
            pages.append(path)
    return pages
