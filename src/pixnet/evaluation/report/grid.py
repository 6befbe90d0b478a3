"""The one renderer of scores: any rows of the long table against any columns of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pixnet.evaluation.report.parts import DASH, Table, interval, number, over_interval, percent
from pixnet.scoring.table import Scores

Where = Mapping[str, Any]
"""Keys of the long table, such as `method` and `metric`."""


class Column(NamedTuple):
    """A column of a table: the keys of the scores that it shows, and how it shows a score with its interval's ends."""

    where: Where
    show: Callable[[float, float, float], str] = lambda value, low, high: number(value)


def value(digits: int = 3) -> Callable[[float, float, float], str]:
    """Show the score alone."""
    return lambda score, low, high: number(score, digits)


def ends(score: float, low: float, high: float) -> str:
    """Show the interval alone."""
    return interval((low, high))


def beside(score: float, low: float, high: float) -> str:
    """Show the score with its interval in brackets."""
    shown = interval((low, high))
    return number(score) if shown == DASH else f"{number(score)} ({shown})"


def below(digits: int = 3) -> Callable[[float, float, float], str]:
    """Show the score with its interval on a line below it, where many are side by side."""
    return lambda score, low, high: over_interval(score, (low, high), digits)


def share(score: float, low: float, high: float) -> str:
    """Show the score as a percentage."""
    return percent(score)


def p(score: float, low: float, high: float) -> str:
    """Show the score as a p value; a thousand draws cannot distinguish values below 0.002."""
    return "< 0.002" if score < 0.002 else number(score)


def score_table(scores: Scores, heading: str, rows: Mapping[str, Where], columns: Mapping[str, Column]) -> Table:
    """Return a table of scores whose first column, under `heading`, holds the rows' names.

    Rows and columns are, by name, the keys of the scores that they show; keys of a column come before those of a row.
    """
    body = [
        [name, *(column.show(*scores.entry(**{**row, **column.where})) for column in columns.values())]
        for name, row in rows.items()
    ]
    return Table([heading, *columns], body)


def comparison_table(scores: Scores, main: str, others: list[str], **where: Any) -> Table:
    """Return the paired comparisons of a method with others; `where` has more keys, such as `regions`."""
    shown = {
        "ratio": ("ratio", value(2)),
        "difference": ("difference", value()),
        "95 %": ("difference", ends),
        "p": ("p", p),
        "better in": ("folds_better", value(0)),
        "of": ("folds", value(0)),
        "p, signs of folds": ("p_sign", p),
        "p, Wilcoxon over folds": ("p_wilcoxon", p),
    }
    body: list[Sequence[str]] = []
    for other in others:
        columns = {name: Column({"metric": f"{metric} vs {other}"}, show) for name, (metric, show) in shown.items()}
        body += score_table(scores, "", {other: {"method": main, **where}}, columns).rows
    head = [f"{main} against", *shown]
    # Tests over folds need six of them.
    filled = [place for place in range(len(head)) if place < 7 or any(row[place] != DASH for row in body)]
    return Table([head[place] for place in filled], [[row[place] for place in filled] for row in body])
