"""The report of an evaluation: one HTML file with everything inside."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from numpy.typing import NDArray

import pixnet
from pixnet.errors import DataError
from pixnet.evaluation import figures
from pixnet.evaluation.figures import Backdrop, Floats, Marks, Window
from pixnet.expression import correlation
from pixnet.field import ExpressionField
from pixnet.regions import Squares

if TYPE_CHECKING:
    import anndata

    from pixnet.sample import Sample

REPORT = "report.html"
_MARKERS = ("ERBB2", "CD74", "COL1A1", "KRT19", "PTPRC", "CD3E", "EPCAM", "MBP", "INS", "ACTB")
_WINDOW_UM = 400.0
_OVERVIEW = 700  # most cells along a side of a map of the whole slide
_DASH = "\N{EN DASH}"
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """An image with its caption, as an address that holds the image itself."""

    uri: str
    caption: str
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table: its columns' names, its rows, a note below it, the row to emphasise, how many columns hold words."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    emphasis: int | None = None
    words: int = 1


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs, tables, then pictures."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """What an evaluation's folder holds."""

    folder: Path
    results: dict[str, Any]
    table: anndata.AnnData
    card: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> _Evaluated:
        import anndata

        for name in ("results.json", "predictions.h5ad"):
            if not (folder / name).is_file():
                raise DataError(f"{folder / name}: is missing; give a folder that `pixnet evaluate` has written.")
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            table = anndata.read_h5ad(folder / "predictions.h5ad")
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: cannot be read ({error}); evaluate again.") from error
        card = folder / "model" / "card.json"
        return cls(folder, results, table, json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {})

    @property
    def methods(self) -> list[str]:
        return list(self.results["methods"])

    @property
    def main(self) -> str:
        """The method that maps are drawn for."""
        return "pixnet" if "pixnet" in self.methods else self.methods[0]

    @property
    def kept(self) -> NDArray[np.bool_]:
        return np.asarray(self.table.obs["kept"], bool)

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(str(name) for name in self.table.obs["sample"]))

    def observed(self) -> Floats:
        return np.asarray(self.table.X, np.float64)

    def predicted(self, method: str) -> Floats:
        return np.asarray(self.table.layers[self.results["methods"][method]["layers"][0]], np.float64)

    def correlations(self, method: str) -> Floats:
        """Per gene, over the scored regions; of several folds and seeds, the mean. NaN where a gene does not vary."""
        return np.asarray(self.table.var[f"pcc_{method}"], np.float64)


def write_report(folder: Path, samples: Sequence[Sample] | None = None, extra: Sequence[Section] = ()) -> Path:
    """Write the report of an evaluation beside its results.

    Parameters
    ----------
    folder
        What `pixnet evaluate` wrote.
    samples
        The held-out samples, whose slides are shown; without them the maps have no picture behind.
    extra
        Sections to put at the end.

    Returns
    -------
    Path
        `report.html` in the folder: one file without links to others.

    Raises
    ------
    DataError
        If the folder does not hold an evaluation.
    """
    done = _Evaluated.read(Path(folder))
    known = {sample.id: sample for sample in samples or ()}
    sections = [_protocol(done), _scores(done)]
    for name in done.ids:
        sections += _sample_sections(done, name, known.get(name))
    sections += [*_training(done), *extra]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True)
    html = environment.get_template("report.html.j2").render(
        title=f"PixNet on {', '.join(done.ids)}",
        headline=_headline(done),
        sections=sections,
        version=pixnet.__version__,
    )
    target = Path(folder) / REPORT
    partial = target.with_suffix(".part")
    partial.write_text(html, encoding="utf-8")
    os.replace(partial, target)
    return target


def number(value: Any, digits: int = 3) -> str:
    """Give a number for a table; a dash where there is none."""
    if not isinstance(value, int | float | np.number) or not math.isfinite(value):
        return _DASH
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _headline(done: _Evaluated) -> list[tuple[str, str]]:
    """Give the few numbers to see first: value and name."""
    methods = done.results["methods"]
    facts = [(number(methods[name]["pcc_m"]), f"PCC@M, {name}") for name in methods if name != "mean"]
    estimate = done.results.get("noise_estimate", {}).get("pcc_m")
    if estimate:
        facts.append((number(estimate), "PCC@M, noise estimate"))
    first = methods[done.main]
    facts.append((f"{first['n_regions']}", "regions scored"))
    facts.append((f"{first['n_genes']}", "genes"))
    return facts


def _protocol(done: _Evaluated) -> Section:
    protocol, donors = done.results["protocol"], done.results["protocol"].get("donors", {})
    rows = []
    for side, name in (("train", "training"), ("test", "held out")):
        for one in protocol.get(side, []):
            facts = protocol.get("data", {}).get(one, {})
            source = f"{number(facts.get('mpp'))} (from {facts.get('mpp_source', _DASH)})"
            cells = [donors.get(one) or _DASH, facts.get("platform", _DASH), facts.get("regions", _DASH), source]
            rows.append([one, name, *map(str, cells)])
    columns = ["sample", "used for", "donor", "platform", "regions", "µm per pixel"]
    network, training = (protocol.get("config", {}).get(part, {}) for part in ("network", "training"))
    settings = [
        ["genes", f"{len(protocol.get('genes', []))}: {protocol.get('gene_rule', '')}"],
        ["values", str(protocol.get("values", ""))],
        ["regions left out", f"{done.results.get('excluded_regions', 0)} of {done.table.n_obs} held-out regions, for "
                             f"every method alike: fewer than {protocol.get('min_counts')} counts"],
        ["network", f"preset {network.get('preset')}, encoder {network.get('encoder', {}).get('name')}, head "
                    f"{network.get('head')}, at {network.get('mpp')} µm per pixel"],
        ["training", f"at most {training.get('steps')} steps of {training.get('tiles')} tiles, loss "
                     f"{training.get('loss')}, seed {protocol.get('seed')}"],
    ]  # fmt: skip
    text = ["Every method was trained on the same samples. None saw the held-out ones before it was scored on them: "
            "not for choosing genes, scales, penalties or the number of steps."]  # fmt: skip
    note = str(protocol.get("donor_note", ""))
    note = note[:1].upper() + note[1:]
    shared = bool(protocol.get("donors_on_both_sides"))
    tables = [Table(columns, rows, "" if shared else note, words=4), Table(["", ""], settings)]
    return Section("What was done", text, tables, warnings=[note] if shared else [])


def _scores(done: _Evaluated) -> Section:
    methods, estimate = done.results["methods"], done.results.get("noise_estimate", {})
    ceiling = estimate.get("pcc_m") or math.nan
    rows = []
    for name, one in methods.items():
        interval = one.get("interval_blocks")
        mean = number(one["pcc_m"]) + (f"  ({number(interval[0])} to {number(interval[1])})" if interval else "")
        share = one["pcc_m"] / ceiling if one["pcc_m"] is not None else math.nan
        rows.append(
            [name, mean, number(one["pcc_s"]), number(one["pcc_f"]),
             f"{100 * share:.0f} %" if math.isfinite(share) else _DASH,
             number(one["mse"]), number(one["mae"]), _duration(one.get("seconds")), _memory(one.get("peak_rss_mb"))]
        )  # fmt: skip
    if estimate:
        attainable = [number(estimate.get(key)) for key in ("pcc_m", "pcc_s", "pcc_f")]
        rows.append(["noise estimate", *attainable, "100 %", *[_DASH] * 4])
    columns = ["method", "PCC@M", "PCC@S", "PCC@F", "share of the noise estimate", "MSE", "MAE", "time", "peak memory"]
    note = (
        "PCC@M, PCC@S and PCC@F: mean, median and first quartile over genes of the Pearson correlation over regions; "
        "in brackets a 95 % interval over redrawn regions. MSE and MAE: over all values. Noise estimate: the "
        "correlation that a perfect prediction would have with these noisy counts, estimated by splitting them; it is "
        "no bound. Time covers training and prediction."
    )
    tables = [Table(columns, rows, note, done.methods.index(done.main)), *_more_scores(done)]
    per_gene = {name: done.correlations(name) for name in methods if name != "mean"}
    noise = done.table.var["noise_estimate"].to_numpy(np.float64)
    picture = Picture(figures.data_uri(figures.draw_genes(per_gene, noise)), "Correlation of each gene, sorted.")
    return Section("How good it is", tables=tables, pictures=[picture])


def _more_scores(done: _Evaluated) -> list[Table]:
    """Give PCC@M with the regions that were left out, and of each held-out sample, where either differs."""
    methods = done.results["methods"]
    columns: dict[str, str] = {"all regions": "unfiltered"} if done.results.get("excluded_regions") else {}
    ids = done.ids if len(done.ids) > 1 else []
    if not columns and not ids:
        return []
    rows = []
    for name, one in methods.items():
        cells = [one.get(key, {}).get("pcc_m") for key in columns.values()]
        cells += [one.get("per_sample", {}).get(sample, {}).get("pcc_m") for sample in ids]
        rows.append([name, *map(number, cells)])
    note = "PCC@M of other sets of regions; all regions: those with few counts included."
    return [Table(["method", *columns, *ids], rows, note)]


def _sample_sections(done: _Evaluated, name: str, sample: Sample | None) -> list[Section]:
    rows = np.asarray(done.table.obs["sample"].astype(str)) == name
    marks = _marks(done.table[rows], sample)
    ground = _ground(marks, sample)
    kept = done.kept[rows]
    sections = []
    if sample is not None:
        slide = sample.slide
        caption = (
            f"{slide.name}: {slide.width_um / 1000:.2f} \N{MULTIPLICATION SIGN} {slide.height_um / 1000:.2f} mm at "
            f"{slide.mpp:.3g} µm per pixel (from {slide.mpp_source}); regions of {np.median(marks.size_um):.0f} µm, "
            "drawn at true size."
        )
        picture = Picture(figures.data_uri(figures.draw_slide(ground, marks, kept), "jpeg"), caption)
        sections.append(Section(f"The slide of {name}", pictures=[picture]))
    ranked = _ranked(done)
    at = _indices(done, ranked)
    pictures = []
    for label, gene in at:
        observed, predicted = done.observed()[rows][kept, gene], done.predicted(done.main)[rows][kept, gene]
        r = float(correlation(observed[:, None], predicted[:, None])[0])
        figure = figures.draw_gene_at_regions(ground, marks.take(kept), observed, predicted, r, done.main)
        title = f"{label} gene: {done.table.var_names[gene]}"
        pictures.append(Picture(figures.data_uri(figure), "", title))
    text = [
        f"Genes by their correlation under {done.main}: the best, median and worst of the {len(ranked)} that vary. "
        "Observed and predicted share one colour scale; a prediction of an uncertain value stays near the mean, so its "
        "map is paler. The dashed line is equality."
    ]
    sections.append(Section(f"Observed and predicted at the measured regions of {name}", text, pictures=pictures))
    field_path = done.folder / "fields" / name
    if field_path.is_dir():
        sections.append(_dense(done, ExpressionField.open(field_path), name, sample, marks, at))
    return sections


def _ranked(done: _Evaluated) -> NDArray[np.intp]:
    """Give the genes that vary, best first."""
    r = done.correlations(done.main)
    order = np.argsort(-np.nan_to_num(r, nan=-np.inf), kind="stable")
    return np.asarray(order[: max(int(np.isfinite(r).sum()), 1)])


def _indices(done: _Evaluated, ranked: NDArray[np.intp]) -> list[tuple[str, int]]:
    places = {"Best": 0, "Median": len(ranked) // 2, "Worst": len(ranked) - 1}
    return [(label, int(ranked[place])) for label, place in places.items()]


def _dense(
    done: _Evaluated, dense: ExpressionField, name: str, sample: Sample | None, marks: Marks, at: list[tuple[str, int]]
) -> Section:
    names = [str(gene) for gene in done.table.var_names]
    wanted = {names[gene]: f"{label} gene" for label, gene in at[:2]}
    marker = next((gene for gene in _MARKERS if gene in names and gene not in wanted), None)
    if marker:
        wanted[marker] = "A known marker"
    rate, pitch = dense.head.kind == "rate", dense.grid.pitch_um
    facts = dense.attributes.lattice  # the grid reaches a little beyond the slide
    unit = "expected counts per 100 µm²" if rate else "log(1 + counts per 10,000)"
    pictures = []
    for gene, label in wanted.items():
        values = dense.gene(gene).to_numpy() * (100.0 if rate else 1.0)
        values = values[: math.ceil(facts.height_um / pitch), : math.ceil(facts.width_um / pitch)]
        window = richest_window(values, pitch, _WINDOW_UM, _box(marks))
        left, top, width, height = window
        rows, cols = (slice(round(a / pitch), round((a + b) / pitch)) for a, b in ((top, height), (left, width)))
        size = (0.0, 0.0, values.shape[1] * pitch, values.shape[0] * pitch)
        whole = Backdrop.read(sample.slide, size, 700) if sample else Backdrop(None, size)
        near = Backdrop.read(sample.slide, window, 700) if sample else Backdrop(None, window)
        figure = figures.draw_dense(whole, shrink(values, _OVERVIEW), near, values[rows, cols], pitch, unit, marks)
        pictures.append(Picture(figures.data_uri(figure, "jpeg", 120), "", f"{label}: {gene}"))
    text = [
        f"What the field holds everywhere, at its pitch of {pitch:g} µm, from the image alone. The blue box marks the "
        f"window below, where the outlines show the measured regions. Unit: {unit}."
    ]
    return Section(f"The dense map of {name}", text, pictures=pictures)


def _box(marks: Marks) -> Window:
    """Give the window that holds all centres."""
    (left, top), (right, bottom) = marks.centers_um.min(axis=0), marks.centers_um.max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)


def richest_window(values: Floats, pitch_um: float, side_um: float, within: Window) -> Window:
    """Find the window, of this side at most and within another where it fits, in which a map varies most."""
    left, top, width, height = (round(edge / pitch_um) for edge in within)
    side = max(1, min(round(side_um / pitch_um), *values.shape))
    first_row, first_col = (min(edge, size - side) for edge, size in zip((top, left), values.shape, strict=True))
    last_row, last_col = max(first_row, top + height - side), max(first_col, left + width - side)
    step = max(1, side // 2)
    best, place = -1.0, (first_row, first_col)
    for row in range(first_row, min(last_row, values.shape[0] - side) + 1, step):
        for col in range(first_col, min(last_col, values.shape[1] - side) + 1, step):
            part = values[row : row + side, col : col + side]
            spread = float(part.std()) if np.isfinite(part).all() else -1.0
            if spread > best:
                best, place = spread, (row, col)
    return place[1] * pitch_um, place[0] * pitch_um, side * pitch_um, side * pitch_um


def shrink(values: Floats, most: int) -> Floats:
    """Average a map over blocks of cells, so that no side has more than `most`; a ragged edge is dropped."""
    by = max(1, math.ceil(max(values.shape) / most))
    height, width = (n // by * by for n in values.shape)
    blocks = values[:height, :width].reshape(height // by, by, width // by, by)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _training(done: _Evaluated) -> list[Section]:
    rows = done.card.get("metrics", [])
    if not rows:
        return []
    chosen = done.card.get("steps")
    text = [
        "The number of steps was chosen on a part of the training samples, the validation part; then all of them were "
        "trained anew for that many steps."
        if any(row["stage"] == "refit" for row in rows)
        else "No second training followed."
    ]
    picture = Picture(figures.data_uri(figures.draw_training(rows, chosen)), "")
    return [Section("Training", text, pictures=[picture])]


def _marks(table: anndata.AnnData, sample: Sample | None) -> Marks:
    centers = table.obs[["x_um", "y_um"]].to_numpy(np.float64)
    if sample is not None and isinstance(sample.regions, Squares):
        return Marks(centers, np.sqrt(sample.regions.areas_um2), square=True)
    return Marks(centers, table.obs["size_um"].to_numpy(np.float64))


def _ground(marks: Marks, sample: Sample | None) -> Backdrop:
    if sample is not None:
        return Backdrop.read(sample.slide)
    low, high = (marks.centers_um + side * marks.size_um[:, None] for side in (-1, 1))
    low, high = low.min(axis=0), high.max(axis=0)
    (left, top), (width, height) = low.tolist(), (high - low).tolist()
    return Backdrop(None, (left, top, width, height))


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return _DASH
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _memory(megabytes: Any) -> str:
    return f"{megabytes / 1000:.2f} GB" if isinstance(megabytes, int | float) else _DASH
