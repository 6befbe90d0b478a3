"""What an inspection finds, as text and as JSON."""

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
    """One result of one check.

    Attributes
    ----------
    level
        "error": the data cannot be used. "warning": they can be used, but something should be improved. "info": nothing
        is wrong.
    code
        Short name of the kind of finding, for programs.
    text
        What was found, in full sentences.
    advice
        How to fix it; empty if nothing needs to be done.
    value
        Numbers behind the text, by name.
    """

    level: Level
    code: str
    text: str
    advice: str = ""
    value: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the finding with values that JSON can hold."""
        value = {name: _json_value(entry) for name, entry in self.value.items()}
        return {"level": self.level, "code": self.code, "text": self.text, "advice": self.advice, "value": value}


@dataclass(frozen=True)
class Inspection:
    """All findings for one sample, the most severe first.

    `platform` is the one that it was treated as, and `recognised_by` the reason.
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
        """0 if the sample is good, 1 if it is usable with warnings, 2 if it is not usable."""
        return max((_LEVELS[finding.level] for finding in self.findings), default=0)

    @property
    def codes(self) -> set[str]:
        """Codes of all errors and warnings."""
        return {finding.code for finding in self.findings if finding.level != "info"}

    def of_level(self, level: Level) -> list[Finding]:
        """Return the findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def of(self, code: str) -> list[Finding]:
        """Return the findings of one code."""
        return [finding for finding in self.findings if finding.code == code]

    @property
    def summary(self) -> str:
        """The verdict and the findings as text, one line for each."""
        lines = [f"{self.id}: {_VERDICTS[self.status]} ({self.platform}: {self.recognised_by})"]
        for finding in self.findings:
            advice = f" {finding.advice}" if finding.advice else ""
            lines.append(f"  {finding.level:<7}  {finding.code}: {finding.text}{advice}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the inspection with values that JSON can hold."""
        return {
            "id": self.id,
            "platform": self.platform,
            "recognised_by": self.recognised_by,
            "status": self.status,
            "verdict": _VERDICTS[self.status],
            "findings": [finding.to_json() for finding in self.findings],
        }


def _json_value(value: Any) -> Any:
    """Return numpy's numbers and arrays as Python's, and NaN and infinity as None: JSON has neither."""
    if isinstance(value, Mapping):
        return {str(key): _json_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _json_value(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
