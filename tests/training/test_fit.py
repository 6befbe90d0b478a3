from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training import small

from pixnet.errors import DataError, ModelError, PixNetWarning
from pixnet.field.build.tile import read_tile
from pixnet.files import read_note
from pixnet.grid import Box
from pixnet.network.encoders.base import as_image
from pixnet.network.encoders.weights import weights_hash
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.panel import GenePanel
from pixnet.slide import Slide
from pixnet.slide.glass import WHITE_GLASS, Glass
from pixnet.training import fit as module
from pixnet.training.checkpoint import load_checkpoint
from pixnet.training.config import TrainingConfig
from pixnet.training.fit import FitOptions, Fitted, fit_network
from pixnet.training.loop import History, Trainer
from pixnet.training.targets import Components, Targets
from pixnet.training.work import begin

# Trains as the test does, and waits in one step of one stage until it is killed.
CHILD = """
import sys, time
from pathlib import Path
import torch
from tests.training import small
work, stage, step, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
from pixnet.training import loop
from pixnet.training.fit import FitOptions, fit_network
loop._CHECKPOINT_SECONDS = -1.0

def progress(name, done, total, words):
    if (name, done) == (stage, int(step)):
        print("reached", flush=True)
        time.sleep(120)

samples = small.make_samples(2)
config = small.training_config(validation="block", steps=6)
options = FitOptions(Path(work), resume=True, progress=progress)
fit_network(samples, small.make_panel(samples), small.network_config(), config, options)
"""


def fit(samples: list[Sample], panel: GenePanel, network: Any, config: Any, work: Path, **options: Any) -> Fitted:
    return fit_network(samples, panel, network, config, FitOptions(work, **options))


def test_kill_9_in_both_stages_and_resume_end_in_the_same_bytes(
    tmp_path: Path, network_config: Any, training_config: Any
) -> None:
    samples = small.make_samples(2)
    panel, config = small.make_panel(samples), training_config(validation="block", steps=6)
    whole = fit(samples, panel, network_config(), config, tmp_path / "whole")
    assert whole.steps >= 2  # so that the refit can be stopped on its way

    work = tmp_path / "work"
    for stage, step in (("search", 4), ("refit", 2)):
        arguments = [work, stage, step, torch.get_num_threads()]
        child = subprocess.Popen(  # noqa: S603  this very test's own program
            [sys.executable, "-W", "ignore", "-c", CHILD, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            cwd=Path(__file__).parents[2],  # where it finds `tests`
        )
        with child:
            assert child.stdout is not None
            line = child.stdout.readline()
            child.kill()
        assert line == "reached\n"
        assert child.returncode == -signal.SIGKILL
        checkpoint = load_checkpoint(work / f"{stage}.ckpt", {})
        assert checkpoint["step"] == step - 1
    resumed = fit(samples, panel, network_config(), config, work, resume=True)
    assert resumed.steps == whole.steps
    assert resumed.metrics == whole.metrics
    assert weights_hash(resumed.network) == weights_hash(whole.network)
    assert (work / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_search_and_refit_start_the_same_way(
    samples: list[Sample],
    panel: GenePanel,
    tmp_path: Path,
    network_config: Any,
    training_config: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number of steps that the search finds is for its own start."""
    starts = []

    def recording_run(trainer: Trainer) -> History:
        starts.append({name: value.clone() for name, value in trainer.network.state_dict().items()})
        return run(trainer)

    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", recording_run)
    fit(samples[:2], panel, network_config(), training_config(validation="block", steps=2), tmp_path)
    search, refit = starts
    assert [name for name in search if not torch.equal(search[name], refit[name])] == []


@pytest.fixture(scope="module")
def finished(
    samples: list[Sample],
    panel: GenePanel,
    tmp_path_factory: pytest.TempPathFactory,
    network_config: Any,
    training_config: Any,
) -> Path:
    work = tmp_path_factory.mktemp("finished")
    fit(samples[:2], panel, network_config(), training_config(steps=2), work)
    return work


@pytest.mark.parametrize("changed", ["lr", "head", "samples", "panel", "regions", "counts"])
def test_resuming_with_other_settings_is_refused(
    finished: Path, samples: list[Sample], panel: GenePanel, network_config: Any, training_config: Any, changed: str
) -> None:
    chosen, network, config, genes = samples[:2], network_config(), training_config(steps=2), panel
    if changed == "lr":
        config = training_config(steps=2, lr=0.01)
    elif changed == "head":
        network = network_config(head="mean")
    elif changed == "samples":
        chosen = samples[1:]
    elif changed == "panel":
        genes = GenePanel(panel.names[::-1], panel.rule)
    elif changed == "counts":
        first = samples[0]
        # The same genes and depths, but other regions have them.
        swapped = dataclasses.replace(first.counts, matrix=first.counts.matrix[::-1].tocsr())
        assert swapped.matrix.sum() == first.counts.matrix.sum()
        chosen = [Sample(first.id, first.slide, first.regions, swapped, first.donor, first.platform), samples[1]]
    else:
        from pixnet.regions import Disks

        first = samples[0]
        wider = Disks(first.regions.centers_um, 31.0)
        chosen = [Sample(first.id, first.slide, wider, first.counts, first.donor, first.platform), samples[1]]
    before = (finished / "fit.ckpt").read_bytes()
    with pytest.raises(ModelError, match=r"holds a training with other settings.*Discard it with `overwrite=True`"):
        fit(chosen, genes, network, config, finished, resume=True)
    assert (finished / "fit.ckpt").read_bytes() == before


def test_resuming_nothing_begins_and_a_new_run_forgets_the_old(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any, training_config: Any, finished: Path
) -> None:
    config = training_config(steps=2)
    fresh = fit(samples[:2], panel, network_config(), config, tmp_path, resume=True, cache=finished / "features")
    trained = weights_hash(fresh.network)
    # A checkpoint of other settings is there; without resume it must not be used, nor thrown away unasked.
    checkpoint = (tmp_path / "fit.ckpt").read_bytes()
    other = training_config(steps=2, seed=5)
    with pytest.raises(ModelError, match=r"holds an unfinished training\. Continue it with `resume=True`, or discard"):
        fit(samples[:2], panel, network_config(), other, tmp_path, cache=finished / "features")
    assert (tmp_path / "fit.ckpt").read_bytes() == checkpoint
    fitted = fit(samples[:2], panel, network_config(), other, tmp_path, cache=finished / "features", overwrite=True)
    assert weights_hash(fitted.network) != trained
    again = fit(samples[:2], panel, network_config(), config, tmp_path, cache=finished / "features", overwrite=True)
    assert weights_hash(again.network) == trained


@pytest.mark.parametrize("note", [b"", b"\0" * 64, b"\xff", b'{"key": "0", "sha256": "0"}'])
def test_a_damaged_note_of_what_was_begun_is_reported(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any, training_config: Any, note: bytes
) -> None:
    (tmp_path / "run").write_bytes(note)
    with pytest.raises(ModelError, match=r"run is damaged or of another version of PixNet. Discard the training"):
        fit(samples[:2], panel, network_config(), training_config(steps=2), tmp_path, resume=True)
    begin(tmp_path, "key", resume=True, overwrite=True)
    assert read_note(tmp_path / "run") == {"key": "key"}


@pytest.mark.parametrize("settings", [{"lr": 1e30}, {"weight_decay": 1e30}, {"pcc_weight": 1e308}])
def test_a_training_that_diverges_ends_in_an_error(
    samples: list[Sample],
    panel: GenePanel,
    tmp_path: Path,
    network_config: Any,
    training_config: Any,
    finished: Path,
    settings: dict[str, float],
) -> None:
    config = training_config(steps=4).model_copy(update=settings)  # beyond what the settings allow
    with pytest.raises(ModelError, match=r"the training diverged: after step \d of 'fit'.* not finite. Lower `lr`"):
        fit(samples[:2], panel, network_config(), config, tmp_path, cache=finished / "features")


def test_a_damaged_checkpoint_is_reported(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any, training_config: Any, finished: Path
) -> None:
    config = training_config(steps=2)
    fit(samples[:2], panel, network_config(), config, tmp_path, cache=finished / "features")
    path = tmp_path / "fit.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"fit\.ckpt: cannot be resumed from"):
        fit(samples[:2], panel, network_config(), config, tmp_path, cache=finished / "features", resume=True)


def test_metrics_of_both_stages_are_written(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any, training_config: Any
) -> None:
    reports: list[tuple[str, int, int]] = []
    fitted = fit(
        samples,
        panel,
        network_config(),
        training_config(validation="auto", steps=4),
        tmp_path,
        progress=lambda stage, done, total, _: reports.append((stage, done, total)),
    )
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], int(row["step"])) for row in rows] == [(m["stage"], m["step"]) for m in fitted.metrics]
    assert [row["stage"] for row in rows][:2] == ["search", "search"]
    assert rows[-1]["stage"] == "refit"
    assert int(rows[-1]["step"]) == fitted.steps
    assert all(float(row["pcc_m"]) <= 1 for row in rows if row["stage"] == "search")
    stages = [stage for stage, _, _ in reports]
    assert [s for i, s in enumerate(stages) if s not in stages[:i]] == ["features", "search", "refit"]
    assert (reports[-1][1], reports[-1][2]) == (fitted.steps, fitted.steps)


def test_validation_stays_as_it_was_measured(
    samples: list[Sample],
    panel: GenePanel,
    tmp_path: Path,
    network_config: Any,
    training_config: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training targets may be denoised; validation targets never are, and take no part in denoising the others."""
    seen: list[tuple[list[Targets], list[Targets]]] = []
    denoised_ids: list[list[str]] = []

    def spying_run(trainer: Trainer) -> History:
        seen.append((list(trainer.training.targets), list(trainer.validation.targets) if trainer.validation else []))
        return run(trainer)

    def spying_denoised(targets: Any, seed: int) -> Any:
        denoised_ids.append([target.sample.id for target in targets])
        components = Components(np.arange(3), np.ones(3), np.eye(3)[:2])
        return [target.denoised(components) for target in targets]

    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", spying_run)
    monkeypatch.setattr(module, "denoised", spying_denoised)
    config = training_config(validation="sample", steps=2, denoise=True)
    fitted = fit(samples, panel, network_config(), config, tmp_path)
    (learned, held), (all_learned, nothing) = seen
    assert held
    assert not nothing
    assert all(target.components is None for target in held)
    assert all(target.components is not None for target in (*learned, *all_learned))
    assert not {target.sample.id for target in learned} & {target.sample.id for target in held}
    assert denoised_ids == [[target.sample.id for target in part] for part in (learned, all_learned)]
    assert fitted.components == {sample.id: 2 for sample in samples}


@pytest.mark.parametrize(
    ("network", "training"),
    [
        ({"head": "mean"}, {}),
        ({"head": "sum"}, {}),
        ({"head": "rate", "attention": "local"}, {"loss": "poisson", "counts": "capture"}),
        ({"trainable": True}, {"steps": 2}),
        ({}, {"views": 0, "steps": 2}),
        ({}, {"views": 3, "steps": 2}),
    ],
)
def test_other_ways_of_training(
    samples: list[Sample],
    panel: GenePanel,
    tmp_path: Path,
    network_config: Any,
    training_config: Any,
    network: dict[str, Any],
    training: dict[str, Any],
) -> None:
    config = training_config(**{"steps": 3, "tiles": 3, **training})
    fitted = fit(samples[:2], panel, network_config(**network), config, tmp_path)
    state = fitted.network.state_dict()
    assert all(value.isfinite().all() for value in state.values())
    assert not fitted.network.training
    torch.manual_seed(config.seed)
    from pixnet.network.encoders.make import make_encoder

    moved = weights_hash(fitted.network.encoder) != weights_hash(make_encoder(network_config(**network).encoder))
    assert moved == network.get("trainable", False)


@pytest.mark.parametrize("balanced", [True, False])
def test_every_view_is_corrected_to_white_glass_if_set(
    samples: list[Sample],
    panel: GenePanel,
    tmp_path: Path,
    network_config: Any,
    training_config: Any,
    monkeypatch: pytest.MonkeyPatch,
    balanced: bool,
) -> None:
    tinted = []
    for sample, tint in zip(samples, ([232.0, 216.0, 230.0], [240.0, 240.0, 235.0]), strict=False):
        slide = sample.slide
        rgb = slide.read_box(Box(0, 0, *slide.shape), slide.mpp)[0].copy()
        rgb[:48] = 255
        rgb = np.rint(rgb * (np.array(tint) / 255.0)).astype(np.uint8)
        tinted.append(dataclasses.replace(sample, slide=Slide.from_array(rgb, slide.mpp)))
    seen: list[Any] = []

    def spying_run(trainer: Trainer) -> History:
        seen.append(trainer.training.views)
        return run(trainer)

    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", spying_run)
    config = training_config(steps=1, views=3, validation="none", white_balance=balanced)
    fit(tinted, panel, network_config(), config, tmp_path)
    for sample, views in zip(tinted, *seen, strict=True):
        expected = Glass.from_slide(sample.slide) if balanced else WHITE_GLASS
        assert [view.glass for view in views] == [expected] * 3
        assert (expected == WHITE_GLASS) != balanced


def test_the_head_starts_at_the_scale_of_the_data(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any, training_config: Any
) -> None:
    """Before anything is learned, there is about half of what was measured, so that the density has to rise."""
    fitted = fit(samples[:2], panel, network_config(), training_config(steps=1, lr=1e-12), tmp_path)
    per_um2 = np.concatenate([s.depth for s in samples[:2]]).mean() / (np.pi * 15**2)
    network, slide = fitted.network, samples[0].slide
    assert float(network.head.scale.sum()) == pytest.approx(per_um2, rel=0.05)
    lattice = network.lattice(slide)
    images, _ = read_tile(slide, lattice, Box(0, 0, lattice.height, lattice.width))
    latent = network.latent(*(as_image(rgb) for rgb in images[:2] if rgb is not None))
    with torch.no_grad():
        weight, bias = network.head.linear()
    assert 0.3 < float((latent.mean(dim=(1, 2)) @ weight + bias).sum()) / per_um2 < 0.7


def test_all_samples_are_learned_from_for_all_steps_by_default(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any
) -> None:
    config = TrainingConfig(steps=2, tiles=2, tile_um=64.0, views=1, min_counts=100, evaluate_every=1)
    fitted = fit(samples, panel, network_config(), config, tmp_path)
    assert [(row["stage"], row["step"]) for row in fitted.metrics] == [("fit", 1), ("fit", 2)]
    assert fitted.steps == 2
    assert set(fitted.components) == {sample.id for sample in samples}


def test_a_training_of_another_version_is_not_resumed(
    samples: list[Sample],
    panel: GenePanel,
    finished: Path,
    network_config: Any,
    training_config: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "METHOD_VERSION", module.METHOD_VERSION + 1)
    with pytest.raises(ModelError, match=r"of another version of PixNet's training. Discard it"):
        fit(samples[:2], panel, network_config(), training_config(steps=2), finished, resume=True)


def test_repeated_ids_and_too_few_regions_are_reported(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any, training_config: Any
) -> None:
    with pytest.raises(DataError, match=f"{samples[0].id}.*twice"):
        fit([samples[0], samples[0]], panel, network_config(), training_config(), tmp_path)
    few = [samples[0].take(np.arange(5))]
    with pytest.raises(DataError, match="only 5 regions have 100 counts or more"):
        fit(few, panel, network_config(), training_config(), tmp_path)
    with pytest.raises(DataError, match="min_counts"):
        fit(samples[:2], panel, network_config(), training_config(min_counts=10**8), tmp_path)


@pytest.mark.parametrize("head", ["mean", "rate"])
def test_regions_in_a_hole_of_the_slide_do_not_spoil_the_training(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any, training_config: Any, head: str
) -> None:
    rgb, _ = samples[0].slide.read_box(Box(0, 0, 256, 320), 1.0)
    alpha = np.full((256, 320, 1), 255, np.uint8)
    alpha[60:200, 80:240] = 0
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(tmp_path / "holed.png")
    slide = Slide.open(tmp_path / "holed.png", mpp=1.0)
    holed = Sample("holed", slide, samples[0].regions, samples[0].counts)
    config = training_config(steps=3, validation="block", loss="squared" if head == "mean" else "poisson")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PixNetWarning)
        fitted = fit([holed], panel, network_config(head=head), config, tmp_path / "work")
    assert all(value.isfinite().all() for value in fitted.network.state_dict().values())
    assert all(np.isfinite(float(row["loss"])) for row in fitted.metrics)


@pytest.mark.parametrize(("validation", "message"), [("none", "drawn at random have no valid pixel"), ("sample", "")])
def test_a_slide_that_is_one_hole_is_refused(
    samples: list[Sample],
    panel: GenePanel,
    tmp_path: Path,
    network_config: Any,
    training_config: Any,
    validation: str,
    message: str,
) -> None:
    rgb, _ = samples[0].slide.read_box(Box(0, 0, 256, 320), 1.0)
    Image.fromarray(np.concatenate([rgb, np.zeros((256, 320, 1), np.uint8)], axis=2)).save(tmp_path / "hole.png")
    hole = Sample("hole", Slide.open(tmp_path / "hole.png", mpp=1.0), samples[0].regions, samples[0].counts)
    parts = [hole] if validation == "none" else [samples[1], hole]
    config = training_config(validation=validation)
    if validation == "sample":  # hold out the hole, whichever the draw chooses
        held = int(np.random.default_rng([config.seed, 1]).integers(2))
        parts, message = (parts if held else parts[::-1]), "hole: none of the regions to validate on has a valid pixel"
    with pytest.raises(DataError, match=message):
        fit(parts, panel, network_config(), config, tmp_path / "work")


@pytest.mark.parametrize("head", ["rate", "mean"])
def test_a_gene_that_a_sample_was_not_measured_for_is_masked(
    samples: list[Sample], panel: GenePanel, tmp_path: Path, network_config: Any, training_config: Any, head: str
) -> None:
    whole, other = samples[:2]
    columns = whole.genes.get_indexer([*panel.names[:6], *whole.genes.difference(panel.names)])
    part = dataclasses.replace(other, counts=Counts(other.counts.matrix[:, columns], other.genes[columns]))
    fitted = fit([whole, part], panel, network_config(head=head), training_config(), tmp_path / "part")
    assert all(value.isfinite().all() for value in fitted.network.state_dict().values())
    assert fitted.network.head.scale.shape == (12 + (head == "rate"),)
    # The scale of a masked gene comes from the sample that was measured for it.
    if head == "rate":
        column = whole.genes.get_loc(panel.names[8])
        enough = whole.depth >= 100
        rate = whole.counts.matrix[enough][:, [column]].sum() / whole.regions.areas_um2[enough].sum()
        assert float(fitted.network.head.scale[8]) == pytest.approx(rate, rel=1e-5)
