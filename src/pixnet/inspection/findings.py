"""What an inspection found, in words and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["error", "warning", "info"]

_LEVELS: dict[Level, int] = {"info": 0, "warning": 1, "error": 2}
_VERDICTS = ("good", "usable, with warnings", "not usable")


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    level
        "error": the data cannot be used so. "warning": they can, but less well than they might. "info": as it should
        be.
    code
        Short name of the kind of finding, for programs.
    text
        What was found.
    advice
        How to mend it; empty where there is nothing to mend.
    value
        The numbers behind it, by name.
    """

    level: Level
    code: str
    text: str
    advice: str = ""
    value: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give it as what JSON can hold."""
        value = {key: _plain(entry) for key, entry in self.value.items()}
        return {"level": self.level, "code": self.code, "text": self.text, "advice": self.advice, "value": value}


@dataclass(frozen=True)
class Inspection:
    """All that was found of one sample.

    Attributes
    ----------
    id, platform
        The sample's name, and what it was taken for.
    recognised_by
        Why.
    findings
        The worst first.
    """

    id: str
    platform: str
    recognised_by: str
    findings: tuple[Finding, ...]

    def __post_init__(self) -> None:
        ordered = sorted(self.findings, key=lambda finding: -_LEVELS[finding.level])
        object.__setattr__(self, "findings", tuple(ordered))

    @property
    def status(self) -> int:
        """0: good. 1: usable, with warnings. 2: not usable."""
        return max((_LEVELS[finding.level] for finding in self.findings), default=0)

    @property
    def codes(self) -> set[str]:
        """Kinds of all errors and warnings."""
        return {finding.code for finding in self.findings if finding.level != "info"}

    def of_level(self, level: Level) -> list[Finding]:
        """Give the findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def of(self, code: str) -> list[Finding]:
        """Give the findings of one kind."""
        return [finding for finding in self.findings if finding.code == code]

    @property
    def summary(self) -> str:
        """Give it all in words, a line for each finding."""
        lines = [f"{self.id}: {_VERDICTS[self.status]} ({self.platform}: {self.recognised_by})"]
        for finding in self.findings:
            advice = f" {finding.advice}" if finding.advice else ""
            lines.append(f"  {finding.level:<7}  {finding.code}: {finding.text}{advice}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Give it as what JSON can hold."""
        return {
            "id": self.id,
            "platform": self.platform,
            "recognised_by": self.recognised_by,
            "status": self.status,
            "verdict": _VERDICTS[self.status],
            "findings": [finding.to_json() for finding in self.findings],
        }


def _plain(value: Any) -> Any:
    """Give numbers of numpy as those of Python, and no number as None: JSON knows neither."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
