"""The protocol of an evaluation: what is trained on, what is held out, and that the two never meet."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import pixnet
from pixnet.config import Config, GenesConfig
from pixnet.errors import DataError, PixNetWarning
from pixnet.evaluation.baselines import MeanBaseline, RidgeBaseline
from pixnet.evaluation.cost import Cost
from pixnet.evaluation.results import HeldOut, Outcome, Prediction, replacing, summarise
from pixnet.expression import log_expectation
from pixnet.field import ExpressionField
from pixnet.genes import join_genes
from pixnet.model import PixNet
from pixnet.panel import GenePanel, choose_panel
from pixnet.readers.manifest import manifest_entries
from pixnet.readers.platforms import Entry
from pixnet.regions import Regions
from pixnet.sample import Sample

METHODS = ("pixnet", "ridge", "mean")
"""What can be evaluated."""

Progress = Callable[[str, int, int, str], None]


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
        by_id = {sample.id: sample for sample in samples}
        if len(by_id) < len(samples):
            raise DataError(f"two samples have the same id; there are {', '.join(sample.id for sample in samples)}.")
        _check_hold_out(hold_out, list(by_id))
        train = [sample for sample in samples if sample.id not in hold_out]
        return cls(train, [by_id[name] for name in dict.fromkeys(hold_out)])

    @property
    def shared_donors(self) -> list[str]:
        """Donors that are on both sides."""
        return sorted({s.donor for s in self.train if s.donor} & {s.donor for s in self.test if s.donor})


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
        _check_hold_out(hold_out, chosen)
    return [found[name][1] for name in chosen]


def _check_hold_out(hold_out: Sequence[str], ids: Sequence[str]) -> None:
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


def evaluate(
    samples: Sequence[Sample],
    hold_out: Sequence[str],
    out: str | Path,
    *,
    methods: Sequence[str] = METHODS,
    config: Config | None = None,
    device: str = "auto",
    features: str | Path | None = None,
    overwrite: bool = False,
    manifests: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Train methods on some samples and score them on the others.

    Regions with fewer counts than `config.training.min_counts` are left out for every method alike, in training and
    in scoring.

    Parameters
    ----------
    samples
        All samples.
    hold_out
        Ids of those to score on.
    out
        Folder for `results.json`, `per_gene.csv`, `predictions.h5ad`, and, of pixnet, `model` and `fields/<id>`.
        What is there stays as it is until all is done.
    methods
        Of `METHODS`.
    config
        Genes, network and training.
    device
        `"auto"`, `"cpu"` or `"cuda"`; for pixnet only.
    features
        Folder for the kept features of a frozen encoder, which several evaluations may share.
    overwrite
        Whether to replace an evaluation that exists at `out`.
    manifests
        Where the samples are from, for the record.
    progress
        Told how far things are.

    Raises
    ------
    DataError
        If a method or an id is unknown, if there are results at `out` already, or if the samples cannot be used.

    Warns
    -----
    PixNetWarning
        If a donor is on both sides.
    """
    out, config, progress = Path(out), config or Config(), progress or (lambda *_: None)
    methods = list(dict.fromkeys(methods))
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        what = f"method {unknown[0]!r} is not known" if unknown else "no method is named"
        raise DataError(f"{what}; there are {', '.join(METHODS)}.")
    split = Split.of(join_genes(samples), hold_out)
    min_counts, seed = config.training.min_counts, config.training.seed
    panel = common_panel(split, config.genes, min_counts)
    held = HeldOut(split.test, panel, min_counts)
    if held.enough.sum() < 2:
        raise DataError(
            f"{', '.join(s.id for s in split.test)}: {held.enough.sum()} held-out regions have {min_counts} counts or "
            "more; at least 2 are needed. Lower --min-counts."
        )
    if split.shared_donors:
        warnings.warn(_donor_words(split), PixNetWarning, stacklevel=2)
    genes = GenesConfig(number=len(panel), names=panel.names)
    trained = config.model_copy(update={"genes": genes})
    with replacing(out, overwrite) as folder:
        predictions = {}
        for name in methods:
            progress(name, 0, 1, "")
            with Cost() as cost:
                if name == "pixnet":
                    values = _pixnet(split, trained, folder, device, features, progress)
                else:
                    values = _baseline(MeanBaseline() if name == "mean" else RidgeBaseline(), split, panel, trained)
            for sample in samples:
                sample.slide.close()  # decoded images would count as the next method's memory
            predictions[name] = Prediction(np.concatenate(values), cost.seconds, cost.peak_rss_mb)
            progress(name, 1, 1, "")
        outcome = summarise(held, predictions, _protocol(split, panel, config, manifests), seed)
        outcome.write(folder)
    return outcome


def log_values(field: ExpressionField, regions: Regions, likelihood: bool) -> NDArray[np.float32]:
    """Give the log-normalised expression that a field predicts for regions, all of the panel's genes.

    Parameters
    ----------
    field
        The field.
    regions
        n regions.
    likelihood
        Whether the model was fitted to counts by their likelihood. A `rate` head then predicts expected counts, and
        what a log-normalised measurement is expected to be is the expectation of the logarithm, taken over Poisson
        counts at the region's *predicted* total. Fitted to log-normalised values by squared error, the logarithm of
        the predicted share estimates that expectation itself, and would be corrected twice.

    Returns
    -------
    array
        (n, g), NaN where the field has no data.
    """
    if field.head.kind != "rate":
        return np.asarray(field.query(regions).X, np.float32)
    if not likelihood:
        return np.asarray(field.query(regions).layers["log1p"], np.float32)
    counts = np.asarray(field.query(regions, field.head.genes).X, np.float64)
    total = counts.sum(axis=1)
    covered = total > 0
    values = np.full((len(counts), len(field.gene_names)), np.nan, np.float32)
    values[covered] = log_expectation(counts[covered, :-1] / total[covered, None], total[covered])
    return values


def _pixnet(
    split: Split, config: Config, folder: Path, device: str, features: str | Path | None, progress: Progress
) -> list[NDArray[np.float32]]:
    work = folder / "work"
    model = PixNet(config)
    model.fit(split.train, work=work, features=features, device=device, progress=progress)
    model.save(folder / "model")
    shutil.copy(work / "metrics.csv", folder / "model" / "metrics.csv")
    shutil.rmtree(work)
    likelihood = config.training.loss != "squared"
    values = []
    for sample in split.test:
        tell = _tile_progress(progress, sample.id)
        # Without the mask: every method is scored on the same regions, also where the glass is bare.
        out = folder / "fields" / sample.id
        field = model.predict(sample.slide, out, tissue_mask=False, device=device, progress=tell)
        values.append(log_values(field, sample.regions, likelihood))
    return values


def _tile_progress(progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress("predict", done, total, name)


def _baseline(
    baseline: MeanBaseline | RidgeBaseline, split: Split, panel: GenePanel, config: Config
) -> list[NDArray[np.float32]]:
    baseline.fit(split.train, panel, config.training.min_counts, config.training.seed)
    return [baseline.predict(sample.slide, sample.regions.centers_um) for sample in split.test]


def _protocol(split: Split, panel: GenePanel, config: Config, manifests: Sequence[str | Path]) -> dict[str, Any]:
    """Say what was done, so that it can be judged and done again."""
    samples = [*split.train, *split.test]
    source = "given by name" if panel.rule == "list" else f"{panel.rule}, ranked on the training samples alone"
    return {
        "pixnet_version": pixnet.__version__,
        "manifests": [str(path) for path in dict.fromkeys(manifests)],
        "train": [sample.id for sample in split.train],
        "test": [sample.id for sample in split.test],
        "donors": {sample.id: sample.donor for sample in samples},
        "donors_on_both_sides": split.shared_donors,
        "donor_note": _donor_words(split),
        "gene_rule": f"{source}, among the genes measured in all samples",
        "genes": list(panel.names),
        "min_counts": config.training.min_counts,
        "seed": config.training.seed,
        "values": "log1p of counts per 10,000 over all genes",
        "noise_note": "noise_share is the mean correlation over the mean noise estimate, same genes and regions; "
        "the estimate assumes Poisson noise and is no bound",
        "memory_note": "peak_rss_mb is the most memory that the whole process held while the method ran",
        "data": {sample.id: _facts(sample) for sample in samples},
        "config": config.model_dump(mode="json"),
    }


def _donor_words(split: Split) -> str:
    shared = split.shared_donors
    sides = f"training {', '.join(s.id for s in split.train)}; test {', '.join(s.id for s in split.test)}"
    if shared:
        return (
            f"donor {', '.join(shared)} is on both sides of the split ({sides}), so the scores say nothing about new "
            "donors."
        )
    if any(sample.donor is None for sample in (*split.train, *split.test)):
        return f"the donors of some samples are not known ({sides}), so the scores may say nothing about new donors."
    return f"no donor is on both sides of the split ({sides})."


def _facts(sample: Sample) -> dict[str, Any]:
    matrix, digest = sample.counts.matrix, hashlib.sha256()
    for part in (matrix.indptr.astype("<i8"), matrix.indices.astype("<i8"), matrix.data.astype("<f4")):
        digest.update(part.tobytes())
    digest.update("\n".join(map(str, sample.genes)).encode())
    return {
        "regions": len(sample.regions),
        "platform": sample.platform,
        "mpp": sample.slide.mpp,
        "mpp_source": sample.slide.mpp_source,
        "slide_sha256": sample.slide.fingerprint(),
        "counts_sha256": digest.hexdigest(),
    }
