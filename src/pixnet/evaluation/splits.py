"""Splits: which samples, or which part of every slide, are held out in turn; the two sides never meet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from pixnet.config import GenesConfig
from pixnet.errors import DataError
from pixnet.expression import normalise
from pixnet.readers.entry import Entry
from pixnet.readers.manifest import manifest_entries
from pixnet.regions.blocks import Rectangle, cut_blocks, distance, inside
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel, choose_panel, panel_counts
from pixnet.sample.sample import balanced_groups, enough_counts

SPLITS = "loso, lodo, kfold:K or blocks:K:GAP"
VARIABLE = 50
"""How many of the most variable genes have a score of their own, as in HEST-bench."""


@dataclass(frozen=True)
class Split:
    """Samples to train on, and samples to score on."""

    train: list[Sample]
    test: list[Sample]

    @property
    def shared_donors(self) -> list[str]:
        """Donors that are on both sides."""
        return sorted({s.donor for s in self.train if s.donor} & {s.donor for s in self.test if s.donor})


class Fold(BaseModel):
    """One division into training and test, by the ids of the samples on either side.

    Attributes
    ----------
    blocks, gap_um
        Where a part of each slide is held out: the rectangle (left, top, right, bottom, in um) of each sample. Regions
        whose centre is in it are the test; those nearer to it than the gap are on neither side.
    genes, variable
        The panel, chosen on the training side alone, and those of its genes that vary most there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    blocks: dict[str, Rectangle] | None = None
    gap_um: float = 0.0
    genes: tuple[str, ...] = ()
    variable: tuple[str, ...] = ()

    @property
    def panel(self) -> GenePanel:
        """The genes that are predicted."""
        return GenePanel(self.genes, "list")

    def split(self, samples: Sequence[Sample]) -> Split:
        """Divide samples; DataError if one is missing, or if a block leaves no region of one on either side."""
        by_id = samples_by_id(samples)
        missing = [name for name in (*self.train, *self.test) if name not in by_id]
        if missing:
            raise DataError(f"fold {self.name!r} needs the sample {missing[0]!r}; the samples are {', '.join(by_id)}.")
        train, test = [by_id[name] for name in self.train], [by_id[name] for name in self.test]
        if self.blocks is None:
            return Split(train, test)
        return Split([self._part(sample, False) for sample in train], [self._part(sample, True) for sample in test])

    def _part(self, sample: Sample, held: bool) -> Sample:
        assert self.blocks is not None  # noqa: S101
        rectangle, centers = self.blocks[sample.id], sample.regions.centers_um
        wanted = inside(centers, rectangle)
        if not held:
            wanted = ~wanted & (distance(centers, rectangle) >= self.gap_um)
        if not wanted.any():
            what = "block" if held else f"gap of {self.gap_um:g} um"
            raise DataError(
                f"fold {self.name!r}: its {what} leaves no region of sample {sample.id!r} to "
                f"{'score on' if held else 'train on'}; use fewer blocks or a smaller gap."
            )
        if sample.counts.names is None:
            # Regions that are named by their number keep the number they have in the whole sample.
            counts = dataclasses.replace(sample.counts, names=sample.counts.region_names())
            sample = dataclasses.replace(sample, counts=counts)
        return sample.take(wanted)


def samples_by_id(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Return the samples by their ids; DataError if an id occurs twice."""
    by_id = {sample.id: sample for sample in samples}
    if len(by_id) < len(samples):
        raise DataError(f"two samples have the same id; the ids are {', '.join(sample.id for sample in samples)}.")
    return by_id


def listed_entries(
    manifests: Sequence[str | Path], samples: Sequence[str] | None = None, hold_out: Sequence[str] = ()
) -> list[Entry]:
    """List samples of one or several manifests without reading them: those with the ids `samples`, or all.

    DataError if an id is unknown or occurs twice, if either side would be empty, or if a manifest cannot be used.
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
        raise DataError(f"`samples`: sample {unknown[0]!r} does not exist; choose from {', '.join(found)}.")
    if hold_out:
        check_hold_out(hold_out, chosen)
    return [found[name][1] for name in chosen]


def check_hold_out(hold_out: Sequence[str], ids: Sequence[str]) -> None:
    """Refuse ids to hold out that do not exist, or that leave one side empty."""
    unknown = [name for name in hold_out if name not in ids]
    if unknown:
        raise DataError(f"`hold_out`: sample {unknown[0]!r} does not exist; choose from {', '.join(ids)}.")
    if not hold_out:
        raise DataError(f"no sample is held out, so there is nothing to score on; hold out one of {', '.join(ids)}.")
    if set(ids) <= set(hold_out):
        raise DataError(f"`hold_out`: all of {', '.join(ids)} are held out, so none is left to train on.")


def hold_out(samples: Sequence[Sample], ids: Sequence[str]) -> list[Fold]:
    """Hold some samples out together; DataError if an id is unknown, or if either side is empty."""
    known = list(samples_by_id(samples))
    check_hold_out(ids, known)
    ids = tuple(dict.fromkeys(ids))
    return [Fold(name="+".join(ids), train=tuple(name for name in known if name not in ids), test=ids)]


def make_folds(samples: Sequence[Sample], split: str) -> list[Fold]:
    """Make the folds of a split.

    `loso`: leave one section out; `lodo`: leave one donor out; `kfold:K`: donors in K groups of about equally many
    regions; `blocks:K:GAP`: each slide cut into K blocks, of which one is held out in every slide at a time, with a gap
    in um around it. DataError if the samples do not allow it.
    """
    kind, number, gap_um = check_split(split)
    if kind == "loso":
        return [hold_out(samples, [sample.id])[0] for sample in samples]
    if kind == "blocks":
        return _block_folds(samples, split, number, gap_um)
    donors = _donors(samples, split)
    return _donor_folds(samples, split, donors, len(donors) if kind == "lodo" else number)


def check_split(split: str) -> tuple[str, int, float]:
    """Return a split's kind, number of folds and gap in um; DataError if `make_folds` does not know it."""
    kind, *numbers = split.split(":")
    try:
        if kind in ("loso", "lodo") and not numbers:
            return kind, 0, 0.0
        if kind == "kfold" and len(numbers) == 1:
            return kind, int(numbers[0]), 0.0
        if kind == "blocks" and len(numbers) == 2:
            return kind, int(numbers[0]), float(numbers[1])
    except ValueError:
        pass
    raise DataError(f"`split={split!r}` is not known; give {SPLITS}, with whole numbers K and a gap in um.")


def _donors(samples: Sequence[Sample], split: str) -> dict[str, list[Sample]]:
    unknown = [sample.id for sample in samples if sample.donor is None]
    if unknown:
        raise DataError(
            f"`split={split!r}`: the donor of {', '.join(unknown)} is not known; add donor = ... to the manifest."
        )
    donors: dict[str, list[Sample]] = {}
    for sample in samples:
        donors.setdefault(str(sample.donor), []).append(sample)
    return donors


def _donor_folds(samples: Sequence[Sample], split: str, donors: dict[str, list[Sample]], number: int) -> list[Fold]:
    """Hold donors out in groups of about equally many regions."""
    if number < 2 or len(donors) < number:
        raise DataError(
            f"`split={split!r}`: {len(donors)} donors ({', '.join(donors)}) do not make {number} folds; "
            "it takes at least two folds, and a donor for each."
        )
    names = sorted(donors)
    sizes = [sum(len(sample.regions) for sample in donors[name]) for name in names]
    folds = []
    for index, members in enumerate(balanced_groups(sizes, number)):
        group = [names[member] for member in members]
        ids = [sample.id for sample in samples if sample.donor in group]
        name = group[0] if number == len(donors) else f"group {index + 1}"
        folds.append(hold_out(samples, ids)[0].model_copy(update={"name": name}))
    return sorted(folds, key=lambda fold: fold.name)


def _block_folds(samples: Sequence[Sample], split: str, number: int, gap_um: float) -> list[Fold]:
    if number < 2 or not 0.0 <= gap_um < float("inf"):
        raise DataError(f"`split={split!r}`: give at least two blocks, and a gap of 0 um or more.")
    rectangles = {}
    for sample in samples:
        extent = (-1.0, -1.0, sample.slide.width_um + 1.0, sample.slide.height_um + 1.0)
        rectangles[sample.id] = cut_blocks(sample.regions.centers_um, number, extent)
        if len(rectangles[sample.id]) < number:
            raise DataError(
                f"`split={split!r}`: the {len(sample.regions)} regions of sample {sample.id!r} can be cut into "
                f"{len(rectangles[sample.id])} blocks only; ask for fewer."
            )
    ids = tuple(rectangles)
    folds = []
    for index in range(number):
        blocks = {name: of_sample[index] for name, of_sample in rectangles.items()}
        folds.append(Fold(name=f"block {index + 1}", train=ids, test=ids, gap_um=gap_um, blocks=blocks))
        folds[-1].split(samples)  # fails now, and not after hours, if the gap leaves nothing
    return folds


def common_panel(split: Split, genes: GenesConfig, min_counts: int) -> GenePanel:
    """Choose genes that were measured in all samples, held-out ones included, ranked on the training samples alone.

    Which genes a sample was measured for is known beforehand; what was counted in the held-out ones is not used.
    """
    measured = set(split.test[0].genes).intersection(*(s.genes for s in split.test))
    if genes.names:
        for name in genes.names:
            if name not in measured:
                raise DataError(f"the gene {name!r} was not measured in all held-out samples; leave it out.")
        return choose_panel(split.train, genes.names)
    number = genes.number
    while True:
        try:
            panel = choose_panel(split.train, number, genes.rule, min_counts, genes.measured_in)
        except DataError as error:
            if number == genes.number:
                raise
            raise DataError(
                f"fewer than the {genes.number} genes requested were measured in all samples, held-out ones "
                "included; ask for fewer `genes`."
            ) from error
        names = tuple(name for name in panel.names if name in measured)[: genes.number]
        if len(names) == genes.number:
            return GenePanel(names, genes.rule)
        number += genes.number - len(names)


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
