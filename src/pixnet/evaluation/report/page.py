"""A report as one HTML file with everything inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

from pixnet.evaluation.report.parts import Section
from pixnet.files import write_whole
from pixnet.version import __version__

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    target: Path, title: str, lead: str, headline: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> Path:
    """Write a report as one file: title, lead, the few numbers to see first (value and name), and the sections."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True)
    html = environment.get_template("report.html.j2").render(
        title=title, lead=lead, headline=headline, sections=sections, version=__version__
    )
    write_whole(target, html)
    return target
