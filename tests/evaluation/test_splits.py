from __future__ import annotations

import pytest
from tests.evaluation.made import GENES, make_sample, with_counts

from pixnet.config import GenesConfig
from pixnet.errors import DataError
from pixnet.evaluation.splits import Split, common_panel
from pixnet.sample.panel import GenePanel

# Splits


def test_a_split_sets_samples_apart():
    samples = [make_sample(name) for name in "ABC"]
    split = Split.of(samples, ["C", "A", "C"])
    assert [sample.id for sample in split.train] == ["B"]
    assert [sample.id for sample in split.test] == ["C", "A"]


@pytest.mark.parametrize(
    ("hold_out", "words"),
    [(["D"], "no sample 'D'"), ([], "nothing to score on"), (["A", "B"], "no sample is left to train on")],
)
def test_a_split_without_two_sides_is_refused(hold_out, words):
    with pytest.raises(DataError, match=words):
        Split.of([make_sample("A"), make_sample("B")], hold_out)


def test_ids_must_differ():
    with pytest.raises(DataError, match="same id"):
        Split.of([make_sample("A"), make_sample("A"), make_sample("B")], ["B"])


def test_donors_on_both_sides_are_found():
    samples = [make_sample("A", "p"), make_sample("B", "q"), make_sample("C", "q"), make_sample("D"), make_sample("E")]
    assert Split.of(samples, ["C"]).shared_donors == ["q"]
    assert Split.of(samples, ["A", "E"]).shared_donors == []


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


def test_the_panel_holds_what_all_samples_were_measured_for():
    train = [make_sample("A"), make_sample("B")]
    everything = common_panel(Split(train, [make_sample("C")]), GenesConfig(number=6), 50)
    without = [gene for gene in GENES if gene not in everything.names[1:3]]
    panel = common_panel(Split(train, [make_sample("C", genes=without)]), GenesConfig(number=6), 50)
    # The order of the others stays, and the next ones take the places.
    assert panel.names[:4] == tuple(gene for gene in everything.names if gene in without)
    assert len(panel.names) == 6
    assert set(panel.names) <= set(without)


def test_too_few_common_genes_are_refused():
    split = Split([make_sample("A")], [make_sample("B", genes=GENES[:5])])
    with pytest.raises(DataError, match="fewer than the requested 6 genes"):
        common_panel(split, GenesConfig(number=6), 50)
    with pytest.raises(DataError, match="from 1 to 12"):
        common_panel(split, GenesConfig(number=13), 50)


def test_named_genes_must_be_measured():
    split = Split([make_sample("A")], [make_sample("B", genes=GENES[:5])])
    assert common_panel(split, GenesConfig(names=("G3", "G1")), 50) == GenePanel(("G3", "G1"), "list")
    with pytest.raises(DataError, match="'G7' was not measured in all held-out samples"):
        common_panel(split, GenesConfig(names=("G3", "G7")), 50)
