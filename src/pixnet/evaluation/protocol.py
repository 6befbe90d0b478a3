"""The protocol of an evaluation, frozen in a file: folds, genes, seeds, settings, versions and hashes of inputs."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pixnet.config import Config
from pixnet.errors import DataError, PixNetWarning, first_line
from pixnet.evaluation.folds import Fold
from pixnet.evaluation.methods import check_methods, method_settings, method_version
from pixnet.evaluation.provenance import environment, sample_hashes
from pixnet.evaluation.runs import Cell
from pixnet.evaluation.splits import Split, common_panel, most_variable, samples_by_id
from pixnet.files import write_whole
from pixnet.sample import Sample
from pixnet.sample.sample import enough_counts
from pixnet.version import __version__

_HASHES = {"slide_sha256": "slide", "counts_sha256": "counts", "positions_sha256": "positions"}


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SampleFacts(_Frozen):
    """A sample as it was when the protocol was frozen."""

    donor: str | None
    platform: str
    regions: int
    mpp: float
    mpp_source: str
    slide_sha256: str
    counts_sha256: str
    positions_sha256: str


class MethodFacts(_Frozen):
    """A method's settings, and its `METHOD_VERSION` when the protocol was frozen."""

    settings: dict[str, Any]
    version: int = 1

    @model_validator(mode="before")
    @classmethod
    def _without_code_hash(cls, facts: Any) -> Any:
        """Read early files too: they hold a hash of the code in place of the version, which was 1 of every method."""
        if not isinstance(facts, dict):
            return facts
        return {key: value for key, value in facts.items() if key != "code_sha256"}


class Protocol(_Frozen):
    """All that an evaluation hangs on.

    Attributes
    ----------
    format
        Version of the file.
    split
        How the folds were made; only a name, the folds themselves are what counts.
    manifests
        Where the samples are from; in a file, relative to its folder.
    samples
        What is known of each, by id.
    folds
        Who is held out when, with the genes that are predicted.
    gene_rule
        How these were chosen.
    min_counts
        Regions with fewer counts are left out, in training and in scoring, for every method alike.
    seeds
        Each method is trained once with each.
    methods
        By name.
    config
        Settings of network and training; the seed in it is the first of the seeds.
    environment
        Versions of the libraries when it was frozen; for the record.
    """

    format: Literal[1] = 1
    split: str
    manifests: tuple[str, ...] = ()
    samples: dict[str, SampleFacts]
    folds: tuple[Fold, ...] = Field(min_length=1)
    gene_rule: str
    min_counts: int
    seeds: tuple[int, ...] = Field(min_length=1)
    methods: dict[str, MethodFacts] = Field(min_length=1)
    config: Config
    environment: dict[str, str] = {}

    @classmethod
    def freeze(
        cls,
        samples: Sequence[Sample],
        folds: Sequence[Fold],
        methods: Sequence[str],
        config: Config,
        *,
        split: str = "hold-out",
        seeds: Sequence[int] | None = None,
        manifests: Sequence[str | Path] = (),
    ) -> Self:
        """Choose the genes of each fold from its training side, and hash the inputs.

        Parameters
        ----------
        samples
            All samples, their genes joined.
        folds
            From `hold_out` or `make_folds`.
        methods
            Names of methods.
        config
            Genes, network and training.
        split, manifests
            For the record.
        seeds
            By default the one of `config`.

        Raises
        ------
        DataError
            If a method is unknown, genes cannot be chosen, or fewer than two regions of a fold can be scored.
        """
        known, training = samples_by_id(samples), config.training
        names = check_methods(methods)
        chosen = [_with_genes(fold, fold.split(samples), config) for fold in folds]
        seeds = tuple(dict.fromkeys(seeds if seeds is not None else [training.seed]))
        config = config.model_copy(update={"training": training.model_copy(update={"seed": seeds[0]})})
        source = "given by name" if config.genes.names else f"{config.genes.rule}, ranked on the training samples alone"
        return cls(
            split=split,
            manifests=tuple(str(path) for path in dict.fromkeys(manifests)),
            samples={name: _facts(sample) for name, sample in known.items()},
            folds=tuple(chosen),
            gene_rule=f"{source}, among the genes measured in all samples",
            min_counts=training.min_counts,
            seeds=seeds,
            methods={
                name: MethodFacts(settings=method_settings(name, config), version=method_version(name))
                for name in names
            },
            config=config,
            environment=environment(),
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a protocol that was written.

        Raises
        ------
        DataError
            If the file is missing or no protocol.
        """
        path = Path(path)
        try:
            protocol = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); give the path of a protocol.") from error
        except ValidationError as error:
            found = error.errors()[0]
            place = ".".join(map(str, found["loc"]))
            raise DataError(f"{path}: is no protocol of pixnet ({place}: {found['msg']}); write it again.") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is no protocol of pixnet ({first_line(error)}).") from error
        here = tuple(str((path.parent / manifest).resolve()) for manifest in protocol.manifests)
        return protocol.model_copy(update={"manifests": here})

    def write(self, path: str | Path) -> Path:
        """Write it to a JSON file, beside its place first."""
        path = Path(path)
        base = path.parent.resolve()
        base.mkdir(parents=True, exist_ok=True)
        manifests = tuple(os.path.relpath(Path(manifest).resolve(), base) for manifest in self.manifests)
        write_whole(path, self.model_copy(update={"manifests": manifests}).model_dump_json(indent=1) + "\n")
        return path

    def check(self, samples: Sequence[Sample]) -> None:
        """Compare samples with those that the protocol was frozen for.

        Raises
        ------
        DataError
            If a sample is missing, or its slide, counts or positions are not the same; all are told.

        Warns
        -----
        PixNetWarning
            If a method has another version now. Its runs are then computed again.
        """
        for name in check_methods(list(self.methods)):
            same = self.methods[name].settings == method_settings(name, self.config)
            if not same or self.min_counts != self.config.training.min_counts:
                raise DataError(
                    f"the protocol tells the settings of {name} twice, and not alike: it was edited. Freeze a new one."
                )
        by_id = samples_by_id(samples)
        missing = [name for name in self.samples if name not in by_id]
        if missing:
            raise DataError(f"the protocol needs the sample {missing[0]!r}; there are {', '.join(by_id)}.")
        changed = []
        for name, facts in self.samples.items():
            donor, mpp = by_id[name].donor, by_id[name].slide.mpp
            if donor != facts.donor:
                changed.append(f"donor of {name!r} ({facts.donor} is now {donor})")
            if not math.isclose(mpp, facts.mpp, rel_tol=1e-9):  # a fitted one differs in its last digit by processor
                changed.append(f"pixel size of {name!r} ({facts.mpp} is now {mpp})")
            for key, value in sample_hashes(by_id[name]).items():
                old = getattr(facts, key)
                if value != old:
                    changed.append(f"{_HASHES[key]} of {name!r} ({key} {old[:12]} is now {value[:12]})")
        if changed:
            raise DataError(
                f"inputs have changed since the protocol was frozen: {'; '.join(changed)}. Give the same files, or "
                "freeze a new protocol."
            )
        others = [
            name for name in check_methods(list(self.methods)) if self.methods[name].version != method_version(name)
        ]
        if others:
            warnings.warn(
                f"{', '.join(others)}: the method's version is not that of the protocol (now pixnet {__version__}, "
                f"then {self.environment.get('pixnet', 'unknown')}); stored runs are not used, but computed again.",
                PixNetWarning,
                stacklevel=2,
            )

    def config_of(self, seed: int) -> Config:
        """Give the settings with a seed."""
        training = self.config.training.model_copy(update={"seed": seed})
        return self.config.model_copy(update={"training": training})

    def cell(self, method: str, fold: Fold, seed: int, hashes: Mapping[str, Mapping[str, str]]) -> Cell:
        """Name a cell by all that its predictions depend on: never by what was counted in the test.

        Parameters
        ----------
        method, fold, seed
            Which one.
        hashes
            `side:id` to the hashes of the part of each sample that is on that side.
        """
        seen = {
            side: {key: value for key, value in found.items() if not (side.startswith("test:") and "counts" in key)}
            for side, found in hashes.items()
        }
        donors = [self.samples[sample].donor for sample in fold.train]
        depends_on = {
            "samples": seen,
            "genes": list(fold.genes),
            "min_counts": self.min_counts,
            "settings": method_settings(method, self.config.settled(donors)),
            "version": method_version(method),
        }
        return Cell(method, fold.name, seed, depends_on)


def side_hashes(samples: Sequence[Sample], splits: Sequence[Split]) -> list[dict[str, dict[str, str]]]:
    """Hash, for each split, the part of each sample that is on either side, as `Protocol.cell` takes it."""
    whole = {sample.id: (sample, sample_hashes(sample)) for sample in samples}

    def hashes(part: Sample) -> dict[str, str]:
        sample, known = whole[part.id]
        return known if part is sample else sample_hashes(part)

    return [
        {f"{side}:{part.id}": hashes(part) for side in ("train", "test") for part in getattr(split, side)}
        for split in splits
    ]


def _with_genes(fold: Fold, split: Split, config: Config) -> Fold:
    panel = common_panel(split, config.genes, config.training.min_counts)
    enough = [int(enough_counts(sample, config.training.min_counts).sum()) for sample in split.test]
    if sum(enough) < 2:
        raise DataError(
            f"{', '.join(s.id for s in split.test)}: {sum(enough)} held-out regions have "
            f"{config.training.min_counts} counts or more; at least 2 are needed. Lower --min-counts."
        )
    return fold.model_copy(
        update={"genes": panel.names, "variable": most_variable(split, panel, config.training.min_counts)}
    )


def _facts(sample: Sample) -> SampleFacts:
    return SampleFacts(
        donor=sample.donor,
        platform=sample.platform,
        regions=len(sample.regions),
        mpp=sample.slide.mpp,
        mpp_source=sample.slide.mpp_source,
        **sample_hashes(sample),
    )
