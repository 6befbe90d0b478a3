from __future__ import annotations

import shutil

import numpy as np
from PIL import Image

from pixnet.field import ExpressionField


def test_a_field_is_written_and_described(data, model, field, run, tmp_path):
    out = tmp_path / "field"
    done = run("predict", data / "C.png", "--model", model, "--mpp", "1.0", "--out", out)
    assert done.status == 0
    assert done.out.startswith(f"Field: {out} (152 x 136 pixels of 2 um, 12 genes; 1 um per pixel from argument)")
    assert "predict 1/1, " in done.err
    assert " of 0.1 megapixels a second" in done.err
    first, second = (ExpressionField.open(path).read()[0] for path in (out, field))
    np.testing.assert_array_equal(first, second)


def test_a_field_is_not_overwritten_unasked(data, model, field, run, tmp_path):
    out = shutil.copytree(field, tmp_path / "field")
    arguments = ("predict", data / "A.png", "--model", model, "--mpp", "1.0", "--out", out)
    run(*arguments).assert_refused(str(out), "exists already")
    assert ExpressionField.open(out).attributes.slide.name == "C"
    assert run(*arguments, "--overwrite").status == 0
    assert ExpressionField.open(out).attributes.slide.name == "A"
    assert [path.name for path in tmp_path.iterdir()] == ["field"]


def test_a_finer_slide_is_downsampled(data, model, run, tmp_path):
    done = run("predict", data / "C.png", "--model", model, "--mpp", "0.5", "--out", tmp_path / "field")
    assert done.status == 0
    assert ExpressionField.open(tmp_path / "field").attributes.lattice.width_um == 150.0


def test_an_image_of_one_colour_has_a_field(model, run, tmp_path):
    Image.new("RGB", (120, 100), "white").save(tmp_path / "blank.png")
    words = ("predict", tmp_path / "blank.png", "--model", model, "--mpp", "1", "--out", tmp_path / "field")
    done = run(*words)
    assert done.status == 2
    assert "shows no tissue" in done.err
    assert "--no-tissue-mask" in done.err
    assert run(*words, "--no-tissue-mask").status == 0
    assert np.isfinite(ExpressionField.open(tmp_path / "field").read()[0]).all()
