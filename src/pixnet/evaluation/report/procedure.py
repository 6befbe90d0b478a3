"""The report's section on what was done: samples, folds, settings."""

from __future__ import annotations

import json
import re
from typing import Any

from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.parts import DASH, Section, Table, distinct, duration, memory, number, provenance

_PLAIN_LIST = re.compile(r"\[\s+([^\[\]{}]*?)\s+\]")
_HASH = 16  # digits of a hash that are shown; the protocol below has all


def done_section(done: Evaluated, command: str) -> Section:
    """Say what was trained on, what was held out, and how; when, with what command, and where."""
    protocol = done.protocol
    text = [
        "In each fold every method was trained on the same samples. None saw the counts of the held-out ones before it "
        "was scored on them: not for choosing genes, scales, penalties or the number of steps."
    ]
    imports = protocol.get("imports", {})
    if imports:
        text.append(
            f"The predictions of {', '.join(imports)} were made elsewhere and are scored as they are; what they were "
            "trained on is not known here."
        )
    text.append(provenance(command, protocol.get("runs", {})))
    note = str(protocol.get("donor_note", ""))
    note = note[:1].upper() + note[1:]
    shared = bool(protocol.get("donors_on_both_sides"))
    tables = [_samples(done, "" if shared else note), Table(["", ""], _settings(done))]
    return Section("What was done", text, tables, warnings=[note] if shared else [])


def _samples(done: Evaluated, note: str) -> Table:
    protocol = done.protocol
    donors = protocol.get("donors", {})
    if "train" in protocol:
        used = dict.fromkeys(protocol["train"], "training") | dict.fromkeys(protocol["test"], "held out")
        heading = "used for"
    else:
        heading = "held out in fold"
        used = dict.fromkeys(donors, "")
        for fold in protocol.get("folds", []):
            for name in fold["test"]:
                used[name] = ", ".join(filter(None, [used.get(name), fold["name"]]))
        if any(fold.get("blocks") for fold in protocol.get("folds", [])):
            used, heading = {name: f"a part in each of {len(protocol['folds'])}" for name in used}, "held out in folds"
    rows = []
    for name, role in used.items():
        facts = protocol.get("data", {}).get(name, {})
        source = f"{number(facts.get('mpp'))} (from {facts.get('mpp_source', DASH)})"
        cells = [donors.get(name) or DASH, facts.get("platform", DASH), facts.get("regions", DASH), source]
        rows.append([name, role or "never", *map(str, cells)])
    columns = ["sample", heading, "donor", "platform", "regions", "µm per pixel"]
    return Table(columns, rows, note, words=4)


def _settings(done: Evaluated) -> list[list[str]]:
    protocol = done.protocol
    number_of_genes = {len(fold["genes"]) for fold in protocol.get("folds", [])} or {len(protocol.get("genes", []))}
    genes = " or ".join(map(str, sorted(number_of_genes)))
    folds, seeds = protocol.get("folds", []), protocol.get("seeds", [])
    rows = [
        ["split", f"{_split_words(protocol)}; {len(folds)} {_plural('fold', folds)}, "
                  f"{_plural('seed', seeds)} {', '.join(map(str, seeds))}"],
        ["genes", f"{genes}: {protocol.get('gene_rule', '')}"],
        ["values", str(protocol.get("values", ""))],
        ["regions left out", f"{done.results.get('excluded_regions', 0)} of {done.table.n_obs} held-out regions, for "
                             f"every method alike: fewer than {protocol.get('min_counts')} counts"],
    ]  # fmt: skip
    missing = protocol.get("regions_without_prediction", 0)
    if missing:
        rows[-1][1] += f", or no prediction by one of the methods ({missing})"
    if "pixnet" in done.methods:
        network, training = (protocol.get("config", {}).get(part, {}) for part in ("network", "training"))
        encoder = network.get("encoder", {}).get("name")
        rows += [
            ["network", f"preset {network.get('preset')}, encoder {encoder}, head {network.get('head')}, at "
                        f"{network.get('mpp')} µm per pixel"],
            ["training", f"{'' if training.get('validation') == 'none' else 'at most '}{training.get('steps')} steps "
                         f"of {training.get('tiles')} tiles, loss {training.get('loss')}"],
        ]  # fmt: skip
    return rows


def _split_words(protocol: dict[str, Any]) -> str:
    kind, *numbers = str(protocol.get("split", "")).split(":")
    return (
        {
            "hold-out": "some samples held out",
            "loso": "each section held out in turn",
            "lodo": "each donor held out in turn",
            "kfold": "groups of donors held out in turn",
            "blocks": f"each slide cut into blocks, one held out at a time, with a gap of {numbers[-1:] or ['?']} µm",
        }.get(kind, kind)
        .replace("['", "")
        .replace("']", "")
    )


def _plural(word: str, things: list[Any]) -> str:
    return word if len(things) == 1 else f"{word}s"


def record_section(done: Evaluated) -> Section:
    """Give the hashes of samples, versions, runs, imports, and the protocol as it is."""
    protocol = done.protocol
    tables = [
        _sample_hashes(protocol),
        _methods(protocol),
        *_runs(protocol),
        *_imports(protocol),
        Table(["", ""], [[name, str(version)] for name, version in protocol.get("environment", {}).items()],
              title="Versions"),
    ]  # fmt: skip
    text = [f"Hashes are SHA-256; their first {_HASH} digits are in the tables, all of them in the protocol below."]
    whole = {key: value for key, value in protocol.items() if key != "runs"}
    # A list of plain values stands in one line: hundreds of genes would otherwise be as many lines.
    code = _PLAIN_LIST.sub(
        lambda found: "[" + " ".join(found[1].split()) + "]", json.dumps(whole, indent=1, ensure_ascii=False)
    )
    return Section("Every setting and hash", text, tables, code=code, folded=True)


def _sample_hashes(protocol: dict[str, Any]) -> Table:
    kinds = ("slide_sha256", "counts_sha256", "positions_sha256")
    rows = [[name, *(_hash(facts.get(kind)) for kind in kinds)] for name, facts in protocol.get("data", {}).items()]
    return Table(["sample", "slide", "counts", "positions"], rows, words=4, title="Samples")


def _methods(protocol: dict[str, Any]) -> Table:
    methods = protocol.get("methods", {})
    rows = [
        [
            name,
            str(facts.get("version", DASH)),
            "see the protocol" if name == "pixnet" else _settings_text(facts["settings"]),
        ]
        for name, facts in methods.items()
    ]
    return Table(["method", "version", "settings"], rows, words=3, title="Methods")


def _runs(protocol: dict[str, Any]) -> list[Table]:
    """List what was computed: each method, fold and seed."""
    rows = []
    for method, runs in protocol.get("runs", {}).items():
        for run in runs:
            made, found = (duration(run.get("features", {}).get(key)) for key in ("made", "found"))
            cost = [duration(run.get("seconds")), made, found, memory(run.get("peak_rss_mb"))]
            where = [str(run.get(key, DASH)) for key in ("device", "threads")]
            which = [method, run["fold"], str(run["seed"]), _hash(run["key"])]
            sessions = str(len(run.get("sessions", [])) or DASH)
            rows.append([*which, _settings_text(run.get("chosen", {})), *cost, sessions, *where])
    if not rows:
        return []
    columns = ["method", "fold", "seed", "key", "chosen in training", "time", "of it features", "features found ready",
               "peak memory", "sessions", "device", "threads"]  # fmt: skip
    machines = distinct(run.get("machine") for runs in protocol["runs"].values() for run in runs)
    return [Table(columns, rows, f"Computed on {machines}.", words=5, title="Runs")]


def _imports(protocol: dict[str, Any]) -> list[Table]:
    rows = [[name, one["file"], _hash(one["sha256"])] for name, one in protocol.get("imports", {}).items()]
    return [Table(["imported", "file", "hash"], rows, words=3, title="Imported predictions")] if rows else []


def _hash(value: Any) -> str:
    return value[:_HASH] if isinstance(value, str) else DASH


def _settings_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value:.6g}" if isinstance(value, float) else f"{key} = {value}"
                     for key, value in values.items()) or DASH  # fmt: skip
