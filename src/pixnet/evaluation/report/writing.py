"""Putting the report together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pixnet.evaluation.report import curves
from pixnet.evaluation.report.canvas import data_uri
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
    """Write the report of an evaluation beside its results.

    Parameters
    ----------
    folder
        What `pixnet evaluate` wrote.
    samples
        The held-out samples, whose slides are shown; without them the maps have no picture behind. Others do no harm.
    extra
        Sections to put after the maps.
    command
        What was typed, for the record.

    Returns
    -------
    Path
        `report.html` in the folder: one file without links to others.

    Raises
    ------
    DataError
        If the folder does not hold an evaluation.
    """
    done = Evaluated.read(Path(folder))
    known = {sample.id: sample for sample in samples or ()}
    sections = [done_section(done, command), scores_section(done)]
    for name in done.ids[:SHOWN]:
        sections += sample_sections(done, name, known.get(name))
    if len(done.ids) > SHOWN:
        others = f"Also held out, but not drawn here: {', '.join(done.ids[SHOWN:])}; "
        sections.append(Section("Other samples", [others + "predictions.h5ad holds what was predicted for them."]))
    sections += [*_training(done), *extra, record_section(done)]
    return write_page(Path(folder) / REPORT, _title(done), _lead(done), _headline(done), sections)


def _title(done: Evaluated) -> str:
    what = "PixNet" if done.main == "pixnet" else done.main.capitalize()
    return f"{what} on {', '.join(done.ids)}" if len(done.ids) <= SHOWN else f"{what} on {len(done.ids)} samples"


def _lead(done: Evaluated) -> str:
    blocks = any(fold.get("blocks") for fold in done.protocol.get("folds", []))
    what = "parts of slides" if blocks else "slides"
    return f"Gene expression predicted from H&E images, scored on {what} that were held out."


def _headline(done: Evaluated) -> list[tuple[str, str]]:
    """Give the few numbers to see first: value and name."""
    methods = done.results["methods"]
    main = methods[done.main]
    facts = [(number(main["pcc_m"]), f"PCC@M, {done.main}")]
    others = [name for name in done.guessing if name != done.main and methods[name]["pcc_m"] is not None]
    if others:
        best = max(others, key=lambda name: float(methods[name]["pcc_m"]))
        facts.append((number(methods[best]["pcc_m"]), f"PCC@M, {best}" + (", best other" if len(others) > 1 else "")))
    facts.append((number(done.results["noise_estimate"]["pcc_m"]), "PCC@M, noise estimate"))
    facts.append((percent(main.get("noise_share")), f"of that, {done.main}"))
    facts.append((f"{main['n_regions']}", "regions scored"))
    facts.append((number(main["n_genes"], 0), "genes"))
    if len(done.folds) > 1:
        facts.append((str(len(done.folds)), "folds"))
    return facts


def _training(done: Evaluated) -> list[Section]:
    rows = done.card.get("metrics", [])
    if not rows:
        return []
    chosen, stages = done.card.get("steps"), {row["stage"] for row in rows}
    if "search" not in stages:
        text = f"All training samples were learned from, for {chosen} steps."
    else:
        text = "The number of steps was chosen on a part of the training samples, the validation part; then "
        text += (
            "all of them were trained anew for that many steps." if "refit" in stages else "nothing was trained anew."
        )
    picture = Picture(data_uri(curves.draw_training(rows, chosen)), "")
    return [Section("Training", [text], pictures=[picture])]
