"""The scores across scales as tables to read, and as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixnet.evaluation.results import finite
from pixnet.evaluation.scale_curves import draw_scales
from pixnet.evaluation.scale_scores import CEILING, is_crop_method
from pixnet.evaluation.scales import SIDES

_TARGETS = {"truth": "noise-free truth", "measured": "counts"}
_KINDS = {"counts": "expected counts per region", "log": "log(1 + counts per 10,000)"}
_MAIN = "pixnet"


def write_scales(results: dict[str, Any], folder: Path) -> Path:
    """Write `NAME.json`, `NAME.md` and pictures beside them, and give the page."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(finite(results), indent=1, allow_nan=False)
    (folder / f"{results['name']}.json").write_text(text + "\n", encoding="utf-8")
    page = folder / f"{results['name']}.md"
    page.write_text(scales_page(results), encoding="utf-8")
    draw_scales(results, folder)
    return page


def scales_page(results: dict[str, Any]) -> str:
    """Give everything that was scored, as Markdown."""
    settings = results["settings"]
    sizes = " and ".join(f"{size:g}" for size in settings["sizes_um"])
    lines = [
        f"# Virtual {settings['preset']}, trained on regions of {sizes} µm",
        "",
        f"Virtual tissue {settings['virtual_version']}; {len(settings['training'])} training slides and "
        f"{len(settings['test'])} of other donors, {settings['side_um']:g} µm a side; {len(results['genes'])} genes; "
        f"seeds {', '.join(map(str, results['seeds']))}. PCC@M with 95 % intervals over redrawn blocks of each slide.",
    ]
    rows = results["scores"]
    for side, target, kind in dict.fromkeys((row["side"], row["target"], row["kind"]) for row in rows):
        chosen = [row for row in rows if (row["side"], row["target"], row["kind"]) == (side, target, kind)]
        lines += ["", f"## {side.capitalize()}: {_KINDS[kind]}, against {_TARGETS[target]}", "", *scales_table(chosen)]
    costs = {name: cells for name, cells in results["cells"].items() if name != CEILING}
    lines += ["", "## Cost of one cell", "", "| method | minutes | peak memory, GB |", "|---|---|---|"]
    for name, cells in costs.items():
        minutes = sum(cell["seconds"] for cell in cells) / len(cells) / 60
        lines.append(f"| {name} | {minutes:.1f} | {max(cell['peak_rss_mb'] for cell in cells) / 1e3:.1f} |")
    return "\n".join(lines) + "\n"


def scales_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Give the lines of a table: methods down, sizes of regions across.

    Below the scores stand, of pixnet and its variants, the ratio to the best crop method and, but for slides that were
    trained on, the share of the ceiling.
    """
    names = list(rows[0]["methods"])
    lines = ["| method | " + " | ".join(row["regions"] for row in rows) + " |", "|---" * (1 + len(rows)) + "|"]
    lines += [_line(name, [_score(row["methods"][name]) for row in rows]) for name in names]
    for name in names:
        if name.partition(":")[0] != _MAIN:
            continue
        for title, key in (("over the best crop method", "ratio"), ("share of the ceiling", "share")):
            found = [row["methods"][name][key] for row in rows]
            if None not in found:
                lines.append(_line(f"{name}, {title}", [_quotient(one) for one in found]))
    if any(is_crop_method(name) for name in names):
        lines.append(_line("the best crop method", [row["best_crop"] for row in rows]))
    return lines


def headline(results: dict[str, Any]) -> str:
    """Give one line: pixnet's scores on other donors against the truth as expected counts, smallest regions first."""
    side = SIDES[1]
    words = []
    for row in results["scores"]:
        if (row["side"], row["target"], row["kind"]) == (side, "truth", "counts") and _MAIN in row["methods"]:
            one = row["methods"][_MAIN]
            ratio = f", {one['ratio']['value']:.2f} times {row['best_crop']}" if one["ratio"] else ""
            words.append(f"{row['regions']} {one['pcc_m']:.3f} ({one['share']['value']:.2f} of the ceiling{ratio})")
    return f"{results['name']}, {side}: " + ("; ".join(words) or "pixnet was not asked for")


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _score(method: dict[str, Any]) -> str:
    low, high = method["interval"]
    return f"{method['pcc_m']:.3f} [{low:.3f}, {high:.3f}]"


def _quotient(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['value']:.2f} [{low:.2f}, {high:.2f}]"
