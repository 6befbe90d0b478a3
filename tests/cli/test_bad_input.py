"""Every bad input ends with status 2 and one message that names the file, and leaves no files behind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys

import pytest
import zarr
from PIL import Image


def edited_counts(folder, edit):
    """Change the counts of A, a table as rows of text."""
    path = folder / "A.tsv.gz"
    rows = [line.split("\t") for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    edit(rows)
    path.write_bytes(gzip.compress("\n".join("\t".join(row) for row in rows).encode()))


def edited_spots(folder, edit):
    path = folder / "A_spots.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    edit(rows)
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")


def edited_manifest(folder, old, new):
    path = folder / "samples.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def set_entry(row, column, value):
    def edit(rows):
        rows[row][column] = value

    return edit


def no_spot_in_common(rows):
    for number, row in enumerate(rows[1:]):
        row[0] = f"{500 + number}x900"


def spot_outside(rows):
    header = rows[0]
    for row in rows[1:]:
        row[header.index("pixel_x")] = str(float(row[header.index("pixel_x")]) + 4000)


def truncated(folder):
    with Image.open(folder / "A.png") as image:
        image.convert("RGB").save(folder / "A.jpg", quality=90)
    content = (folder / "A.jpg").read_bytes()
    (folder / "A.jpg").write_bytes(content[: len(content) // 2])
    edited_manifest(folder, '"A.png"', '"A.jpg"')


TRAINING = {
    "missing manifest": (lambda f: (f / "samples.toml").unlink(), ["samples.toml", "there is no such file"]),
    "manifest is not TOML": (
        lambda f: (f / "samples.toml").write_text("[[sample"),
        ["not a TOML file"],
    ),
    "misspelt key": (lambda f: edited_manifest(f, "spot_pitch_um", "spot_pich_um"), ["did you mean 'spot_pitch_um'?"]),
    "misspelt key that is needed": (lambda f: edited_manifest(f, "spots =", "spotz ="), ["samples.toml", "'spots'"]),
    "missing image": (lambda f: (f / "A.png").unlink(), ["A.png"]),
    "missing counts": (lambda f: (f / "A.tsv.gz").unlink(), ["A.tsv.gz", "cannot be read"]),
    "missing spots": (lambda f: (f / "A_spots.tsv").unlink(), ["A_spots.tsv", "cannot be read"]),
    "image is none": (lambda f: (f / "A.png").write_bytes(b"GIF89a no"), ["A.png"]),
    "counts are noise": (lambda f: (f / "A.tsv.gz").write_bytes(bytes(range(256))), ["A.tsv.gz"]),
    "counts are cut off": (lambda f: os.truncate(f / "A.tsv.gz", 500), ["A.tsv.gz", "truncated"]),
    "no spot in common": (lambda f: edited_counts(f, no_spot_in_common), ["A.tsv.gz", "none of its"]),
    "negative count": (lambda f: edited_counts(f, set_entry(1, 3, "-1")), ["A.tsv.gz", "'-1'", "whole numbers"]),
    "fractional count": (lambda f: edited_counts(f, set_entry(1, 3, "0.5")), ["A.tsv.gz", "'0.5'", "whole numbers"]),
    "spots outside the image": (lambda f: edited_spots(f, spot_outside), ["A_spots.tsv", "outside the slide"]),
    "truncated JPEG": (truncated, ["A.jpg"]),
    "image too coarse": (
        lambda f: (f / "small.toml").write_text("[network]\nmpp = 0.5\n" + (f / "small.toml").read_text()),
        ["A.png", "too coarse", "0.5 um/px"],
    ),
}


@pytest.mark.parametrize("case", TRAINING)
def test_bad_samples(copied, run, case):
    spoil, words = TRAINING[case]
    spoil(copied)
    before = sorted(copied.rglob("*"))
    out = copied.parent / "out" / "model"
    done = run("train", copied / "samples.toml", "--config", copied / "small.toml", "--out", out)
    done.assert_refused(*words)
    assert not out.parent.exists() or not list(out.parent.iterdir())
    assert sorted(copied.rglob("*")) == before


def test_an_unknown_sample(data, run, tmp_path):
    done = run("train", data / "samples.toml", "--samples", "A,Z", "--out", tmp_path / "model")
    done.assert_refused("samples.toml", "no sample 'Z'", "A, B, C")


def without(name):
    return lambda folder: (folder / name).unlink()


def altered_weights(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def altered_card(**changes):
    def alter(folder):
        path = folder / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return alter


MODELS = {
    "no card": (without("card.json"), ["card.json", "is missing"]),
    "no weights": (without("model.safetensors"), ["model.safetensors", "is missing"]),
    "altered weights": (altered_weights, ["model.safetensors", "is not the file"]),
    "weights cut off": (lambda f: os.truncate(f / "model.safetensors", 1000), ["model.safetensors", "is not the file"]),
    "card is not JSON": (lambda f: (f / "card.json").write_text("{"), ["card.json", "JSON"]),
    "card without genes": (
        lambda f: (f / "card.json").write_text('{"outputs": 3}'),
        ["card.json", "is not a model card"],
    ),
    "card of the future": (altered_card(format_version=99), ["card.json", "format version 99", "update pixnet"]),
    "card of the past": (altered_card(format_version=1), ["card.json", "format version 1", "train the model again"]),
    "altered card": (altered_card(outputs=3), ["was changed"]),
}


@pytest.mark.parametrize("case", MODELS)
def test_bad_models(data, model, run, tmp_path, case):
    spoil, words = MODELS[case]
    spoilt = shutil.copytree(model, tmp_path / "model")
    spoil(spoilt)
    done = run("predict", data / "C.png", "--model", spoilt, "--mpp", "1", "--out", tmp_path / "field")
    done.assert_refused(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def jpeg_cut_off(data, folder):
    with Image.open(data / "C.png") as image:
        image.convert("RGB").save(folder / "cut.jpg")
    os.truncate(folder / "cut.jpg", 3000)
    return folder / "cut.jpg"


SLIDES = {
    "missing": (lambda data, folder: folder / "none.svs", ["--mpp", "1"], ["none.svs"]),
    "a folder": (lambda data, folder: data, ["--mpp", "1"], []),
    "no pixel size": (lambda data, folder: data / "C.png", [], ["C.png", "no pixel size", "--mpp"]),
    "too coarse": (lambda data, folder: data / "C.png", ["--mpp", "1.6"], ["C.png", "1.6 um/px", "too coarse"]),
    "pixel size of zero": (lambda data, folder: data / "C.png", ["--mpp", "0"], ["C.png", "positive"]),
    "truncated JPEG": (jpeg_cut_off, ["--mpp", "1"], ["cut.jpg"]),
}


@pytest.mark.parametrize("case", SLIDES)
def test_bad_slides(data, model, run, tmp_path, case):
    make, options, words = SLIDES[case]
    slide = make(data, tmp_path)
    before = sorted(tmp_path.iterdir())
    run("predict", slide, "--model", model, *options, "--out", tmp_path / "field").assert_refused(*words)
    assert sorted(tmp_path.iterdir()) == before


def newer(folder):
    path = folder / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"]["pixnet"]["format_version"] = 99
    path.write_text(json.dumps(content))


def shard_cut_off(folder):
    path = next(path for path in (folder / "latent" / "0" / "c").rglob("*") if path.is_file())
    os.truncate(path, path.stat().st_size - 7)


def shard_lost(folder):
    next(path for path in (folder / "latent" / "0" / "c").rglob("*") if path.is_file()).unlink()


def shard_damaged(folder):
    path = next(path for path in (folder / "latent" / "0" / "c").rglob("*") if path.is_file())
    path.write_bytes(bytes(path.stat().st_size))


def foreign(folder):
    shutil.rmtree(folder)
    zarr.create_group(folder, zarr_format=3).create_array("0", shape=(3, 4), dtype=float)


def foreign_version_2(folder):
    shutil.rmtree(folder)
    zarr.create_group(folder, zarr_format=2)


FIELDS = {
    "missing": (shutil.rmtree, ["no such folder"]),
    "a file": (lambda f: (shutil.rmtree(f), f.write_text("")), ["no such folder"]),
    "shard missing": (shard_lost, ["is missing", "Predict the slide again"]),
    "shard cut off": (shard_cut_off, ["bytes instead of"]),
    "shard damaged": (shard_damaged, ["is damaged"]),
    "unfinished": (without("zarr.json"), ["not an expression field"]),
    "metadata cut off": (
        lambda f: os.truncate(f / "zarr.json", 200),
        ["zarr.json: is not metadata that can be trusted"],
    ),
    "newer": (newer, ["format_version 99", "Use the pixnet that wrote it"]),
    "foreign Zarr": (foreign, ["is not a finished expression field"]),
    "foreign Zarr of version 2": (foreign_version_2, ["not an expression field"]),
}


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
@pytest.mark.parametrize("case", FIELDS)
def test_bad_fields(field, run, tmp_path, case, ending):
    spoil, words = FIELDS[case]
    spoilt = shutil.copytree(field, tmp_path / "field")
    spoil(spoilt)
    before = sorted(tmp_path.iterdir())
    done = run("query", spoilt, "--grid-um", "50", "--out", tmp_path / f"table.{ending}")
    done.assert_refused(str(spoilt), *words)
    assert sorted(tmp_path.iterdir()) == before


def test_only_a_table_is_overwritten(field, run, tmp_path):
    image = tmp_path / "image.zarr"
    zarr.create_group(image, zarr_format=3).create_array("0", shape=(3, 4), dtype=float)
    query = ("query", field, "--grid-um", "50", "--overwrite", "--out")
    run(*query, image).assert_refused("image.zarr", "not overwritten")
    assert (image / "0" / "zarr.json").is_file()
    inside = sorted(field.rglob("*"))
    run(*query, field / "table.h5ad").assert_refused("is inside it, or holds it")
    assert sorted(field.rglob("*")) == inside


def test_a_gene_that_the_model_does_not_have(field, run, tmp_path):
    done = run("query", field, "--grid-um", "50", "--genes", "VG1000", "--out", tmp_path / "table.h5ad")
    done.assert_refused("'VG1000'", "nearest")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(field, run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("query", field, "--grid-um", "50", "--out", tmp_path / "file" / "table.h5ad")
    done.assert_refused("file")


def test_the_real_command_prints_one_line(copied):
    edited_manifest(copied, "donor", "doner")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pixnet", "train", copied / "samples.toml", "--out", copied / "model"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"Error: {copied / 'samples.toml'}: sample 'A': unknown key 'doner'")
