"""The report of an evaluation: one HTML file with everything inside."""

from __future__ import annotations

from pixnet.evaluation.report.maps import richest_window, shrink
from pixnet.evaluation.report.parts import Picture, Section, Table, number
from pixnet.evaluation.report.writing import REPORT, write_report

__all__ = ["REPORT", "Picture", "Section", "Table", "number", "richest_window", "shrink", "write_report"]
