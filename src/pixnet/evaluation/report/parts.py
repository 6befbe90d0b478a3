"""Parts of a report: sections with paragraphs, tables and pictures; and tables as Markdown."""

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

    An entry may have several lines.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    emphasis: int | None = None
    words: int = 1
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs, tables, pictures, then text as it is; `folded` until the reader opens it."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    warnings: Sequence[str] = ()
    code: str = ""
    folded: bool = False


def number(value: Any, digits: int = 3) -> str:
    """Return a number as text for a table; a dash if it is missing or not finite. So do the functions below."""
    if not isinstance(value, int | float | np.number) or not math.isfinite(value):
        return DASH
    # Adding 0 makes a rounded -0.000 plain zero.
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(pair: Any, digits: int = 3) -> str:
    """Return an interval as text."""
    if not pair or any(number(end) == DASH for end in pair):
        return DASH
    return f"{number(pair[0], digits)} to {number(pair[1], digits)}"


def over_interval(value: Any, pair: Any, digits: int = 3) -> str:
    """Return a number and, on a line below it, its interval if there is one: many fit side by side."""
    ends = interval(pair, digits)
    return number(value, digits) + (f"\n({ends})" if ends != DASH else "")


def percent(value: Any) -> str:
    """Return a share as text."""
    return f"{number(100 * value, 0)} %" if number(value) != DASH else DASH


def duration(seconds: Any) -> str:
    """Return a time as text."""
    if number(seconds) == DASH:
        return DASH
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"


def memory(megabytes: Any) -> str:
    """Return an amount of memory as text."""
    return f"{megabytes / 1000:.2f} GB" if number(megabytes) != DASH else DASH


def distinct(values: Iterable[Any]) -> str:
    """Return the different ones among some values as text."""
    return " or ".join(dict.fromkeys(str(value) for value in values if value is not None)) or DASH


def markdown_table(table: Table) -> list[str]:
    """Return the lines of a table in Markdown, without its title and note; the emphasised row is bold."""
    aligned = ["---" if place < table.words else "---:" for place in range(len(table.columns))]
    lines = [_line(table.columns), "|" + "|".join(aligned) + "|"]
    for place, row in enumerate(table.rows):
        lines.append(_line([f"**{entry}**" for entry in row] if place == table.emphasis else row))
    return lines


def noted_table(table: Table) -> list[str]:
    """Return the lines of a table in Markdown with its note below."""
    return [*markdown_table(table), *(["", table.note] if table.note else [])]


def _line(entries: Sequence[str]) -> str:
    return "| " + " | ".join(entry.replace("|", "\\|").replace("\n", " ") for entry in entries) + " |"


def provenance(command: str, *facts: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """Return when and with what command tables were written, and on which machines their runs were computed.

    The facts of the runs are by method (see `pixnet.evaluation.runs.Stored`), from one evaluation or several.
    """
    runs = [run for of_evaluation in facts for of_method in of_evaluation.values() for run in of_method]
    by = f" with `{command}`" if command else ""
    written = f"Written on {datetime.now(UTC):%Y-%m-%d}{by}."
    if not runs:
        return written
    machines = [
        f"{run.get('machine', 'a machine that is not known')}"
        f" (device {run.get('device', DASH)}, threads {run.get('threads', DASH)})"
        for run in runs
    ]
    versions = distinct(run.get("environment", {}).get("pixnet") for run in runs)
    return f"{written} Computed by pixnet {versions} on {distinct(machines)}."
