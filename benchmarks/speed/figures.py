"""Figures of benchmarks, with or without a target."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """A measured value with a target.

    Attributes
    ----------
    value
        The measured value.
    at_most, at_least
        The target: one of the two.
    """

    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value reaches the target."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return self.at_least is None or self.value >= self.at_least

    @property
    def target(self) -> str:
        """The target as text."""
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"

    def __str__(self) -> str:
        return f"{self.value:g} ({self.target}: {'met' if self.met else 'NOT MET'})"


Figures = dict[str, float | str | Target]
"""Results of a benchmark, by their description."""
