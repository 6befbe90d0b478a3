"""The scores across scales as pictures: one line for each of the methods that matter, over the sizes of regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pixnet.evaluation.report.curves import draw_sizes
from pixnet.evaluation.scale_scores import CEILING, is_crop_method

BEST_CROP = "best crop method"
_TITLES = {"counts": "expected counts", "log": "log(1 + counts per 10,000)"}


def draw_scales(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the scores against the noise-free truth, `NAME-SIDE-KIND.png` for each side and kind of value.

    Of the crop methods that one is drawn at each size which does best there; all others have a line of their own, but
    for the mean.
    """
    rows = [row for row in results["scores"] if row["target"] == "truth"]
    pages = []
    for side, kind in dict.fromkeys((row["side"], row["kind"]) for row in rows):
        chosen = [row for row in rows if (row["side"], row["kind"]) == (side, kind)]
        title = f"{results['name']}, {side}: {_TITLES[kind]}"
        figure = draw_sizes([row["regions"] for row in chosen], curves_of(chosen), title)
        path = folder / f"{results['name']}-{side.replace(' ', '-')}-{kind}.png"
        figure.set_size_inches(6.8, 4.0)
        figure.savefig(path, dpi=140)
        pages.append(path)
    return pages


def curves_of(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Give the lines to draw, the ceiling last, from the rows of one side, target and kind."""
    names = [name for name in rows[0]["methods"] if not is_crop_method(name) and name not in ("mean", CEILING)]
    lines = {name: [row["methods"][name]["pcc_m"] for row in rows] for name in names}
    if all(row["best_crop"] for row in rows):
        lines[BEST_CROP] = [row["methods"][row["best_crop"]]["pcc_m"] for row in rows]
    lines[CEILING] = [row["methods"][CEILING]["pcc_m"] for row in rows]
    return lines
