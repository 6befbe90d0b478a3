"""The tables of a report as Markdown, to be pasted into other pages."""

from __future__ import annotations

from collections.abc import Sequence

from pixnet.evaluation.report.parts import Table


def markdown_table(table: Table) -> list[str]:
    """Give the lines of a table; its title and note are the caller's. The emphasised row stands in bold."""
    aligned = ["---" if place < table.words else "---:" for place in range(len(table.columns))]
    lines = [_line(table.columns), "|" + "|".join(aligned) + "|"]
    for number, row in enumerate(table.rows):
        lines.append(_line([f"**{cell}**" for cell in row] if number == table.emphasis else row))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
