"""The tables of a report as Markdown, to be pasted into other pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pixnet.evaluation.report.parts import DASH, Table, distinct


def markdown_table(table: Table) -> list[str]:
    """Give the lines of a table; its title and note are the caller's. The emphasised row stands in bold."""
    aligned = ["---" if place < table.words else "---:" for place in range(len(table.columns))]
    lines = [_line(table.columns), "|" + "|".join(aligned) + "|"]
    for number, row in enumerate(table.rows):
        lines.append(_line([f"**{cell}**" for cell in row] if number == table.emphasis else row))
    return lines


def noted_table(table: Table) -> list[str]:
    """Give the lines of a table with its note below."""
    return [*markdown_table(table), *(["", table.note] if table.note else [])]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def provenance(command: str, *cells: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """Say when and with what command tables were written, and on which machines their cells were computed.

    Parameters
    ----------
    command
        As it was typed; empty where nothing was.
    cells
        By method, what is told of each cell, of one run or of several; see `pixnet.evaluation.runs.Stored.told`.
    """
    told = [cell for of_run in cells for of_method in of_run.values() for cell in of_method]
    by = f" with `{command}`" if command else ""
    written = f"Written on {datetime.now(UTC):%Y-%m-%d}{by}."
    if not told:
        return written
    where = [
        f"{cell.get('machine', 'a machine that is not known')}"
        f" (device {cell.get('device', DASH)}, threads {cell.get('threads', DASH)})"
        for cell in told
    ]
    versions = distinct(cell.get("environment", {}).get("pixnet") for cell in told)
    return f"{written} Computed by pixnet {versions} on {distinct(where)}."
