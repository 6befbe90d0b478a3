from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pixnet.errors import DataError, PixNetWarning
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import join_genes, merge_genes, without_version
from pixnet.sample.panel import GenePanel, choose_panel, panel_counts
from pixnet.slide import Slide


@pytest.mark.parametrize(
    ("given", "stem"),
    [
        ("ENSG00000141736.15", "ENSG00000141736"),
        ("ENSMUSG1", "ENSMUSG1"),
        ("A.1", "A.1"),
        ("ENSG1.x", "ENSG1.x"),
        ("ENSA.1", "ENSA.1"),
        ("ENSG00000002586.20_PAR_Y", "ENSG00000002586"),
    ],
)
def test_only_ensembl_ids_lose_their_version(given: str, stem: str) -> None:
    assert without_version(given) == stem


def test_columns_of_the_same_name_are_summed_and_counted() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 2, 4, 0], [0, 0, 1, 3]], np.float32))
    merged, names, ids, notes = merge_genes(matrix, ["B", "A", "B", ""], ["E1.2", "E2", "E3", "ENSG4.1"])
    assert names.tolist() == ["B", "A", "ENSG4"]
    assert merged.toarray().tolist() == [[5, 2, 0], [1, 0, 3]]
    assert ids is not None
    assert ids.tolist() == ["E1.2", "E2", "ENSG4"]
    assert notes == ["1 column added to others of the same gene"]


def test_nothing_to_merge() -> None:
    matrix = sparse.csr_matrix(np.eye(2, dtype=np.float32))
    merged, names, ids, notes = merge_genes(matrix, ["A", "B"])
    assert merged.toarray().tolist() == np.eye(2).tolist()
    assert (names.tolist(), ids, notes) == (["A", "B"], None, [])


def test_columns_without_any_name_are_left_out_and_counted() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 2, 3]], np.float32))
    merged, names, ids, notes = merge_genes(matrix, ["A", "", "C"], ["ENSG1", "", "ENSG3"])
    assert (names.tolist(), list(ids if ids is not None else []), merged.toarray().tolist()) == (
        ["A", "C"],
        ["ENSG1", "ENSG3"],
        [[1, 3]],
    )
    assert notes == ["1 column without a name or an id of the gene left out"]
    with pytest.raises(DataError, match="none of its 2 genes has a name or an id"):
        merge_genes(sparse.csr_matrix((1, 2)), ["", ""])


def with_genes(name: str, genes: list[str], ids: list[str] | None = None) -> Sample:
    counts = Counts(
        sparse.csr_matrix(np.arange(1.0, 1 + len(genes))[None]), pd.Index(genes), None if ids is None else pd.Index(ids)
    )
    return Sample(name, Slide.from_array(np.zeros((20, 20, 3), np.uint8), 1.0), Disks([[10.0, 10.0]], 4.0), counts)


def test_samples_are_joined_by_id_then_by_symbol() -> None:
    first = with_genes("first", ["ERBB2", "GAPDH"], ["ENSG1", "ENSG2"])
    renamed = with_genes("renamed", ["HER2", "ACTB"], ["ENSG1", "ENSG3"])
    by_id = with_genes("by_id", ["ENSG2", "NEW"])
    joined = join_genes([first, renamed, by_id])
    assert joined[0] is first
    assert joined[1].genes.tolist() == ["ERBB2", "ACTB"]
    assert joined[2].genes.tolist() == ["GAPDH", "NEW"]
    assert joined[1].counts.matrix.toarray().tolist() == [[1, 2]]
    assert renamed.genes.tolist() == ["HER2", "ACTB"]


def test_columns_of_the_same_gene_are_summed_with_a_warning() -> None:
    first = with_genes("first", ["ERBB2", "GAPDH"], ["ENSG1", "ENSG2"])
    double = with_genes("double", ["GAPDH", "ENSG2"])
    with pytest.warns(PixNetWarning, match="columns of the same gene were summed: 1 in 'double'"):
        joined = join_genes([first, double])
    assert joined[1].genes.tolist() == ["GAPDH"]
    assert joined[1].counts.matrix.toarray().tolist() == [[3]]
    assert double.counts.matrix.toarray().tolist() == [[1, 2]]


def test_ids_of_any_version_are_joined() -> None:
    versioned = with_genes("versioned", ["ENSG00000140000.1", "ENSG00000140001.2"])
    visium = with_genes("visium", ["ERBB2", "CD74"], ["ENSG00000140000", "ENSG00000140001.7"])
    for samples in ([visium, versioned], [versioned, visium]):
        joined = join_genes(samples)
        assert [sample.genes.tolist() for sample in joined] == [["ERBB2", "CD74"]] * 2
    other = with_genes("other", ["ENSG00000140001", "ENSG00000140000.3"])
    assert join_genes([versioned, other])[1].genes.tolist() == ["ENSG00000140001.2", "ENSG00000140000.1"]
    assert join_genes([versioned])[0] is versioned


def test_a_panel_of_ids_is_measured_under_any_version_and_under_its_symbols() -> None:
    panel = GenePanel(("ENSG00000140001.9", "ENSG00000140000"), "list")
    symbols = with_genes("symbols", ["ERBB2", "CD74"], ["ENSG00000140000", "ENSG00000140001"])
    assert panel_counts(symbols, panel).tolist() == [[2, 1]]
    assert panel_counts(with_genes("ids", ["ENSG00000140000.1", "ENSG00000140001.2"]), panel).tolist() == [[2, 1]]
    assert choose_panel([symbols], ["ENSG00000140001.9"]).names == ("ENSG00000140001.9",)
