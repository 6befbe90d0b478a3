"""One model trained on virtual Visium, Visium HD and Xenium samples together, scored on a held-out one of each."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

from pixnet.config import Config, GenesConfig
from pixnet.evaluation.runner import evaluate
from pixnet.readers.manifest import read_manifest
from pixnet.training.config import TrainingConfig
from pixnet.virtual import VirtualTissue, spots
from pixnet.virtual.write.visium import write_visium
from pixnet.virtual.write.visium_hd import write_visium_hd
from pixnet.virtual.write.xenium import write_xenium

_SIDE_UM = 1200.0
_SEEDS = (31, 32, 33, 34, 35, 36)  # of slide and donor; two for each platform, the second held out
_MIN_COUNTS = 50  # squares of 24 and 16 um hold fewer counts than a spot


def run() -> dict[str, float | str]:
    """Write six tissues of six donors, train on three, and score pixnet and ridge on each of the others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = read_manifest(_write(folder))
        training = TrainingConfig(tile_um=120.0, min_counts=_MIN_COUNTS)
        config = Config(genes=GenesConfig(number=100), training=training)
        held_out = [f"{platform}-test" for platform in ("visium", "visium-hd", "xenium")]
        results = evaluate(samples, held_out, folder / "out", methods=["ridge", "pixnet"], config=config).results
        figures: dict[str, float | str] = {}
        for sample in held_out:
            for method in ("pixnet", "ridge"):
                of_sample = results["methods"][method]["per_sample"][sample]
                figures[f"{sample}: PCC@M of {method}"] = round(of_sample["pcc_m"], 3)
        figures["pixnet, minutes"] = round(results["methods"]["pixnet"]["seconds"] / 60, 1)
        return figures


def _write(folder: Path) -> Path:
    entries: list[tuple[str, dict[str, Any]]] = []
    for number, seed in enumerate(_SEEDS):
        tissue = VirtualTissue.generate("breast", seed, seed, _SIDE_UM, _SIDE_UM)
        kind = ("visium", "visium-hd", "xenium")[number // 2]
        place = folder / f"{kind}-{('train', 'test')[number % 2]}"
        if kind == "visium":
            sample = tissue.measure(spots(_SIDE_UM, _SIDE_UM, 55.0, 100.0, hexagonal=True), seed)
            entry = {**write_visium(sample, place), "mpp": 1.0}
        elif kind == "visium-hd":
            entry = {**write_visium_hd(tissue, place, (8,)), "bin_um": 24.0}
        else:
            entry = {**write_xenium(tissue, place / "run"), "regions": 16.0}
        entries.append((place.name, entry))
    parts = []
    for (name, entry), seed in zip(entries, _SEEDS, strict=True):
        lines = {**entry, "id": name, "donor": f"D{seed}"}
        lines |= {key: f"{name}/{entry[key]}" for key in ("path", "image") if key in entry}
        parts.append("[[sample]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items()))
    manifest = folder / "samples.toml"
    manifest.write_text("\n\n".join(parts) + "\n")
    return manifest


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for figure, value in run().items():
        print(f"{figure:60} {value}", flush=True)
