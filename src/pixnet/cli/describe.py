"""What a file or folder is, with a few facts about it, told by what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixnet.errors import DataError, FieldError, ModelError, PixNetError, SlideError, counted
from pixnet.safe.documents import parse_json, parse_toml, read_bytes
from pixnet.safe.names import as_text

if TYPE_CHECKING:
    from pixnet.readers.entry import Entry
    from pixnet.slide import Slide

_MOST_NAMED = 8  # samples or genes that are named in one line
_MOST_FOUND = 10_000  # views of features that are counted
_IMAGES = ("image", "DICOM")  # in the words for kinds of files
_UNUSABLE = "not usable yet"


@dataclass(frozen=True)
class About:
    """What something is, in words; facts by their names; genes; and what can be done with it."""

    kind: str
    facts: dict[str, str]
    advice: str = ""
    genes: Sequence[str] = field(default=(), repr=False)


def describe(path: Path) -> About:
    """Return what a file or folder is.

    Raises
    ------
    PixNetError
        If it does not exist, is of no known kind, or is of a known kind but damaged.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    for of_kind in _KINDS:
        about = of_kind(path)
        if about is not None:
            return about
    return _sample(path) or _slide(path) or _unknown(path)


def _model(path: Path) -> About | None:
    from pixnet.model.card import is_model, read_card

    if not is_model(path):
        return None
    card = read_card(path)
    donors = {sample["donor"] or sample["id"] for sample in card["samples"]}
    expected = card["expected"] or {"unknown": "it was not estimated"}
    facts = {
        "genes": f"{len(card['genes'])}, chosen by {card['gene_rule']}: {_few(card['genes'])}",
        "predicts": f"{card['units']} (head {card['head']}), on pixels of {card['pitch_um']:g} um",
        "sees": f"{card['mpp']:g} um per pixel",
        "encoder": f"{card['encoder']['name']}, {'inside' if card['encoder']['inside'] else 'not inside of the model'}",
        "trained on": f"{_few([sample['id'] for sample in card['samples']])} ({counted(len(donors), 'donors')}), "
        f"{card['steps']} steps, seed {card['seed']}",
        "meant for": "other sections of the same donor"
        if card["config"].get("target") == "same-donor"
        else "slides of other donors",
        "expected": f"not known; {expected['unknown']}" if "unknown" in expected else f"PCC@M {expected['pcc_m']:.3f}",
        "made by": f"pixnet {card['pixnet_version']}",
    }
    return About("a model", facts, f"Use it: pixnet predict SLIDE --model {path} --out FIELD", card["genes"])


def _field(path: Path) -> About | None:
    from pixnet.field.build.unfinished import partial_folder
    from pixnet.field.field import ExpressionField

    if not (path / "zarr.json").is_file() or "pixnet" not in _json(path / "zarr.json").get("attributes", {}):
        if (path / "store").is_dir() and (path / "log.jsonl").is_file():
            return About("an unfinished prediction", {}, "Continue it: the same pixnet predict with --resume")
        if partial_folder(path).is_dir():
            raise FieldError(f"{path}: is an unfinished prediction; continue it by pixnet predict with --resume.")
        return None
    opened = ExpressionField.open(path)
    slide, genes = opened.attributes.slide, opened.gene_names
    facts = {
        "slide": f"{slide.name}, {slide.width_px} x {slide.height_px} px of {slide.mpp:.4g} um "
        f"(from {slide.mpp_source})",
        "map": f"{opened.grid.shape[1]} x {opened.grid.shape[0]} pixels of {opened.grid.pitch_um:g} um, "
        f"{opened.levels} levels" + (", tissue only" if opened.attributes.tissue_mask else ""),
        "genes": f"{len(genes)}: {_few(genes)}",
        "units": opened.units,
        "made by": f"pixnet {opened.attributes.pixnet_version}, of a model trained on "
        f"{_few([sample['id'] for sample in opened.card.get('samples', [])])}",
    }
    if slide.no_data_reads:
        facts["no data"] = f"{counted(slide.no_data_reads, 'parts')} of the slide could not be read"
    return About("a field", facts, f"Read it: pixnet query {path} --grid-um 100 --out squares.h5ad", genes)


def _training(path: Path) -> About | None:
    if not (path.suffix == ".work" and path.is_dir()):
        return None
    from pixnet.training.work import check_is_work

    check_is_work(path)
    return About("an unfinished training", {}, "Continue it: the same pixnet train with --resume")


def _features(path: Path) -> About | None:
    folders = sorted(file.parent for file in path.glob("*/encoder.json")) if path.is_dir() else []
    if not folders:
        return None
    facts = {}
    for folder in folders:
        views = sum(1 for _, _ in zip(range(_MOST_FOUND), folder.glob("*/view.json"), strict=False))
        facts[str(_json(folder / "encoder.json").get("name", folder.name))] = f"{counted(views, 'views')} of slides"
    return About("features of encoders", facts, f"Use them: pixnet train or predict with --features {path}")


def _evaluation(path: Path) -> About | None:
    results = path / "results.json" if path.is_dir() else path
    if results.name != "results.json" or not results.is_file():
        return None
    content = _json(results)
    methods = content.get("methods")
    if not isinstance(methods, dict) or not isinstance(content.get("protocol"), dict):
        return None
    facts = {name: f"PCC@M {scores['pcc_m']:.3f}" for name, scores in methods.items() if _is_score(scores)}
    folds = [str(fold["name"]) for fold in content["protocol"].get("folds", [])]
    return About("results of an evaluation", {"folds": _few(folds), **facts}, f"See {results.parent / 'report.html'}")


def _document(path: Path) -> About | None:
    """Tell GeoJSON and protocols among JSON files."""
    if path.suffix.lower() not in (".json", ".geojson"):
        return None
    content = _json(path)
    if "folds" in content and "methods" in content:
        from pixnet.evaluation.protocol import Protocol

        protocol = Protocol.read(path)
        facts = {
            "samples": _few(list(protocol.samples)),
            "folds": f"{len(protocol.folds)} ({protocol.split})",
            "methods": ", ".join(protocol.methods),
            "seeds": ", ".join(map(str, protocol.seeds)),
        }
        return About("a frozen protocol", facts, f"Run it: pixnet evaluate --protocol {path} --out DIR")
    if content.get("type") in ("FeatureCollection", "Feature", "Polygon", "MultiPolygon"):
        from pixnet.regions import Polygons

        outlines = Polygons.from_geojson(path, um_per_unit=1.0)
        classes = list(dict.fromkeys(as_text(kind) for kind in outlines.classes if kind))
        facts = {"outlines": str(len(outlines)), "classes": _few(classes) or "none"}
        return About("outlines in GeoJSON", facts, f"Use them: pixnet query FIELD --polygons {path} --out regions.h5ad")
    return None


def _toml(path: Path) -> About | None:
    if path.suffix.lower() != ".toml":
        return None
    try:
        tables = set(parse_toml(read_bytes(path, DataError).decode()))
    except ValueError:
        tables = {"sample"}  # whose reader says what is wrong
    if "sample" not in tables and tables & {"network", "training", "genes", "preset", "target"}:
        from pixnet.config import Config

        config = Config.read(path)
        facts = {"encoder": config.network.encoder.name, "steps": str(config.training.steps), "target": config.target}
        return About("settings of a training", facts, f"Use them: pixnet train MANIFEST --config {path} --out MODEL")
    from pixnet.readers.manifest import manifest_entries

    entries = manifest_entries(path)
    facts = {
        entry.id: ", ".join([entry.platform, f"donor {entry.donor or 'not stated'}", *_absent(entry)])
        for entry in entries
    }
    kind = f"a manifest of {counted(len(entries), 'samples')}"
    return About(kind, facts, f"Check it: pixnet inspect {path}")


def _table(path: Path) -> About | None:
    """Describe a table that `pixnet query` wrote."""
    if path.suffix != ".h5ad":
        return None
    from pixnet.readers.formats.hdf5 import open_hdf5

    with open_hdf5(path) as file:
        if "uns/pixnet" not in file:
            return None
    import anndata

    table = anndata.read_h5ad(path, backed="r")
    try:
        facts = {
            "regions": str(table.n_obs),
            "genes": f"{table.n_vars}: {_few(table.var_names)}",
            "layers": ", ".join(["X", *table.layers]),
            **{name: str(table.uns["pixnet"][key]) for name, key in (("units", "units"), ("field", "field"))},
        }
        return About("predicted expression of regions", facts, "Open it: anndata.read_h5ad", list(table.var_names))
    finally:
        table.file.close()


def _sample(path: Path) -> About | None:
    from pixnet.readers import read, recognise

    try:
        platform, why = recognise(path)
    except DataError:
        return None
    kind, advice = f"a sample of {platform}", f"Check it: pixnet inspect {path}"
    try:
        sample = read(path)
    except PixNetError as error:
        return About(kind, {"recognised by": why, _UNUSABLE: str(error)}, advice)
    genes = list(sample.counts.genes)
    facts = {
        "recognised by": why,
        "regions": str(len(sample.regions)),
        "genes": f"{len(genes)}: {_few(genes)}",
        "slide": _size(sample.slide),
    }
    return About(kind, facts, advice, genes)


def _slide(path: Path) -> About | None:
    from pixnet.readers.formats.kinds import kind_of_file
    from pixnet.slide.formats import SUFFIXES

    if path.suffix.lower() not in SUFFIXES and not any(word in (kind_of_file(path) or "") for word in _IMAGES):
        return None
    try:
        facts = _facts_of_slide(path)
    except SlideError as error:
        facts = {_UNUSABLE: str(error)}
    return About("a slide", facts, f"Predict it: pixnet predict {path} --model MODEL --out FIELD")


def _facts_of_slide(path: Path) -> dict[str, str]:
    from pixnet.slide import Slide
    from pixnet.slide.tissue import TissueMask

    with Slide.open(path) as slide:
        tissue = TissueMask(slide)
        area = tissue.mask.sum() * (tissue.um_per_px / 1000.0) ** 2
        facts = {
            "size": _size(slide),
            "levels": ", ".join(f"{width} x {height}" for _, (height, width) in slide.levels),
            "tissue": f"{area:.3g} mm2, {tissue.mask.mean():.0%} of the picture",
        }
        if slide.bounds_px is not None:
            left, top, width, height = slide.bounds_px
            facts["scanned part"] = f"{width} x {height} px from column {left}, row {top}"
        if slide.no_data_reads:
            facts["no data"] = f"{counted(slide.no_data_reads, 'parts')} cannot be read"
    return facts


def _unknown(path: Path) -> About:
    from pixnet.readers import recognise

    recognise(path)
    raise AssertionError(path)  # recognise has raised: the path is of no platform


def _size(slide: Slide) -> str:
    height, width = slide.shape
    return (
        f"{width} x {height} px of {slide.mpp:.4g} um (from {slide.mpp_source}), "
        f"{slide.width_um / 1000:.3g} x {slide.height_um / 1000:.3g} mm"
    )


def _absent(entry: Entry) -> list[str]:
    return [f"{key} {value} does not exist" for key, value in entry if isinstance(value, Path) and not value.exists()]


def _few(names: Sequence[str]) -> str:
    """Return names in one line; of many, only the first ones."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(list(names)[:_MOST_NAMED]) + more


def _is_score(scores: object) -> bool:
    return isinstance(scores, dict) and isinstance(scores.get("pcc_m"), float)


def _json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; nothing if it is no JSON object."""
    try:
        content = parse_json(read_bytes(path, ModelError))
    except (OSError, ValueError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


_KINDS: tuple[Callable[[Path], About | None], ...] = (
    _model, _training, _field, _features, _evaluation, _toml, _table, _document,
)  # fmt: skip
