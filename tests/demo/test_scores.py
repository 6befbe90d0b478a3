"""Targets, ceilings and scores across scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixnet.demo.regions import CELL, regions_by_size
from pixnet.demo.scores import CEILING, ScoredSlide, is_crop_method, scale_scores
from pixnet.demo.targets import Targets, expected_counts, target_arrays
from pixnet.expression import normalise
from pixnet.scoring.metrics import score
from pixnet.scoring.table import Scores
from pixnet.virtual import VirtualTissue


@pytest.fixture(scope="module")
def slides() -> list[tuple[VirtualTissue, Targets]]:
    found = []
    for seed, donor in ((3, 7), (4, 8)):
        tissue = VirtualTissue.generate("breast", seed, donor, 300.0, 300.0)
        arrays = target_arrays(tissue, regions_by_size(tissue, 80), tissue.genes[:12], seed=1, redraws=8)
        found.append((tissue, Targets(arrays)))
    return found


def test_targets_are_those_of_the_tissue(slides: list[tuple[VirtualTissue, Targets]]) -> None:
    tissue, targets = slides[0]
    sets = regions_by_size(tissue, 80)
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
    disks = regions_by_size(tissue, 80)["100-µm disk"]
    notes = tissue.measure(disks, 1).counts.notes
    expected = notes["capture"] * (tissue.areas(disks, notes["diffusion_um"]) @ tissue.visible_rates)[:, :12]
    assert np.allclose(targets.best("100-µm disk", "measured", "counts"), expected, rtol=1e-5)


def test_the_expected_logarithm_is_closer_to_the_truth_than_the_logarithm_of_the_expectation(
    slides: list[tuple[VirtualTissue, Targets]],
) -> None:
    tissue, targets = slides[0]
    sets = regions_by_size(tissue, 80)
    for name in ("2-µm square", "8-µm square"):
        truth = targets.observed(name, "truth", "log")
        visible = tissue.visible(sets[name])
        naive = normalise(visible, visible.sum(axis=1))[:, :12]
        assert np.mean((targets.best(name, "truth", "log") - truth) ** 2) < np.mean((naive - truth) ** 2)


def _predictions(targets: Targets) -> dict[str, dict[int, dict[str, Any]]]:
    """Return a field with the best predictions, one with noise, and crop methods with shares at two sets of points."""
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
    return {"pixnet": {0: field, 1: noisy}, "ridge": {0: crop}, "knn": {0: worse}}


def _density(targets: Targets, name: str) -> np.ndarray:
    return np.log1p(1e4 * targets.arrays[f"{name}|truth-total"] / targets.arrays[f"{name}|areas"])


@pytest.fixture(scope="module")
def scores(slides: list[tuple[VirtualTissue, Targets]]) -> Scores:
    scored = [
        ScoredSlide(f"slide {number}", "other donors", f"donor {number}", targets, _predictions(targets))
        for number, (_, targets) in enumerate(slides)
    ]
    return Scores(scale_scores(scored))


def _where(regions: str, target: str) -> dict[str, str]:
    return {"fold": "other donors", "regions": regions, "target": target}


def test_every_size_target_and_kind_is_scored_once(scores: Scores) -> None:
    frame = scores.frame
    averages = frame[(frame["metric"] == "pcc_m") & (frame["sample"] == "all") & (frame["seed"] == "all")]
    keys = averages[["method", "variant", "fold", "regions", "target"]]
    assert not keys.duplicated().any()
    assert len(keys[["regions", "target"]].drop_duplicates()) == 6 * 2 * 2
    for (regions, target), part in averages.groupby(["regions", "target"]):
        assert set(part["method"]) == {"pixnet", "ridge", "knn", CEILING}
        where = _where(str(regions), str(target))
        assert scores.value(CEILING, "share", **where) == 1.0
        assert scores.value(CEILING, "places", **where) > 0


def test_scores_are_means_over_slides_and_seeds(scores: Scores, slides: list[tuple[VirtualTissue, Targets]]) -> None:
    where = _where("8-µm square", "truth counts")
    ceilings = [
        score(t.observed("8-µm square", "truth", "counts"), t.best("8-µm square", "truth", "counts"))["pcc_m"]
        for _, t in slides
    ]
    ceiling = scores.value(CEILING, "pcc_m", **where)
    assert ceiling == pytest.approx(np.mean(ceilings))
    of_slides = [scores.value(CEILING, "pcc_m", **where, sample=f"slide {number}") for number in (0, 1)]
    assert of_slides == pytest.approx(ceilings)
    low, high = scores.interval(CEILING, "pcc_m", **where)
    assert low < ceiling < high
    # One of the two seeds of pixnet predicts what the ceiling predicts.
    pixnet = scores.value("pixnet", "pcc_m", **where)
    assert pixnet < ceiling
    assert scores.value("pixnet", "sd of pcc_m", **where) == pytest.approx(np.sqrt(2) * (ceiling - pixnet))
    assert np.isnan(scores.value("ridge", "sd of pcc_m", **where))
    for number in (0, 1):
        runs = [scores.value("pixnet", "pcc_m", **where, sample=f"slide {number}", seed=seed) for seed in (0, 1)]
        assert runs[0] == pytest.approx(ceilings[number])
        assert scores.value("pixnet", "pcc_m", **where, sample=f"slide {number}") == pytest.approx(np.mean(runs))


def test_the_ratio_is_to_the_best_crop_method_there(scores: Scores) -> None:
    where = _where("100-µm disk", "truth counts")
    pixnet, ridge, ceiling = (scores.value(name, "pcc_m", **where) for name in ("pixnet", "ridge", CEILING))
    assert ridge > scores.value("knn", "pcc_m", **where)
    assert scores.value("pixnet", "ratio vs best crop", **where) == pytest.approx(pixnet / ridge)
    assert scores.value("pixnet", "share", **where) == pytest.approx(pixnet / ceiling)
    assert scores.entry(method="ridge", metric="ratio vs best crop", **where) == (1.0, 1.0, 1.0)


def test_pixnet_is_compared_with_each_other_method(scores: Scores) -> None:
    where = _where("100-µm disk", "truth counts")
    for other in ("ridge", "knn"):
        difference = scores.value("pixnet", "pcc_m", **where) - scores.value(other, "pcc_m", **where)
        assert scores.value("pixnet", f"difference vs {other}", **where) == pytest.approx(difference)
        low, high = scores.interval("pixnet", f"difference vs {other}", **where)
        assert low < difference < high
        assert scores.value("pixnet", f"folds vs {other}", **where) == 2
    assert np.isnan(scores.value("pixnet", f"difference vs {CEILING}", **where))


def test_a_variant_is_scored_beside_pixnet_and_there_is_no_share_where_slides_were_trained_on(
    slides: list[tuple[VirtualTissue, Targets]],
) -> None:
    targets = slides[0][1]
    names = targets.names[:1]
    arrays = {key: table for key, table in targets.arrays.items() if key.split("|")[0] in names}
    small = Targets(arrays)
    best = {f"{names[0]}|{kind}": small.best(names[0], "truth", kind) for kind in ("counts", "log")}
    predictions = {"pixnet": {0: best}, "pixnet:plain": {0: best}}
    scores = Scores(scale_scores([ScoredSlide("slide", "training slides", "donor", small, predictions)]))
    where = {"fold": "training slides", "regions": names[0], "target": "truth counts"}
    plain = scores.value("pixnet", "pcc_m", variant="plain", **where)
    assert plain == scores.value("pixnet", "pcc_m", **where) == scores.value(CEILING, "pcc_m", **where)
    assert scores.values("metric", variant="plain", method="pixnet") == [
        "pcc_m",
        "pcc_s",
        "pcc_f",
        "mse",
        "sd of pcc_m",
    ]
    assert "share" not in scores.values("metric")


def test_counts_are_share_times_density_times_area(scores: Scores, slides: list[tuple[VirtualTissue, Targets]]) -> None:
    _, targets = slides[0]
    # Counts follow from shares and density.
    for name, points in (("100-µm disk", "places"), (CELL, "cells")):
        known = {f"{points}|log": targets.observed(name, "truth", "log"), f"{points}|density": _density(targets, name)}
        counts = targets.predicted(known, name, points, "truth", "counts")
        assert np.allclose(counts, targets.observed(name, "truth", "counts"), rtol=1e-3, atol=1e-6)
    # Where a regression predicts a share and a density below zero, there are no counts.
    below = expected_counts(np.full((1, 1), -1.0, np.float32), np.full(1, -1.0, np.float32), np.ones(1, np.float32))
    assert below == 0
    # Very large predictions are limited to a share of one and 1,000 counts per um^2.
    away = expected_counts(np.full((1, 1), 106.0), np.full(1, 800.0), np.full(1, 4.0))
    assert away == pytest.approx(4000.0)
    # Larger cells hold more: a constant share and density correlates with their counts, and not with their shares.
    assert scores.value("ridge", "pcc_m", **_where(CELL, "truth counts")) > 0.1
    assert scores.value("ridge", "pcc_m", **_where(CELL, "truth log")) == 0.0


def test_a_method_may_predict_measured_logs_apart_from_those_of_shares(
    slides: list[tuple[VirtualTissue, Targets]],
) -> None:
    targets = slides[0][1]
    arrays = {"8-µm square|log": np.zeros((80, 12)), "8-µm square|measured-log": np.ones((80, 12))}
    means = [
        targets.predicted(arrays, "8-µm square", "places", target, "log").mean() for target in ("truth", "measured")
    ]
    assert means == [0.0, 1.0]


def test_which_methods_see_a_crop() -> None:
    crops = [
        name for name in ("pixnet", "pixnet:plain", "istar", "mean", CEILING, "ridge", "st-net") if is_crop_method(name)
    ]
    assert crops == ["ridge", "st-net"]
