from __future__ import annotations

import dataclasses
import sys

import numpy as np
from tests.evaluation.made import make_sample, with_counts

from pixnet.regions import Disks
from pixnet.sample.fingerprint import sample_hashes
from pixnet.slide import Slide
from pixnet.version import environment


def test_each_hash_depends_on_its_own_part_only():
    sample = make_sample("A")
    whole = sample_hashes(sample)
    assert sample_hashes(make_sample("A")) == whole

    def one_more(values):
        values[3, 2] += 1

    def changed(other):
        return {key for key, value in sample_hashes(other).items() if value != whole[key]}

    assert changed(with_counts(sample, one_more)) == {"counts_sha256"}
    assert changed(dataclasses.replace(sample, regions=Disks(sample.regions.centers_um, 41.0))) == {"positions_sha256"}
    rgb = np.zeros((200, 240, 3), np.uint8)
    assert changed(dataclasses.replace(sample, slide=Slide.from_array(rgb, 1.0))) == {"slide_sha256"}
    pixels, _ = sample.slide.read(0, 0, 240, 200, 1.0)
    assert changed(dataclasses.replace(sample, slide=Slide.from_array(pixels, 1.01))) == {"positions_sha256"}
    assert changed(sample.take(np.arange(19))) == {"counts_sha256", "positions_sha256"}


def test_the_last_digit_of_a_fitted_position_does_not_change_the_hash():
    sample = make_sample("A")
    apart = sample.slide.mpp * (1 + 1e-15), sample.regions.centers_um * (1 + 1e-15)
    assert apart[0] != sample.slide.mpp
    assert (apart[1] != sample.regions.centers_um).any()
    pixels, _ = sample.slide.read(0, 0, 240, 200, 1.0)
    other = dataclasses.replace(sample, slide=Slide.from_array(pixels, apart[0]), regions=Disks(apart[1], 40.0))
    assert sample_hashes(other) == sample_hashes(sample)
    moved = dataclasses.replace(sample, regions=Disks(sample.regions.centers_um + 0.001, 40.0))
    assert sample_hashes(moved) != sample_hashes(sample)


def test_the_environment_names_versions():
    assert environment().keys() >= {"pixnet", "python", "numpy", "torch"}
    assert environment()["python"] == ".".join(map(str, sys.version_info[:3]))
