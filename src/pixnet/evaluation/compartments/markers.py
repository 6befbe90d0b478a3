"""Marker genes of the compartments of a tumour, from the literature."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

_FILE = Path(__file__).with_name("markers.toml")


class Marker(NamedTuple):
    """The compartment that a gene marks, and the source that says so."""

    compartment: str
    source: str


@cache
def markers() -> dict[str, Marker]:
    """Return the markers of `markers.toml` by gene."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {gene: Marker(name, source) for name, genes in tables.items() for gene, source in genes.items()}
