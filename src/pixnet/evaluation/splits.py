"""Two sides that never meet: the samples that are trained on, and those that are scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from pixnet.config import GenesConfig
from pixnet.errors import DataError
from pixnet.expression import normalise
from pixnet.readers.manifest import manifest_entries
from pixnet.readers.platforms import Entry
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel, choose_panel, panel_counts
from pixnet.sample.sample import enough_counts

VARIABLE = 50
"""How many of the most variable genes have a score of their own, as in HEST-bench."""


@dataclass(frozen=True)
class Split:
    """Samples to train on, and samples to score on."""

    train: list[Sample]
    test: list[Sample]

    @classmethod
    def of(cls, samples: Sequence[Sample], hold_out: Sequence[str]) -> Self:
        """Set the samples with the ids `hold_out` apart.

        Raises
        ------
        DataError
            If such an id is unknown, if an id occurs twice, or if either side is empty.
        """
        by_id = samples_by_id(samples)
        check_hold_out(hold_out, list(by_id))
        train = [sample for sample in samples if sample.id not in hold_out]
        return cls(train, [by_id[name] for name in dict.fromkeys(hold_out)])

    @property
    def shared_donors(self) -> list[str]:
        """Donors that are on both sides."""
        return sorted({s.donor for s in self.train if s.donor} & {s.donor for s in self.test if s.donor})


def samples_by_id(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Give the samples by their ids.

    Raises
    ------
    DataError
        If an id occurs twice.
    """
    by_id = {sample.id: sample for sample in samples}
    if len(by_id) < len(samples):
        raise DataError(f"two samples have the same id; there are {', '.join(sample.id for sample in samples)}.")
    return by_id


def listed_entries(
    manifests: Sequence[str | Path], samples: Sequence[str] | None = None, hold_out: Sequence[str] = ()
) -> list[Entry]:
    """List samples of one or several manifests, not yet read.

    Parameters
    ----------
    manifests
        TOML files. No id may occur in two of them.
    samples
        Ids of the samples to list, in this order; every one by default.
    hold_out
        Ids that will be held out.

    Raises
    ------
    DataError
        If an id is unknown or occurs twice, if either side would be empty, or if a manifest cannot be used.
    """
    found: dict[str, tuple[Path, Entry]] = {}
    for manifest in map(Path, manifests):
        for entry in manifest_entries(manifest):
            if entry.id in found:
                raise DataError(f"{manifest}: the sample {entry.id!r} is also in {found[entry.id][0]}; rename one.")
            found[entry.id] = manifest, entry
    chosen = list(dict.fromkeys(found if samples is None else samples))
    unknown = [name for name in chosen if name not in found]
    if unknown:
        raise DataError(f"--samples: there is no sample {unknown[0]!r}; there are {', '.join(found)}.")
    if hold_out:
        check_hold_out(hold_out, chosen)
    return [found[name][1] for name in chosen]


def check_hold_out(hold_out: Sequence[str], ids: Sequence[str]) -> None:
    """Refuse ids to hold out that do not exist, or that leave one side empty."""
    unknown = [name for name in hold_out if name not in ids]
    if unknown:
        raise DataError(f"--hold-out: there is no sample {unknown[0]!r} to hold out; there are {', '.join(ids)}.")
    if not hold_out:
        raise DataError(f"no sample is held out, so there is nothing to score on; hold out one of {', '.join(ids)}.")
    if set(ids) <= set(hold_out):
        raise DataError(f"--hold-out: all of {', '.join(ids)} are held out, so none is left to train on.")


def common_panel(split: Split, genes: GenesConfig, min_counts: int) -> GenePanel:
    """Choose genes that were measured in all samples, held-out ones included, ranked on the training samples alone.

    Which genes a sample was measured for is known beforehand; what was counted in the held-out ones is not looked at.

    Raises
    ------
    DataError
        If there are not enough such genes.
    """
    measured = set(split.test[0].genes).intersection(*(s.genes for s in split.test))
    if genes.names:
        for name in genes.names:
            if name not in measured:
                raise DataError(f"the gene {name!r} was not measured in all held-out samples; leave it out.")
        return choose_panel(split.train, genes.names)
    asked = genes.number
    while True:
        try:
            panel = choose_panel(split.train, asked, genes.rule, min_counts, genes.measured_in)
        except DataError as error:
            if asked == genes.number:
                raise
            raise DataError(
                f"fewer than the {genes.number} genes asked for were measured in all samples, held-out ones "
                "included; ask for fewer with --genes."
            ) from error
        names = tuple(name for name in panel.names if name in measured)[: genes.number]
        if len(names) == genes.number:
            return GenePanel(names, genes.rule)
        asked += genes.number - len(names)


def most_variable(split: Split, panel: GenePanel, min_counts: int) -> tuple[str, ...]:
    """Name the panel's genes whose log-normalised values vary most over the training regions, at most 50 of them."""
    parts = []
    for sample in split.train:
        if set(panel.names) <= set(sample.genes):
            enough = enough_counts(sample, min_counts)
            parts.append(normalise(panel_counts(sample, panel)[enough], sample.depth[enough]))
    if not parts or not sum(map(len, parts)):
        return ()
    variance = np.concatenate(parts).var(axis=0, dtype=np.float64)
    return tuple(panel.names[gene] for gene in np.argsort(-variance, kind="stable")[:VARIABLE])


def named_donors(donors: Sequence[str]) -> str:
    """Begin a sentence on one or several donors."""
    return f"donor {donors[0]} is" if len(donors) == 1 else f"donors {', '.join(donors)} are"


def donor_words(split: Split) -> str:
    """Say, in a sentence, whether donors are on both sides."""
    shared = split.shared_donors
    sides = f"training {', '.join(s.id for s in split.train)}; test {', '.join(s.id for s in split.test)}"
    if shared:
        return (
            f"{named_donors(shared)} on both sides of the split ({sides}), so the scores say nothing about new donors."
        )
    if any(sample.donor is None for sample in (*split.train, *split.test)):
        return f"the donors of some samples are not known ({sides}), so the scores may say nothing about new donors."
    return f"no donor is on both sides of the split ({sides})."
