"""What the golden results are: a small data set, run through the public commands alone.

`python -m tests.goldens --write` computes them anew. The tests compare, so a change of the layout or the wording of the
package cannot change a number unnoticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import tifffile
import zarr
from numpy.typing import ArrayLike
from typer.testing import CliRunner

import pixnet
from pixnet.cli import app
from pixnet.demo import DemoSize, run_demo
from pixnet.evaluation.methods import METHODS
from pixnet.virtual import VirtualTissue, spots, write_dataset

HERE = Path(__file__).parent
WIDTH_UM, HEIGHT_UM, PITCH_UM = 260.0, 200.0, 50.0
CONFIG = """
[network]
surroundings_um = [64.0]
[network.encoder]
name = "test_resnet"
weights = "random"
finest = 4
[network.decoder]
channels = [6, 6, 6]
dsub_steps = 1
[training]
steps = 6
tiles = 4
views = 1
tile_um = 64.0
warmup = 1
min_counts = 20
validation = "none"
[genes]
number = 5
"""
POLYGONS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"classification": {"name": name}},
            "geometry": {"type": "Polygon", "coordinates": [points]},
        }
        for name, points in (
            ("Tumor", [[10, 10], [90, 20], [70, 110], [15, 80], [10, 10]]),
            ("Stroma", [[120, 40], [220, 50], [180, 170], [120, 40]]),
        )
    ],
}
_SAMPLED = 24


def pixnet_command(*words: object) -> None:
    """Run `pixnet` in this process, and fail where it does."""
    done = CliRunner().invoke(app, [str(word) for word in words], prog_name="pixnet")
    if done.exit_code:
        raise AssertionError(f"pixnet {' '.join(map(str, words))}\n{done.output}") from done.exception


def write_data(folder: Path) -> Path:
    """Write three small virtual samples of two donors, with a configuration; return the manifest."""
    samples = []
    for name, seed, donor in (("A", 1, 11), ("B", 2, 12), ("C", 3, 12)):
        tissue = VirtualTissue.generate("breast", seed, donor, WIDTH_UM, HEIGHT_UM)
        measured = tissue.measure(spots(WIDTH_UM, HEIGHT_UM, 40.0, PITCH_UM), seed)
        samples.append(dataclasses.replace(measured, id=name))
    (folder / "small.toml").write_text(CONFIG)
    (folder / "shapes.geojson").write_text(json.dumps(POLYGONS))
    return write_dataset(folder, samples, PITCH_UM)


def evaluated(manifest: Path, work: Path) -> dict[str, Any]:
    """Score every method on sample A, trained on B and C: what `pixnet evaluate` predicts and reports."""
    pixnet_command(
        "evaluate", manifest, "--hold-out", "A", "--methods", ",".join(METHODS), "--device", "cpu",
        "--config", manifest.parent / "small.toml", "--out", work / "evaluation", "--skip-checks",
    )  # fmt: skip
    table = anndata.read_h5ad(work / "evaluation" / "predictions.h5ad")
    results = json.loads((work / "evaluation" / "results.json").read_text())
    facts = {"observed": table.X, **{f"{name} predictions": table.layers[name] for name in METHODS}}
    for name in METHODS:
        scores = results["methods"][name]
        facts[f"{name} scores"] = np.array(
            [scores[key] for key in ("pcc_m", "pcc_s", "pcc_f", "mse", "mae", "spearman_m")], np.float64
        )
        facts[f"{name} interval"] = np.array(scores["interval_blocks"], np.float64)
    facts["noise estimate"] = np.array(results["noise_estimate"]["pcc_m"])
    return facts


def predicted(manifest: Path, work: Path, model: Path | None = None, field: Path | None = None) -> dict[str, Any]:
    """Train on B and C, predict A, query it and export it; a given model or field is read in place of a new one."""
    folder = manifest.parent
    if model is None and field is None:
        model = work / "model"
        pixnet_command("train", manifest, "--samples", "B,C", "--config", folder / "small.toml", "--out", model,
                       "--device", "cpu", "--skip-checks")  # fmt: skip
    if field is None:
        field = work / "field"
        pixnet_command("predict", folder / "A.png", "--model", model, "--mpp", "1.0", "--out", field, "--device", "cpu")
    genes = list(pixnet.ExpressionField.open(field).gene_names)
    facts: dict[str, Any] = {"genes": np.array(genes)}
    for name, options in {
        "grid": ["--grid-um", "16"],
        "turned grid": ["--grid-um", "30", "--angle-deg", "20"],
        "polygons": ["--polygons", folder / "shapes.geojson"],
        "classes": ["--polygons", folder / "shapes.geojson", "--by-class"],
        "like": ["--like", manifest, "--sample", "A"],
    }.items():
        out = work / f"{name.replace(' ', '-')}.h5ad"
        pixnet_command("query", field, *options, "--out", out)
        table = anndata.read_h5ad(out)
        facts[f"query {name}: X"] = dense(table.X)
        facts |= {f"query {name}: {layer}": dense(table.layers[layer]) for layer in sorted(table.layers)}
    chosen = ",".join(genes[:2])
    for to, name, options in (
        ("ome-zarr", "maps.zarr", []),
        ("ome-tiff", "maps.ome.tif", []),
        ("spatialdata", "all.zarr", ["--grid-um", "40"]),
        ("geojson", "regions.geojson", []),
        ("csv", "regions.csv", ["--grid-um", "40"]),
    ):
        pixnet_command("export", field, "--genes", chosen, "--to", to, "--out", work / name, *options)
        facts |= {f"export {to}: {part}": value for part, value in content(work / name).items()}
    return facts


def demonstrated(work: Path) -> dict[str, Any]:
    """Run the demo at a small size: what it compares with the noise-free truth."""
    size = DemoSize(side_um=320.0, training_slides=1, genes=8, steps=3, tiles=2, views=1, bins=40, min_counts=50)
    run_demo(work / "demo", lambda *_: None, size)
    truth = json.loads((work / "demo" / "truth.json").read_text())
    return {
        f"{sizes['regions']} {kind}": np.array([sizes[kind][method] for method in ("pixnet", "ridge", "ceiling")])
        for sizes in truth["sizes"]
        for kind in ("counts", "log")
    }


def dense(values: Any) -> Any:
    """Return a matrix as a plain array."""
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)


def content(path: Path) -> dict[str, ArrayLike]:
    """Return what a file or Zarr folder holds, by name; nothing that differs between two equal runs, such as a date."""
    if path.name.endswith(".tif"):
        with tifffile.TiffFile(path) as file:
            return {f"level {number}": level.asarray() for number, level in enumerate(file.series[0].levels)}
    if path.suffix == ".zarr":
        root = zarr.open_group(path, mode="r")
        return {
            name: array[...]
            for name, array in sorted(root.members(max_depth=None))
            if isinstance(array, zarr.Array) and not name.endswith("uns/pixnet/field")  # the path of the field
        }
    return {"bytes": np.frombuffer(path.read_bytes(), np.uint8)}


def summarised(facts: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """Return the shape, a hash and some values of each array, small enough to keep."""
    found = {}
    for name, value in facts.items():
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            array = np.array([str(one) for one in array.ravel().tolist()], np.str_).reshape(array.shape)
        entry: dict[str, Any] = {"shape": list(array.shape)}
        plain = np.ascontiguousarray(array)
        entry["sha256"] = hashlib.sha256(
            "\n".join(plain.ravel().tolist()).encode() if plain.dtype.kind == "U" else plain.tobytes()
        ).hexdigest()
        if array.dtype.kind == "f":
            flat = array.ravel().astype(np.float64)
            step = max(1, len(flat) // _SAMPLED)
            entry["values"] = [float(f"{one:.7g}") for one in flat[::step][:_SAMPLED]]
        found[name] = entry
    return found


def public_names() -> dict[str, Any]:
    """Return every public name with its signature, and of classes those of their public methods."""
    found: dict[str, Any] = {}
    for name in pixnet.__all__:
        value = getattr(pixnet, name)
        if not callable(value):
            continue
        found[name] = _signature(value)
        if inspect.isclass(value) and not issubclass(value, BaseException | Warning):
            for part, member in inspect.getmembers(value):
                if not part.startswith(("_", "model_")) and part not in dir(getattr(value, "__base__", object)):
                    found[f"{name}.{part}"] = _signature(member) if callable(member) else "attribute"
    return found


def _signature(value: Any) -> str:
    try:
        return re.sub(r"\bpixnet(\.\w+)*\.", "", str(inspect.signature(value)))  # where a class lives is no part of it
    except (TypeError, ValueError):
        return ""


def command_options() -> dict[str, Any]:
    """Return the arguments and options of every command, with their kinds and defaults."""
    import typer

    group = typer.main.get_command(app)
    found = {}
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        found[name] = [
            {
                "name": "/".join(one.opts),
                "flag": bool(getattr(one, "is_flag", False)),
                "several": one.nargs != 1 or bool(getattr(one, "multiple", False)),
                "required": one.required,
                "default": None
                if one.default is None or not isinstance(one.default, int | float | str)
                else one.default,
            }
            for one in command.params
        ]
    return found


def help_texts() -> str:
    """Return what `pixnet --help` and the help of every command print, 100 columns wide."""
    pages = []
    for words in ([], *([name] for name in command_options())):
        done = CliRunner().invoke(
            app, [*words, "--help"], prog_name="pixnet", env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
        )
        lines = "\n".join(line.rstrip() for line in done.output.splitlines())
        pages.append(f"$ pixnet {' '.join([*words, '--help'])}\n{lines}\n")
    return "\n".join(pages)
