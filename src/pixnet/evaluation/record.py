"""What an evaluation did, as it is told in `results.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pixnet.evaluation.methods import method_version
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.provenance import environment
from pixnet.evaluation.splits import Split, donor_words, named_donors
from pixnet.sample import Sample
from pixnet.version import __version__


def record_of(protocol: Protocol, samples: Sequence[Sample]) -> dict[str, Any]:
    """Say what was done, so that it can be judged and done again."""
    splits = [fold.split(samples) for fold in protocol.folds]
    shared = sorted({donor for split in splits for donor in split.shared_donors})
    one = len(protocol.folds) == 1
    union = list(dict.fromkeys(gene for fold in protocol.folds for gene in fold.genes))
    sides = {"train": list(protocol.folds[0].train), "test": list(protocol.folds[0].test)} if one else {}
    return {
        "pixnet_version": __version__,
        "split": protocol.split,
        "manifests": list(protocol.manifests),
        **sides,
        "folds": [fold.model_dump(mode="json", exclude_none=True) for fold in protocol.folds],
        "donors": {name: facts.donor for name, facts in protocol.samples.items()},
        "donors_on_both_sides": shared,
        "donor_note": donor_words(splits[0]) if one else _all_donor_words(shared, splits),
        "gene_rule": protocol.gene_rule,
        "genes": union,
        "min_counts": protocol.min_counts,
        "seed": protocol.seeds[0],
        "seeds": list(protocol.seeds),
        # The versions that were run, which may be newer than the protocol's.
        "methods": {
            name: {"settings": facts.settings, "version": method_version(name)}
            for name, facts in protocol.methods.items()
        },
        "values": "log1p of counts per 10,000 over all genes",
        "noise_note": "noise_share is the mean correlation over the mean noise estimate, same genes and regions; "
        "the estimate assumes Poisson noise and is no bound",
        "memory_note": "peak_rss_mb is the most memory that the whole process held while the method ran",
        "time_note": "seconds is what was spent on a fold with one seed, all sittings; seconds_shared what others had "
        "spent on image features that it found ready; seconds_cold both together",
        "data": {name: facts.model_dump(mode="json", exclude={"donor"}) for name, facts in protocol.samples.items()},
        "environment": environment(),
        "config": protocol.config.model_dump(mode="json"),
    }


def _all_donor_words(shared: list[str], splits: Sequence[Split]) -> str:
    if shared:
        return f"{named_donors(shared)} on both sides of a fold, so the scores say nothing about new donors."
    if any(sample.donor is None for sample in (*splits[0].train, *splits[0].test)):
        return "the donors of some samples are not known, so the scores may say nothing about new donors."
    return "no donor is on both sides of a fold."
