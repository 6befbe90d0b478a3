from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.evaluation.made import GENES, make_sample, with_counts

from pixnet.config import GenesConfig
from pixnet.errors import DataError
from pixnet.evaluation.splits import Fold, Split, check_split, common_panel, hold_out, make_folds
from pixnet.sample.panel import GenePanel


@pytest.fixture
def samples():
    return [make_sample(name, donor) for name, donor in (("A", "p"), ("B", "p"), ("C", "q"), ("D", "r"))]


def sides(folds):
    return {fold.name: (set(fold.train), set(fold.test)) for fold in folds}


# Samples held out together


def test_samples_are_held_out_together(samples):
    (fold,) = hold_out(samples, ["C", "A", "C"])
    assert (fold.name, fold.train, fold.test) == ("C+A", ("B", "D"), ("C", "A"))
    split = fold.split(samples)
    assert [sample.id for sample in split.train] == ["B", "D"]
    assert split.test == [samples[2], samples[0]]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["E"], "`hold_out`: sample 'E' does not exist; choose from A, B, C, D"),
        (["A", "E"], "`hold_out`: sample 'E' does not exist"),
        ([], "no sample is held out, so there is nothing to score on"),
        (["A", "B", "C", "D"], "all of A, B, C, D are held out, so none is left to train on"),
    ],
)
def test_ids_that_leave_no_two_sides_are_refused(samples, ids, words):
    with pytest.raises(DataError, match=words):
        hold_out(samples, ids)


def test_ids_must_differ(samples):
    again = [*samples, make_sample("A")]
    with pytest.raises(DataError, match="two samples have the same id; the ids are A, B, C, D, A"):
        hold_out(again, ["B"])
    with pytest.raises(DataError, match="same id"):
        hold_out(samples, ["B"])[0].split(again)


def test_a_fold_needs_its_samples(samples):
    with pytest.raises(DataError, match="fold 'x' needs the sample 'Z'; the samples are A, B, C, D"):
        Fold(name="x", train=("A",), test=("Z",)).split(samples)


def test_donors_on_both_sides_are_found():
    samples = [make_sample("A", "p"), make_sample("B", "q"), make_sample("C", "q"), make_sample("D"), make_sample("E")]
    assert hold_out(samples, ["C"])[0].split(samples).shared_donors == ["q"]
    assert hold_out(samples, ["A", "E"])[0].split(samples).shared_donors == []


# Folds


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


def test_blocks_partition_each_slide_and_training_regions_keep_the_gap():
    samples = [make_sample("A", regions=60), make_sample("B", regions=40)]
    folds = make_folds(samples, "blocks:3:15")
    tested = {"A": [], "B": []}
    for fold in folds:
        split = fold.split(samples)
        for train, test in zip(split.train, split.test, strict=True):
            inner, outer = test.regions.centers_um, train.regions.centers_um
            left, top, right, bottom = fold.blocks[test.id]
            assert ((inner >= (left, top)) & (inner < (right, bottom))).all()
            gaps = np.hypot(*np.maximum(np.maximum([left, top] - outer, outer - [right, bottom]), 0).T)
            assert gaps.min() >= 15.0
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


def test_a_split_is_checked_before_any_sample_is_read():
    assert check_split("loso") == ("loso", 0, 0.0)
    assert check_split("kfold:5") == ("kfold", 5, 0.0)
    assert check_split("blocks:4:200") == ("blocks", 4, 200.0)


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("kfold:4", r"3 donors \(p, q, r\) do not make 4 folds"),
        ("kfold:1", "at least two folds"),
        ("blocks:1:10", "at least two blocks"),
        ("blocks:2:-3", "a gap of 0 um or more"),
        ("blocks:2:nan", "a gap of 0 um or more"),
        ("blocks:64:0", "can be cut into 20 blocks only"),
        ("blocks:2:500", "its gap of 500 um leaves no region of sample 'A' to train on"),
        ("loso:2", "`split='loso:2'` is not known; give loso, lodo, kfold:K or blocks:K:GAP"),
        ("kfold:two", "not known"),
        ("thirds", "not known"),
    ],
)
def test_splits_that_cannot_be_made_are_refused(samples, split, words):
    with pytest.raises(DataError, match=words):
        make_folds(samples, split)


def test_samples_of_unknown_donors_cannot_be_split_by_donor():
    with pytest.raises(DataError, match="the donor of B is not known; add donor ="):
        make_folds([make_sample("A", "p"), make_sample("B")], "lodo")


# Panels


def test_the_panel_does_not_depend_on_what_was_counted_in_the_held_out_sample():
    train, test = [make_sample("A"), make_sample("B")], make_sample("C")

    def shuffle(values):
        values[:] = values[:, ::-1] * 7

    panels = [
        common_panel(Split(train, [held]), GenesConfig(number=5, rule=rule), 50)
        for rule in ("top-mean", "highly-variable")
        for held in (test, with_counts(test, shuffle))
    ]
    assert panels[0] == panels[1]
    assert panels[2] == panels[3]
    assert panels[0].rule == "top-mean"


def test_the_panel_holds_genes_that_were_measured_in_all_samples():
    train = [make_sample("A"), make_sample("B")]
    full = common_panel(Split(train, [make_sample("C")]), GenesConfig(number=6), 50)
    without = [gene for gene in GENES if gene not in full.names[1:3]]
    panel = common_panel(Split(train, [make_sample("C", genes=without)]), GenesConfig(number=6), 50)
    # The others keep their order, and the next genes take the free places.
    assert panel.names[:4] == tuple(gene for gene in full.names if gene in without)
    assert len(panel.names) == 6
    assert set(panel.names) <= set(without)


def test_too_few_common_genes_are_refused():
    split = Split([make_sample("A")], [make_sample("B", genes=GENES[:5])])
    with pytest.raises(DataError, match="fewer than the 6 genes requested were measured in all samples"):
        common_panel(split, GenesConfig(number=6), 50)
    with pytest.raises(DataError, match="from 1 to 12"):
        common_panel(split, GenesConfig(number=13), 50)


def test_genes_that_are_named_must_be_measured():
    split = Split([make_sample("A")], [make_sample("B", genes=GENES[:5])])
    assert common_panel(split, GenesConfig(names=("G3", "G1")), 50) == GenePanel(("G3", "G1"), "list")
    with pytest.raises(DataError, match="'G7' was not measured in all held-out samples"):
        common_panel(split, GenesConfig(names=("G3", "G7")), 50)
