from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel
from pixnet.training.fit import FitOptions, fit_network
from pixnet.training.left_out import SHARES, left_out_folds, predict_left_out


def named(samples: list[Sample], donors: str) -> list[Sample]:
    """Return samples of donors named by letters; "-" is not known."""
    known = [None if letter == "-" else letter for letter in donors]
    return [dataclasses.replace(samples[i % 2], id=str(i), donor=donor) for i, donor in enumerate(known)]


@pytest.mark.parametrize(
    ("donors", "by_sample", "folds"),
    [
        ("ab", False, [[0], [1]]),
        ("aab", False, [[0, 1], [2]]),
        ("--", False, [[0], [1]]),
        ("aaa", False, []),
        ("a", False, []),
        ("-", False, []),
        ("a", True, []),
        ("aab", True, [[0], [1], [2]]),
    ],
)
def test_folds_hold_whole_donors_or_samples(
    samples: list[Sample], donors: str, by_sample: bool, folds: list[list[int]]
) -> None:
    found = left_out_folds(named(samples, donors), by_sample)
    assert sorted(found) == folds


def test_samples_are_predicted_by_a_training_without_them(
    samples: list[Sample], panel: GenePanel, network_config: Any, training_config: Any, tmp_path: Path
) -> None:
    config, seen = training_config(steps=3), []
    options = FitOptions(tmp_path, device="cpu", overwrite=True, progress=lambda stage, *_: seen.append(stage))

    def predicted(part: list[Sample]) -> list[Any]:
        return predict_left_out(part, [[0], [1]], panel, network_config(), config, options)

    first, second = predicted(samples[:2])
    assert [part.sample for part in (first, second)] == samples[:2]
    enough = samples[0].depth >= config.min_counts
    assert np.array_equal(first.centers_um, samples[0].regions.centers_um[enough])
    assert (first.fold, second.fold) == (0, 1)
    assert list(first.predicted) == list(SHARES)
    for values in first.predicted.values():
        assert values.shape == first.observed.shape == (enough.sum(), len(panel))
        assert np.isfinite(values).all()
    assert not np.allclose(first.predicted[0.0], first.predicted[1.0])
    assert {"left out 1 of 2: features", "left out 1 of 2: fit", "left out 2 of 2: fit"} <= set(seen)
    # What was counted in the sample that is left out changes what is observed, and nothing of what is predicted.
    counts = dataclasses.replace(samples[0].counts, matrix=2 * samples[0].counts.matrix[::-1])
    again, _ = predicted([dataclasses.replace(samples[0], counts=counts), samples[1]])
    rows = np.flatnonzero(
        np.isin(np.flatnonzero(2 * samples[0].depth[::-1] >= config.min_counts), np.flatnonzero(enough))
    )
    for share, values in first.predicted.items():
        assert np.array_equal(again.predicted[share][rows], values)
    assert not np.array_equal(again.observed[rows], first.observed)


def test_folds_have_about_equally_many_regions(samples: list[Sample]) -> None:
    several = named(samples, "abcde")
    sizes = [9, 3, 4, 5, 6]
    several = [sample.take(np.arange(size)) for sample, size in zip(several, sizes, strict=True)]
    folds = left_out_folds(several, by_sample=False)
    assert sorted(sorted(sizes[i] for i in fold) for fold in folds) == [[3, 6], [4, 5], [9]]


def test_the_frozen_encoder_is_made_once_and_nothing_else_changes(
    samples: list[Sample], panel: GenePanel, network_config: Any, training_config: Any, tmp_path: Path
) -> None:
    options = FitOptions(tmp_path / "shared", cache=tmp_path / "cache")
    first, second = (
        fit_network(samples[:2], panel, network_config(), training_config(), replace(options, work=tmp_path / name))
        for name in ("first", "second")
    )
    alone = fit_network(samples[:2], panel, network_config(), training_config(), FitOptions(tmp_path / "alone"))
    assert second.network.encoder is first.network.encoder
    assert alone.network.encoder is not first.network.encoder
    states = [fitted.network.state_dict() for fitted in (first, second, alone)]
    for name, value in states[0].items():
        assert all(torch.equal(value, state[name]) for state in states[1:])
    tuned = training_config(views=0, steps=2), network_config(trainable=True)
    made = [fit_network(samples[:1], panel, tuned[1], tuned[0], replace(options, work=tmp_path / n)) for n in "ab"]
    assert made[0].network.encoder is not made[1].network.encoder
