"""Targets, ceilings and scores across scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixnet.demo.regions import CELL, asked_regions
from pixnet.demo.scores import CEILING, AskedSlide, is_crop_method, scale_scores
from pixnet.demo.targets import Targets, expected_counts, target_arrays
from pixnet.evaluation.scoring.metrics import score
from pixnet.expression import normalise
from pixnet.virtual import VirtualTissue


@pytest.fixture(scope="module")
def slides() -> list[tuple[VirtualTissue, Targets]]:
    found = []
    for seed, donor in ((3, 7), (4, 8)):
        tissue = VirtualTissue.generate("breast", seed, donor, 300.0, 300.0)
        arrays = target_arrays(tissue, asked_regions(tissue, 80), tissue.genes[:12], seed=1, redraws=8)
        found.append((tissue, Targets(arrays)))
    return found


def test_targets_are_those_of_the_tissue(slides: list[tuple[VirtualTissue, Targets]]) -> None:
    tissue, targets = slides[0]
    sets = asked_regions(tissue, 80)
    assert targets.names == list(sets)
    for name, regions in sets.items():
        truth, visible, measured = tissue.truth(regions), tissue.visible(regions), tissue.measure(regions, 1)
        assert np.allclose(targets.observed(name, "truth", "counts"), truth[:, :12], rtol=1e-5)
        assert np.allclose(targets.best(name, "truth", "counts"), visible[:, :12], rtol=1e-5)
        logs = normalise(truth, truth.sum(axis=1))[:, :12]
        assert np.allclose(targets.observed(name, "truth", "log"), logs, rtol=1e-4)
        counts = measured.counts.matrix.toarray()
        assert np.array_equal(targets.observed(name, "measured", "counts"), counts[:, :12])
        assert np.allclose(
            targets.observed(name, "measured", "log"), normalise(counts, measured.depth)[:, :12], rtol=1e-4
        )


def test_the_best_prediction_of_counts_has_their_diffusion_and_capture(
    slides: list[tuple[VirtualTissue, Targets]],
) -> None:
    tissue, targets = slides[0]
    disks = asked_regions(tissue, 80)["100-µm disk"]
    notes = tissue.measure(disks, 1).counts.notes
    expected = notes["capture"] * (tissue.areas(disks, notes["diffusion_um"]) @ tissue.visible_rates)[:, :12]
    assert np.allclose(targets.best("100-µm disk", "measured", "counts"), expected, rtol=1e-5)


def test_the_expected_logarithm_is_nearer_to_the_truth_than_the_logarithm_of_the_expectation(
    slides: list[tuple[VirtualTissue, Targets]],
) -> None:
    tissue, targets = slides[0]
    sets = asked_regions(tissue, 80)
    for name in ("2-µm square", "8-µm square"):
        truth = targets.observed(name, "truth", "log")
        visible = tissue.visible(sets[name])
        naive = normalise(visible, visible.sum(axis=1))[:, :12]
        assert np.mean((targets.best(name, "truth", "log") - truth) ** 2) < np.mean((naive - truth) ** 2)


def _predictions(targets: Targets) -> dict[str, list[dict[str, Any]]]:
    """Make a field that knows the best answer, one with noise, and crop methods with shares at two sets of points."""
    rng = np.random.default_rng(0)
    field, noisy = {}, {}
    for name in targets.names:
        for kind in ("counts", "log"):
            best = targets.best(name, "truth", kind)
            field[f"{name}|{kind}"] = best
            noisy[f"{name}|{kind}"] = best + rng.normal(0, best.std(axis=0), best.shape).astype(np.float32)
    disk, cells = (targets.best(name, "truth", "log") for name in ("100-µm disk", CELL))
    crop = {
        "places|log": disk,
        "places|density": _density(targets, "100-µm disk"),
        "cells|log": np.ones_like(cells),
        "cells|density": np.ones(len(cells), np.float32),
    }
    worse = {key: rng.normal(1, 0.1, table.shape).astype(np.float32) for key, table in crop.items()}
    return {"pixnet": [field, noisy], "ridge": [crop], "knn": [worse]}


def _density(targets: Targets, name: str) -> np.ndarray:
    return np.log1p(1e4 * targets.arrays[f"{name}|truth-total"] / targets.arrays[f"{name}|areas"])


@pytest.fixture(scope="module")
def rows(slides: list[tuple[VirtualTissue, Targets]]) -> list[dict[str, Any]]:
    asked = [
        AskedSlide(f"slide {number}", "other donors", f"donor {number}", targets, _predictions(targets))
        for number, (_, targets) in enumerate(slides)
    ]
    return scale_scores(asked)


def _row(rows: list[dict[str, Any]], regions: str, target: str, kind: str) -> dict[str, Any]:
    return next(row for row in rows if (row["regions"], row["target"], row["kind"]) == (regions, target, kind))


def test_every_size_target_and_kind_is_scored_once(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == len({(row["regions"], row["target"], row["kind"]) for row in rows}) == 6 * 2 * 2
    for row in rows:
        assert set(row["methods"]) == {"pixnet", "ridge", "knn", CEILING}
        assert row["methods"][CEILING]["share"]["value"] == 1.0


def test_scores_are_means_over_slides_and_seeds(
    rows: list[dict[str, Any]], slides: list[tuple[VirtualTissue, Targets]]
) -> None:
    row = _row(rows, "8-µm square", "truth", "counts")["methods"]
    ceiling = [
        score(t.observed("8-µm square", "truth", "counts"), t.best("8-µm square", "truth", "counts"))["pcc_m"]
        for _, t in slides
    ]
    assert row[CEILING]["pcc_m"] == pytest.approx(np.mean(ceiling))
    assert row[CEILING]["per_slide"] == pytest.approx(ceiling)
    low, high = row[CEILING]["interval"]
    assert low < np.mean(ceiling) < high
    # One of its two seeds says what the ceiling says.
    assert row["pixnet"]["pcc_m"] < row[CEILING]["pcc_m"]
    assert row["pixnet"]["sd_over_seeds"] == pytest.approx(
        np.sqrt(2) * (row[CEILING]["pcc_m"] - row["pixnet"]["pcc_m"])
    )


def test_the_ratio_is_to_the_best_crop_method_there(rows: list[dict[str, Any]]) -> None:
    row = _row(rows, "100-µm disk", "truth", "counts")
    assert row["best_crop"] == "ridge"
    found = row["methods"]
    assert found["pixnet"]["ratio"]["value"] == pytest.approx(found["pixnet"]["pcc_m"] / found["ridge"]["pcc_m"])
    assert found["pixnet"]["share"]["value"] == pytest.approx(found["pixnet"]["pcc_m"] / found[CEILING]["pcc_m"])
    assert found["ridge"]["ratio"] == {"value": 1.0, "interval": [1.0, 1.0]}


def test_counts_are_share_times_density_times_area(
    rows: list[dict[str, Any]], slides: list[tuple[VirtualTissue, Targets]]
) -> None:
    _, targets = slides[0]
    # Whoever knows shares and density knows the counts.
    for name, points in (("100-µm disk", "places"), (CELL, "cells")):
        known = {f"{points}|log": targets.observed(name, "truth", "log"), f"{points}|density": _density(targets, name)}
        counts = targets.predicted(known, name, points, "truth", "counts")
        assert np.allclose(counts, targets.observed(name, "truth", "counts"), rtol=1e-3, atol=1e-6)
    # A regression that falls below zero twice means no counts, not many.
    below = expected_counts(np.full((1, 1), -1.0, np.float32), np.full(1, -1.0, np.float32), np.ones(1, np.float32))
    assert below == 0
    # One that runs away ends at a share of one and 1,000 counts per um^2.
    away = expected_counts(np.full((1, 1), 106.0), np.full(1, 800.0), np.full(1, 4.0))
    assert away == pytest.approx(4000.0)
    # Larger cells hold more: a constant share and density correlates with their counts, and not with their shares.
    assert _row(rows, CELL, "truth", "counts")["methods"]["ridge"]["pcc_m"] > 0.1
    assert _row(rows, CELL, "truth", "log")["methods"]["ridge"]["pcc_m"] == 0.0


def test_a_method_may_say_something_else_of_measured_logs(
    slides: list[tuple[VirtualTissue, Targets]],
) -> None:
    targets = slides[0][1]
    arrays = {"8-µm square|log": np.zeros((80, 12)), "8-µm square|measured-log": np.ones((80, 12))}
    said = [
        targets.predicted(arrays, "8-µm square", "places", target, "log").mean() for target in ("truth", "measured")
    ]
    assert said == [0.0, 1.0]


def test_which_methods_see_a_crop() -> None:
    crops = [
        name for name in ("pixnet", "pixnet:plain", "istar", "mean", CEILING, "ridge", "st-net") if is_crop_method(name)
    ]
    assert crops == ["ridge", "st-net"]
