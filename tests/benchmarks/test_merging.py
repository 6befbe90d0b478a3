"""Neighbouring regions merged into larger ones."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmarks.accuracy.merged_scores import merged_scores, merged_table
from benchmarks.accuracy.merging import merged_centers, merged_field, merged_logs, merged_members, merged_observed
from pixnet.evaluation.folds import make_folds
from tests.evaluation.made import GENES, make_sample, with_counts

from pixnet.config import Config
from pixnet.errors import DataError
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.report import number
from pixnet.evaluation.runner import run
from pixnet.expression import log_expectation, normalise
from pixnet.field import ExpressionField
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.panel import GenePanel


def array_sample(name: str, columns: int = 5, rows: int = 4, first: tuple[int, int] = (7, 3)) -> Sample:
    """Make a sample whose disks lie on an array whose places do not begin at zero."""
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


def test_the_way_that_makes_most_blocks_is_taken() -> None:
    sample = array_sample("A")
    usable = np.ones(20, bool)
    usable[[0, 5]] = False  # the first column's upper half: blocks must begin in the second
    members = merged_members(sample, 2, usable)
    assert len(members) == 4
    assert not np.isin([0, 5], members).any()


def test_what_was_measured_adds_up() -> None:
    sample, panel = array_sample("A"), GenePanel(("G0", "G5"), "list")
    members = merged_members(sample, 2)
    counts = sample.counts.matrix.toarray()
    expected = normalise(counts[members[1]].sum(axis=0)[None, [0, 5]], [counts[members[1]].sum()])
    assert np.allclose(merged_observed(sample, panel, members)[1], expected[0])


def test_shares_are_averaged_before_the_logarithm() -> None:
    values = np.log1p(np.array([[0.0], [10.0], [20.0], [30.0], [99.0]]))
    assert merged_logs(values, np.array([[0, 1, 2, 3]])) == pytest.approx(np.log1p(15.0))


def test_what_cannot_be_merged_is_refused() -> None:
    sample = array_sample("A")
    with pytest.raises(DataError, match="does not say where in an array"):
        merged_members(make_sample("B"), 2)
    with pytest.raises(DataError, match="changes nothing"):
        merged_members(sample, 1)
    with pytest.raises(DataError, match="no 5 x 5 regions"):
        merged_members(sample, 5)
    with pytest.raises(DataError, match="none of its regions"):
        merged_members(sample, 2, np.zeros(20, bool))


def _config(head: str) -> Config:
    network = {
        "mpp": 2.0,
        "head": head,
        "surroundings_um": [],
        "encoder": {"name": "test_resnet", "weights": "random"},
        "decoder": {"channels": [4, 4, 4, 4]},
    }
    training = {"steps": 2, "tiles": 2, "views": 1, "validation": "none", "min_counts": 50, "tile_um": 64.0}
    return Config.of({"genes": {"number": 4}, "network": network, "training": training})


@pytest.mark.parametrize("head", ["rate", "mean"])
def test_an_evaluation_is_scored_again_from_its_cells(tmp_path: Path, head: str) -> None:
    samples = [array_sample(name) for name in "AB"]
    protocol = Protocol.freeze(samples, make_folds(samples, "loso"), ["pixnet", "mean"], _config(head))
    with pytest.raises(DataError, match="is not done; run the evaluation first"):
        merged_scores(protocol, samples, tmp_path / "cells")
    run(protocol, samples, tmp_path / "out", cells=tmp_path / "cells")
    found: dict[str, Any] = merged_scores(protocol, samples, tmp_path / "cells")
    assert found["regions"] == [4, 4]
    assert set(found["methods"]) == {"pixnet", "mean"}
    assert found["methods"]["mean"]["pcc_m"] == 0.0
    assert merged_scores(protocol, samples, tmp_path / "cells") == found
    table = merged_table(found)
    assert [row[0] for row in table.rows] == list(found["methods"])
    assert table.rows[0][2] == number(found["methods"]["pixnet"]["mse"])


def test_other_blocks_are_read_from_the_field_anew(tmp_path: Path) -> None:
    samples = [array_sample(name) for name in "AB"]
    protocol = Protocol.freeze(samples, make_folds(samples, "loso"), ["pixnet"], _config("rate"))
    run(protocol, samples, tmp_path / "out", cells=tmp_path / "cells")
    shutil.copytree(tmp_path / "cells", tmp_path / "fresh")
    merged_scores(protocol, samples, tmp_path / "cells")
    # The same regions at mirrored places of the array: the protocol and its cells do not change, the blocks do.
    mirrored = [
        dataclasses.replace(one, counts=dataclasses.replace(one.counts, obs=-one.counts.obs)) for one in samples
    ]
    assert not np.array_equal(merged_members(mirrored[0], 2), merged_members(samples[0], 2))
    found = merged_scores(protocol, mirrored, tmp_path / "cells")
    assert found == merged_scores(protocol, mirrored, tmp_path / "fresh")


def test_a_reading_that_was_killed_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pixnet.model import PixNet

    samples = [array_sample(name) for name in "AB"]
    protocol = Protocol.freeze(samples, make_folds(samples, "loso"), ["pixnet"], _config("rate"))
    run(protocol, samples, tmp_path / "out", cells=tmp_path / "cells")
    shutil.copytree(tmp_path / "cells", tmp_path / "unbroken")
    predict = PixNet.predict

    def killed(*arguments: Any, **options: Any) -> None:
        def dies(done: int, _total: int) -> None:
            if done:
                raise KeyboardInterrupt

        predict(*arguments, **options, progress=dies)

    with monkeypatch.context() as patch:
        patch.setattr(PixNet, "predict", killed)
        with pytest.raises(KeyboardInterrupt):
            merged_scores(protocol, samples, tmp_path / "cells")
    assert list((tmp_path / "cells").glob("work/*/fields/A.partial"))
    found = merged_scores(protocol, samples, tmp_path / "cells")
    assert found == merged_scores(protocol, samples, tmp_path / "unbroken")


def test_samples_that_are_not_those_of_the_protocol_are_refused(tmp_path: Path) -> None:
    samples = [array_sample(name) for name in "AB"]
    protocol = Protocol.freeze(samples, make_folds(samples, "loso"), ["mean"], _config("rate"))
    run(protocol, samples, tmp_path / "out", cells=tmp_path / "cells")

    def one_more(values: np.ndarray) -> None:
        values[3, 2] += 1

    with pytest.raises(DataError, match="inputs have changed since the protocol was frozen: counts of 'B'"):
        merged_scores(protocol, [samples[0], with_counts(samples[1], one_more)], tmp_path / "cells")


@pytest.mark.parametrize("head", ["rate", "mean", "sum"])
def test_a_fields_integrals_add_up(tmp_path: Path, head: str) -> None:
    from pixnet.model import PixNet

    sample = array_sample("A")
    model = PixNet(_config(head)).fit([sample])
    field: ExpressionField = model.predict(sample.slide, tmp_path / "field", tissue_mask=False, dtype="float32")
    members = merged_members(sample, 2)
    found = merged_field(field, sample.regions, members)
    assert found.shape == (4, 4)
    if head == "rate":
        counts = np.asarray(field.query(sample.regions, field.head.genes).X, np.float64)
        one = counts[members[2]].sum(axis=0)
        assert np.allclose(found[2], log_expectation(one[None, :-1] / one.sum(), one[None].sum(axis=1)), rtol=1e-5)
    else:
        one = np.asarray(field.query(sample.regions).X)[members[2]].mean(axis=0)
        assert np.allclose(found[2], one, rtol=1e-5)
    assert set(field.gene_names) <= set(GENES)
