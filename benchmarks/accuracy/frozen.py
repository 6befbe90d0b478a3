"""The samples of a frozen protocol."""

from __future__ import annotations

import warnings

from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.splits import listed_entries
from pixnet.sample import Sample
from pixnet.sample.genes import join_genes


def frozen_samples(protocol: Protocol) -> list[Sample]:
    """Read the samples that a protocol names, their genes joined, without warnings that the evaluation has given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entries = {entry.id: entry for entry in listed_entries(protocol.manifests)}
        return join_genes([entries[name].read() for name in protocol.samples])
