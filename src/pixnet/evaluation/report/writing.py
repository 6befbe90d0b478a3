"""Put the report together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pixnet.evaluation.report import curves
from pixnet.evaluation.report.canvas import data_uri
from pixnet.evaluation.report.compartments import compartments_section
from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.maps import SHOWN, sample_sections
from pixnet.evaluation.report.page import write_page
from pixnet.evaluation.report.parts import Picture, Section, number, percent
from pixnet.evaluation.report.procedure import done_section, record_section
from pixnet.evaluation.report.tables import scores_section

if TYPE_CHECKING:
    from pixnet.sample import Sample

REPORT = "report.html"


def write_report(
    folder: Path, samples: Sequence[Sample] | None = None, extra: Sequence[Section] = (), command: str = ""
) -> Path:
    """Write the report of an evaluation into its folder, as `report.html`: one file without links to others.

    Parameters
    ----------
    folder
        Folder that `pixnet evaluate` wrote.
    samples
        The held-out samples, whose slides are shown behind the maps; other samples are ignored.
    extra
        Sections to put after the maps.
    command
        Command line that was used, for the record.

    Raises
    ------
    DataError
        If the folder does not hold an evaluation.
    """
    outcome = Evaluated.read(Path(folder))
    known = {sample.id: sample for sample in samples or ()}
    sections = [done_section(outcome, command), scores_section(outcome), *compartments_section(outcome)]
    for name in outcome.ids[:SHOWN]:
        sections += sample_sections(outcome, name, known.get(name))
    if len(outcome.ids) > SHOWN:
        others = ", ".join(outcome.ids[SHOWN:])
        text = f"Also held out, but not drawn here: {others}; predictions.h5ad holds their predictions."
        sections.append(Section("Other samples", [text]))
    sections += [*_training(outcome), *extra, record_section(outcome)]
    return write_page(Path(folder) / REPORT, _title(outcome), _lead(outcome), _headline(outcome), sections)


def _title(outcome: Evaluated) -> str:
    method = "PixNet" if outcome.main == "pixnet" else outcome.main.capitalize()
    samples = ", ".join(outcome.ids) if len(outcome.ids) <= SHOWN else f"{len(outcome.ids)} samples"
    return f"{method} on {samples}"


def _lead(outcome: Evaluated) -> str:
    held_out = "parts of slides" if outcome.has_blocks else "slides"
    return f"Gene expression predicted from H&E images, scored on {held_out} that were held out."


def _headline(outcome: Evaluated) -> list[tuple[str, str]]:
    """Return the few numbers to see first: value and name."""
    methods = outcome.results["methods"]
    main = methods[outcome.main]
    facts = [(number(main["pcc_m"]), f"PCC@M, {outcome.main}")]
    others = [name for name in outcome.guessing if name != outcome.main and methods[name]["pcc_m"] is not None]
    if others:
        best = max(others, key=lambda name: float(methods[name]["pcc_m"]))
        facts.append((number(methods[best]["pcc_m"]), f"PCC@M, {best}" + (", best other" if len(others) > 1 else "")))
    facts.append((number(outcome.results["noise_estimate"]["pcc_m"]), "PCC@M, noise estimate"))
    facts.append((percent(main.get("noise_share")), f"of that, {outcome.main}"))
    facts.append((f"{main['n_regions']}", "regions scored"))
    facts.append((number(main["n_genes"], 0), "genes"))
    if len(outcome.folds) > 1:
        facts.append((str(len(outcome.folds)), "folds"))
    return facts


def _training(outcome: Evaluated) -> list[Section]:
    rows = outcome.card.get("metrics", [])
    if not rows:
        return []
    chosen = outcome.card.get("steps")
    stages = {row["stage"] for row in rows}
    if "search" not in stages:
        text = f"The network was trained on all training samples, for {chosen} steps."
    else:
        again = "the network was trained again on all of them, for that many steps"
        last = again if "refit" in stages else "training ended"
        text = f"The number of steps was chosen on a part of the training samples, the validation part; then {last}."
    picture = Picture(data_uri(curves.draw_training(rows, chosen)), "")
    return [Section("Training", [text], pictures=[picture])]
