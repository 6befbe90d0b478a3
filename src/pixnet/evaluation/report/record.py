"""The report's folded section: every setting and hash, so that the evaluation can be judged and done again."""

from __future__ import annotations

import json
import re
from typing import Any

from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.parts import DASH, Section, Table, distinct, duration, memory

_PLAIN_LIST = re.compile(r"\[\s+([^\[\]{}]*?)\s+\]")
_HASH = 16  # digits of a hash that are shown; the protocol below has all


def record_section(done: Evaluated) -> Section:
    """Give the hashes of samples, versions, cells, imports, and the protocol as it is."""
    protocol = done.protocol
    tables = [
        _samples(protocol),
        _methods(protocol),
        *_cells(protocol),
        *_imports(protocol),
        Table(["", ""], [[name, str(version)] for name, version in protocol.get("environment", {}).items()],
              title="Versions"),
    ]  # fmt: skip
    text = [f"Hashes are SHA-256; their first {_HASH} digits are in the tables, all of them in the protocol below."]
    whole = {key: value for key, value in protocol.items() if key != "cells"}
    # A list of plain values stands in one line: hundreds of genes would otherwise be as many lines.
    code = _PLAIN_LIST.sub(
        lambda found: "[" + " ".join(found[1].split()) + "]", json.dumps(whole, indent=1, ensure_ascii=False)
    )
    return Section("Every setting and hash", text, tables, code=code, folded=True)


def _samples(protocol: dict[str, Any]) -> Table:
    kinds = ("slide_sha256", "counts_sha256", "positions_sha256")
    rows = [[name, *(_hash(facts.get(kind)) for kind in kinds)] for name, facts in protocol.get("data", {}).items()]
    return Table(["sample", "slide", "counts", "positions"], rows, words=4, title="Samples")


def _methods(protocol: dict[str, Any]) -> Table:
    methods = protocol.get("methods", {})
    rows = [
        [
            name,
            str(facts.get("version", DASH)),
            "see the protocol" if name == "pixnet" else _settings(facts["settings"]),
        ]
        for name, facts in methods.items()
    ]
    return Table(["method", "version", "settings"], rows, words=3, title="Methods")


def _cells(protocol: dict[str, Any]) -> list[Table]:
    """List what was computed: each method, fold and seed."""
    rows = []
    for method, cells in protocol.get("cells", {}).items():
        for cell in cells:
            made, found = (duration(cell.get("features", {}).get(key)) for key in ("made", "found"))
            cost = [duration(cell.get("seconds")), made, found, memory(cell.get("peak_rss_mb"))]
            where = [str(cell.get(key, DASH)) for key in ("device", "threads")]
            which = [method, cell["fold"], str(cell["seed"]), _hash(cell["key"])]
            sittings = str(len(cell.get("sittings", [])) or DASH)
            rows.append([*which, _settings(cell.get("chosen", {})), *cost, sittings, *where])
    if not rows:
        return []
    columns = ["method", "fold", "seed", "key", "chosen in training", "time", "of it features", "features found ready",
               "peak memory", "sittings", "device", "threads"]  # fmt: skip
    machines = distinct(cell.get("machine") for cells in protocol["cells"].values() for cell in cells)
    return [Table(columns, rows, f"Computed on {machines}.", words=5, title="Cells")]


def _imports(protocol: dict[str, Any]) -> list[Table]:
    rows = [[name, one["file"], _hash(one["sha256"])] for name, one in protocol.get("imports", {}).items()]
    return [Table(["imported", "file", "hash"], rows, words=3, title="Imported predictions")] if rows else []


def _hash(value: Any) -> str:
    return value[:_HASH] if isinstance(value, str) else DASH


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value:.6g}" if isinstance(value, float) else f"{key} = {value}"
                     for key, value in values.items()) or DASH  # fmt: skip
