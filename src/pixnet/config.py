"""The complete configuration of a model, as written in a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixnet.errors import ModelError, PixNetError
from pixnet.network.config import PRESETS, NetworkConfig
from pixnet.training.config import TrainingConfig


class GenesConfig(BaseModel):
    """Genes to predict: their number and a rule, or their names; see `pixnet.sample.panel.choose_panel`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    number: int = Field(250, gt=0)
    rule: Literal["top-mean", "highly-variable"] = "top-mean"
    measured_in: Literal["all", "any"] = "all"
    names: tuple[str, ...] = ()


class Config(BaseModel):
    """Configuration of a model: network, training and genes.

    A TOML file starts with `preset = "small"` or `preset = "paper"`. The sections `[network]`, `[network.encoder]`,
    `[network.decoder]`, `[training]` and `[genes]` follow. Settings that a section leaves out come from the preset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: NetworkConfig = PRESETS["small"]
    training: TrainingConfig = TrainingConfig()
    genes: GenesConfig = GenesConfig()

    def settled(self, donors: Sequence[str | None]) -> Config:
        """Return the configuration with the settings decided that depend on the donors of the training samples."""
        return self.model_copy(update={"network": self.network.settled(donors)})

    @classmethod
    def read(cls, path: str | Path | None) -> Config:
        """Read a TOML file; return the defaults if the path is None.

        Raises
        ------
        ModelError
            If the file cannot be read, or if a key or value in it is invalid.
        """
        if path is None:
            return cls()
        return cls.from_dict(read_toml(path, "the configuration", ModelError), str(path))

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
        base = cls(network=PRESETS[preset]).model_dump()
        try:
            return cls.model_validate(merged_settings(base, data))
        except ValidationError as error:
            raise ModelError(f"{origin}: {_first_problem(error, base)}") from error


def read_toml(path: str | Path, what: str, error: type[PixNetError]) -> dict[str, Any]:
    """Read a TOML file of settings; `what` names it in the message if it cannot be read."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path}: {what} cannot be read ({problem.strerror}).") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(f"{path}: is not valid TOML ({problem}).") from problem


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
        known = known[key]
    matches = difflib.get_close_matches(keys[-1], known, n=1)
    hint = f"did you mean {matches[0]!r}?" if matches else f"the settings are {', '.join(known)}."
    return f"{name} is not a setting; {hint}"
