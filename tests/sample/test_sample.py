from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pixnet.errors import DataError
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.sample import quarters
from pixnet.slide import Slide

SLIDE = Slide.from_array(np.zeros((100, 200, 3), np.uint8), mpp=0.5)  # 100 um wide, 50 um high
CENTRES = np.array([[10.0, 20.0], [60.0, 30.0], [90.0, 45.0]])


def table(values: object, genes: str = "ABCD", regions: str = "xyz") -> anndata.AnnData:
    return anndata.AnnData(
        np.array(values, np.float64), obs=pd.DataFrame(index=list(regions)), var=pd.DataFrame(index=list(genes))
    )


def sample(
    values: object = ((0, 1, 2, 0), (3, 0, 0, 0), (5, 5, 5, 5)), centres: np.ndarray = CENTRES, **names: str
) -> Sample:
    return Sample("s1", SLIDE, Disks(centres, 10.0), table(values, **names))


def test_counts_become_sparse_and_positions_are_added() -> None:
    made = sample()
    assert isinstance(made.counts.matrix, sparse.csr_matrix)
    assert made.counts.matrix.dtype == np.float32
    assert made.to_anndata().obs["x_um"].tolist() == [10, 60, 90]
    assert made.to_anndata().obs["y_um"].tolist() == [20, 30, 45]
    assert np.array_equal(made.to_anndata().obsm["spatial"], CENTRES / 0.5)
    assert made.depth.tolist() == [3, 3, 20]
    assert (made.donor, made.platform) == (None, "unknown")


def test_the_table_of_the_caller_does_not_change() -> None:
    counts = table(np.eye(3, 4))
    Sample("s", SLIDE, Disks(CENTRES, 10.0), counts)
    assert list(counts.obs) == []
    assert isinstance(counts.X, np.ndarray)


def test_take_by_index_and_by_mask() -> None:
    made = sample()
    part = made.take(np.array([2, 0]))
    assert part.counts.region_names().tolist() == ["z", "x"]
    assert np.array_equal(part.regions.centers_um, CENTRES[[2, 0]])
    assert part.depth.tolist() == [20, 3]
    assert made.take(made.depth > 10).counts.region_names().tolist() == ["z"]


@pytest.mark.parametrize("bad", [-1, 0.5, float("nan"), float("inf")])
def test_an_entry_that_is_not_a_count_is_reported(bad: float) -> None:
    values = np.ones((3, 4))
    values[1, 2] = bad
    with pytest.raises(DataError, match=r"'s1': region 'y' has .* of gene 'C' \(1 such values\)"):
        sample(values)


@pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")
def test_names_must_be_unique() -> None:
    with pytest.raises(DataError, match="'s1': the gene 'B' occurs more than once"):
        sample(genes="ABBC")
    with pytest.raises(DataError, match="'s1': the region 'x' occurs more than once"):
        sample(regions="xyx")


def test_rows_must_match_regions() -> None:
    with pytest.raises(DataError, match="3 rows of counts for 2 regions"):
        sample(centres=CENTRES[:2])


def test_a_sample_needs_regions() -> None:
    with pytest.raises(DataError, match="'s1': has 0 regions"):
        sample().take([])


def test_regions_outside_the_slide() -> None:
    with pytest.raises(DataError, match=r"1 of 3 regions lie outside the slide, such as 'z'.*100 x 50 um.*pixel size"):
        sample(centres=np.array([[1, 1], [99, 49], [101, 20]]))
    with pytest.raises(DataError, match="x and y may be swapped"):
        sample(centres=np.array([[1, 1], [49, 99], [20, 80]]))


def test_quarters_are_of_equal_number_and_in_one_piece():
    centres = np.random.default_rng(0).random((41, 2))
    block = quarters(centres)
    assert sorted(np.bincount(block)) == [10, 10, 10, 11]
    assert centres[block < 2, 0].max() < centres[block >= 2, 0].min()
    for left in (0, 2):
        assert centres[block == left, 1].max() < centres[block == left + 1, 1].min()
