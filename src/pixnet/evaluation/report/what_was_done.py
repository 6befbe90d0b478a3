"""The report's section on what was done: samples, folds, settings."""

from __future__ import annotations

from typing import Any

from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.markdown import provenance
from pixnet.evaluation.report.parts import DASH, Section, Table, number


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
    text.append(provenance(command, protocol.get("cells", {})))
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
