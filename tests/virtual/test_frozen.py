from __future__ import annotations

from pixnet.virtual import DONOR_SEEDS, PRESETS, SHIFTS, TEST_SEEDS, VIRTUAL_VERSION, frozen_digest, tissue_version


def test_the_virtual_tissue_is_frozen():
    """A change of any parameter makes old scores incomparable: raise VIRTUAL_VERSION with it."""
    assert VIRTUAL_VERSION == tissue_version(SHIFTS) == "2"
    assert frozen_digest(SHIFTS) == "0043996697a2d34450153a9796ea8675e2979ca28fb49d85f1083829ab907b8f"


def test_tissue_without_shifts_is_that_of_version_1():
    assert tissue_version() == "1"
    assert frozen_digest() == "f155f6475c5f859112812e8837b2f997cdff94a9e05a4545ddf4ff9b5b6c1bfd"


def test_every_preset_has_test_seeds_of_its_own():
    assert set(TEST_SEEDS) == set(DONOR_SEEDS) == set(PRESETS)
    pairs = [pair for table in (TEST_SEEDS, DONOR_SEEDS) for own in table.values() for pair in own]
    seeds, donors = zip(*pairs, strict=True)
    assert len(set(seeds)) == len(seeds)
    assert len(set(donors)) == len(donors)
