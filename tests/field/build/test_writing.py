"""The pyramid: every coarser pixel is the mean of its four, weighted by their valid shares."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pixnet.field import LinearHead
from pixnet.field.build import writing
from pixnet.field.build.writing import Block, create_arrays, open_levels, pyramid, write_block, write_coarser_levels
from pixnet.grid import Grid

SHAPE, SIDE = (61, 93), 32  # pixels; halved five times, odd in every other step


def quarters(values: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = values.shape[-2:]
    even = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, height % 2), (0, width % 2)])
    return even.reshape(*even.shape[:-2], even.shape[-2] // 2, 2, -1, 2).sum(axis=(-3, -1))


# Slides that tests before left open may be collected here.
@pytest.mark.filterwarnings("error", "default::ResourceWarning")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_level_is_the_weighted_mean_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    for name, small in (("_SHARD", 16), ("_CHUNK", 8), ("_COARSEST", 4)):
        monkeypatch.setattr(writing, name, small)
    rng = np.random.default_rng(0)
    valid = rng.choice([0, 1 / 16, 5 / 16, 1], SHAPE).astype(np.float16)
    valid[:SIDE, :SIDE] = 0  # a block without data
    valid[40:46, 50:60] = 0
    valid[-5:] *= np.float16(1e-6)  # hardly more than nothing
    sizes = np.array([1e-3, 1.0, 3e4])[:, None, None]
    latent = (rng.normal(size=(3, *SHAPE)).clip(-1, 1) * sizes * (valid > 0)).astype(dtype)
    head = LinearHead("mean", ("A",), np.ones((3, 1)), np.zeros(1), "u")
    create_arrays(tmp_path / "f", Grid(0, 0, 2.0, *SHAPE), SIDE, head, np.dtype(dtype))
    levels = open_levels(tmp_path / "f")
    assert [level.valid.shape for level in levels] == [(61, 93), (31, 47), (16, 24), (8, 12), (4, 6), (2, 3)]
    for row in range(0, SHAPE[0], SIDE):
        for col in range(0, SHAPE[1], SIDE):
            part = slice(row, row + SIDE), slice(col, col + SIDE)
            held = latent[:, *part] if valid[part].any() else None
            write_block(levels, row, col, pyramid(Block(held, valid[part], 1 - valid[part]), SIDE))
    write_coarser_levels(levels, SIDE)
    for finer, coarser in itertools.pairwise(levels):
        share, values = (np.asarray(array[:], np.float64) for array in (finer.valid, finer.latent))
        area = quarters(share)
        np.testing.assert_allclose(coarser.valid[:], area / 4, rtol=2**-11, atol=2**-25)
        found = np.asarray(coarser.latent[:], np.float64)
        assert not found[:, area == 0].any()
        mean, size = (quarters(v * share)[:, area > 0] / area[area > 0] for v in (values, np.abs(values)))
        # Half a step of float16, or a few of float32; of what is added up, for it may cancel.
        allowed = size * (2.0**-11 if dtype == "float16" else 2.0**-21) + 2.0**-25 * (dtype == "float16")
        assert (np.abs(found[:, area > 0] - mean) <= allowed).all()
