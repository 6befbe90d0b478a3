from __future__ import annotations

import json

import pytest
from pixnet.evaluation.folds import hold_out, make_folds
from pixnet.evaluation.record import record_of
from tests.evaluation.made import config, make_sample

from pixnet.evaluation.protocol import Protocol


@pytest.fixture
def samples():
    return [make_sample(name, donor) for name, donor in (("A", "p"), ("B", "q"), ("C", "r"))]


def record(samples, folds):
    return record_of(Protocol.freeze(samples, folds, ["ridge", "mean"], config()), samples)


def test_what_was_done_is_told(samples):
    told = record(samples, make_folds(samples, "loso"))
    assert "no donor is on both sides of a fold" in told["donor_note"]
    assert len(told["folds"]) == 3
    assert "train" not in told
    told = record(samples, hold_out(samples, ["C"]))
    assert (told["train"], told["test"]) == (["A", "B"], ["C"])
    blocks = record(samples, make_folds(samples, "blocks:2:10"))
    assert blocks["donors_on_both_sides"] == ["p", "q", "r"]
    json.dumps(blocks)


def test_the_code_that_was_run_is_told(samples):
    frozen = Protocol.freeze(samples, make_folds(samples, "loso"), ["mean"], config())
    old = frozen.methods["mean"].model_copy(update={"code_sha256": "0" * 64})
    told = record_of(frozen.model_copy(update={"methods": {"mean": old}}), samples)
    assert told["methods"]["mean"]["code_sha256"] == frozen.methods["mean"].code_sha256
