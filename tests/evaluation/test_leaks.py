"""No method learns anything from what was counted in the test, whatever the split.

The counts of the test side are permuted and scaled; genes, settings and the predictions for the test regions must stay
the same to the last bit. That they do change with a count of the training side shows that the test can fail.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from tests.evaluation.made import SHORT_TRAINING, SMALLEST_NETWORK

from pixnet.config import Config
from pixnet.evaluation.methods import METHODS, Options, run_method
from pixnet.evaluation.protocol import Protocol, side_hashes
from pixnet.evaluation.splits import hold_out, make_folds
from pixnet.sample.counts import Counts
from pixnet.virtual import VirtualTissue, spots

WIDTH_UM, HEIGHT_UM = 260.0, 200.0
SPLITS = ("hold-out", "loso", "lodo", "kfold:2", "blocks:2:20")
CONFIG = Config.from_dict(
    {
        "network": SMALLEST_NETWORK,
        "training": {**SHORT_TRAINING, "steps": 3, "evaluate_every": 1, "min_counts": 20},
        "genes": {"number": 5},
    }
)


@cache
def samples():
    """Three slides of two donors."""
    made = []
    for name, seed, donor in (("A", 1, 11), ("B", 2, 12), ("C", 3, 12)):
        tissue = VirtualTissue.generate("breast", seed, donor, WIDTH_UM, HEIGHT_UM)
        made.append(dataclasses.replace(tissue.measure(spots(WIDTH_UM, HEIGHT_UM, 40.0, 50.0), seed), id=name))
    return made


@cache
def first_fold(split):
    return hold_out(samples(), ["A"])[0] if split == "hold-out" else make_folds(samples(), split)[0]


def changed(fold, side):
    """Permute and scale the counts of one side of a fold: in a sample cut into blocks, those of its regions there.

    All counts of the test side change; of the training side, those of one sample.
    """
    parts = getattr(fold.split(samples()), side)
    own = {part.id: set(part.counts.region_names()) for part in (parts if side == "test" else parts[:1])}
    rng, result = np.random.default_rng(5), []
    for sample in samples():
        values = sample.counts.matrix.toarray()
        rows = np.flatnonzero([name in own.get(sample.id, ()) for name in sample.counts.region_names()])
        values[rows] = 3 * values[rng.permutation(rows)][:, rng.permutation(values.shape[1])]
        counts = Counts(values, sample.genes, sample.counts.gene_ids, sample.counts.names)
        result.append(dataclasses.replace(sample, counts=counts))
    return result


def learned(method, fold, given, folder):
    """Return all that results from a method: frozen fold and settings, its choices, its predictions, its key."""
    frozen = Protocol.freeze(given, [fold], [method], CONFIG)
    (fold,) = frozen.folds
    split = fold.split(given)
    options = Options(device="cpu")
    values, chosen = run_method(method, split, fold.panel, frozen.config_of(0), folder, options)
    key = frozen.run(method, fold, 0, side_hashes(given, [split])[0]).key
    return {"fold": fold, "methods": frozen.methods, "chosen": chosen, "values": values, "key": key}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run a method on the samples as they are, or with the counts of one side changed.

    Splits that give the same fold are run once.
    """
    known = []

    def run(method, split, side=None):
        fold = first_fold(split)
        unnamed = fold.model_copy(update={"name": ""})
        for key, found in known:
            if key == (method, unnamed, side):
                return found
        given = samples() if side is None else changed(fold, side)
        found = learned(method, unnamed, given, tmp_path_factory.mktemp("work"))
        known.append(((method, unnamed, side), found))
        return found

    return run


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("split", SPLITS)
def test_the_counts_of_the_test_change_nothing(outcome, method, split):
    plain, other = outcome(method, split), outcome(method, split, "test")
    for part in ("fold", "methods", "chosen", "key"):
        assert other[part] == plain[part], part
    assert len(plain["values"]) == len(first_fold(split).test)
    for before, after in zip(plain["values"], other["values"], strict=True):
        assert np.isfinite(before).all()
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("split", ["loso", "blocks:2:20"])
def test_the_counts_of_the_training_change_genes_keys_and_predictions(outcome, method, split):
    plain, other = outcome(method, split), outcome(method, split, "train")
    assert other["key"] != plain["key"]
    assert other["fold"].genes != plain["fold"].genes
    assert any((after != before).any() for before, after in zip(plain["values"], other["values"], strict=True))


@pytest.mark.parametrize("split", SPLITS)
def test_the_change_is_of_all_counts_of_its_side_and_no_others(split):
    fold = first_fold(split)
    before = fold.split(samples())
    for side, still in (("test", "train"), ("train", "test")):
        after = fold.split(changed(fold, side))
        for old, new in zip(getattr(before, still), getattr(after, still), strict=True):
            assert (old.counts.matrix != new.counts.matrix).nnz == 0
        pairs = list(zip(getattr(before, side), getattr(after, side), strict=True))
        for old, new in pairs[:1] if side == "train" else pairs:
            assert (old.counts.matrix != new.counts.matrix).sum(axis=1).all()
