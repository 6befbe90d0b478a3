from __future__ import annotations

from pixnet.virtual import PRESETS, TEST_SEEDS, VIRTUAL_VERSION, frozen_digest


def test_the_virtual_tissue_is_frozen():
    """A change of any parameter makes old scores incomparable: raise VIRTUAL_VERSION with it."""
    assert VIRTUAL_VERSION == "1"
    assert frozen_digest() == "f155f6475c5f859112812e8837b2f997cdff94a9e05a4545ddf4ff9b5b6c1bfd"


def test_every_preset_has_test_seeds_of_its_own():
    assert set(TEST_SEEDS) == set(PRESETS)
    seeds = [seed for pairs in TEST_SEEDS.values() for seed, _ in pairs]
    donors = [donor for pairs in TEST_SEEDS.values() for _, donor in pairs]
    assert len(set(seeds)) == len(seeds)
    assert len(set(donors)) == len(donors)
