from __future__ import annotations

import json
import shutil

import anndata
import pytest
from PIL import Image


def test_a_model_names_its_genes_samples_and_encoder(run, model):
    done = run("info", model)
    assert done.status == 0, done.err
    assert f"{model}: a model\n" in done.out
    assert "12, chosen by top-mean" in done.out
    assert "tf_efficientnet_lite0" in done.out
    assert "pixnet predict SLIDE --model" in done.out
    genes = run("info", model, "--genes").out.splitlines()
    assert genes == json.loads((model / "card.json").read_text())["genes"]


def test_a_field_and_a_table_read_from_it(run, field, tmp_path):
    done = run("info", field)
    assert f"{field}: a field\n" in done.out
    assert "counts per um^2" in done.out
    run("query", field, "--grid-um", 50, "--out", tmp_path / "squares.h5ad")
    done = run("info", tmp_path / "squares.h5ad")
    table = anndata.read_h5ad(tmp_path / "squares.h5ad")
    assert "predicted expression of regions" in done.out
    assert [line.split()[-1] for line in done.out.splitlines() if " regions " in line] == [str(table.n_obs)]
    assert run("info", field, "--genes").out.splitlines() == list(table.var_names)


def test_a_manifest_lists_its_samples_and_what_does_not_exist(run, data, tmp_path):
    done = run("info", data / "samples.toml")
    assert "a manifest of 3 samples" in done.out
    assert "A  legacy-st, donor" in done.out
    assert "does not exist" not in done.out
    broken = tmp_path / "samples.toml"
    broken.write_text('[[sample]]\nid = "X"\nplatform = "visium"\npath = "outs"\n')
    done = run("info", broken)
    assert "a manifest of 1 sample\n" in done.out
    assert "donor not stated, path " in done.out
    assert "outs does not exist" in done.out
    run("info", data / "samples.toml", "--genes").assert_refused("which has no list of genes")


def test_settings_are_told_from_a_manifest(run, data):
    assert "settings of a training" in run("info", data / "small.toml").out


def test_a_slide_says_its_size_or_what_it_lacks(run, data, tmp_path):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "plain.png")
    done = run("info", tmp_path / "plain.png")
    assert done.status == 0
    assert "a slide" in done.out
    assert "not usable yet" in done.out
    assert "states no pixel size" in done.out


def test_outlines_with_their_classes(run, tmp_path):
    square = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}
    tumour = {"type": "Feature", "geometry": square, "properties": {"classification": {"name": "Tumour"}}}
    (tmp_path / "regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [tumour, tumour]}))
    done = run("info", tmp_path / "regions.geojson")
    assert "outlines in GeoJSON" in done.out
    assert "Tumour" in done.out
    assert "outlines  2" in done.out


def test_what_is_unfinished_says_how_to_continue(run, tmp_path):
    work = tmp_path / "model.work"
    work.mkdir()
    (work / "run").write_text("")
    assert "an unfinished training" in run("info", work).out
    run("info", tmp_path / "absent").assert_refused("there is no such file or folder")


@pytest.mark.parametrize("content", ["", "words", "{", "\0\1\2"])
def test_what_is_of_no_kind_is_refused(run, tmp_path, content):
    (tmp_path / "some.thing").write_text(content)
    run("info", tmp_path / "some.thing").assert_refused("from none of the known platforms")


def test_what_is_damaged_is_named(run, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    card = tmp_path / "model" / "card.json"
    card.write_text(card.read_text().replace("top-mean", "top-meen"))
    run("info", tmp_path / "model").assert_refused("card.json", "was changed after it was written")
