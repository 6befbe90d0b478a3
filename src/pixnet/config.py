"""The whole configuration of a model, as a TOML file gives it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixnet.errors import ModelError
from pixnet.network.config import PRESETS, NetworkConfig
from pixnet.training.config import TrainingConfig


class GenesConfig(BaseModel):
    """Which genes to predict: how many and by which rule, or their names; see `pixnet.sample.panel.choose_panel`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    number: int = Field(250, gt=0)
    rule: Literal["top-mean", "highly-variable"] = "top-mean"
    measured_in: Literal["all", "any"] = "all"
    names: tuple[str, ...] = ()


class Config(BaseModel):
    """Network, training and genes.

    In TOML, `preset = "small"` or `"paper"` at the top, then the sections `[network]`, `[network.encoder]`,
    `[network.decoder]`, `[training]` and `[genes]`; whatever a section leaves out comes from the preset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: NetworkConfig = PRESETS["small"]
    training: TrainingConfig = TrainingConfig()
    genes: GenesConfig = GenesConfig()

    def settled(self, donors: Sequence[str | None]) -> Config:
        """Give the configuration with what was left to training samples, of these donors, decided."""
        return self.model_copy(update={"network": self.network.settled(donors)})

    @classmethod
    def read(cls, path: str | Path | None) -> Config:
        """Read a TOML file; None gives the defaults.

        Raises
        ------
        ModelError
            If the file cannot be read, or if a key or value in it is not known.
        """
        if path is None:
            return cls()
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(f"{path}: the configuration cannot be read ({error.strerror}).") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"{path}: is no valid TOML ({error}).") from error
        return cls.of(data, str(path))

    @classmethod
    def of(cls, data: dict[str, Any], origin: str = "configuration") -> Config:
        """Check a configuration given as nested dictionaries, over its preset."""
        data = dict(data)
        preset = data.pop("preset", "small")
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ModelError(f"{origin}: preset {preset!r} is not known; there are {', '.join(PRESETS)}.")
        base = cls(network=PRESETS[preset]).model_dump()
        try:
            return cls.model_validate(_merged(base, data))
        except ValidationError as error:
            raise ModelError(f"{origin}: {_first_problem(error, base)}") from error


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _first_problem(error: ValidationError, base: dict[str, Any]) -> str:
    """Put the first of pydantic's findings into a sentence, with the nearest known key if one was misspelt."""
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place)
    if problem["type"] != "extra_forbidden":
        return f"{name} = {problem['input']!r}: {problem['msg']}."
    known: Any = base
    for part in place[:-1]:
        known = known[part]
    near = difflib.get_close_matches(place[-1], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    return f"{name} is no known setting; {hint}"
