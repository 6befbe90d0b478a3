from __future__ import annotations

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from tests.evaluation.made import held_out, make_sample

from pixnet.errors import DataError
from pixnet.evaluation.held_out import HeldOut
from pixnet.evaluation.imported import Imported
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.panel import GenePanel


@pytest.fixture
def held():
    return held_out()


def table_of(held, names=None, column=True):
    rows = [str(name) for sample in held.samples for name in sample.counts.region_names()]
    owners = [held.samples[number].id for number in held.owner]
    if not column:
        rows = [f"{owner}:{row}" for owner, row in zip(owners, rows, strict=True)]
    obs = pd.DataFrame({"sample": owners} if column else {}, index=rows)
    values = np.random.default_rng(0).normal(size=held.observed.shape).astype(np.float32)
    return anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=list(names or held.panel.names)))


def written(table, tmp_path):
    path = tmp_path / "theirs.h5ad"
    table.write_h5ad(path)
    return Imported("theirs", path)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize("column", [True, False])
def test_rows_and_columns_are_found_by_name(held, tmp_path, column):
    table = table_of(held, column=column)
    order = np.random.default_rng(1).permutation(table.n_obs)
    mixed = written(table[order, ::-1].copy(), tmp_path)
    np.testing.assert_array_equal(mixed.values_for(held), table.X)
    assert len(mixed.facts["sha256"]) == 64


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_more_regions_and_genes_than_needed_do_no_harm(held, tmp_path):
    wide = held_out("ABC", ("G1", *held.panel.names))
    table = table_of(wide)
    np.testing.assert_array_equal(written(table, tmp_path).values_for(held), table.X[:40, 1:])


def test_genes_are_found_by_their_ids(tmp_path):
    sample = make_sample("A")
    ids = [f"ENSG{number}" for number in range(12)]
    counts = Counts(sample.counts.matrix, sample.genes, ids, sample.counts.names)
    held = HeldOut([Sample("A", sample.slide, sample.regions, counts)], GenePanel(("G3", "G1"), "list"), 50)
    table = table_of(held, names=["x", "y"])
    table.var["gene_ids"] = ["ENSG3.7", "ENSG1"]
    np.testing.assert_array_equal(written(table, tmp_path).values_for(held), table.X)


@pytest.mark.parametrize("nothing", ["", np.nan, None])
def test_a_gene_without_an_id_matches_no_other_gene(tmp_path, nothing):
    held = held_out("A")  # its genes have no ids
    table = table_of(held)
    table.var_names = [*table.var_names[:-1], "BAR"]
    table.var["gene_ids"] = [*(f"ENSG{number}" for number in range(table.n_vars - 1)), nothing]
    with pytest.raises(DataError, match="lacks 1 of 3 genes: G2"):
        written(table, tmp_path).values_for(held)


def test_regions_of_few_counts_may_be_missing(tmp_path):
    held = held_out("A", min_counts=int(np.median(held_out("A").total)))
    table = table_of(held)
    values = written(table[held.enough].copy(), tmp_path).values_for(held)
    np.testing.assert_array_equal(values[held.enough], table.X[held.enough])
    assert np.isnan(values[~held.enough]).all()


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table[:, :1].copy(), "lacks 2 of 3 genes: G5, G2. Predict the genes that the protocol lists"),
        (lambda table: table[1:].copy(), "lacks 1 regions that are scored, such as 'r0' of 'A'"),
        (lambda table: table[:20].copy(), "has no region of sample 'B'; it has A"),
        (lambda table: anndata.concat([table, table[:2]]), "names 2 regions twice"),
    ],
)
def test_tables_that_lack_regions_or_genes_are_refused(held, tmp_path, change, words):
    with pytest.raises(DataError, match=words) as error:
        written(change(table_of(held)), tmp_path).values_for(held)
    assert "theirs.h5ad (imported as theirs): " in str(error.value)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_values_that_are_not_finite_are_refused(held, tmp_path):
    table = table_of(held)
    table.X[[3, 25]] = np.nan
    with pytest.raises(DataError, match="2 regions have values that are not finite, such as 'r3' of sample 'A'"):
        written(table, tmp_path).values_for(held)


def test_files_that_cannot_be_used_are_refused(held, tmp_path):
    (tmp_path / "text.h5ad").write_text("no table")
    for path in (tmp_path / "none.h5ad", tmp_path / "text.h5ad"):
        with pytest.raises(DataError, match=rf"{path} \(imported as x\): cannot be read as \.h5ad"):
            Imported("x", path)
    bare = table_of(held, column=False)
    bare.obs_names = [f"r{number}" for number in range(40)]
    with pytest.raises(DataError, match="does not say of which sample each region is"):
        written(bare, tmp_path)
    empty = anndata.AnnData(obs=bare.obs, var=bare.var)
    with pytest.raises(DataError, match="has no X"):
        written(empty, tmp_path)


def test_an_import_needs_a_name_and_a_file(tmp_path):
    for text in ("theirs", "=file.h5ad", "theirs="):
        with pytest.raises(DataError, match=r"give NAME=FILE\.h5ad"):
            Imported.parse(text)


def test_predictions_that_are_in_another_file_are_not_read(held, tmp_path):
    table = table_of(held)
    written(table, tmp_path)
    with h5py.File(tmp_path / "theirs.h5ad", "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink("other.h5", "X")
    with pytest.raises(DataError, match="X is not in this file but in another one"):
        Imported("theirs", tmp_path / "theirs.h5ad")
