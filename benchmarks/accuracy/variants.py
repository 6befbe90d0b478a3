"""Ablations: PixNet as it is, and with some of its settings changed, on the same folds, genes, regions and seeds."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pixnet.config import Config
from pixnet.errors import DataError, ModelError
from pixnet.evaluation.folds import Fold
from pixnet.evaluation.pixnet_method import Progress
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.results import Outcome, finite
from pixnet.evaluation.runner import run
from pixnet.evaluation.scoring.bootstrap import Scored, interval, paired_test, redrawn_scores
from pixnet.sample import Sample

DEFAULT = "default"
"""The configuration that all variants are changes of, and are compared with."""

_METHOD = "pixnet"


def read_variants(path: str | Path, base: Config, only: Sequence[str] | None = None) -> dict[str, Config]:
    """Read variants: a TOML file with one table for each, which holds the settings that it changes.

    Parameters
    ----------
    path
        The file.
    base
        What they are changes of.
    only
        Names of those to take; all by default.

    Raises
    ------
    DataError
        If the file cannot be read, or a name is not in it.
    ModelError
        If a setting is not known, or a variant changes genes or `min_counts`, for it could not be compared then.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: the variants cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no valid TOML ({error}).") from error
    wanted = list(tables) if only is None else list(dict.fromkeys(only))
    unknown = [name for name in wanted if not isinstance(tables.get(name), dict) or name == DEFAULT]
    if unknown:
        raise DataError(f"{path}: has no variant {unknown[0]!r}; there are {', '.join(tables)}.")
    variants = {name: _changed(base, tables[name], f"{path}: {name}") for name in wanted}
    for name, config in variants.items():
        if (config.genes, config.training.min_counts) != (base.genes, base.training.min_counts):
            raise ModelError(f"{path}: {name}: changes what is scored (genes or min_counts); leave that as it is.")
    return variants


def _changed(base: Config, changes: Mapping[str, Any], origin: str) -> Config:
    def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        both = dict(below)
        for key, value in above.items():
            old = both.get(key)
            both[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        return both

    return Config.of(merged(base.model_dump(mode="json"), changes), origin)


def run_variants(
    samples: Sequence[Sample],
    folds: Sequence[Fold],
    base: Config,
    variants: Mapping[str, Config],
    seeds: Sequence[int],
    cells: str | Path,
    out: str | Path,
    *,
    manifests: Sequence[str | Path] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and score the default and every variant, one after the other.

    `out/ablations.json` and `out/ablations.md` are written anew after each, so that a run that is broken off leaves
    what it found. Each variant's own results are in `out/NAME`.

    Parameters
    ----------
    samples
        All samples, their genes joined.
    folds
        From `hold_out` or `make_folds`.
    base, variants
        The default, and the others by name.
    seeds
        Each is trained once with each.
    cells
        Folder of the cells, which may be that of an evaluation: the default's are then there already.
    out
        Folder of the results.
    manifests
        Where the samples are from, for the record.
    device, progress
        See `pixnet.evaluation.runner.run`.

    Returns
    -------
    dict
        `variants`: of each, its scores and what differs from the default's, with intervals and paired tests.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, Outcome] = {}
    found: dict[str, Any] = {}
    every = {DEFAULT: base, **variants}
    for number, (name, config) in enumerate(every.items()):
        if progress is not None:
            progress("variants", number, len(every), name)
        protocol = Protocol.freeze(samples, folds, [_METHOD], config, seeds=seeds, manifests=manifests)
        outcomes[name] = run(
            protocol, samples, out / name, cells=cells, device=device, overwrite=True, progress=progress
        )
        found = {"seeds": list(protocol.seeds), "folds": [fold.name for fold in folds], **compared(outcomes, every)}
        text = json.dumps(finite(found), indent=1, allow_nan=False)
        (out / "ablations.json").write_text(text + "\n", encoding="utf-8")
        (out / "ablations.md").write_text(variants_table(found), encoding="utf-8")
    if progress is not None:
        progress("variants", len(every), len(every), "")
    return found


def compared(outcomes: Mapping[str, Outcome], configs: Mapping[str, Config], seed: int = 0) -> dict[str, Any]:
    """Compare every variant with the default, on the same redrawn regions.

    Raises
    ------
    DataError
        If they were not scored on the same regions.
    """
    redrawn = {name: scores["pcc_m"] for name, scores in redrawn_scores(_together(outcomes), seed=seed).items()}
    of_folds = {
        name: np.array([fold.mean(_METHOD, "pcc_m") for fold in outcome.folds]) for name, outcome in outcomes.items()
    }
    rows = {}
    for name, outcome in outcomes.items():
        scores = outcome.results["methods"][_METHOD]
        row = {key: scores[key] for key in ("pcc_m", "mse", "mae", "pcc_f", "pcc_s", "seconds_cold", "peak_rss_mb")}
        row["interval"] = list(interval(redrawn[name], row["pcc_m"]))
        row["sd_over_seeds"] = scores["sd_over_seeds"]["pcc_m"]
        if name != DEFAULT:
            difference = float(of_folds[name].mean() - of_folds[DEFAULT].mean())
            each = of_folds[name] - of_folds[DEFAULT]
            row["against_default"] = paired_test(difference, redrawn[name] - redrawn[DEFAULT], each)
        row["changes"] = _differences(configs[DEFAULT].model_dump(mode="json"), configs[name].model_dump(mode="json"))
        rows[name] = row
    return {"variants": rows}


def variants_table(found: Mapping[str, Any]) -> str:
    """Give the comparison as Markdown."""
    lines = [
        "# Ablations",
        "",
        f"Folds {', '.join(found['folds'])}; seeds {', '.join(map(str, found['seeds']))}. PCC@M and its difference "
        "from the default's, with 95 % intervals over redrawn blocks.",
        "",
        "| variant | changes | PCC@M | over seeds, sd | difference | p | MSE | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found["variants"].items():
        changes = ", ".join(f"{key} = {value}" for key, value in row["changes"].items()) or "none"
        test = row.get("against_default")
        against = f"{test['difference']:+.3f} {_between(test['interval'], '+.3f')}" if test else ""
        p = f"{test['p_bootstrap']:.3f}" if test else ""
        sd = f"{row['sd_over_seeds']:.3f}" if np.isfinite(row["sd_over_seeds"]) else ""
        lines.append(
            f"| {name} | {changes} | {row['pcc_m']:.3f} {_between(row['interval'], '.3f')} | {sd} | {against} | {p} | "
            f"{row['mse']:.3f} | {row['seconds_cold'] / 60:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _together(outcomes: Mapping[str, Outcome]) -> list[Scored]:
    """Put the predictions of all variants beside one another, fold by fold."""
    folds = []
    for per_variant in zip(*([fold.scored() for fold in outcome.folds] for outcome in outcomes.values()), strict=True):
        first = per_variant[0]
        if not all(np.array_equal(one.truth, first.truth) for one in per_variant):
            raise DataError("the variants were not scored on the same regions, so they cannot be compared.")
        predicted = {
            name: one.predicted[_METHOD] for name, one in zip(outcomes, per_variant, strict=True)
        }  # fmt: skip
        folds.append(Scored(first.truth, predicted, first.centers_um, first.owner, first.donors))
    return folds


def _differences(base: Mapping[str, Any], other: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Give the settings that differ, by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in other.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            found |= _differences(old, value, f"{place}{key}.")
        elif value != old:
            found[f"{place}{key}"] = value
    return found


def _between(pair: Sequence[float], form: str) -> str:
    low, high = pair
    return f"[{low:{form}}, {high:{form}}]"
