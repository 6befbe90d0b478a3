"""Slides and folders whose names are not UTF-8, from the prediction to the exports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anndata
import pytest
from PIL import Image

from pixnet.sample import Sample
from pixnet.virtual import VirtualTissue, spots, write_dataset

MODEL = Path(__file__).resolve().parents[1] / "goldens" / "old" / "model"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names of any bytes")


def pixnet(*arguments: bytes) -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, b"-m", b"pixnet", *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_names_that_are_not_utf8_work_to_the_end(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/folder\xff"
    os.mkdir(folder)
    slide, field = folder + b"/slide\xff.png", folder + b"/a\xff.field"
    tissue = VirtualTissue.generate("breast", 3, 7, 400.0, 300.0, mpp=1.0)
    Image.fromarray(tissue.slide.read(0, 0, 400, 300, 1.0)[0]).save(os.fsdecode(slide))
    pixnet(b"predict", slide, b"--model", bytes(MODEL), b"--mpp", b"1", b"--out", field, b"--device", b"cpu")
    for ending in (b".h5ad", b".zarr"):
        pixnet(b"query", field, b"--grid-um", b"100", b"--out", folder + b"/q\xff" + ending)
    facts = anndata.read_h5ad(os.fsdecode(folder + b"/q\xff.h5ad")).uns["pixnet"]
    assert facts["slide"] == r"slide\xff"
    assert facts["field"].endswith(r"/folder\xff/a\xff.field")
    gene = json.loads((MODEL / "card.json").read_text())["genes"][0].encode()
    for form, ending in ((b"ome-tiff", b".ome.tif"), (b"ome-zarr", b".e.zarr"), (b"spatialdata", b".s.zarr")):
        pixnet(b"export", field, b"--to", form, b"--genes", gene, b"--out", folder + b"/e\xff" + ending)
    for form, ending in ((b"csv", b".csv"), (b"geojson", b".geojson")):
        pixnet(b"export", field, b"--to", form, b"--genes", gene, b"--out", folder + b"/e\xff" + ending)


def test_the_id_of_a_sample_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    tissue = VirtualTissue.generate("breast", 3, 7, 300.0, 240.0, mpp=1.0)
    sample = tissue.measure(spots(300.0, 240.0, 30.0, 60.0), 1)
    made = Sample("a", sample.slide, sample.regions, sample.counts, "donor", sample.platform)
    write_dataset(tmp_path / "data", [made], pitch_um=60.0)
    manifest = tmp_path / "data" / "samples.toml"
    manifest.write_text(manifest.read_text().replace('id = "a"', 'id = "../../evil"'))
    out = tmp_path / "some" / "out"
    command = [sys.executable, "-m", "pixnet", "inspect", str(manifest), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    assert done.returncode < 2, done.stderr
    assert [path.name for path in out.iterdir()] == ["%2E.%2F..%2Fevil"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "some"]
