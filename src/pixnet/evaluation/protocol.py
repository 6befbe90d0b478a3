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
from pixnet.evaluation.methods import check_methods, method_settings, method_version
from pixnet.evaluation.runs import Run
from pixnet.evaluation.splits import Fold, Split, common_panel, most_variable, samples_by_id
from pixnet.files import write_whole
from pixnet.sample import Sample
from pixnet.sample.fingerprint import sample_hashes
from pixnet.sample.sample import enough_counts
from pixnet.scoring.table import ALL
from pixnet.version import __version__, environment

_HASHES = {"slide_sha256": "slide", "counts_sha256": "counts", "positions_sha256": "positions"}

Hashes = Mapping[str, Mapping[str, str]]
"""`side:id` to the hashes of the part of each sample that is on that side."""


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

    @property
    def hashes(self) -> dict[str, str]:
        """Its three hashes."""
        return {name: getattr(self, name) for name in _HASHES}


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
    """All that an evaluation depends on; each method is trained once in each fold with each seed.

    Attributes
    ----------
    split, gene_rule, environment
        For the record: how folds and genes were chosen, and the versions of the libraries when it was frozen.
    manifests
        Where the samples are from; in a file, relative to its folder.
    min_counts
        Regions with fewer counts are left out, in training and in scoring, for every method.
    config
        Settings of network and training; the seed in it is the first of the seeds.
    """

    format: Literal[2] = 2
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
        samples, folds
            All samples, their genes joined, and the folds from `hold_out` or `make_folds`.
        methods, config
            Names of methods; genes, network and training.
        seeds
            By default the one of `config`.
        split, manifests
            For the record.

        Raises
        ------
        DataError
            If a method is unknown, genes cannot be chosen, or fewer than two regions of a fold can be scored.
        """
        known, training = samples_by_id(samples), config.training
        names = check_methods(methods)
        seeds = tuple(dict.fromkeys(seeds if seeds is not None else [training.seed]))
        config = config.model_copy(update={"training": training.model_copy(update={"seed": seeds[0]})})
        source = "given by name" if config.genes.names else f"{config.genes.rule}, ranked on the training samples alone"
        return cls(
            split=split,
            manifests=tuple(str(path) for path in dict.fromkeys(manifests)),
            samples={name: _facts(sample) for name, sample in known.items()},
            folds=tuple(_with_genes(fold, fold.split(samples), config) for fold in folds),
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
        """Read a protocol from its file; DataError if that is missing or not a protocol."""
        path = Path(path)
        try:
            protocol = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); give the path of a protocol.") from error
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"]))
            if place == "format" and problem["input"] == 1:
                raise DataError(
                    f"{path}: was frozen by an earlier version of pixnet, whose settings mean something else; freeze "
                    "it again."
                ) from error
            raise DataError(
                f"{path}: is not a protocol of pixnet ({place}: {problem['msg']}); freeze it again."
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not a protocol of pixnet ({first_line(error)}).") from error
        here = tuple(str((path.parent / manifest).resolve()) for manifest in protocol.manifests)
        return protocol.model_copy(update={"manifests": here})

    def write(self, path: str | Path) -> Path:
        """Write it to a JSON file, which appears complete or not at all."""
        path = Path(path)
        base = path.parent.resolve()
        base.mkdir(parents=True, exist_ok=True)
        manifests = tuple(os.path.relpath(Path(manifest).resolve(), base) for manifest in self.manifests)
        write_whole(path, self.model_copy(update={"manifests": manifests}).model_dump_json(indent=1) + "\n")
        return path

    def check(self, samples: Sequence[Sample]) -> None:
        """Compare samples and methods with those that the protocol was frozen for.

        DataError if a sample is missing, or its slide, counts or positions are not the same; all differences are named.
        PixNetWarning if a method has another version now: its runs are then computed again.
        """
        if ALL in self.samples or ALL in (fold.name for fold in self.folds):
            raise DataError(
                f"a sample or a fold is named {ALL!r}, which means all of them in the table of scores; rename it."
            )
        names = check_methods(list(self.methods))
        for name in names:
            same = self.methods[name].settings == method_settings(name, self.config)
            if not same or self.min_counts != self.config.training.min_counts:
                raise DataError(
                    f"the protocol states the settings of {name} twice, and the two differ: it was edited. Freeze a "
                    "new one."
                )
        by_id = samples_by_id(samples)
        missing = [name for name in self.samples if name not in by_id]
        if missing:
            raise DataError(f"the protocol needs the sample {missing[0]!r}; the samples are {', '.join(by_id)}.")
        changes = [change for name, facts in self.samples.items() for change in _changes(by_id[name], facts)]
        if changes:
            raise DataError(
                f"inputs have changed since the protocol was frozen: {'; '.join(changes)}. Give the same files, or "
                "freeze a new protocol."
            )
        others = [name for name in names if self.methods[name].version != method_version(name)]
        if others:
            warnings.warn(
                f"{', '.join(others)}: the method's version is not that of the protocol (now pixnet {__version__}, "
                f"then {self.environment.get('pixnet', 'unknown')}); stored runs are not used, but computed again.",
                PixNetWarning,
                stacklevel=2,
            )

    def config_of(self, seed: int) -> Config:
        """Return the settings with a seed."""
        training = self.config.training.model_copy(update={"seed": seed})
        return self.config.model_copy(update={"training": training})

    def run(self, method: str, fold: Fold, seed: int, hashes: Hashes | None = None) -> Run:
        """Name a run by all that its predictions depend on, which is never what was counted in the test.

        `hashes` are from `side_hashes`; by default those of the protocol, enough where whole samples are held out.
        """
        if hashes is None:
            if fold.blocks is not None:
                raise ValueError("a fold of blocks needs the hashes of the parts of its samples")
            sides = {"train": fold.train, "test": fold.test}
            hashes = {f"{side}:{name}": self.samples[name].hashes for side, names in sides.items() for name in names}
        used = {
            side: {key: value for key, value in facts.items() if not (side.startswith("test:") and "counts" in key)}
            for side, facts in hashes.items()
        }
        depends_on = {
            "samples": used,
            "genes": list(fold.genes),
            "min_counts": self.min_counts,
            "settings": method_settings(method, self.config),
            "version": method_version(method),
        }
        return Run(method, fold.name, seed, depends_on)

    def record(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return what is done, as it is written into `results.json`, so that it can be judged and repeated."""
        splits = [fold.split(samples) for fold in self.folds]
        single = len(self.folds) == 1
        sides = {"train": list(self.folds[0].train), "test": list(self.folds[0].test)} if single else {}
        return {
            "pixnet_version": __version__,
            "split": self.split,
            "manifests": list(self.manifests),
            **sides,
            "folds": [fold.model_dump(mode="json", exclude_none=True) for fold in self.folds],
            "donors": {name: facts.donor for name, facts in self.samples.items()},
            "donors_on_both_sides": sorted({donor for split in splits for donor in split.shared_donors}),
            "donor_note": _donor_note(splits),
            "gene_rule": self.gene_rule,
            "genes": list(dict.fromkeys(gene for fold in self.folds for gene in fold.genes)),
            "min_counts": self.min_counts,
            "seed": self.seeds[0],
            "seeds": list(self.seeds),
            # The versions that were run, which may be newer than the protocol's.
            "methods": {
                name: {"settings": facts.settings, "version": method_version(name)}
                for name, facts in self.methods.items()
            },
            "values": "log1p of counts per 10,000 over all genes",
            "noise_note": "noise_share is the mean correlation over the mean noise estimate, same genes and regions; "
            "the estimate assumes Poisson noise and is not a bound",
            "memory_note": "peak_rss_mb is the most memory that the whole process held while the method ran",
            "time_note": "seconds is the time of a fold with one seed, all sessions; seconds_shared what other runs "
            "took for image features that it found ready; seconds_cold both together",
            "data": {name: facts.model_dump(mode="json", exclude={"donor"}) for name, facts in self.samples.items()},
            "environment": environment(),
            "config": self.config.model_dump(mode="json"),
        }


def side_hashes(samples: Sequence[Sample], splits: Sequence[Split]) -> list[Hashes]:
    """Hash, for each split, the part of each sample that is on either side, as `Protocol.run` takes it."""
    whole = {sample.id: (sample, sample_hashes(sample)) for sample in samples}

    def hashes(part: Sample) -> dict[str, str]:
        sample, known = whole[part.id]
        return known if part is sample else sample_hashes(part)

    return [
        {f"{side}:{part.id}": hashes(part) for side in ("train", "test") for part in getattr(split, side)}
        for split in splits
    ]


def _with_genes(fold: Fold, split: Split, config: Config) -> Fold:
    min_counts = config.training.min_counts
    panel = common_panel(split, config.genes, min_counts)
    enough = sum(int(enough_counts(sample, min_counts).sum()) for sample in split.test)
    if enough < 2:
        raise DataError(
            f"{', '.join(s.id for s in split.test)}: {enough} held-out regions have {min_counts} counts or more; at "
            "least 2 are needed. Lower `min_counts`."
        )
    return fold.model_copy(update={"genes": panel.names, "variable": most_variable(split, panel, min_counts)})


def _facts(sample: Sample) -> SampleFacts:
    return SampleFacts(
        donor=sample.donor,
        platform=sample.platform,
        regions=len(sample.regions),
        mpp=sample.slide.mpp,
        mpp_source=sample.slide.mpp_source,
        **sample_hashes(sample),
    )


def _changes(sample: Sample, facts: SampleFacts) -> list[str]:
    """Name what differs between a sample and the facts of the protocol."""
    name, changes = sample.id, []
    if sample.donor != facts.donor:
        changes.append(f"donor of {name!r} ({facts.donor} is now {sample.donor})")
    # A fitted pixel size differs in its last digit between processors.
    if not math.isclose(sample.slide.mpp, facts.mpp, rel_tol=1e-9):
        changes.append(f"pixel size of {name!r} ({facts.mpp} is now {sample.slide.mpp})")
    for key, value in sample_hashes(sample).items():
        old = getattr(facts, key)
        if value != old:
            changes.append(f"{_HASHES[key]} of {name!r} ({key} {old[:12]} is now {value[:12]})")
    return changes


def _donor_note(splits: Sequence[Split]) -> str:
    """State, in a sentence, whether donors are on both sides."""
    shared = sorted({donor for split in splits for donor in split.shared_donors})
    first = splits[0]
    side, detail = "a fold", ""
    if len(splits) == 1:
        side = "the split"
        detail = f" (training {', '.join(s.id for s in first.train)}; test {', '.join(s.id for s in first.test)})"
    if shared:
        donors = f"donor {shared[0]} is" if len(shared) == 1 else f"donors {', '.join(shared)} are"
        return f"{donors} on both sides of {side}{detail}, so the scores say nothing about new donors."
    if any(sample.donor is None for sample in (*first.train, *first.test)):
        return f"the donors of some samples are not known{detail}, so the scores may say nothing about new donors."
    return f"no donor is on both sides of {side}{detail}."
