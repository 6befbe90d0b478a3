from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pixnet.errors import DataError
from pixnet.sample.counts import Counts

GENES = pd.Index(["A", "B"])


def test_counts_without_names_are_named_by_number() -> None:
    counts = Counts(sparse.csr_matrix([[0, 1], [2, 0], [3, 4]]), GENES)
    assert counts.shape == (3, 2)
    assert counts.name(2) == "2"
    assert counts.region_names().tolist() == ["0", "1", "2"]
    assert counts.total.tolist() == [1, 2, 7]
    assert counts.matrix.dtype == np.float32
    part = counts.take(np.array([2, 0]))
    assert part.matrix.toarray().tolist() == [[3, 4], [0, 1]]
    assert part.names is None


def test_an_anndata_is_copied() -> None:
    obs, var = pd.DataFrame({"row": [7]}, index=["x"]), pd.DataFrame({"gene_ids": ["E1", "E2"]}, index=GENES)
    table = anndata.AnnData(np.array([[1.0, 0.0]]), obs=obs, var=var)
    counts = Counts.from_anndata(table)
    counts.matrix.data[:] = 5
    assert table.X.tolist() == [[1.0, 0.0]]
    assert counts.gene_ids is not None
    assert counts.gene_ids.tolist() == ["E1", "E2"]
    assert counts.obs is not None
    assert counts.obs["row"].tolist() == [7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"genes": pd.Index(["A"])}, "2 columns for 1 genes"),
        ({"names": pd.Index(["x", "y"])}, "names has 2"),
        ({"names": pd.Index(["x", "x", "y"])}, "the region 'x' occurs more than once"),
        ({"genes": pd.Index(["A", "A"])}, "the gene 'A' occurs more than once"),
        ({"gene_ids": pd.Index(["E1"])}, "gene_ids has 1"),
        ({"obs": pd.DataFrame(index=["x"])}, "obs has 1"),
    ],
)
def test_parts_must_have_the_same_length(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Counts(**{"matrix": sparse.csr_matrix(np.ones((3, 2))), "genes": GENES, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [-1.0, 0.5, float("nan"), float("inf")])
def test_an_entry_that_is_not_a_count_is_reported(bad: float) -> None:
    values = np.ones((3, 2))
    values[1, 1] = bad
    with pytest.raises(DataError, match=r"region '1' has .* of gene 'B' \(1 such values\)"):
        Counts(values, GENES)  # type: ignore[arg-type]
