from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pixnet.config import Config
from pixnet.errors import ModelError
from pixnet.network.config import PRESETS, EncoderConfig, NetworkConfig


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_means_the_small_preset() -> None:
    assert Config.read(None) == Config() == Config.from_dict({}) == Config.from_dict({"preset": "small"})
    assert Config().network == PRESETS["small"].model_copy(update={"surroundings_um": ()})
    assert Config().network.preset == "small"


def test_the_target_decides_about_surroundings_that_are_not_given(tmp_path: Path) -> None:
    wide = (300.0, 600.0, 1200.0)
    assert Config(target="same-donor").network.surroundings_um == wide
    path = write(tmp_path, 'target = "same-donor"')
    assert Config.read(path).network.surroundings_um == wide
    assert Config.read(path, target="new-donor").network.surroundings_um == ()
    assert Config.read(None, target="same-donor", preset="paper").network.surroundings_um == wide
    given = write(tmp_path, 'target = "same-donor"\n[network]\nsurroundings_um = [64]')
    assert Config.read(given).network.surroundings_um == (64.0,)
    with pytest.raises(ModelError, match="target = 'old-donor'"):
        Config.from_dict({"target": "old-donor"})


def test_the_paper_preset_has_the_published_widths() -> None:
    config = Config.from_dict({"preset": "paper"})
    assert config.network.decoder.channels == (64, 128, 256, 512, 512, 512)
    assert len(config.network.encoder.strides) == 6
    assert config.network.decoder.dsub_steps == 3
    assert config.network.preset == "paper"


def test_every_preset_has_a_width_for_each_level() -> None:
    for name, network in PRESETS.items():
        assert network.preset == name
        assert len(network.decoder.channels) == len(network.encoder.strides)
        assert network.pitch_um == network.mpp * network.encoder.strides[0]


def test_sections_override_their_preset(tmp_path: Path) -> None:
    text = """
    preset = "paper"
    [network]
    mpp = 0.5
    head = "mean"
    [network.encoder]
    name = "resnet18"
    [network.decoder]
    attention = "local"
    [training]
    steps = 7
    loss = "squared"
    [genes]
    names = ["ACTB", "ERBB2"]
    """
    config = Config.read(write(tmp_path, text))
    assert (config.network.mpp, config.network.head, config.network.encoder.name) == (0.5, "mean", "resnet18")
    assert config.network.encoder.stride == PRESETS["paper"].encoder.stride
    assert config.network.decoder.attention == "local"
    assert config.network.decoder.channels == PRESETS["paper"].decoder.channels
    assert config.training.steps == 7
    assert config.training.lr == Config().training.lr
    assert config.genes.names == ("ACTB", "ERBB2")
    assert config.genes.number == Config().genes.number


def test_a_configuration_round_trips_through_json() -> None:
    config = Config.from_dict({"preset": "paper", "training": {"lr": 0.003}, "genes": {"names": ["A"]}})
    assert Config.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"training": {"step": 3}}, r"training\.step is not a setting; did you mean 'steps'\?"),
        ({"network": {"encoder": {"nam": "x"}}}, r"network\.encoder\.nam is not a setting; did you mean 'name'\?"),
        ({"network": {"decoder": {"chanels": [1]}}}, r"network\.decoder\.chanels .* did you mean 'channels'\?"),
        ({"trainning": {}}, r"trainning is not a setting; did you mean 'training'\?"),
        ({"genes": {"zzz": 1}}, r"genes\.zzz is not a setting; the settings are number, rule, measured_in, names"),
    ],
)
def test_a_misspelt_key_is_reported_with_the_most_similar_one(data: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        Config.from_dict(data)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"training": {"steps": "many"}}, "training.steps = 'many'"),
        ({"training": {"steps": 0}}, "training.steps = 0"),
        ({"training": {"steps": 2.5}}, "training.steps = 2.5"),
        ({"training": {"ema": 1.0}}, "training.ema = 1.0"),
        ({"training": {"loss": "mse"}}, "training.loss = 'mse'"),
        ({"training": {"lr": float("inf")}}, "training.lr = inf"),
        ({"training": {"lr": float("nan")}}, "training.lr = nan"),
        ({"training": 3}, "training = 3"),
        ({"network": {"mpp": -1.0}}, "network.mpp = -1.0"),
        ({"network": {"mpp": float("inf")}}, "network.mpp = inf"),
        ({"network": {"head": "counts"}}, "network.head = 'counts'"),
        ({"network": {"encoder": {"stride": 12}}}, "network.encoder.stride = 12"),
        ({"network": {"encoder": {"finest": 8, "stride": 8}}}, "finest stride 8 must be below the deepest, 8"),
        ({"network": {"decoder": {"channels": [8, 0, 8, 8, 8, 8]}}}, "network.decoder.channels"),
        ({"network": {"decoder": {"channels": [8, -4, 8, 8, 8, 8]}}}, "network.decoder.channels"),
        ({"genes": {"number": -1}}, "genes.number = -1"),
        ({"preset": "large"}, "preset 'large' is not known; use one of small, paper"),
        ({"preset": ["small"]}, "preset"),
    ],
)
def test_wrong_values_are_reported(data: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError) as caught:
        Config.from_dict(data, "own.toml")
    assert str(caught.value).startswith("own.toml: ")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.toml: the configuration cannot be read"):
        Config.read(tmp_path / "absent.toml")
    with pytest.raises(ModelError, match="cannot be read"):
        Config.read(tmp_path)
    with pytest.raises(ModelError, match=r"own\.toml: is not valid TOML"):
        Config.read(write(tmp_path, "[training\nsteps = 3"))
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"own\.toml: is not valid TOML"):
        Config.read(tmp_path / "own.toml")


def test_reading_does_not_change_the_input() -> None:
    data = {"preset": "paper", "network": {"decoder": {"attention": "local"}}}
    Config.from_dict(data)
    assert data == {"preset": "paper", "network": {"decoder": {"attention": "local"}}}


@pytest.mark.parametrize(
    ("finest", "stride", "strides"),
    [
        (2, 16, (2, 4, 8, 16)),
        (1, 4, (1, 2, 4)),
        (4, 32, (4, 8, 16, 32)),
    ],
)
def test_strides_double_from_the_finest(finest: Any, stride: Any, strides: tuple[int, ...]) -> None:
    network = NetworkConfig(
        mpp=0.5,
        encoder=EncoderConfig(finest=finest, stride=stride),
    )
    assert network.encoder.strides == strides
    assert network.pitch_um == 0.5 * finest


def test_the_page_names_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    some, all_settings = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    assert Config.from_dict(tomllib.loads(some)).training.min_counts == 100
    found = tomllib.loads(all_settings)
    default = Config().model_dump(mode="json")
    for key in ("preset", "surroundings_um"):  # said at the top; has no value until the samples are known
        del default["network"][key]
    assert found == default
