from __future__ import annotations

import numpy as np
import pytest

from pixnet.errors import DataError
from pixnet.readers.legacy_st import read_legacy_st
from pixnet.readers.manifest import read_manifest
from pixnet.regions import Squares
from pixnet.virtual import spots, write_dataset, write_legacy_st


def test_a_written_sample_reads_back(tissue, tmp_path):
    sample = tissue.measure(spots(400, 300, 50, 80), 1)
    entry = write_legacy_st(sample, tmp_path, pitch_um=80.0)
    again = read_legacy_st(
        tmp_path / entry["image"],
        tmp_path / entry["counts"],
        tmp_path / entry["spots"],
        id=entry["id"],
        donor=entry["donor"],
        spot_diameter_um=entry["spot_diameter_um"],
        spot_pitch_um=entry["spot_pitch_um"],
    )
    # The reader finds the pixel size from the pitch.
    assert again.slide.mpp == pytest.approx(1.0, rel=1e-6)
    assert again.id == sample.id
    assert again.donor == sample.donor
    assert list(again.genes) == list(sample.genes)
    order = np.lexsort(np.rint(sample.regions.centers_um).T)
    back = np.lexsort(np.rint(again.regions.centers_um).T)
    np.testing.assert_allclose(again.regions.centers_um[back], sample.regions.centers_um[order], atol=1e-4)
    assert np.array_equal(again.counts.matrix.toarray()[back], sample.counts.matrix.toarray()[order])
    np.testing.assert_array_equal(again.slide.read(0, 0, 400, 300, 1.0)[0], sample.slide.read(0, 0, 400, 300, 1.0)[0])


def test_a_data_set_is_written_with_its_manifest(tissue, tmp_path):
    regions = spots(400, 300, 50, 80)
    samples = [tissue.measure(regions, seed) for seed in (1, 2)]
    manifest = write_dataset(tmp_path, samples, pitch_um=80.0)
    again = read_manifest(manifest)
    assert [sample.id for sample in again] == [sample.id for sample in samples]
    assert [sample.depth.sum() for sample in again] == [sample.depth.sum() for sample in samples]
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_dataset(tmp_path, samples, pitch_um=80.0)
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_what_cannot_be_written_is_named(tissue, tmp_path):
    squares = tissue.measure(Squares.tiling(0, 0, 400, 300, 50.0), 1)
    with pytest.raises(DataError, match="not disks"):
        write_legacy_st(squares, tmp_path)
    sample = tissue.measure(spots(400, 300, 50, 80), 1)
    with pytest.raises(DataError, match="square lattice"):
        write_legacy_st(sample, tmp_path, pitch_um=77.0)
    with pytest.raises(DataError, match="ids"):
        write_dataset(tmp_path, [sample, sample], pitch_um=80.0)
    assert not list(tmp_path.iterdir())
