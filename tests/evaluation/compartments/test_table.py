"""From correlations to shares of genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pixnet.evaluation.compartments.correlations import Between
from pixnet.evaluation.compartments.markers import markers
from pixnet.evaluation.compartments.table import (
    REGIONS,
    compartment_results,
    compartment_rows,
    gene_table,
    methods_of,
    wilson_interval,
)
from pixnet.scoring.table import Scores

GENES = ("EPCAM", "COL1A1", "CD74", "OTHER", "UNCLEAR")


@pytest.fixture
def table():
    r = np.array([0.4, -0.3, -0.2, 0.2, 0.05])[:, None] * np.array([1.0, -1.0])
    measured = Between(r, r - 0.1, r + 0.1)
    predicted = {"follows": 0.5 * r, "flat": np.zeros_like(r), "inverted": -r, "half": np.abs(r)}
    parts = [gene_table(GENES, measured, predicted).assign(fold="F", sample=name) for name in ("A", "B")]
    return pd.concat(parts, ignore_index=True)


def test_the_markers_have_compartments_and_sources():
    assert len(markers()) == 16
    assert {marker.compartment for marker in markers().values()} == {"epithelium", "stroma", "immune"}
    assert markers()["ERBB2"].compartment == "epithelium"
    assert all("et al." in marker.source or "and" in marker.source for marker in markers().values())


def test_a_row_is_a_gene_and_a_stain(table):
    assert len(table) == 2 * 2 * len(GENES)
    assert methods_of(table) == ["follows", "flat", "inverted", "half"]
    first = table[(table["sample"] == "A") & (table["stain"] == "nuclear density")].set_index("gene")
    assert first["compartment"].tolist() == ["epithelium", "stroma", "immune", "", ""]
    assert first["clear"].tolist() == [True, True, True, True, False]
    assert first.loc["EPCAM", "within follows"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("method", "share", "rank"), [("follows", 1.0, 1.0), ("inverted", 0.0, -1.0), ("flat", 0.0, np.nan)]
)
def test_a_method_that_follows_passes_and_one_that_is_flat_or_inverted_does_not(table, method, share, rank):
    scores = Scores(compartment_rows(table))
    for stain in ("nuclear density", "eosin"):
        where = {"regions": REGIONS, "target": f"all genes, {stain}"}
        assert scores.value(method, "right_sign", **where) == share
        assert scores.value(method, "rank_correlation", **where) == pytest.approx(rank, nan_ok=True)
        assert scores.value(method, "genes", **where) == 8  # four clear genes in each of two samples
        assert scores.value(method, "right", **where) == 8 * share


def test_shares_are_of_clear_genes_with_an_interval_over_different_genes(table):
    found = compartment_results(Scores(compartment_rows(table)))
    half = found["half"]["markers, nuclear density"]
    assert (half["right"], half["genes"]) == (2, 6)
    assert half["right_sign"] == pytest.approx(1 / 3)
    assert half["interval"] == pytest.approx(list(wilson_interval(1 / 3, 3)))
    assert found["half"]["all genes, nuclear density"]["right"] == 4


def test_nothing_clear_is_no_share(table):
    scores = Scores(compartment_rows(table.assign(clear=False)))
    where = {"regions": REGIONS, "target": "markers, eosin"}
    assert np.isnan(scores.entry(method="follows", metric="right_sign", **where)).all()
    assert scores.value("follows", "genes", **where) == 0


def test_wilson_interval():
    # Newcombe 1998, Stat Med 17:857, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for right, number, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson_interval(right / number, number) == pytest.approx((low, high), abs=1e-4)
    assert np.isnan(wilson_interval(0.5, 0)).all()
