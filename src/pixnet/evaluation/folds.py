"""Folds: which samples, or which part of every slide, are held out in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from pixnet.errors import DataError
from pixnet.evaluation.blocks import Rectangle, cut_blocks, distance, inside
from pixnet.evaluation.splits import Split, check_hold_out, samples_by_id
from pixnet.sample import Sample

SPLITS = "loso, lodo, kfold:K or blocks:K:GAP"


class Fold(BaseModel):
    """One division into training and test.

    Attributes
    ----------
    name
        What it is called.
    train, test
        Ids of the samples on either side.
    blocks
        Where a part of each slide is held out: the rectangle (left, top, right, bottom, in um) of each sample. Regions
        whose centre lies in it are the test.
    gap_um
        Regions whose centre lies nearer to the rectangle than this are on neither side.
    genes
        The panel, chosen on the training side alone.
    variable
        Those of its genes that vary most there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    blocks: dict[str, Rectangle] | None = None
    gap_um: float = 0.0
    genes: tuple[str, ...] = ()
    variable: tuple[str, ...] = ()

    def split(self, samples: Sequence[Sample]) -> Split:
        """Divide samples.

        Raises
        ------
        DataError
            If a sample is missing, or if a block leaves no region of one on either side.
        """
        by_id = samples_by_id(samples)
        missing = [name for name in (*self.train, *self.test) if name not in by_id]
        if missing:
            raise DataError(f"fold {self.name!r} needs the sample {missing[0]!r}; there are {', '.join(by_id)}.")
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
            # Regions that are called by their number keep the one that they have in the whole sample.
            counts = dataclasses.replace(sample.counts, names=sample.counts.region_names())
            sample = dataclasses.replace(sample, counts=counts)
        return sample.take(wanted)


def hold_out(samples: Sequence[Sample], ids: Sequence[str]) -> list[Fold]:
    """Hold some samples out together.

    Raises
    ------
    DataError
        If such an id is unknown, or if either side is empty.
    """
    known = list(samples_by_id(samples))
    check_hold_out(ids, known)
    ids = tuple(dict.fromkeys(ids))
    return [Fold(name="+".join(ids), train=tuple(name for name in known if name not in ids), test=ids)]


def make_folds(samples: Sequence[Sample], split: str) -> list[Fold]:
    """Make the folds of a split.

    Parameters
    ----------
    samples
        All samples.
    split
        `loso`: leave one section out; `lodo`: leave one donor out; `kfold:K`: donors in K groups of about equally many
        regions; `blocks:K:GAP`: each slide cut into K blocks, of which one is held out in every slide at a time, with a
        gap in um around it.

    Raises
    ------
    DataError
        If the split is unknown, a donor is not known, there are fewer donors or samples than it takes, or a slide
        cannot be cut into so many blocks.
    """
    kind, number, gap_um = check_split(split)
    if kind == "loso":
        return [hold_out(samples, [sample.id])[0] for sample in samples]
    if kind == "lodo":
        return _grouped(samples, split, len(_donors(samples, split)))
    return _grouped(samples, split, number) if kind == "kfold" else _blocks(samples, split, number, gap_um)


def check_split(split: str) -> tuple[str, int, float]:
    """Read a split's kind, number of folds and gap.

    Raises
    ------
    DataError
        If it has another form than `make_folds` knows.
    """
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
    raise DataError(f"--split {split!r} is not known; give {SPLITS}, with whole numbers K and a gap in um.")


def _donors(samples: Sequence[Sample], split: str) -> dict[str, list[Sample]]:
    nameless = [sample.id for sample in samples if sample.donor is None]
    if nameless:
        raise DataError(
            f"--split {split}: the donor of {', '.join(nameless)} is not known; write donor = ... into the manifest."
        )
    donors: dict[str, list[Sample]] = {}
    for sample in samples:
        donors.setdefault(str(sample.donor), []).append(sample)
    return donors


def _grouped(samples: Sequence[Sample], split: str, number: int) -> list[Fold]:
    """Put donors into groups, the largest first, each into the group with the fewest regions so far."""
    donors = _donors(samples, split)
    if number < 2 or len(donors) < number:
        raise DataError(
            f"--split {split}: {len(donors)} donors ({', '.join(donors)}) do not make {number} folds; "
            "it takes two folds at least, and a donor for each."
        )
    sizes = {donor: sum(len(sample.regions) for sample in own) for donor, own in donors.items()}
    groups: list[list[str]] = [[] for _ in range(number)]
    for donor in sorted(donors, key=lambda name: (-sizes[name], name)):
        min(groups, key=lambda group: sum(sizes[name] for name in group)).append(donor)
    folds = []
    for index, group in enumerate(groups):
        ids = [sample.id for sample in samples if sample.donor in group]
        name = group[0] if number == len(donors) else f"group {index + 1}"
        folds.append(hold_out(samples, ids)[0].model_copy(update={"name": name}))
    return sorted(folds, key=lambda fold: fold.name)


def _blocks(samples: Sequence[Sample], split: str, number: int, gap_um: float) -> list[Fold]:
    if number < 2 or not 0.0 <= gap_um < float("inf"):
        raise DataError(f"--split {split}: give two blocks at least, and a gap of 0 um or more.")
    cut = {}
    for sample in samples:
        extent = (-1.0, -1.0, sample.slide.width_um + 1.0, sample.slide.height_um + 1.0)
        cut[sample.id] = cut_blocks(sample.regions.centers_um, number, extent)
        if len(cut[sample.id]) < number:
            raise DataError(
                f"--split {split}: the {len(sample.regions)} regions of sample {sample.id!r} can be cut into "
                f"{len(cut[sample.id])} blocks only; ask for fewer."
            )
    ids = tuple(cut)
    folds = [
        Fold(name=f"block {index + 1}", train=ids, test=ids, gap_um=gap_um,
             blocks={name: rectangles[index] for name, rectangles in cut.items()})
        for index in range(number)
    ]  # fmt: skip
    for fold in folds:
        fold.split(samples)  # says now, and not after hours, if the gap leaves nothing
    return folds
