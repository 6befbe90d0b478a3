"""The benchmark over shifted donors from end to end, with everything tiny."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.accuracy.donors_page import write_donors_page
from benchmarks.accuracy.donors_plan import SPOTS
from benchmarks.accuracy.results import Results
from tests.benchmarks.small import SCALE_METHODS, SmallDonors

from pixnet.demo.regions import SIDES
from pixnet.evaluation.report.parts import number
from pixnet.scoring.metrics import score
from pixnet.scoring.table import Scores
from pixnet.virtual import SHIFTS, VirtualTissue, frozen_digest

WHERE = {"fold": SIDES[1], "regions": SPOTS}
TARGETS = ("measured log", "measured counts", "truth log", "truth counts")
DONORS = ("breast-donor-7", "breast-donor-6", "breast-donor-8")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> SmallDonors:
    plan = SmallDonors(tmp_path_factory.mktemp("donors") / "runs")
    Results(plan.store.folder.parent / "results").complete(plan)
    return plan


@pytest.fixture(scope="module")
def results(plan: SmallDonors) -> Results:
    return Results(plan.store.folder.parent / "results")


@pytest.fixture(scope="module")
def scores(results: Results, plan: SmallDonors) -> Scores:
    return results.of(plan)


def test_every_donor_is_left_out_once_and_never_trained_on(plan: SmallDonors) -> None:
    assert plan.computed[-1] == "summary"
    assert len(plan.computed) == 1 + len(DONORS) * len(SCALE_METHODS)
    for fold, donor in zip(plan.folds, DONORS, strict=True):
        assert {run.fold for _, run in fold.runs} == {donor}
        trained = {sample.donor for sample in fold.samples}
        (tested,) = {tissue.donor for tissue, _ in fold.slides}
        assert tested == donor
        assert len(trained) == 2
        assert tested not in trained


def test_no_run_is_charged_for_drawing_the_slides(plan: SmallDonors, results: Results) -> None:
    first = plan.runs[0][1]
    fold = SmallDonors(plan.store.folder.parent / "other", (first.method,)).folds[0]
    found = {}
    fold._compute_pixnet = lambda *_: found.update(vars(fold)) or ({}, {})  # type: ignore[method-assign]
    fold._stored("", fold.runs[0][1])
    assert {"tissues", "samples", "slides", "targets"} <= set(found)


def test_the_slides_are_those_with_shifts(plan: SmallDonors) -> None:
    fold = plan.folds[0]
    (tissue, sets), *_ = fold.slides
    drawn = VirtualTissue.generate("breast", 3, 7, 400.0, 400.0, shifts=SHIFTS)
    assert tissue.slide.fingerprint() == drawn.slide.fingerprint()
    assert fold.settings.facts()["frozen_digest"] == frozen_digest(SHIFTS)
    assert list(sets) == [SPOTS]


def test_scores_are_those_of_the_predictions(plan: SmallDonors, scores: Scores) -> None:
    """The mean over donors of the PCC@M of measured shares, and of counts."""
    for target in TARGETS:
        of_donors = []
        for fold in plan.folds:
            run = next(run for _, run in fold.runs if run.method == "colour-ridge")
            (slide,) = fold.scored([("", run)])
            what, kind = target.split()
            observed = slide.targets.observed(SPOTS, what, kind)
            predicted = slide.targets.predicted(slide.predictions["colour-ridge"][0], SPOTS, "places", what, kind)
            of_donors.append(score(observed, predicted)["pcc_m"])
        mean = scores.value("colour-ridge", "pcc_m", target=target, **WHERE)
        assert mean == pytest.approx(np.mean(of_donors), abs=1e-6)
        for value, name in zip(of_donors, ("breast-3", "breast-5", "breast-4"), strict=True):
            assert scores.value("colour-ridge", "pcc_m", target=target, sample=name, **WHERE) == pytest.approx(value)


def test_the_ratio_is_to_the_best_opponent(scores: Scores) -> None:
    for target in TARGETS:
        where = {"target": target, **WHERE}
        best = max(scores.value(name, "pcc_m", **where) for name in ("colour-ridge", "mean"))
        ratio = scores.value("pixnet", "ratio vs best opponent", **where)
        if best > 0:
            assert ratio == pytest.approx(scores.value("pixnet", "pcc_m", **where) / best)
    assert not scores.values("metric", metric="ratio vs best crop")


def test_a_page_has_every_method_and_the_ratio(
    plan: SmallDonors, results: Results, scores: Scores, tmp_path: Path
) -> None:
    page = write_donors_page(tmp_path, [(plan, results.facts(plan), scores)], "make it").read_text(encoding="utf-8")
    for name in (*SCALE_METHODS, "ceiling"):
        shown = number(scores.value(name, "pcc_m", target=TARGETS[0], **WHERE))
        assert f"| {name} | {shown}" in page or f"| **{name}** | **{shown}" in page
    assert "pixnet over the best opponent" in page
    assert "Each of 3 donors is left out in turn" in page
    assert "## Breast: pixnet against the others, counts" in page


def test_complete_tables_need_no_slide(plan: SmallDonors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.accuracy.donors_plan._drawn", lambda *_: pytest.fail("a slide was drawn"))
    again = SmallDonors(tmp_path / "runs")
    Results(plan.store.folder.parent / "results").complete(again)
    assert again.computed == []
