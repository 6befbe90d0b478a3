"""Neighbouring regions merged into larger ones."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmarks.accuracy.merging import (
    MergedPlan,
    merged_centers,
    merged_field,
    merged_logs,
    merged_members,
    merged_observed,
)
from benchmarks.accuracy.results import Results
from tests.benchmarks.small import NETWORK, TRAINING, SmallPlan, freeze
from tests.evaluation.made import GENES, make_sample

from pixnet.config import Config
from pixnet.errors import DataError
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.splits import make_folds
from pixnet.expression import log_expectation, normalise
from pixnet.field import ExpressionField
from pixnet.model import PixNet
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.panel import GenePanel
from pixnet.scoring.table import COLUMNS


def array_sample(name: str, columns: int = 5, rows: int = 4, first: tuple[int, int] = (7, 3)) -> Sample:
    """Return a sample of disks in an array whose first column and row are not 0."""
    sample = make_sample(name, donor=name, regions=columns * rows)
    row, col = np.divmod(np.arange(columns * rows), columns)
    obs = pd.DataFrame({"array_x": first[0] + col, "array_y": first[1] + row})
    counts = Counts(sample.counts.matrix, sample.genes, obs=obs)
    centers = np.stack([40.0 + 36.0 * col, 40.0 + 36.0 * row], axis=1)
    return dataclasses.replace(sample, counts=counts, regions=Disks(centers, 30.0))


def test_blocks_are_full_squares_of_neighbours() -> None:
    sample = array_sample("A")
    members = merged_members(sample, 2)
    assert members.shape == (4, 4)  # 2 x 2 blocks of an array of 5 x 4
    assert len(np.unique(members)) == 16
    places = sample.counts.obs[["array_x", "array_y"]].to_numpy()[members]
    assert (np.ptp(places, axis=1) == 1).all()
    centers = merged_centers(sample.regions, members)
    assert np.allclose(centers, sample.regions.centers_um[members].mean(axis=1))


def test_blocks_begin_where_most_are_full() -> None:
    sample = array_sample("A")
    usable = np.ones(20, bool)
    usable[[0, 5]] = False  # the first column's upper half: blocks must begin in the second
    members = merged_members(sample, 2, usable)
    assert len(members) == 4
    assert not np.isin([0, 5], members).any()


def test_measured_counts_add_up() -> None:
    sample, panel = array_sample("A"), GenePanel(("G0", "G5"), "list")
    members = merged_members(sample, 2)
    counts = sample.counts.matrix.toarray()
    expected = normalise(counts[members[1]].sum(axis=0)[None, [0, 5]], [counts[members[1]].sum()])
    assert np.allclose(merged_observed(sample, panel, members)[1], expected[0])


def test_shares_are_averaged_before_the_logarithm() -> None:
    values = np.log1p(np.array([[0.0], [10.0], [20.0], [30.0], [99.0]]))
    assert merged_logs(values, np.array([[0, 1, 2, 3]])) == pytest.approx(np.log1p(15.0))


def test_samples_that_cannot_be_merged_are_refused() -> None:
    sample = array_sample("A")
    with pytest.raises(DataError, match="columns array_x and array_y are missing"):
        merged_members(make_sample("B"), 2)
    with pytest.raises(DataError, match="changes nothing"):
        merged_members(sample, 1)
    with pytest.raises(DataError, match="no block of 5 x 5 regions is full"):
        merged_members(sample, 5)
    with pytest.raises(DataError, match="none of its regions has enough counts"):
        merged_members(sample, 2, np.zeros(20, bool))


def _config(head: str) -> Config:
    return Config.from_dict({"genes": {"number": 4}, "network": {**NETWORK, "head": head}, "training": TRAINING})


def _plan(
    folder: Path, samples: list[Sample], head: str = "rate", methods: tuple[str, ...] = ("pixnet", "mean")
) -> MergedPlan:
    protocol = Protocol.freeze(samples, make_folds(samples, "loso"), methods, _config(head))
    plan = SmallPlan({"": protocol}, folder)
    plan.samples = samples  # type: ignore[misc]
    return MergedPlan(plan)


@pytest.mark.parametrize("head", ["rate", "mean"])
def test_an_evaluation_is_scored_again_on_merged_regions(tmp_path: Path, head: str) -> None:
    merged = _plan(tmp_path / "runs", [array_sample(name) for name in "AB"], head)
    results = Results(tmp_path / "results")
    scores = results.complete(merged)
    assert set(results.runs["method"]) == {"summary of merged regions"}
    assert scores.values("regions") == ["2 x 2"]
    where = {"regions": "2 x 2", "seed": 0}
    assert {method: scores.value(method, "n_regions", **where) for method in scores.values("method")} == {
        "pixnet": 8, "mean": 8
    }  # fmt: skip
    assert scores.value("mean", "pcc_m", **where) == 0.0
    low, high = scores.interval("pixnet", "pcc_m", **where)
    assert low < scores.value("pixnet", "pcc_m", **where) < high
    # Nothing is computed the second time, nor from the runs alone.
    again = Results(tmp_path / "results")
    assert again.missing(merged) == []
    pd.testing.assert_frame_equal(merged.summarise()[0], scores.frame[list(COLUMNS)], check_exact=True)


def test_other_blocks_are_read_again_from_the_fields(tmp_path: Path) -> None:
    samples = [array_sample(name) for name in "AB"]
    before = _plan(tmp_path / "runs", samples).summarise()[0]
    # The same regions at mirrored places of the array: the protocol and its runs do not change, the blocks do.
    mirrored = [
        dataclasses.replace(sample, counts=dataclasses.replace(sample.counts, obs=-sample.counts.obs))
        for sample in samples
    ]
    assert not np.array_equal(merged_members(mirrored[0], 2), merged_members(samples[0], 2))
    after = _plan(tmp_path / "runs", mirrored).summarise()[0]
    assert not np.array_equal(before["value"], after["value"])
    shutil.rmtree(tmp_path / "runs" / "pixnet-merged")
    pd.testing.assert_frame_equal(_plan(tmp_path / "runs", mirrored).summarise()[0], after, check_exact=True)


def test_a_reading_that_was_killed_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = _plan(tmp_path / "runs", [array_sample(name) for name in "AB"], methods=("pixnet",))
    for _, run in merged.plan.runs:
        merged.plan.compute(run)
    shutil.copytree(tmp_path / "runs", tmp_path / "unbroken")
    predict = PixNet.predict

    def killed(*arguments: Any, **options: Any) -> None:
        def dies(done: int, _total: int) -> None:
            if done:
                raise KeyboardInterrupt

        predict(*arguments, **options, progress=dies)

    with monkeypatch.context() as patch:
        patch.setattr(PixNet, "predict", killed)
        with pytest.raises(KeyboardInterrupt):
            merged.summarise()
    assert list((tmp_path / "runs").glob("work/*/fields/A.partial"))
    unbroken = _plan(tmp_path / "unbroken", merged.plan.samples, methods=("pixnet",))
    pd.testing.assert_frame_equal(merged.summarise()[0], unbroken.summarise()[0], check_exact=True)


def test_samples_that_are_not_those_of_the_protocol_are_refused(manifest: Path, tmp_path: Path) -> None:
    protocol = freeze(manifest, ("mean",))
    facts = protocol.samples["B"].model_copy(update={"counts_sha256": "0" * 64})
    changed = protocol.model_copy(update={"samples": {**protocol.samples, "B": facts}})
    with pytest.raises(DataError, match="inputs have changed since the protocol was frozen: counts of 'B'"):
        Results(tmp_path / "results").complete(MergedPlan(SmallPlan({"": changed}, tmp_path / "runs")))


@pytest.mark.parametrize("head", ["rate", "mean", "sum"])
def test_a_fields_integrals_add_up(tmp_path: Path, head: str) -> None:
    sample = array_sample("A")
    model = PixNet(_config(head)).fit([sample])
    field: ExpressionField = model.predict(sample.slide, tmp_path / "field", tissue_mask=False, dtype="float32")
    members = merged_members(sample, 2)
    values = merged_field(field, sample.regions, members)
    assert values.shape == (4, 4)
    if head == "rate":
        counts = np.asarray(field.query(sample.regions, field.head.genes).X, np.float64)
        total = counts[members[2]].sum(axis=0)
        expected = log_expectation(total[None, :-1] / total.sum(), total[None].sum(axis=1))
        assert np.allclose(values[2], expected, rtol=1e-5)
    else:
        mean = np.asarray(field.query(sample.regions).X)[members[2]].mean(axis=0)
        assert np.allclose(values[2], mean, rtol=1e-5)
    assert set(field.gene_names) <= set(GENES)
