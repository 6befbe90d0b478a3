"""The complete configuration of a model, as written in a TOML file."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pixnet.errors import ModelError, PixNetError, first_line
from pixnet.network.config import PRESETS, NetworkConfig
from pixnet.network.encoders.registry import Definition
from pixnet.safe.documents import parse_toml, read_bytes
from pixnet.training.config import TrainingConfig

_SAME_DONOR_UM = (300.0, 600.0, 1200.0)  # widths of the surroundings that tell sections of one donor apart


class GenesConfig(BaseModel):
    """Genes to predict: their number and a rule, or their names; see `pixnet.sample.panel.choose_panel`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    number: int = Field(250, gt=0, le=1_000_000)
    rule: Literal["top-mean", "highly-variable"] = "top-mean"
    measured_in: Literal["all", "any"] = "all"
    names: tuple[str, ...] = ()


class Config(BaseModel):
    """Configuration of a model: whose slides it is for, network, training and genes.

    A TOML file starts with `preset = "small"` or `preset = "paper"`, and `target`. The sections `[network]`,
    `[network.encoder]`, `[network.decoder]`, `[training]` and `[genes]` follow. Settings that a section leaves out come
    from the preset.

    Attributes
    ----------
    target
        `"new-donor"`: slides of other donors than the training samples' will be predicted. `"same-donor"`: serial
        sections of the same donor. Only there does the network see the wide surroundings of a place, unless
        `network.surroundings_um` is given: they show where on the tissue it is, which the network memorises, and it
        then predicts other donors worse (benchmarks/notes/tried.md).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    target: Literal["new-donor", "same-donor"] = "new-donor"
    network: NetworkConfig = PRESETS["small"]
    training: TrainingConfig = TrainingConfig()
    genes: GenesConfig = GenesConfig()

    @model_validator(mode="after")
    def _surroundings_by_target(self) -> Config:
        if self.network.surroundings_um is None:
            around = _SAME_DONOR_UM if self.target == "same-donor" else ()
            object.__setattr__(self, "network", self.network.model_copy(update={"surroundings_um": around}))
        return self

    @classmethod
    def read(cls, path: str | Path | None, **changes: Any) -> Config:
        """Read a TOML file, or take the defaults if the path is None; `changes` are settings such as `preset`.

        Raises
        ------
        ModelError
            If the file cannot be read, or if a key or value in it is invalid.
        """
        if path is None:
            return cls.from_dict(changes)
        return cls.from_dict({**read_toml(path, "the configuration", ModelError), **changes}, str(path))

    @classmethod
    def from_dict(cls, data: dict[str, Any], origin: str = "configuration") -> Config:
        """Make a configuration from nested dictionaries; missing settings come from its preset.

        Parameters
        ----------
        data
            Sections and settings, named as in a TOML file.
        origin
            Name of the source, for error messages.

        Raises
        ------
        ModelError
            If a key or value is invalid.
        """
        data = dict(data)
        preset = data.pop("preset", "small")
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ModelError(f"{origin}: preset {preset!r} is not known; use one of {', '.join(PRESETS)}.")
        base = cls(network=_with_its_encoder(PRESETS[preset], data)).model_dump()
        base["network"]["surroundings_um"] = None  # the target decides, which the data may set
        try:
            return cls.model_validate(merged_settings(base, data))
        except ValidationError as error:
            raise ModelError(f"{origin}: {_first_problem(error, base)}") from error


def _with_its_encoder(network: NetworkConfig, data: dict[str, Any]) -> NetworkConfig:
    """Return a preset with the encoder that nested settings name, at the resolution that it was trained at.

    Invalid settings are left to the validation that follows.
    """
    section = data.get("network")
    section = section if isinstance(section, dict) else {}
    encoder = section.get("encoder")
    if not isinstance(encoder, dict) or not isinstance(encoder.get("name"), str):
        return network
    try:
        given, mpp = encoder.get("definition"), section.get("mpp")
        definition = None if given is None else Definition.model_validate(given)
        usable = isinstance(mpp, int | float) and 0.0 < mpp < math.inf
        return network.with_encoder(encoder["name"], definition, mpp if usable else None)
    except ValidationError:
        return network


def read_toml(path: str | Path, what: str, error: type[PixNetError]) -> dict[str, Any]:
    """Read a TOML file of settings; `what` names it in the message if it cannot be read."""
    try:
        return parse_toml(read_bytes(Path(path), error).decode("utf-8"))
    except FileNotFoundError as problem:
        raise error(f"{path}: {what} cannot be read (no such file).") from problem
    except ValueError as problem:
        raise error(f"{path}: is not valid TOML ({first_line(problem)}).") from problem


def merged_settings(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with some of them changed."""
    merged = dict(base)
    for key, value in changes.items():
        default = merged.get(key)
        if isinstance(default, dict) and isinstance(value, dict):
            value = merged_settings(default, value)
        merged[key] = value
    return merged


def _first_problem(error: ValidationError, base: dict[str, Any]) -> str:
    """Return pydantic's first error as a sentence; suggest the most similar key for a misspelt one."""
    problem = error.errors()[0]
    keys = [str(part) for part in problem["loc"]]
    name = ".".join(keys)
    if problem["type"] != "extra_forbidden":
        return f"{name} = {problem['input']!r}: {problem['msg']}."
    known: Any = base
    for key in keys[:-1]:
        known = known.get(key) or Definition.model_fields  # the only section that the defaults lack
    matches = difflib.get_close_matches(keys[-1], known, n=1)
    hint = f"did you mean {matches[0]!r}?" if matches else f"the settings are {', '.join(known)}."
    return f"{name} is not a setting; {hint}"
