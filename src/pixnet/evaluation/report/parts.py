"""What a report is made of: sections with paragraphs, tables and pictures; and tables as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Picture:
    """An image with its caption, as an address that holds the image itself."""

    uri: str
    caption: str
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table: its columns' names, its rows, a note below it, the row to emphasise, how many columns hold words.

    A cell may have several lines.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    emphasis: int | None = None
    words: int = 1
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs, tables, pictures, then text as it is; folded away until it is asked for."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    warnings: Sequence[str] = ()
    code: str = ""
    folded: bool = False


def number(value: Any, digits: int = 3) -> str:
    """Give a number for a table; a dash where there is none."""
    if not isinstance(value, int | float | np.number) or not math.isfinite(value):
        return DASH
    # Adding 0 makes a rounded -0.000 plain zero.
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(pair: Any, digits: int = 3) -> str:
    """Give an interval for a table; a dash where there is none."""
    if not pair or any(number(end) == DASH for end in pair):
        return DASH
    return f"{number(pair[0], digits)} to {number(pair[1], digits)}"


def over_interval(value: Any, pair: Any, digits: int = 3) -> str:
    """Give a number and, in a line of its own below, its interval where there is one: many fit beside each other."""
    found = interval(pair, digits)
    return number(value, digits) + (f"\n({found})" if found != DASH else "")


def percent(value: Any) -> str:
    """Give a share for a table; a dash where there is none."""
    return f"{number(100 * value, 0)} %" if number(value) != DASH else DASH


def p_value(value: Any) -> str:
    """Give a p for a table; a thousand draws tell none below 0.002 apart."""
    return "< 0.002" if isinstance(value, float) and value < 0.002 else number(value)


def duration(seconds: Any) -> str:
    """Give a time for a table; a dash where there is none."""
    if number(seconds) == DASH:
        return DASH
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"


def memory(megabytes: Any) -> str:
    """Give an amount of memory for a table; a dash where there is none."""
    return f"{megabytes / 1000:.2f} GB" if number(megabytes) != DASH else DASH


def distinct(values: Iterable[Any]) -> str:
    """Give the different ones among some values in words; a dash where there is none."""
    return " or ".join(dict.fromkeys(str(value) for value in values if value is not None)) or DASH


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
