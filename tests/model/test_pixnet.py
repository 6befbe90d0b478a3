from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pixnet.config import Config
from pixnet.errors import DataError, FieldError, ModelError, PixNetError, SlideError
from pixnet.field import ExpressionField
from pixnet.inspection.trained_on import TrainedOn
from pixnet.model import PixNet, blocks
from pixnet.model.card import FORMAT_VERSION, make_card
from pixnet.network.config import PRESETS, DecoderConfig
from pixnet.network.device import choose_device
from pixnet.network.network import Network
from pixnet.regions import Squares
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel
from pixnet.slide import Slide
from pixnet.slide.stain import StainProfile
from pixnet.training.fit import Fitted
from pixnet.virtual import VirtualTissue, spots


def small_config(target: str = "new-donor", **network: Any) -> Config:
    encoder = {"name": "test_resnet", "weights": "random", "finest": 4, "stride": 16, **network.pop("encoder", {})}
    decoder = {"channels": [6] * 3, "dsub_steps": 1}
    return Config.from_dict(
        {
            "target": target,
            "network": {"encoder": encoder, "decoder": decoder, "surroundings_um": [64.0], **network},
            "training": {
                "steps": 4, "tiles": 4, "tile_um": 64.0, "views": 1, "min_counts": 100, "validation": "none",
            },
            "genes": {"number": 12},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    tissues = [VirtualTissue.generate("breast", seed, seed, 320, 256) for seed in (1, 2)]
    return [tissue.measure(spots(320, 256, 30.0, 40.0), 1, counts_per_um2=2.0) for tissue in tissues]


@pytest.fixture(scope="module")
def slide() -> Slide:
    return VirtualTissue.generate("breast", 5, 5, 200, 150).slide


@pytest.fixture(scope="module")
def model(samples: list[Sample]) -> PixNet:
    return PixNet(small_config()).fit(samples, device="cpu")


@pytest.fixture
def saved(model: PixNet, tmp_path: Path) -> Path:
    return model.save(tmp_path / "model")


@pytest.fixture(scope="module")
def field(model: PixNet, slide: Slide, tmp_path_factory: pytest.TempPathFactory) -> ExpressionField:
    return model.predict(slide, tmp_path_factory.mktemp("field") / "f", dtype="float32", device="cpu")


@pytest.mark.parametrize(("target", "expected"), [("new-donor", []), ("same-donor", [300.0, 600.0, 1200.0])])
def test_the_target_decides_about_surroundings_and_the_card_says_so(
    samples: list[Sample], tmp_path: Path, target: str, expected: list[float]
) -> None:
    model = PixNet(small_config(target, surroundings_um=None))
    model.fit(samples[:1], device="cpu")
    assert model.card["config"]["target"] == target
    assert model.card["config"]["network"]["surroundings_um"] == expected
    loaded = PixNet.load(model.save(tmp_path / "model"))
    assert loaded.config.network.surroundings_um == tuple(expected)


def test_the_card_tells_what_was_trained(model: PixNet, samples: list[Sample]) -> None:
    card = model.card
    assert model.genes == tuple(card["genes"])
    assert len(model.genes) == 12
    assert card["format_version"] == FORMAT_VERSION
    assert card["outputs"] == 13
    assert card["head"] == "rate"
    assert card["mpp"] == 1.0
    assert card["pitch_um"] == 4.0
    assert card["encoder"]["name"] == "test_resnet"
    assert len(card["encoder"]["sha256"]) == 64
    assert [sample["id"] for sample in card["samples"]] == [sample.id for sample in samples]
    assert card["samples"][0]["region_size_um"] == pytest.approx(30.0)
    assert card["samples"][0]["slide_sha256"] == samples[0].slide.fingerprint()
    assert card["seed"] == model.config.training.seed
    assert card["steps"] == 4
    assert Config.model_validate(card["config"]) == model.config
    assert {"units", "normalisation", "pixnet_version", "gene_rule"} <= card.keys()
    json.dumps(card, allow_nan=False)
    for told, sample in zip(card["samples"], samples, strict=True):
        assert StainProfile.from_json(told["stain"]) == StainProfile.from_slide(sample.slide)


def test_the_card_tells_of_how_many_components_each_sample_was_learned(model: PixNet, samples: list[Sample]) -> None:
    panel = GenePanel(model.genes, "list")
    fitted = Fitted(model.network, [], 0, {samples[0].id: 3})
    told = make_card(model.config, samples[:2], panel, fitted)["samples"]
    assert [sample["components"] for sample in told] == [3, None]  # the other was not learned from


@pytest.mark.parametrize(("gigabytes", "expected"), [(1.0, 2048), (0.1, 1024), (1e-6, 64)])
def test_blocks_are_as_large_as_their_features_allow(
    monkeypatch: pytest.MonkeyPatch, gigabytes: float, expected: int
) -> None:
    network = Network(PRESETS["small"].model_copy(update={"surroundings_um": (300.0, 600.0, 1200.0)}), 3)
    monkeypatch.setattr(blocks, "_FEATURE_BYTES", gigabytes * 1e9)
    assert blocks.fitting_core(network) == expected


def test_a_card_without_stains_is_still_read(saved: Path) -> None:
    # As models were written before.
    path = saved / "card.json"
    card = json.loads(path.read_text())
    del card["card_sha256"]
    for sample in card["samples"]:
        del sample["stain"]
    card["card_sha256"] = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(card))
    assert TrainedOn.from_card(PixNet.load(saved).card).stains == {}


def test_a_saved_model_predicts_the_same_field(
    saved: Path, field: ExpressionField, slide: Slide, model: PixNet, tmp_path: Path
) -> None:
    loaded = PixNet.load(saved)
    assert loaded.card == json.loads(json.dumps(model.card)) | {
        name: value for name, value in loaded.card.items() if name not in model.card
    }
    assert loaded.config == model.config
    assert loaded.genes == model.genes
    assert [row["step"] for row in loaded.metrics] == [row["step"] for row in model.metrics]
    again = loaded.predict(slide, tmp_path / "again", dtype="float32", device="cpu")
    for one, other in zip(field.read(), again.read(), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(field.W, again.W)
    assert np.array_equal(field.b, again.b)
    assert again.gene_names == model.genes
    regions = Squares.tiling(0, 0, 200, 150, 20.0)
    assert np.array_equal(field.query(regions).X, again.query(regions).X)
    # And once more: what is saved of a loaded model is the same model.
    twice = PixNet.load(loaded.save(tmp_path / "twice"))
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, twice.network.state_dict()[name])


@pytest.mark.parametrize("balanced", [True, False])
def test_a_scanners_tint_makes_a_difference_only_to_a_model_that_sees_it(
    model: PixNet, slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balanced: bool
) -> None:
    training = model.config.training.model_copy(update={"white_balance": balanced})
    monkeypatch.setattr(model, "config", model.config.model_copy(update={"training": training}))
    tissue = slide.read(0, 0, slide.width_um, slide.height_um, 1.0)[0]
    plain = np.pad(tissue, ((80, 80), (80, 80), (0, 0)), constant_values=245)
    tinted = np.rint(plain * (np.array([232.0, 216.0, 230.0]) / 255.0)).astype(np.uint8)
    one, other = (
        np.asarray(model.predict(Slide.from_array(rgb, 1.0, name), tmp_path / name, device="cpu").latent)
        for name, rgb in (("plain", plain), ("tinted", tinted))
    )
    difference = np.abs(one - other).mean() / np.abs(one).mean()
    assert difference < 0.05 if balanced else difference > 0.2


def test_a_prediction_is_no_constant_and_no_negative(field: ExpressionField) -> None:
    latent, valid = field.read()
    assert (latent[:, valid > 0] >= 0).all()
    assert latent.std() > 0
    table = field.query(Squares.tiling(0, 0, 200, 150, 20.0))
    assert (table.X >= 0).all()
    assert table.var_names.tolist() == list(field.gene_names)


def test_the_field_does_not_depend_on_its_tiles(
    model: PixNet, field: ExpressionField, slide: Slide, tmp_path: Path
) -> None:
    largest = float(np.abs(field.read()[0]).max())
    for core in (64, 128, None):
        other = model.predict(slide, tmp_path / str(core), core=core, dtype="float32", device="cpu")
        assert np.abs(other.read()[0] - field.read()[0]).max() <= 1e-4 * largest


def test_half_precision_differs_by_one_step(
    model: PixNet, field: ExpressionField, slide: Slide, tmp_path: Path
) -> None:
    half = model.predict(slide, tmp_path / "half", device="cpu").read()[0]
    exact = field.read()[0]
    largest = np.abs(exact).max(axis=(1, 2), keepdims=True)
    assert (np.abs(half - exact) <= np.maximum(2.0**-10 * np.abs(exact), 2.0**-24 * largest)).all()
    assert not np.array_equal(half, exact)


@pytest.mark.parametrize("head", ["mean", "sum"])
def test_the_papers_heads(samples: list[Sample], slide: Slide, tmp_path: Path, head: str) -> None:
    model = PixNet(small_config(head=head)).fit(samples, device="cpu")
    field = PixNet.load(model.save(tmp_path / "m")).predict(slide, tmp_path / "f", dtype="float32", device="cpu")
    assert field.gene_names == model.genes
    assert len(field.head.genes) == 12
    fine, coarse = (field.query(Squares.tiling(0, 0, 160, 128, side)).X for side in (8.0, 32.0))
    blocks = fine.reshape(4, 4, 5, 4, -1).transpose(0, 2, 1, 3, 4).reshape(20, 16, -1)
    together = blocks.mean(axis=1) if head == "mean" else blocks.sum(axis=1)
    assert np.abs(together - coarse).max() <= 1e-5 * np.abs(coarse).max()
    if head == "mean":
        observed = np.concatenate([np.log1p(1e4 * s.to_anndata()[:, list(model.genes)].X.toarray() / s.depth[:, None])
                                   for s in samples])  # fmt: skip
        assert np.abs(coarse.mean() - observed.mean()) < 1.0


def test_weights_of_the_encoder_are_inside(saved: Path) -> None:
    card = json.loads((saved / "card.json").read_text())
    assert card["encoder"]["inside"] is True
    assert any(name.startswith("encoder.") for name in load_file(saved / "model.safetensors"))
    assert sorted(path.name for path in saved.iterdir()) == ["card.json", "metrics.csv", "model.safetensors"]


def test_a_model_with_own_weights_needs_them_no_more(samples: list[Sample], slide: Slide, tmp_path: Path) -> None:
    import timm

    own = tmp_path / "own.safetensors"
    torch.manual_seed(7)
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), own)
    model = PixNet(small_config(encoder={"weights": str(own)})).fit(samples, device="cpu")
    folder = model.save(tmp_path / "model")
    own.unlink()
    loaded = PixNet.load(folder)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, loaded.network.state_dict()[name])


# --- a folder that is not what it was


def reseal(folder: Path) -> None:
    """Write the hashes anew, as somebody who alters a model on purpose could."""
    card = json.loads((folder / "card.json").read_text())
    card["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card.pop("card_sha256", None)
    card["card_sha256"] = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def refused(folder: Path, pattern: str) -> None:
    with pytest.raises(ModelError, match=pattern) as caught:
        PixNet.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_missing_files(saved: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", r"card\.json: is missing")
    shutil.copytree(saved, tmp_path / "no-card")
    (tmp_path / "no-card" / "card.json").unlink()
    refused(tmp_path / "no-card", r"card\.json: is missing")
    (saved / "model.safetensors").unlink()
    refused(saved, r"model\.safetensors: is missing")


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_altered_weights(saved: Path, damage: str) -> None:
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-5] ^= 1
    path.write_bytes({"flipped": bytes(data), "cut": bytes(data[:-64]), "empty": b""}[damage])
    refused(saved, "is not the file that card.json was written with")
    if damage != "flipped":
        reseal(saved)
        refused(saved, "cannot be read as safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card["genes"].reverse(),
        lambda card: card["genes"].pop(),
        lambda card: card.update(outputs=14),
        lambda card: card.update(units="apples"),
        lambda card: card["config"]["network"].update(mpp=0.5),
        lambda card: card["encoder"].update(sha256="0" * 64),
        lambda card: card["config"]["network"].update(head="mean"),
        lambda card: card.pop("encoder"),
    ],
)
def test_an_edited_card(saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    edit(saved, change)
    refused(saved, "card")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '"card"', "{}", f'{{"format_version": {FORMAT_VERSION}}}']
)
def test_a_card_that_is_none(saved: Path, text: str) -> None:
    (saved / "card.json").write_text(text)
    refused(saved, r"card\.json")


def test_a_card_of_bytes(saved: Path) -> None:
    (saved / "card.json").write_bytes(b"\xff\xfe\x00\x01")
    refused(saved, "cannot be read as JSON")


def test_a_newer_format_says_what_to_do(saved: Path) -> None:
    edit(saved, lambda card: (card.update(format_version=FORMAT_VERSION + 1), card.pop("weights_sha256")))
    refused(saved, "update pixnet")


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.pop("encoder"),
        lambda card: card.pop("config"),
        lambda card: card.pop("outputs"),
        lambda card: card["encoder"].pop("sha256"),
        lambda card: card["encoder"].pop("inside"),
        lambda card: card.update(encoder=3),
        lambda card: card.update(outputs="many"),
        lambda card: card.update(outputs=14),
        lambda card: card["config"]["network"]["decoder"].update(channels=[7] * 4),
        lambda card: card["config"].update(extra=1),
        lambda card: card["config"]["network"]["encoder"].update(name="no_such_encoder"),
    ],
)
def test_a_card_that_was_resealed_but_does_not_fit(saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Whoever writes a card by hand gets a message, too, and never a traceback."""
    edit(saved, change)
    reseal(saved)
    with pytest.raises(ModelError) as caught:
        PixNet.load(saved)
    assert "\n" not in str(caught.value)


def deep(card: dict[str, Any]) -> None:
    for _ in range(500):
        card["expected"] = {"a": card["expected"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(mpp=0.5), "mpp is 0.5, but the rest of the card means 1.0"),
        (lambda card: card.update(mpp="fine"), "mpp"),
        (lambda card: card.update(samples=3), "samples"),
        (lambda card: card["samples"][0].update(mpp=-1), r"samples\.0\.mpp"),
        (lambda card: card["samples"][0].pop("id"), r"samples\.0\.id"),
        (lambda card: card.update(genes=[1, 2]), r"genes\.0"),
        (lambda card: card.update(genes=["A", "A"], outputs=3), "a gene is named twice"),
        (lambda card: card["genes"].__setitem__(0, "\ud800"), "is not Unicode"),
        (lambda card: card["genes"].__setitem__(0, "a\0b"), "holds a NUL"),
        (lambda card: card["encoder"].update(sha256=3), r"encoder\.sha256"),
        (lambda card: card.update(config={}), "card"),
        (lambda card: card.update(seed=float("nan")), "holds NaN"),
        (lambda card: card["samples"][0].update(median_counts=float("inf")), "holds Infinity"),
        (lambda card: card.update(metrics=[[]]), "metrics"),
        (deep, "nested more than 64 deep"),
        (lambda card: card["config"]["network"]["decoder"].update(channels=[10**9, 8, 8]), "channels"),
        (
            lambda card: card["config"]["network"]["decoder"].update(channels=[4096, 4096, 4096]),
            "do not fit each other",
        ),
    ],
)
def test_a_card_that_was_made_to_harm(saved: Path, change: Callable[[dict[str, Any]], Any], words: str) -> None:
    edit(saved, change)
    reseal(saved)
    refused(saved, words)


def encoder_of(name: str) -> Callable[[dict[str, Any]], None]:
    def change(card: dict[str, Any]) -> None:
        card["encoder"]["name"] = card["config"]["network"]["encoder"]["name"] = name

    return change


def test_a_card_with_a_giant_encoder_is_compared_before_it_is_made(saved: Path) -> None:
    edit(saved, encoder_of("resnet152"))
    reseal(saved)
    refused(saved, "do not fit each other")


def test_a_card_that_names_a_hub_does_not_go_to_the_network(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    for inside in (True, False):
        edit(saved, encoder_of("hf-hub:evil/model"))
        edit(saved, lambda card, inside=inside: card["encoder"].update(inside=inside))
        reseal(saved)
        with pytest.raises(ModelError, match=r"fetches nothing by itself\. Set `download=True`"):
            PixNet.load(saved)


@pytest.mark.parametrize("change", ["double", "complex", "nan"])
def test_weights_of_another_kind_are_refused(saved: Path, change: str) -> None:
    state = load_file(saved / "model.safetensors")
    name = next(name for name in state if name.startswith("head."))
    kinds = {"double": torch.float64, "complex": torch.complex64, "nan": torch.float32}
    state[name] = state[name].to(kinds[change]) * (float("nan") if change == "nan" else 1)
    save_file(state, saved / "model.safetensors")
    reseal(saved)
    refused(saved, "not finite" if change == "nan" else "expected")


class Trap:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_nothing_is_ever_unpickled(saved: Path, tmp_path: Path, kind: str) -> None:
    sprung = tmp_path / "sprung"
    if kind == "pickle":
        (saved / "model.safetensors").write_bytes(pickle.dumps(Trap(sprung)))
    else:
        torch.save({"trap": Trap(sprung)}, saved / "model.safetensors")
    reseal(saved)
    refused(saved, "cannot be read as safetensors")
    assert not sprung.exists()
    pickle.loads((saved / "model.safetensors").read_bytes()) if kind == "pickle" else None  # noqa: S301
    assert sprung.exists() == (kind == "pickle")  # the trap is a real one


# --- writing


def test_saving_does_not_overwrite_unless_asked(saved: Path, model: PixNet) -> None:
    before = (saved / "card.json").read_bytes()
    with pytest.raises(ModelError, match="exists already"):
        model.save(saved)
    assert (saved / "card.json").read_bytes() == before
    model.save(saved, overwrite=True)
    PixNet.load(saved)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model"]


def test_overwriting_means_a_model_and_nothing_else(model: PixNet, tmp_path: Path) -> None:
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.txt").write_text("years of work")
    with pytest.raises(ModelError):
        model.save(other, overwrite=True)
    assert (other / "chapter1.txt").read_text() == "years of work"
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ModelError):
        model.save(file, overwrite=True)
    assert file.read_text() == "mine"


def test_a_failed_save_leaves_the_old_model(saved: Path, model: PixNet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises((OSError, PixNetError)):
        model.save(saved, overwrite=True)
    monkeypatch.undo()
    PixNet.load(saved)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises((OSError, PixNetError)):
            model.save(saved.parent / "new")
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model"]


def test_a_model_in_a_folder_yet_to_be_made(model: PixNet, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "a" / "b" / "model")
    assert PixNet.load(folder).genes == model.genes
    assert os.access(folder, os.R_OK | os.X_OK)


def test_a_model_that_was_not_trained(tmp_path: Path, slide: Slide) -> None:
    empty = PixNet()
    assert empty.genes == ()
    with pytest.raises(ModelError, match="has not been trained"):
        empty.save(tmp_path / "model")
    with pytest.raises(ModelError, match="has not been trained"):
        empty.predict(slide, tmp_path / "field")
    assert list(tmp_path.iterdir()) == []


# --- slides and devices


def test_slides_that_are_too_coarse(model: PixNet, samples: list[Sample], tmp_path: Path) -> None:
    rgb = np.full((60, 60, 3), 200, np.uint8)
    with pytest.raises(SlideError, match=r"1\.51 um/px .* too coarse for a model .* at 1 um/px"):
        model.predict(Slide.from_array(rgb, 1.51), tmp_path / "f", device="cpu")
    assert list(tmp_path.iterdir()) == []
    coarse = Sample("coarse", Slide.from_array(np.repeat(rgb, 4, 1), 2.0), spots(480, 120, 30.0, 40.0),
                    samples[0].take(np.arange(len(spots(480, 120, 30.0, 40.0)))).counts)  # fmt: skip
    with pytest.raises(SlideError, match="too coarse"):
        PixNet(small_config()).fit([coarse], device="cpu")


@pytest.mark.parametrize("mpp", [1.5, 0.5, 0.25])
def test_slides_that_are_fine_enough(model: PixNet, tmp_path: Path, mpp: float) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (130, 120, 3), dtype=np.uint8)
    field = model.predict(Slide.from_array(rgb, mpp), tmp_path / "f", tissue_mask=False, device="cpu")
    _, _, right, bottom = field.grid.bounds_um
    assert field.grid.pitch_um == 4.0
    assert right >= 120 * mpp
    assert bottom >= 130 * mpp


def test_a_finer_slide_gives_nearly_the_same_field(
    model: PixNet, field: ExpressionField, slide: Slide, tmp_path: Path
) -> None:
    rgb, _ = slide.read(0, 0, slide.width_um, slide.height_um, slide.mpp)
    finer = Slide.from_array(np.ascontiguousarray(rgb.repeat(2, 0).repeat(2, 1)), slide.mpp / 2)
    other = model.predict(finer, tmp_path / "f", dtype="float32", device="cpu")
    # Four equal pixels average to themselves.
    assert np.abs(other.read()[0] - field.read()[0]).max() <= 1e-4 * np.abs(field.read()[0]).max()


def test_an_existing_field_is_kept_unless_asked(model: PixNet, slide: Slide, tmp_path: Path) -> None:
    model.predict(slide, tmp_path / "f", device="cpu")
    with pytest.raises(FieldError, match="exists already"):
        model.predict(slide, tmp_path / "f", device="cpu")
    model.predict(slide, tmp_path / "f", device="cpu", overwrite=True)


def test_progress_is_told(model: PixNet, slide: Slide, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    model.predict(slide, tmp_path / "f", core=64, device="cpu", progress=lambda done, total: told.append((done, total)))
    assert told == [(n, len(told) - 1) for n in range(len(told))]
    assert len(told) > 3


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("cpu") == choose_device("auto") == "cpu"
    with pytest.raises(ModelError, match="torch finds no GPU"):
        choose_device("cuda")
    with pytest.raises(ModelError, match="device 'tpu' is not known; use auto, cpu or cuda"):
        choose_device("tpu")


def test_fit_on_nothing_or_on_unknown_genes(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="at least one sample"):
        PixNet(small_config()).fit([])
    config = small_config().model_copy(update={"genes": Config.from_dict({"genes": {"names": ["NOSUCH"]}}).genes})
    with pytest.raises(DataError, match="NOSUCH"):
        PixNet(config).fit(samples)


def test_named_genes_are_the_panel(samples: list[Sample]) -> None:
    names = ["VG003", "VG001", "VG010"]
    config = small_config().model_copy(update={"genes": Config.from_dict({"genes": {"names": names}}).genes})
    assert PixNet(config).fit(samples, device="cpu").genes == tuple(names)


# --- what is imported when

LIGHT = ["pixnet", "pixnet.cli", "pixnet.model", "pixnet.config", "pixnet.slide", "pixnet.regions", "pixnet.field"]


def test_light_modules_import_no_torch() -> None:
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'timm', 'torchvision'} & set(sys.modules)\n"
        "    assert not heavy, (name, heavy)\n"
    )
    done = subprocess.run(  # noqa: S603  this very test's own program
        [sys.executable, "-c", program, *LIGHT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_vits_seams_are_measured_and_kept(samples: list[Sample], slide: Slide, tmp_path: Path) -> None:
    # What a window sees is blended with its neighbours: at the same place whatever the cut, but for rounding.
    config = small_config(encoder={"name": "test_vit", "weights": "random", "finest": 8, "stride": 16})
    config = config.model_copy(
        update={"network": config.network.model_copy(update={"decoder": DecoderConfig(channels=(6, 6), dsub_steps=1)})}
    )
    model = PixNet(config).fit(samples, device="cpu")
    field = model.predict(slide, tmp_path / "f", device="cpu")
    assert field.attributes.seam_error is not None
    assert 0 <= field.attributes.seam_error <= 1e-5
    one, other = (
        model.predict(slide, tmp_path / str(core), core=core, dtype="float32", device="cpu") for core in (80, 160)
    )
    largest = np.abs(one.read()[0]).max()
    assert np.abs(one.read()[0] - other.read()[0]).max() <= 1e-4 * largest


def test_an_encoder_that_others_published_is_found_again(samples: list[Sample], tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    arguments = {"img_size": 56, "patch_size": 14, "embed_dim": 48, "depth": 4, "num_heads": 3}
    source = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **arguments)
    (tmp_path / "here").mkdir()
    save_file(source.state_dict(), tmp_path / "here" / "model.safetensors")
    definition = {"architecture": "vit_small_patch14_dinov2", "arguments": arguments, "window": 56, "mpp": 1.0}
    for hub in ("", "someone/small"):
        encoder = {"name": "small", "weights": str(tmp_path / "here"), "definition": {**definition, "hub": hub}}
        config = small_config(encoder=encoder, surroundings_um=())
        path = PixNet(config).fit(samples[:1], device="cpu").save(tmp_path / f"model {bool(hub)}")
        card = PixNet.load(path).card["encoder"]
        assert (card["inside"], card["window"], card["mean"]) == (not hub, 56, pytest.approx([0.485, 0.456, 0.406]))
    (tmp_path / "here").rename(tmp_path / "there")
    PixNet.load(tmp_path / "model False")  # an encoder of one's own is in the folder
    with pytest.raises(
        ModelError,
        match=r"encoder 'small': is not on this computer, .* fetches nothing by itself",
    ):
        PixNet.load(tmp_path / "model True")
    PixNet.load(tmp_path / "model True", tmp_path / "there")


def test_a_convolutional_encoder_has_no_seam_to_measure(field: ExpressionField) -> None:
    assert field.attributes.seam_error is None
