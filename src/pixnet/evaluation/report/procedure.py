"""The report's sections on the procedure: samples, folds, settings."""

from __future__ import annotations

import json
import re
from typing import Any

from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.parts import DASH, Section, Table, distinct, duration, memory, number, provenance

_PLAIN_LIST = re.compile(r"\[\s+([^\[\]{}]*?)\s+\]")
_HASH = 16  # digits of a hash that are shown; the protocol below has all


def done_section(outcome: Evaluated, command: str) -> Section:
    """Return what was trained on, what was held out, and how; when, with what command, and where."""
    protocol = outcome.protocol
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
    tables = [_samples(outcome, "" if shared else note), Table(["", ""], _settings(outcome))]
    return Section("What was done", text, tables, warnings=[note] if shared else [])


def _samples(outcome: Evaluated, note: str) -> Table:
    protocol = outcome.protocol
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
        if outcome.has_blocks:
            used = {name: f"a part in each of {len(protocol['folds'])}" for name in used}
            heading = "held out in folds"
    rows = []
    for name, role in used.items():
        facts = protocol.get("data", {}).get(name, {})
        source = f"{number(facts.get('mpp'))} (from {facts.get('mpp_source', DASH)})"
        entries = [donors.get(name) or DASH, facts.get("platform", DASH), facts.get("regions", DASH), source]
        rows.append([name, role or "never", *map(str, entries)])
    columns = ["sample", heading, "donor", "platform", "regions", "µm per pixel"]
    return Table(columns, rows, note, words=4)


def _settings(outcome: Evaluated) -> list[list[str]]:
    protocol = outcome.protocol
    folds = protocol.get("folds", [])
    seeds = protocol.get("seeds", [])
    numbers = {len(fold["genes"]) for fold in folds} or {len(protocol.get("genes", []))}
    split = f"{_split_words(protocol)}; {len(folds)} {_plural('fold', folds)}"
    left_out = (
        f"{outcome.results.get('excluded_regions', 0)} of {outcome.table.n_obs} held-out regions, the same for every "
        f"method: fewer than {protocol.get('min_counts')} counts"
    )
    missing = protocol.get("regions_without_prediction", 0)
    if missing:
        left_out += f", or no prediction by one of the methods ({missing})"
    rows = [
        ["split", f"{split}, {_plural('seed', seeds)} {', '.join(map(str, seeds))}"],
        ["genes", f"{' or '.join(map(str, sorted(numbers)))}: {protocol.get('gene_rule', '')}"],
        ["values", str(protocol.get("values", ""))],
        ["regions left out", left_out],
    ]
    if "pixnet" in outcome.methods:
        network, training = (protocol.get("config", {}).get(part, {}) for part in ("network", "training"))
        model = f"preset {network.get('preset')}, encoder {network.get('encoder', {}).get('name')}"
        at_most = "" if training.get("validation") == "none" else "at most "
        steps = f"{at_most}{training.get('steps')} steps of {training.get('tiles')} tiles"
        rows += [
            ["network", f"{model}, head {network.get('head')}, at {network.get('mpp')} µm per pixel"],
            ["training", f"{steps}, loss {training.get('loss')}"],
        ]
    return rows


def _split_words(protocol: dict[str, Any]) -> str:
    kind, *numbers = str(protocol.get("split", "")).split(":")
    gap = numbers[-1] if numbers else "?"
    words = {
        "hold-out": "some samples held out",
        "loso": "each section held out in turn",
        "lodo": "each donor held out in turn",
        "kfold": "groups of donors held out in turn",
        "blocks": f"each slide cut into blocks, one held out at a time, with a gap of {gap} µm",
    }
    return words.get(kind, kind)


def _plural(word: str, things: list[Any]) -> str:
    return word if len(things) == 1 else f"{word}s"


def record_section(outcome: Evaluated) -> Section:
    """Return the hashes of samples, versions, runs, imports, and the protocol as it is."""
    protocol = outcome.protocol
    versions = [[name, str(version)] for name, version in protocol.get("environment", {}).items()]
    tables = [
        _sample_hashes(protocol),
        _methods(protocol),
        *_runs(protocol),
        *_imports(protocol),
        Table(["", ""], versions, title="Versions"),
    ]
    text = [f"Hashes are SHA-256; their first {_HASH} digits are in the tables, all of them in the protocol below."]
    shown = {key: value for key, value in protocol.items() if key != "runs"}
    # A list of plain values is written on one line: hundreds of genes would otherwise be as many lines.
    lines = json.dumps(shown, indent=1, ensure_ascii=False)
    code = _PLAIN_LIST.sub(lambda match: "[" + " ".join(match[1].split()) + "]", lines)
    return Section("Every setting and hash", text, tables, code=code, folded=True)


def _sample_hashes(protocol: dict[str, Any]) -> Table:
    kinds = ("slide_sha256", "counts_sha256", "positions_sha256")
    rows = [[name, *(_hash(facts.get(kind)) for kind in kinds)] for name, facts in protocol.get("data", {}).items()]
    return Table(["sample", "slide", "counts", "positions"], rows, words=4, title="Samples")


def _methods(protocol: dict[str, Any]) -> Table:
    methods = protocol.get("methods", {})
    rows = []
    for name, facts in methods.items():
        settings = "see the protocol" if name == "pixnet" else _settings_text(facts["settings"])
        rows.append([name, str(facts.get("version", DASH)), settings])
    return Table(["method", "version", "settings"], rows, words=3, title="Methods")


def _runs(protocol: dict[str, Any]) -> list[Table]:
    """List the runs: each method, fold and seed."""
    rows = []
    for method, runs in protocol.get("runs", {}).items():
        for run in runs:
            features = [duration(run.get("features", {}).get(key)) for key in ("made", "found")]
            cost = [duration(run.get("seconds")), *features, memory(run.get("peak_rss_mb"))]
            where = [str(run.get(key, DASH)) for key in ("device", "threads")]
            which = [method, run["fold"], str(run["seed"]), _hash(run["key"])]
            sessions = str(len(run.get("sessions", [])) or DASH)
            rows.append([*which, _settings_text(run.get("chosen", {})), *cost, sessions, *where])
    if not rows:
        return []
    columns = ["method", "fold", "seed", "key", "chosen in training", "time", "of which features"]
    columns += ["features from the cache", "peak memory", "sessions", "device", "threads"]
    machines = distinct(run.get("machine") for runs in protocol["runs"].values() for run in runs)
    return [Table(columns, rows, f"Computed on {machines}.", words=5, title="Runs")]


def _imports(protocol: dict[str, Any]) -> list[Table]:
    rows = [[name, facts["file"], _hash(facts["sha256"])] for name, facts in protocol.get("imports", {}).items()]
    return [Table(["imported", "file", "hash"], rows, words=3, title="Imported predictions")] if rows else []


def _hash(value: Any) -> str:
    return value[:_HASH] if isinstance(value, str) else DASH


def _settings_text(values: dict[str, Any]) -> str:
    texts = {key: f"{value:.6g}" if isinstance(value, float) else str(value) for key, value in values.items()}
    return ", ".join(f"{key} = {text}" for key, text in texts.items()) or DASH
