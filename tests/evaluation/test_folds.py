from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pixnet.evaluation.folds import Fold, hold_out, make_folds
from tests.evaluation.made import make_sample

from pixnet.errors import DataError


@pytest.fixture
def samples():
    return [make_sample(name, donor) for name, donor in (("A", "p"), ("B", "p"), ("C", "q"), ("D", "r"))]


def sides(folds):
    return {fold.name: (set(fold.train), set(fold.test)) for fold in folds}


def test_samples_are_held_out_together(samples):
    (fold,) = hold_out(samples, ["C", "A", "C"])
    assert (fold.name, fold.train, fold.test) == ("C+A", ("B", "D"), ("C", "A"))
    split = fold.split(samples)
    assert [sample.id for sample in split.train] == ["B", "D"]
    assert split.test == [samples[2], samples[0]]


def test_each_section_is_left_out_once(samples):
    folds = make_folds(samples, "loso")
    assert [fold.test for fold in folds] == [("A",), ("B",), ("C",), ("D",)]
    assert all({*fold.train, *fold.test} == set("ABCD") and len(fold.train) == 3 for fold in folds)


def test_each_donor_is_left_out_once_and_is_never_on_both_sides(samples):
    folds = make_folds(samples, "lodo")
    assert sides(folds) == {"p": ({"C", "D"}, {"A", "B"}), "q": ({*"ABD"}, {"C"}), "r": ({*"ABC"}, {"D"})}
    assert all(not fold.split(samples).shared_donors for fold in folds)


def test_donors_are_grouped_into_folds_of_about_equal_size():
    sizes = {"A": 30, "B": 6, "C": 12, "D": 5, "E": 7}
    samples = [make_sample(name, name.lower(), regions=count) for name, count in sizes.items()]
    folds = make_folds(samples, "kfold:2")
    assert sides(folds) == {"group 1": (set("BCDE"), {"A"}), "group 2": ({"A"}, set("BCDE"))}
    again = make_folds(samples[::-1], "kfold:2")
    assert sides(again) == sides(folds)


def test_blocks_partition_each_slide_and_keep_their_distance():
    samples = [make_sample("A", regions=60), make_sample("B", regions=40)]
    folds = make_folds(samples, "blocks:3:15")
    tested = {"A": [], "B": []}
    for fold in folds:
        split = fold.split(samples)
        for train, test in zip(split.train, split.test, strict=True):
            inner, outer = test.regions.centers_um, train.regions.centers_um
            left, top, right, bottom = fold.blocks[test.id]
            assert ((inner >= (left, top)) & (inner < (right, bottom))).all()
            away = np.hypot(*np.maximum(np.maximum([left, top] - outer, outer - [right, bottom]), 0).T)
            assert away.min() >= 15.0
            assert np.hypot(*(inner[:, None] - outer[None]).T).min() >= 15.0
            tested[test.id] += list(test.counts.region_names())
    assert {name: sorted(rows) for name, rows in tested.items()} == {
        sample.id: sorted(sample.counts.region_names()) for sample in samples
    }


def test_regions_without_names_keep_their_numbers():
    sample = make_sample("A")
    nameless = dataclasses.replace(sample, counts=dataclasses.replace(sample.counts, names=None))
    names = [fold.split([nameless]).test[0].counts.region_names() for fold in make_folds([nameless], "blocks:2:0")]
    assert sorted(int(name) for part in names for name in part) == list(range(20))


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("kfold:4", r"3 donors \(p, q, r\) do not make 4 folds"),
        ("kfold:1", "two folds at least"),
        ("blocks:1:10", "two blocks at least"),
        ("blocks:2:-3", "a gap of 0 um or more"),
        ("blocks:2:nan", "a gap of 0 um or more"),
        ("blocks:64:0", "can be cut into 20 blocks only"),
        ("blocks:2:500", "its gap of 500 um leaves no region of sample 'A' to train on"),
        ("loso:2", "`split='loso:2'` is not known; give loso, lodo, kfold:K or blocks:K:GAP"),
        ("kfold:two", "not known"),
        ("thirds", "not known"),
    ],
)
def test_splits_that_cannot_be_made(samples, split, words):
    with pytest.raises(DataError, match=words):
        make_folds(samples, split)


def test_unknown_donors_cannot_be_split():
    with pytest.raises(DataError, match="the donor of B is not known; write donor ="):
        make_folds([make_sample("A", "p"), make_sample("B")], "lodo")


def test_a_held_out_id_that_does_not_exist_is_refused(samples):
    with pytest.raises(DataError, match="no sample 'Z' to hold out; there are A, B, C, D"):
        hold_out(samples, ["A", "Z"])
    with pytest.raises(DataError, match="needs the sample 'Z'; there are A, B, C, D"):
        Fold(name="x", train=("A",), test=("Z",)).split(samples)
